"""Synthetic vectors that are as hard to search as embeddings are, in any number.

Unit vectors in a cone, as encoders give them: clusters of heavy-tailed sizes, themselves in groups, each spread along
few directions of its own, and a little noise in all; rounded to half precision, which is what an index keeps. Queries
are held-out draws (`item`), or lie apart from all vectors, by a shift, and between clusters (`text`): as texts do from
images (Liang et al. 2022, "Mind the Gap").

Everything follows from the recipe. Blocks of rows are drawn from seeds of their own, so making them takes no more
memory than they do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.types import Float32

    Half = npt.NDArray[np.float16]
    Indices = npt.NDArray[np.intp]

Kind = Literal["item", "text"]
KINDS: tuple[Kind, ...] = ("item", "text")
Column = Literal["random", "cluster"]
SELECTIVITIES = (0.001, 0.01, 0.1, 0.5)  # shares of the rows; what matches at one also does at the next

BLOCK = 16384  # rows drawn from one seed
TAIL = 0.8  # sizes of clusters fall as 1 / rank ** TAIL: the largest of a thousand has 6% of the rows
BASES = 16  # sets of directions along which clusters are spread; clusters share them
CONE, SPREAD, NOISE = (
    0.6,
    0.7,
    0.25,
)  # lengths of the common mean, of a cluster's spread and of the noise; a centre has 1
GAP, AWAY = 0.8, 0.35  # lengths of a text's shift, and of what it has in none of the clusters' directions
FAR = 0.1  # share of the rows in the clusters that adversarial queries are about
ROWS, QUERIES, FILTERS = 1, 2, 3  # streams of random numbers


@dataclass(frozen=True)
class Recipe:
    """What determines a gallery, its queries and its filter columns."""

    count: int
    dim: int
    seed: int = 0

    @property
    def clusters(self) -> int:
        """A thousand for a million rows."""
        return max(16, round(math.sqrt(self.count)))

    def blocks(self) -> Iterator[slice]:
        """Rows, a block at a time."""
        return (slice(start, min(start + BLOCK, self.count)) for start in range(0, self.count, BLOCK))

    @cached_property
    def space(self) -> Space:
        """The clusters."""
        return Space.draw(self)


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """Where vectors are likely. C clusters in D dimensions."""

    shares: npt.NDArray[np.float64]  # (C,), sum 1
    centres: Float32  # (C, D), unit length, in a quarter of the dimensions
    spreads: Float32  # (C,), length of the spread about the centre
    bases: Float32  # (BASES, D / 8, D), of falling length; random weights give length 1 on average
    mean: Float32  # (D,), of all vectors
    gap: Float32  # (D,), of all texts

    @classmethod
    def draw(cls, recipe: Recipe) -> Space:
        """The clusters of a recipe."""
        rng, dim, count = np.random.default_rng(recipe.seed), recipe.dim, recipe.clusters
        inside = rng.standard_normal((max(4, dim // 4), dim), dtype=np.float32)
        groups = unit(rng.standard_normal((max(4, round(math.sqrt(count))), len(inside)), dtype=np.float32))
        own = unit(rng.standard_normal((count, len(inside)), dtype=np.float32))
        centres = unit((groups[rng.integers(len(groups), size=count)] + own) @ inside)
        falling = 1 / np.sqrt(1 + np.arange(max(2, dim // 8), dtype=np.float32))
        bases = unit(rng.standard_normal((BASES, len(falling), dim), dtype=np.float32)) * falling[:, None]
        shares = 1 / np.arange(1, count + 1) ** TAIL
        return cls(
            shares=shares / shares.sum(),
            centres=centres,
            spreads=SPREAD * rng.lognormal(0, 0.25, count).astype(np.float32),
            bases=bases / np.sqrt((falling**2).sum()),
            mean=CONE * unit(rng.standard_normal((1, dim), dtype=np.float32))[0],
            gap=GAP * unit(rng.standard_normal((1, dim), dtype=np.float32))[0],
        )

    def around(self, clusters: Indices, rng: np.random.Generator) -> Float32:
        """A vector of each of these clusters: float32 (N, D), unit length."""
        weights = rng.standard_normal((len(clusters), self.bases.shape[1]), dtype=np.float32)
        weights *= self.spreads[clusters, None]
        found = self._noise(len(clusters), NOISE, rng)
        found += self.mean
        found += self.centres[clusters]
        for basis in range(BASES):
            own = np.flatnonzero(clusters % BASES == basis)
            found[own] += weights[own] @ self.bases[basis]
        return unit(found)

    def between(self, clusters: Indices, rng: np.random.Generator) -> Float32:
        """A text about each row of clusters (N, M), about the first one most: float32 (N, D), unit length."""
        weights = np.sort(rng.dirichlet(np.ones(clusters.shape[1]), len(clusters)), axis=1)[:, ::-1, None]
        mixed = unit((self.centres[clusters] * weights.astype(np.float32)).sum(axis=1))
        return unit(self.gap + mixed + self._noise(len(clusters), AWAY, rng))

    def _noise(self, count: int, length: float, rng: np.random.Generator) -> Float32:
        noise: Float32 = rng.standard_normal((count, self.centres.shape[1]), dtype=np.float32)
        noise *= length / self.centres.shape[1] ** 0.5
        return noise


def fill(recipe: Recipe, vectors: Half, clusters: npt.NDArray[np.int32]) -> None:
    """Write all rows: vectors (count, dim), and the cluster of each. Arrays may be mapped files."""
    for number, rows in enumerate(recipe.blocks()):
        rng = np.random.default_rng([recipe.seed, ROWS, number])
        drawn = rng.choice(recipe.clusters, rows.stop - rows.start, p=recipe.space.shares)
        clusters[rows] = drawn
        vectors[rows] = recipe.space.around(drawn, rng)


def queries(recipe: Recipe, kind: Kind, count: int, stream: int = 0, about: Indices | None = None) -> Float32:
    """Queries that are not in the gallery: float32 (count, dim), unit length.

    Args:
        stream: another number, other queries.
        about: clusters that they are about; None is all.
    """
    rng = np.random.default_rng([recipe.seed, QUERIES, KINDS.index(kind), stream])
    about = np.arange(recipe.clusters) if about is None else about
    shares = recipe.space.shares[about] / recipe.space.shares[about].sum()
    if kind == "item":
        return recipe.space.around(rng.choice(about, count, p=shares), rng)
    return recipe.space.between(rng.choice(about, (count, 3), p=shares), rng)


def order_of_clusters(recipe: Recipe) -> Indices:
    """All clusters, along a random direction: those at one end lie far from those at the other."""
    axis = np.random.default_rng([recipe.seed, FILTERS]).standard_normal(recipe.dim)
    return np.argsort(recipe.space.centres @ axis)


def bands(recipe: Recipe, column: Column, clusters: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
    """A filter column (count,): the first of SELECTIVITIES at which a row matches, or their number where it never does.

    `random` is independent of the vectors; `cluster` takes whole clusters in `order_of_clusters`, the last cut to size.
    """
    if column == "random":
        order = np.random.default_rng([recipe.seed, FILTERS, 1]).permutation(recipe.count)
    else:
        place = np.empty(recipe.clusters, dtype=np.int32)
        place[order_of_clusters(recipe)] = np.arange(recipe.clusters)
        order = np.argsort(place[clusters], kind="stable")
    found = np.full(recipe.count, len(SELECTIVITIES), dtype=np.uint8)
    for band in reversed(range(len(SELECTIVITIES))):
        found[order[: matching(recipe, band)]] = band
    return found


def matching(recipe: Recipe, band: int) -> int:
    """Rows that match a filter at SELECTIVITIES[band]."""
    return max(1, round(SELECTIVITIES[band] * recipe.count))


def near_clusters(column: npt.NDArray[np.uint8], clusters: npt.NDArray[np.int32], band: int) -> Indices:
    """The clusters that have rows matching `cluster` at this band."""
    return np.unique(clusters[column <= band]).astype(np.intp)


def far_clusters(recipe: Recipe) -> Indices:
    """The clusters at the other end: no row of theirs matches `cluster` at any band, unless one holds half of all."""
    order = order_of_clusters(recipe)[::-1]
    return order[: 1 + int(np.searchsorted(np.cumsum(recipe.space.shares[order]), FAR))]


def unit(vectors: npt.NDArray[np.floating]) -> Float32:
    """Along the last axis, at length 1."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), dtype=np.float32)
