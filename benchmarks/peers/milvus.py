"""Milvus-lite through pymilvus: a local server in a process of its own, whose memory counts."""

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

ADDED = 2048  # rows at a time, within the size of a message
PROBES = (8, 16, 32, 64, 128)
EFFORTS = (32, 64, 128, 256, 512)


class Milvus:
    """A build is an index type; vectors are float32, as it has no half precision."""

    packages: ClassVar[Sequence[str]] = ("pymilvus", "milvus_lite")
    filters: ClassVar[bool] = True

    @classmethod
    def builds(cls, _count: int, _dim: int) -> Sequence[str]:
        """See `Peer`."""
        return "HNSW", "IVF_FLAT"

    @classmethod
    def settings(cls, build: str) -> Sequence[Setting]:
        """See `Peer`."""
        if build == "HNSW":
            return [{"ef": effort} for effort in EFFORTS]
        return [{"nprobe": probes} for probes in PROBES] if build.startswith("IVF") else [{}]

    @classmethod
    def fit(cls, gallery: Gallery, build: str, folder: Path) -> None:
        """See `Peer`."""
        from pymilvus import DataType, MilvusClient

        client = MilvusClient(str(folder / "milvus.db"))
        schema = client.create_schema(auto_id=False)
        schema.add_field("row", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=gallery.shape[1])
        for name in gallery.columns:
            schema.add_field(name, DataType.INT64)
        client.create_collection("vectors", schema=schema)
        for place, vectors in gallery.blocks(ADDED):
            rows = zip(range(place.start, place.stop), vectors.astype(np.float32), strict=True)
            client.insert("vectors", [{"row": row, "vector": vector} | _bands(gallery, row) for row, vector in rows])
        client.flush("vectors")
        index = client.prepare_index_params()
        index.add_index("vector", index_type=build, metric_type="IP", params=_options(build, gallery.shape[0]))
        client.create_index("vectors", index)
        client.load_collection("vectors")
        client.close()

    def __init__(self, folder: Path, _build: str) -> None:
        """See `Peer`."""
        from pymilvus import MilvusClient

        self._client = MilvusClient(str(folder / "milvus.db"))
        self._client.load_collection("vectors")

    def query(self, queries: Float32, k: int, setting: Setting, where: Where | None) -> npt.NDArray[np.int64]:
        """See `Peer`."""
        condition = "" if where is None else f"{where.column} <= {where.band}"
        answers = self._client.search(
            "vectors", list(queries), filter=condition, limit=k, search_params={"params": dict(setting)}
        )
        return padded([[int(hit["row"]) for hit in page] for page in answers], k)


def _bands(gallery: Gallery, row: int) -> dict[str, int]:
    return {name: int(column[row]) for name, column in gallery.columns.items()}


def _options(build: str, count: int) -> dict[str, Any]:
    if build == "HNSW":
        return {"M": 32, "efConstruction": 200}
    return {"nlist": int(2 ** round(np.log2(4 * count**0.5)))} if build.startswith("IVF") else {}
