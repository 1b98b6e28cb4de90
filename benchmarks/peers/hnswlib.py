"""hnswlib: one graph over float32 vectors. A filter is a Python function that is called for every candidate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from benchmarks.peers.base import Setting, padded, threads

if TYPE_CHECKING:
    import numpy.typing as npt

    from benchmarks.workload import Gallery, Where
    from m3search.types import Float32

ADDED = 65536  # rows at a time
EFFORTS = (32, 64, 128, 256, 512)


class Hnswlib:
    """A build is the links of a node and the effort of adding one."""

    packages: ClassVar[Sequence[str]] = ("hnswlib",)
    filters: ClassVar[bool] = True

    @classmethod
    def builds(cls, _count: int, _dim: int) -> Sequence[str]:
        """See `Peer`."""
        return ("M=32,ef_construction=200",)

    @classmethod
    def settings(cls, _build: str) -> Sequence[Setting]:
        """See `Peer`."""
        return [{"ef": effort} for effort in EFFORTS]

    @classmethod
    def fit(cls, gallery: Gallery, build: str, folder: Path) -> None:
        """See `Peer`."""
        import hnswlib

        count, dim = gallery.shape
        options = {name: int(value) for name, _, value in (word.partition("=") for word in build.split(","))}
        index = hnswlib.Index(space="ip", dim=dim)
        index.init_index(max_elements=count, random_seed=0, **options)
        for place, vectors in gallery.blocks(ADDED):
            index.add_items(vectors.astype(np.float32), np.arange(place.start, place.stop), num_threads=threads())
        index.save_index(str(folder / "index.hnsw"))
        np.savez(folder / "columns.npz", dim=np.array(dim), **gallery.columns)  # type: ignore[arg-type]

    def __init__(self, folder: Path, _build: str) -> None:
        """See `Peer`."""
        import hnswlib

        with np.load(folder / "columns.npz") as kept:
            self._columns = {name: kept[name] for name in ("random", "cluster")}
            self._index = hnswlib.Index(space="ip", dim=int(kept["dim"]))
        self._index.load_index(str(folder / "index.hnsw"))

    def query(self, queries: Float32, k: int, setting: Setting, where: Where | None) -> npt.NDArray[np.int64]:
        """See `Peer`."""
        self._index.set_ef(setting["ef"])
        if where is None:
            return self._index.knn_query(queries, k, num_threads=threads())[0].astype(np.int64)  # type: ignore[no-any-return]
        allowed = self._columns[where.column] <= where.band
        wanted = min(k, int(allowed.sum()))
        return padded([self._filtered(query, wanted, allowed) for query in queries], k)

    def _filtered(self, query: Float32, k: int, allowed: npt.NDArray[np.bool_]) -> list[int]:
        """Fewer than k where its search finds no more, which it reports as an error."""
        for wanted in range(k, 0, -1):
            try:
                found = self._index.knn_query(query[None], wanted, num_threads=1, filter=lambda row: bool(allowed[row]))
            except RuntimeError:
                continue
            return [int(row) for row in found[0][0]]
        return []
