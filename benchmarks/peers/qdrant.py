"""Qdrant in the local mode of its client: exact, in Python, meant for tests. A server would search a graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from benchmarks.peers.base import Setting, padded

if TYPE_CHECKING:
    import numpy.typing as npt

    from benchmarks.workload import Gallery, Where
    from m3search.types import Float32

ADDED = 1024  # rows at a time


class Qdrant:
    """There is nothing to choose in local mode."""

    packages: ClassVar[Sequence[str]] = ("qdrant_client",)
    filters: ClassVar[bool] = True

    @classmethod
    def builds(cls, _count: int, _dim: int) -> Sequence[str]:
        """See `Peer`."""
        return ("local",)

    @classmethod
    def settings(cls, _build: str) -> Sequence[Setting]:
        """See `Peer`."""
        return ({},)

    @classmethod
    def fit(cls, gallery: Gallery, _build: str, folder: Path) -> None:
        """See `Peer`."""
        from qdrant_client import QdrantClient, models

        client = QdrantClient(path=str(folder))
        client.create_collection(
            "vectors", vectors_config=models.VectorParams(size=gallery.shape[1], distance=models.Distance.DOT)
        )
        for place, vectors in gallery.blocks(ADDED):
            names = list(gallery.columns)
            bands = zip(*(gallery.columns[name][place].tolist() for name in names), strict=True)
            client.upsert(
                "vectors",
                models.Batch(
                    ids=list(range(place.start, place.stop)),
                    vectors=vectors.astype(np.float32).tolist(),
                    payloads=[dict(zip(names, row, strict=True)) for row in bands],
                ),
            )
        client.close()

    def __init__(self, folder: Path, _build: str) -> None:
        """See `Peer`."""
        from qdrant_client import QdrantClient

        self._client = QdrantClient(path=str(folder))

    def query(self, queries: Float32, k: int, _setting: Setting, where: Where | None) -> npt.NDArray[np.int64]:
        """See `Peer`."""
        from qdrant_client import models

        condition = None
        if where is not None:
            matches = models.FieldCondition(key=where.column, range=models.Range(lte=where.band))
            condition = models.Filter(must=[matches])
        requests = [models.QueryRequest(query=one.tolist(), filter=condition, limit=k) for one in queries]
        answers = self._client.query_batch_points("vectors", requests)
        return padded([[int(point.id) for point in answer.points] for answer in answers], k)
