"""Chroma, persistent and in this process. It is told to send no telemetry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from benchmarks.peers.base import Setting, padded

if TYPE_CHECKING:
    import numpy.typing as npt

    from benchmarks.workload import Gallery, Where
    from m3search.types import Float32

ADDED = 5000  # rows at a time, within its largest batch
EFFORTS = (32, 64, 128, 256, 512)


class Chroma:
    """A graph over float32 vectors. A build is the links of a node and the effort of adding one."""

    packages: ClassVar[Sequence[str]] = ("chromadb",)
    filters: ClassVar[bool] = True

    @classmethod
    def builds(cls, _count: int, _dim: int) -> Sequence[str]:
        """See `Peer`."""
        return ("max_neighbors=32,ef_construction=200",)

    @classmethod
    def settings(cls, _build: str) -> Sequence[Setting]:
        """See `Peer`."""
        return [{"ef_search": effort} for effort in EFFORTS]

    @classmethod
    def fit(cls, gallery: Gallery, build: str, folder: Path) -> None:
        """See `Peer`."""
        options: dict[str, Any] = {name: int(value) for name, _, value in (w.partition("=") for w in build.split(","))}
        collection = _client(folder).create_collection(
            "vectors", configuration={"hnsw": {"space": "ip", "ef_search": EFFORTS[0]} | options}
        )
        for place, vectors in gallery.blocks(ADDED):
            rows = range(place.start, place.stop)
            collection.add(
                ids=[str(row) for row in rows],
                embeddings=vectors.astype(np.float32),
                metadatas=[{name: int(column[row]) for name, column in gallery.columns.items()} for row in rows],
            )

    def __init__(self, folder: Path, _build: str) -> None:
        """See `Peer`."""
        self._folder, self._effort = folder, EFFORTS[0]
        self._collection = _client(folder).get_collection("vectors")

    def query(self, queries: Float32, k: int, setting: Setting, where: Where | None) -> npt.NDArray[np.int64]:
        """See `Peer`."""
        if setting["ef_search"] != self._effort:
            self._search_with(setting["ef_search"])
        condition = None if where is None else {where.column: {"$lte": where.band}}
        found = self._collection.query(query_embeddings=queries, n_results=k, where=condition, include=[])
        return padded([list(map(int, page)) for page in found["ids"]], k)

    def _search_with(self, effort: int) -> None:
        """Another effort counts only once the index is loaded anew, for which the process must forget the old one."""
        from chromadb.api.shared_system_client import SharedSystemClient

        self._collection.modify(configuration={"hnsw": {"ef_search": effort}})
        SharedSystemClient.clear_system_cache()
        self._collection, self._effort = _client(self._folder).get_collection("vectors"), effort


def _client(folder: Path) -> Any:
    import chromadb
    from chromadb.config import Settings

    return chromadb.PersistentClient(folder, settings=Settings(anonymized_telemetry=False))
