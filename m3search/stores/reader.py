"""What the engine reads from: the segment, corrected by what was committed since, else the record. Never stale."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any

from m3search.errors import IndexNotFound
from m3search.stores.base import Capabilities, Neighbours
from m3search.stores.place import ObjectPath
from m3search.stores.segment import Segment, names, stamp_of, state_of
from m3search.stores.view import View

if TYPE_CHECKING:
    import pyarrow as pa

    from m3search.filters import Filter
    from m3search.stores.lance import LanceStore
    from m3search.stores.place import Place
    from m3search.stores.publishing import Policy
    from m3search.types import Float32


LOOK_S = 1.0


class Reader:
    """A `VectorStore` with the record's reading methods. Writes go to the record and are visible at once.

    Each call looks whether something was committed (some 40 microseconds); on S3, where a look is several requests, the
    first call of each second does, and a commit by another process is seen within LOOK_S. lancedb is imported when the
    record is first needed: no segment, a stale one, a column the segment leaves out, a write.
    """

    capabilities = Capabilities(exact=False)

    def __init__(self, tables: Place, segments: Place, policy: Policy | None = None, device: str | None = None) -> None:
        """
        Args:
            tables: the record's folder.
            segments: where segments are published; may be absent.
            policy: of `publish`.
            device: a torch device on which every vector is compared; None searches on the CPU.

        Raises:
            IndexNotFound: there are no tables.
        """
        if not (tables / "items.lance").is_dir():
            raise IndexNotFound(f'no tables at {tables}; make an index with "m3search index ARCHIVE"')
        self._tables = tables
        self._segments = segments
        self._policy = policy
        self._device = device
        self._segment: Segment | None = None
        self._last: tuple[object, View | None] | None = None
        self._looked: tuple[float, tuple[object, list[str]]] | None = None  # on S3: when, and what `_stamp` was then
        self._looking = Lock()

    @cached_property
    def record(self) -> LanceStore:
        """The tables."""
        from m3search.stores.lance import LanceStore

        return LanceStore.open(self._tables)

    @property
    def view(self) -> View | None:
        """The newest segment as the tables are now; None where there is none, or most of it has changed."""
        now = self._stamp()
        if (last := self._last) is None or last[0] != now:
            with self._looking:  # a commit under load: one thread looks, the others wait for what it finds
                if (last := self._last) is None or last[0] != now:
                    last = self._last = (now, self._look(now[1]))
        return last[1]

    def _stamp(self) -> tuple[object, list[str]]:
        """What is other after each commit and each publication; the second is the newest segment's name, if any."""
        if (looked := self._looked) is not None and time.monotonic() - looked[0] < LOOK_S:
            return looked[1]
        begun = time.monotonic()
        now = stamp_of(self._tables), names(self._segments)[-1:]
        if isinstance(self._tables, ObjectPath):
            self._looked = begun, now
        return now

    def _look(self, newest: Sequence[str]) -> View | None:
        if not newest or (state := state_of(self._tables)) is None:
            return None
        if self._segment is None or self._segment.path.name != newest[0]:
            self._segment = Segment.newest(self._segments, self._device)
        if self._segment is None:
            return None
        return View(self._segment) if self._segment.state == state else View.of(self._segment, self.record)

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return self._source.dim

    @property
    def _source(self) -> View | LanceStore:
        return self.view or self.record

    def publish(self, *, anew: bool = False) -> Segment | None:
        """Make a segment that serves the tables as they are now, unless there is one: see `publishing.publish`."""
        from m3search.stores.publishing import publish

        with self._looking:
            self._segment, self._last, self._looked = None, None, None  # a damaged one may be replaced under its name
        return publish(self._segments, self._tables, self.record, self._policy, anew=anew)

    # VectorStore ------------------------------------------------------------------------------------------------------
    def ensure(self) -> None:
        """See `VectorStore`. An open reader has its tables: `IndexFolder.create` made them."""

    def upsert(self, rows: pa.Table | Sequence[Mapping[str, Any]]) -> None:
        """See `VectorStore`."""
        self.record.upsert(rows)
        self._looked = None

    def delete(self, item_ids: Sequence[str]) -> int:
        """See `VectorStore`."""
        removed = self.record.delete(item_ids)
        self._looked = None
        return removed

    def search(self, queries: Float32, k: int, where: Filter | None = None) -> list[Neighbours]:
        """See `VectorStore`."""
        return self._source.search(queries, k, where)

    def count(self, where: Filter | None = None) -> int:
        """See `VectorStore`."""
        return self._source.count(where)

    # Reading ----------------------------------------------------------------------------------------------------------
    def rows(self, item_ids: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table:
        """See `LanceStore.rows`. The columns of `segment.LEFT_OUT`, and None, need the record."""
        view = self.view
        if view is not None and columns is not None and view.has(columns):
            return view.rows(item_ids, columns)
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

    def spread(self, most: int, where: Filter | None = None) -> list[str]:
        """At most so many of the items that match, evenly drawn in the order of their ids: as good as at random, since
        ids are digests, and the same for the same index.
        """
        return self._source.spread(most, where)
