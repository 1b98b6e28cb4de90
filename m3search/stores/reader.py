"""What the engine reads from: the segment where it is fresh, else the record. Never a stale answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m3search.errors import IndexNotFound
from m3search.stores.base import Capabilities, Neighbours
from m3search.stores.segment import FAISS_FROM, Segment, publish, state_of

if TYPE_CHECKING:
    import pyarrow as pa

    from m3search.filters import Filter
    from m3search.stores.lance import LanceStore
    from m3search.types import Float32


class Reader:
    """A `VectorStore` with the record's reading methods. Writes go to the record and are visible at once.

    Each call looks whether the segment still fits (50 microseconds) and only then uses it. lancedb is imported when the
    record is first needed: no segment, a column the segment leaves out, a write.
    """

    capabilities = Capabilities()

    def __init__(self, tables: Path, segments: Path, faiss_from: int = FAISS_FROM) -> None:
        """`tables`: the record's folder. `segments`: where segments are published; may be absent.

        Raises:
            IndexNotFound: there are no tables.
        """
        if not (tables / "items.lance").is_dir():
            raise IndexNotFound(f'no tables at {tables}; make an index with "m3search index ARCHIVE"')
        self._tables = tables
        self._segments = segments
        self._faiss_from = faiss_from
        self._last: tuple[str, Segment] | None = None

    @cached_property
    def record(self) -> LanceStore:
        """The tables."""
        from m3search.stores.lance import LanceStore

        return LanceStore.open(self._tables)

    @property
    def segment(self) -> Segment | None:
        """The segment that fits the tables as they are now, or None."""
        state = state_of(self._tables)
        if self._last is None or self._last[0] != state:
            segment = Segment.open(self._segments, state)
            self._last = (state, segment) if state and segment else None
        return self._last[1] if self._last else None

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return self._source.dim

    @property
    def _source(self) -> Segment | LanceStore:
        return self.segment or self.record

    def publish(self) -> None:
        """Make a fresh segment, if there is none. For the writer, after its last commit; holds no lock itself."""
        publish(self._segments, self._tables, self.record, self._faiss_from)

    # VectorStore ------------------------------------------------------------------------------------------------------
    def upsert(self, rows: pa.Table | Sequence[Mapping[str, Any]]) -> None:
        """See `VectorStore`."""
        self.record.upsert(rows)

    def delete(self, item_ids: Sequence[str]) -> int:
        """See `VectorStore`."""
        return self.record.delete(item_ids)

    def search(self, queries: Float32, k: int, where: Filter | None = None) -> list[Neighbours]:
        """See `VectorStore`."""
        return self._source.search(queries, k, where)

    def count(self, where: Filter | None = None) -> int:
        """See `VectorStore`."""
        return self._source.count(where)

    # Reading ----------------------------------------------------------------------------------------------------------
    def rows(self, item_ids: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table:
        """See `LanceStore.rows`. The columns of `segment.LEFT_OUT`, and None, need the record."""
        segment = self.segment
        if segment is not None and columns is not None and segment.has(columns):
            return segment.rows(item_ids, columns)
        return self.record.rows(item_ids, columns)

    def parts_of(self, item_ids: Sequence[str]) -> pa.Table:
        """See `LanceStore.parts_of`."""
        return self._source.parts_of(item_ids)

    def matching(self, where: Filter | None = None) -> list[str]:
        """See `LanceStore.matching`."""
        return self._source.matching(where)

    def tally(self, column: str, where: Filter | None = None) -> dict[str, int]:
        """See `LanceStore.tally`."""
        return self._source.tally(column, where)
