"""What every store can do: keep vectors under ids, and return a query's nearest ones, filtered if asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from m3search.filters import COLUMNS

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    from m3search.filters import Filter
    from m3search.types import Float32

BLOCK = 65536  # vectors scored at a time: 64 MB of float32 at 256 dimensions
MARGIN = 1e-4  # more than float32 inner products of unit vectors err by


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store keeps its promises about. Asked before use, never silently degraded."""

    exact: bool = True  # every search returns the true nearest vectors; else `Neighbours.exact` tells
    persistent: bool = True  # survives the process
    half: bool = True  # vectors take two bytes a dimension; else four, of the same values
    columns: tuple[str, ...] = tuple(COLUMNS)  # that a filter may look at; others are refused with a FilterError
    substrings: bool = True  # a filter may look for text within a column
    largest_k: int | None = None  # neighbours that one search can return; None: as many as there are


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """The nearest items of one query, best first; equal scores are ordered by item_id."""

    ids: tuple[str, ...]
    scores: Float32  # (len(ids),) inner products; cosines, as all vectors have unit length
    exact: bool = True  # whether these surely are the nearest ones

    def __len__(self) -> int:
        return len(self.ids)


class VectorStore(Protocol):
    """Batch first: every method takes many rows or many queries. One contract suite: tests/contracts/test_stores.py."""

    dim: int
    capabilities: Capabilities

    def ensure(self) -> None:
        """Make what is missing to keep vectors in. What is there stays.

        Raises:
            EncoderMismatch: there is something, for vectors of another length.
        """
        ...

    def upsert(self, rows: pa.Table) -> None:
        """Add rows of `schema.items(dim)`; a row whose item_id is already there replaces it whole.

        Columns that are absent become null; `item_id`, `modality` and `vector` must be present.
        """
        ...

    def delete(self, item_ids: Sequence[str]) -> int:
        """Remove these items, ignoring ids that are not there. Returns how many were removed."""
        ...

    def search(self, queries: Float32, k: int, where: Filter | None = None) -> list[Neighbours]:
        """The min(k, matching) nearest items of each query.

        Args:
            queries: float32 (Q, D), unit length.
            k: at least 1.
            where: only items that match this; None is all.

        Raises:
            FilterError: the store cannot ask that: see `Capabilities`.
            UsageError: k is beyond `Capabilities.largest_k`.
        """
        ...

    def count(self, where: Filter | None = None) -> int:
        """How many items match."""
        ...

    def publish(self) -> object:
        """Make what was written fast to search: build or bring up to date what an index is. It is found before, too."""
        ...


class RemoteStore(VectorStore, Protocol):
    """A store of another machine, of which an index may have a copy: collections with names, and names for them."""

    @property
    def name(self) -> str:
        """Of the collection, or its alias."""
        ...

    def named(self, name: str) -> RemoteStore:
        """Another collection of the same server, there or not."""
        ...

    def collections(self) -> list[str]:
        """All that the server has."""
        ...

    def behind(self) -> str | None:
        """The collection that this name stands for: itself, or the alias's; None where there is neither."""
        ...

    def point_to(self, name: str) -> None:
        """Make this name an alias of a collection, in one step: a search sees the old one or the new one.

        Raises:
            UsageError: this is the name of a collection.
        """
        ...

    def drop(self) -> None:
        """Remove the collection with all it holds."""
        ...


def shortlist(scores: Float32, k: int) -> npt.NDArray[np.intp]:
    """Rows that may be among the k best, given float32 scores (N,): all within MARGIN of the k-th, best or not."""
    if k >= len(scores):
        return np.arange(len(scores))
    kth = np.partition(scores, len(scores) - k)[len(scores) - k]
    return np.flatnonzero(scores >= kth - MARGIN)


def evenly(count: int, most: int) -> list[int]:
    """At most `most` of `count` places, from the first to the last."""
    places: list[int] = np.linspace(0, count - 1, min(count, most)).astype(int).tolist()
    return places


def rank(query: Float32, vectors: Float32, ids: Sequence[str], k: int, exact: bool = True) -> Neighbours:
    """The k best of these vectors (N, D), scored anew: the same for every store, whatever made the shortlist.

    A BLAS product may differ in the last bit between equal vectors at different places; a sum of doubles along each
    row does not, so equal vectors tie and ids decide.
    """
    scores = (vectors.astype(np.float64) * query.astype(np.float64)).sum(axis=1).astype(np.float32)
    order = sorted(range(len(ids)), key=lambda row: (-scores[row], ids[row]))[:k]
    return Neighbours(tuple(ids[row] for row in order), scores[order], exact)


def check_queries(queries: Float32, k: int, dim: int) -> Float32:
    """The queries as contiguous float32 (Q, dim).

    Raises:
        ValueError: another shape, or k < 1. A defect of the caller, not of its user.
    """
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    if queries.ndim != 2 or queries.shape[1] != dim:
        raise ValueError(f"queries must be (Q, {dim}), not {queries.shape}")
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    return queries
