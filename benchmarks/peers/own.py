"""m3search through its public stores: the record, and the reader over it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa

from benchmarks.peers.base import Setting, padded

if TYPE_CHECKING:
    import numpy.typing as npt

    from benchmarks.workload import Gallery, Where
    from m3search.types import Float32

COMMIT = 100_000  # rows
COLUMNS = {"random": "view", "cluster": "body_part"}  # what may be filtered on, holding bands as text


class M3Search:
    """Chooses its own parameters when it publishes, on items and on their texts: one build, one setting."""

    packages: ClassVar[Sequence[str]] = ("m3search.stores.reader", "m3search.filters", "faiss")
    filters: ClassVar[bool] = True

    @classmethod
    def builds(cls, _count: int, _dim: int) -> Sequence[str]:
        """See `Peer`."""
        return ("default",)

    @classmethod
    def settings(cls, _build: str) -> Sequence[Setting]:
        """See `Peer`."""
        return ({},)

    @classmethod
    def fit(cls, gallery: Gallery, _build: str, folder: Path) -> None:
        """See `Peer`."""
        from m3search.stores import schema
        from m3search.stores.lance import LanceStore
        from m3search.stores.reader import Reader

        kind = schema.items(gallery.shape[1]).field("text_vector").type
        record = LanceStore.create(folder / "tables", gallery.shape[1])
        for place, vectors in gallery.blocks(COMMIT):
            bands = {own: gallery.columns[name][place].astype(str) for name, own in COLUMNS.items()}  # type: ignore[index]
            texts = list(gallery.texts[place])
            record.upsert(
                pa.table(
                    {
                        "item_id": [f"{row:09d}" for row in range(place.start, place.stop)],
                        "modality": ["xray"] * len(vectors),
                        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1]),
                        "text_vector": pa.array([*texts, *[None] * (len(vectors) - len(texts))], kind),
                        **{name: pa.array(values) for name, values in bands.items()},
                    }
                )
            )
        record.optimize()
        Reader(folder / "tables", folder / "segment").publish()

    def __init__(self, folder: Path, _build: str) -> None:
        """See `Peer`."""
        from m3search.stores.reader import Reader

        self._reader = Reader(folder / "tables", folder / "segment")

    def query(self, queries: Float32, k: int, _setting: Setting, where: Where | None) -> npt.NDArray[np.int64]:
        """See `Peer`."""
        from m3search.filters import one_of

        condition = None
        if where is not None:
            condition = one_of(COLUMNS[where.column], map(str, range(where.band + 1)))
        return padded([list(map(int, one.ids)) for one in self._reader.search(queries, k, condition)], k)
