"""usearch: one graph over half-precision vectors. Its Python interface takes no filter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from benchmarks.peers.base import Setting, threads

if TYPE_CHECKING:
    import numpy.typing as npt

    from benchmarks.workload import Gallery, Where
    from m3search.types import Float32

ADDED = 65536  # rows at a time
EFFORTS = (32, 64, 128, 256, 512)


class USearch:
    """A build is a number format, the links of a node, and whether the file is mapped instead of read."""

    packages: ClassVar[Sequence[str]] = ("usearch.index",)
    filters: ClassVar[bool] = False

    @classmethod
    def builds(cls, _count: int, _dim: int) -> Sequence[str]:
        """See `Peer`."""
        return "f16,32", "f16,32,mapped"

    @classmethod
    def settings(cls, _build: str) -> Sequence[Setting]:
        """See `Peer`."""
        return [{"expansion_search": effort} for effort in EFFORTS]

    @classmethod
    def fit(cls, gallery: Gallery, build: str, folder: Path) -> None:
        """See `Peer`."""
        from usearch.index import Index

        kind, links, *_ = build.split(",")
        index = Index(ndim=gallery.shape[1], metric="ip", dtype=kind, connectivity=int(links), expansion_add=200)
        for place, vectors in gallery.blocks(ADDED):
            index.add(np.arange(place.start, place.stop), vectors, threads=threads())
        index.save(str(folder / "index.usearch"))

    def __init__(self, folder: Path, build: str) -> None:
        """See `Peer`."""
        from usearch.index import Index

        index = Index.restore(str(folder / "index.usearch"), view=build.endswith("mapped"))
        if index is None:
            raise ValueError(f"usearch cannot read {folder / 'index.usearch'}")
        self._index = index

    def query(self, queries: Float32, k: int, setting: Setting, _where: Where | None) -> npt.NDArray[np.int64]:
        """See `Peer`."""
        self._index.expansion_search = setting["expansion_search"]
        if len(queries) == 1:
            return np.asarray(self._index.search(queries[0], k, threads=1).keys, dtype=np.int64)[None]
        return np.asarray(self._index.search(queries, k, threads=threads()).keys, dtype=np.int64)
