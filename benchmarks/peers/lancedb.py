"""LanceDB's own indexes over a table of its own, with scalar indexes on the filter columns."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from benchmarks.peers.base import Setting

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    from benchmarks.workload import Gallery, Where
    from m3search.types import Float32

BATCH = 65536  # rows
PROBES = (8, 16, 32, 64, 128)
REFINED = (2, 5, 20)  # candidates that are compared anew, times k
EFFORTS = (64, 128, 256)  # of a graph's search, within a list


class LanceDB:
    """A build is an index type, with LanceDB's own choice of lists."""

    packages: ClassVar[Sequence[str]] = ("lancedb",)
    filters: ClassVar[bool] = True

    @classmethod
    def builds(cls, _count: int, _dim: int) -> Sequence[str]:
        """See `Peer`."""
        return "IVF_RQ", "IVF_PQ", "IVF_HNSW_SQ"

    @classmethod
    def settings(cls, build: str) -> Sequence[Setting]:
        """See `Peer`."""
        if "HNSW" in build:
            return [{"nprobes": 16, "refine_factor": 2, "ef": effort} for effort in EFFORTS]
        return [{"nprobes": probes, "refine_factor": factor} for factor, probes in itertools.product(REFINED, PROBES)]

    @classmethod
    def fit(cls, gallery: Gallery, build: str, folder: Path) -> None:
        """See `Peer`."""
        import lancedb
        import pyarrow as pa
        from lancedb.index import Bitmap

        kind = pa.list_(pa.float16(), gallery.shape[1])
        schema = pa.schema([("row", pa.int64()), ("vector", kind), ("random", pa.uint8()), ("cluster", pa.uint8())])
        batches = pa.RecordBatchReader.from_batches(schema, _batches(gallery, schema))
        table: Any = lancedb.connect(str(folder)).create_table("vectors", data=batches, schema=schema)
        table.create_index(metric="dot", index_type=build, vector_column_name="vector")
        for column in gallery.columns:
            table.create_index(column, config=Bitmap())

    def __init__(self, folder: Path, _build: str) -> None:
        """See `Peer`."""
        import lancedb

        self._table = lancedb.connect(str(folder)).open_table("vectors")

    def query(self, queries: Float32, k: int, setting: Setting, where: Where | None) -> npt.NDArray[np.int64]:
        """See `Peer`."""
        search: Any = self._table.search(queries if len(queries) > 1 else queries[0], vector_column_name="vector")
        search = search.distance_type("dot").limit(k).nprobes(setting["nprobes"])
        search = search.refine_factor(setting["refine_factor"])
        if "ef" in setting:
            search = search.ef(setting["ef"])
        if where is not None:
            search = search.where(f"`{where.column}` <= {where.band}", prefilter=True)
        return _pages(search.select(["row", "_distance"]).to_arrow(), len(queries), k)


def _batches(gallery: Gallery, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    for place, vectors in gallery.blocks(BATCH):
        bands = [pa.array(gallery.columns[name][place]) for name in ("random", "cluster")]
        flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
        yield pa.record_batch([pa.array(np.arange(place.start, place.stop)), flat, *bands], schema=schema)


def _pages(found: pa.Table, count: int, k: int) -> npt.NDArray[np.int64]:
    rows = np.full((count, k), -1, dtype=np.int64)
    names = found["row"].to_numpy()
    if count == 1:
        rows[0, : len(names)] = names
        return rows
    asked = found["query_index"].to_numpy()
    for number in range(count):
        page = names[asked == number]
        rows[number, : len(page)] = page
    return rows
