"""What every peer is asked: vectors, filter columns, queries, exact answers; kept in a folder for later runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from benchmarks import vectors
from benchmarks.exact import Truth, exact
from benchmarks.vectors import KINDS, SELECTIVITIES, Column, Kind, Recipe

if TYPE_CHECKING:
    import numpy.typing as npt

    from benchmarks.vectors import Half
    from m3search.types import Float32

VERSION = 1  # of what is drawn from a recipe: another one, and nothing older is read
TEXTS, STREAM = 1000, 7  # items with a text; their stream of random numbers
FILTER_QUERIES = 200  # of which half are texts
Relation = Literal["random", "correlated", "adversarial"]
RELATIONS: tuple[Relation, ...] = get_args(Relation)


@dataclass(frozen=True, slots=True)
class Where:
    """A filter: rows whose value in the column is at most `band`, an index of SELECTIVITIES."""

    column: Column
    band: int


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """What is indexed; a row's number is its name."""

    vectors: Half  # (N, D), unit length before rounding; a mapped file
    columns: dict[Column, npt.NDArray[np.uint8]]  # (N,) each: bands
    texts: Half  # (T, D) of the first rows, as reports come with images: drawn as text queries are, but none of them

    @property
    def shape(self) -> tuple[int, int]:
        """N, D."""
        count, dim = self.vectors.shape
        return count, dim

    def blocks(self, rows: int) -> Iterator[tuple[slice, Half]]:
        """All vectors in order, this many at a time."""
        for start in range(0, len(self.vectors), rows):
            place = slice(start, min(start + rows, len(self.vectors)))
            yield place, np.asarray(self.vectors[place])

    def allowed(self, where: Where | None) -> npt.NDArray[np.bool_] | None:
        """(N,), the rows that match."""
        return None if where is None else self.columns[where.column] <= where.band


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """Queries that are asked together, and their true answers."""

    name: str
    where: Where | None
    queries: Float32  # (Q, D), unit length
    truth: Truth


@dataclass(frozen=True, slots=True)
class Workload:
    """A recipe's gallery and tasks in a folder. `prepare` makes what is missing."""

    root: Path
    recipe: Recipe
    queries: int  # of each kind
    k: int

    @property
    def folder(self) -> Path:
        """Of the vectors."""
        recipe = self.recipe
        return self.root / f"v{VERSION}-{recipe.count}x{recipe.dim}-seed{recipe.seed}"

    def as_json(self) -> dict[str, Any]:
        """For another process."""
        return {"root": str(self.root), "recipe": asdict(self.recipe), "queries": self.queries, "k": self.k}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Workload:
        """The inverse of `as_json`."""
        return cls(Path(value["root"]), Recipe(**value["recipe"]), value["queries"], value["k"])

    def prepare(self, filters: bool) -> None:
        """Write vectors, columns, and the answers of the tasks that will be asked for."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._path("columns").exists():  # written last
            self._write_gallery()
        for name in (*KINDS, *(filter_names() if filters else ())):
            if not self._path(self._file(name)).exists():
                self._write_task(name)

    def gallery(self) -> Gallery:
        """Mapped: rows are read from disk when they are touched."""
        with np.load(self._path("columns")) as columns:
            return Gallery(
                np.load(self._path("vectors"), mmap_mode="r"),
                {"random": columns["random"], "cluster": columns["cluster"]},
                vectors.queries(self.recipe, "text", min(TEXTS, self.recipe.count), STREAM).astype(np.float16),
            )

    def task(self, name: str) -> Task:
        """By kind of query, or by one of `filter_names()`."""
        with np.load(self._path(self._file(name))) as kept:
            return Task(name, _where(name), kept["queries"], Truth(kept["rows"], kept["scores"]))

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.{'npy' if name in ('vectors', 'clusters') else 'npz'}"

    def _file(self, name: str) -> str:
        return f"{name.replace(' ', '-')}-{self.queries if name in KINDS else FILTER_QUERIES}-top{self.k}"

    def _write_gallery(self) -> None:
        recipe, mapped = self.recipe, np.lib.format.open_memmap
        rows = mapped(self._path("vectors"), "w+", np.float16, (recipe.count, recipe.dim))
        clusters = mapped(self._path("clusters"), "w+", np.int32, (recipe.count,))
        vectors.fill(recipe, rows, clusters)
        rows.flush()
        clusters.flush()
        columns = {name: vectors.bands(recipe, name, clusters) for name in get_args(Column)}
        _save(self._path("columns"), **columns)

    def _write_task(self, name: str) -> None:
        gallery, where = self.gallery(), _where(name)
        asked = (
            vectors.queries(self.recipe, name, self.queries) if name in KINDS else self._filter_queries(name, gallery)
        )
        truth = exact(gallery.vectors, asked, self.k, gallery.allowed(where))
        _save(self._path(self._file(name)), queries=asked, rows=truth.rows, scores=truth.scores)

    def _filter_queries(self, name: str, gallery: Gallery) -> Float32:
        where, about = _where(name), None
        assert where is not None
        if name.startswith("correlated"):
            clusters = np.load(self._path("clusters"), mmap_mode="r")
            about = vectors.near_clusters(gallery.columns["cluster"], clusters, where.band)
        elif name.startswith("adversarial"):
            about = vectors.far_clusters(self.recipe)
        stream = 1 + filter_names().index(name)
        kinds: Sequence[Kind] = KINDS
        return np.concatenate(
            [vectors.queries(self.recipe, kind, FILTER_QUERIES // 2, stream, about) for kind in kinds]
        )


def filter_names() -> list[str]:
    """`random 0.1%` and so on."""
    return [f"{relation} {100 * share:g}%" for relation in RELATIONS for share in SELECTIVITIES]


def _where(name: str) -> Where | None:
    if name in KINDS:
        return None
    column: Column = "random" if name.startswith("random") else "cluster"
    return Where(column, filter_names().index(name) % len(SELECTIVITIES))


def _save(path: Path, **arrays: npt.NDArray[np.generic]) -> None:
    """Whole or not at all."""
    new = path.with_suffix(f".{os.getpid()}.npz")
    np.savez(new, allow_pickle=False, **arrays)
    new.replace(path)
