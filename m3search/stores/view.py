"""A segment as the record is now: rows deleted since are hidden, rows written since are scanned exactly.

Lance keeps a row's id for good, and with each row the version that wrote it last (stable row ids, which `LanceStore`
switches on). So what a segment lacks are the rows of later versions, and what it has too much are ids that are gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from m3search.filters import mask
from m3search.stores import schema
from m3search.stores.base import Neighbours, check_queries, evenly, rank, shortlist
from m3search.stores.chosen import Chosen
from m3search.stores.segment import FEW, LEFT_OUT, Found, Segment
from m3search.stores.selection import REMEMBERED
from m3search.stores.tally import merged, tally

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.filters import Filter
    from m3search.stores.lance import LanceStore
    from m3search.types import Float32

    Bool = npt.NDArray[np.bool_]


TALLIES = 256  # counts of columns that are kept: a page asks for the same ones again and again


class View:
    """A segment, its hidden rows and its later ones. The reading methods are those of `LanceStore`."""

    def __init__(
        self,
        segment: Segment,
        alive: Bool | None = None,
        later: pa.Table | None = None,
        record: LanceStore | None = None,
    ) -> None:
        """
        Args:
            alive: (N,) rows of the segment that still hold; None is all.
            later: rows written since; None is none.
            record: asked for the parts of later rows.
        """
        self.segment = segment
        self.dim = segment.dim
        self._alive = alive
        self._chosen: dict[Filter | None, Chosen] = {}
        self._tallies: dict[tuple[str, Filter | None], dict[str, int]] = {}
        self._row_of: dict[str, int] = {}  # of what was found last: it is asked for next
        self._record = record
        later = segment.items[:0] if later is None else later
        self._later = later.sort_by("item_id").combine_chunks() if later.num_rows else later
        self._later_ids: list[str] = self._later["item_id"].to_pylist()

    @classmethod
    def of(cls, segment: Segment, record: LanceStore) -> View | None:
        """The segment as `record` is now; None where it cannot serve: another table, or half of it has changed."""
        changes = record.changes(segment.version, segment.row_ids, segment.items.column_names)
        if changes is None or changes.rows.num_rows > max(len(segment) // 2, 1000):
            return None
        return cls(segment, None if changes.kept.all() else changes.kept, changes.rows, record)

    @property
    def changed(self) -> int:
        """Rows hidden and rows written since the segment was made; a row that was replaced counts as both."""
        return len(self._later_ids) + (0 if self._alive is None else int(np.count_nonzero(~self._alive)))

    def search(self, queries: Float32, k: int, where: Filter | None = None) -> list[Neighbours]:
        """See `VectorStore`."""
        queries = check_queries(queries, k, self.dim)
        found, exact = self.segment.nearest(queries, k, self._allowed(where))
        row_of = [{self.segment.id_of(row): row for row in one.rows.tolist()} for one in found]
        self._row_of = row_of[-1] if row_of else {}
        if self._later_ids and len(places := self._places_later(where)):
            return self._with_later(queries, k, found, row_of, places, exact)
        half = self.segment.half
        return [
            Neighbours(tuple(rows), one.scores, exact)
            if one.scores is not None
            else rank(query, half[one.rows].astype(np.float32), list(rows), k)
            for query, one, rows in zip(queries, found, row_of, strict=True)
        ]

    def count(self, where: Filter | None = None) -> int:
        """See `VectorStore`."""
        allowed = self._allowed(where)
        here = len(self.segment if allowed is None else allowed)
        return here + int(self._later_rows(where).num_rows)

    def matching(self, where: Filter | None = None) -> list[str]:
        """See `LanceStore.matching`."""
        ids = self._of_segment("item_id", where)
        later = self._later_rows(where)["item_id"].to_pylist()
        return sorted(ids + later) if later else ids

    def tally(self, column: str, where: Filter | None = None) -> dict[str, int]:
        """See `LanceStore.tally`."""
        if (known := self._tallies.get((column, where))) is None:
            allowed = self._allowed(where)
            here = tally(self.segment.items[column], None if allowed is None else allowed.rows)
            known = merged(here, tally(self._later_rows(where)[column]))
            if len(self._tallies) >= TALLIES:
                self._tallies.clear()
            self._tallies[column, where] = known
        return dict(known)

    def spread(self, most: int, where: Filter | None = None) -> list[str]:
        """See `Reader.spread`."""
        allowed, later = self._allowed(where), self._later_rows(where)["item_id"]
        count = len(self.segment if allowed is None else allowed)
        return [
            str(later[place - count].as_py())
            if place >= count
            else self.segment.id_of(place if allowed is None else int(allowed.rows[place]))
            for place in evenly(count + len(later), most)
        ]

    def has(self, columns: Sequence[str] | None) -> bool:
        """Whether `rows` can give these columns."""
        return columns is not None and not set(columns) & set(LEFT_OUT)

    def rows(self, item_ids: Sequence[str], columns: Sequence[str]) -> pa.Table:
        """See `LanceStore.rows`; not for columns of LEFT_OUT."""
        here = self.segment.batch.select(list(columns))
        later = self._later_batch.select(list(columns))
        found = []
        for item_id in item_ids:
            if (place := self._place_later.get(item_id)) is not None:
                found.append(later.slice(place, 1))
            elif (row := self._row(item_id)) is not None:
                found.append(here.slice(row, 1))
        return pa.Table.from_batches(found, here.schema).combine_chunks()  # one piece: read in half the time

    def parts_of(self, item_ids: Sequence[str]) -> pa.Table:
        """See `LanceStore.parts_of`."""
        if not self._later_ids or self._record is None:
            return self.segment.parts_of([item_id for item_id in item_ids if self._row(item_id) is not None])
        return pa.concat_tables(
            [
                self.segment.parts_of([]),
                *(
                    self._record.parts_of([item_id])
                    if item_id in self._place_later
                    else self.segment.parts_of([item_id] if self._row(item_id) is not None else [])
                    for item_id in item_ids
                ),
            ]
        )

    @cached_property
    def _later_batch(self) -> pa.RecordBatch:
        return self._later.to_batches()[0] if self._later_ids else self.segment.batch[:0]

    @cached_property
    def _place_later(self) -> dict[str, int]:
        return {item_id: place for place, item_id in enumerate(self._later_ids)}

    def _row(self, item_id: str) -> int | None:
        """The row of an item that the segment still has."""
        row = self._row_of.get(item_id)
        if row is None:
            row = self.segment.selections.row(item_id)
        return row if row is not None and (self._alive is None or self._alive[row]) else None

    def _allowed(self, where: Filter | None) -> Chosen | None:
        """Rows of the segment that may be found; None is all."""
        if where is None and self._alive is None:
            return None
        if (chosen := self._chosen.get(where)) is None:  # never looked up again: another thread may have cleared it
            if len(self._chosen) >= REMEMBERED:
                self._chosen.clear()
            mask = self._alive if where is None else self.segment.selections.of(where)
            assert mask is not None
            chosen = self._chosen[where] = self.segment.choose(mask if self._alive is None else mask & self._alive)
        return chosen

    def _later_rows(self, where: Filter | None) -> pa.Table:
        return self._later if where is None or not self._later_ids else self._later.take(self._places_later(where))

    def _places_later(self, where: Filter | None) -> npt.NDArray[np.intp]:
        return np.arange(len(self._later_ids)) if where is None else np.flatnonzero(mask(where, self._later))

    @cached_property
    def _later_vectors(self) -> Float32:
        return schema.matrix(self._later["vector"])

    def _of_segment(self, column: str, where: Filter | None) -> list[str]:
        allowed = self._allowed(where)
        if allowed is not None and len(allowed) <= FEW:  # not a million values for a handful
            return [str(self.segment.items[column][row].as_py()) for row in allowed.rows.tolist()]
        values: list[str] = self.segment.items[column].to_pylist()
        return values if allowed is None else [values[row] for row in allowed.rows.tolist()]

    def _with_later(
        self,
        queries: Float32,
        k: int,
        found: Sequence[Found],
        row_of: Sequence[dict[str, int]],
        places: npt.NDArray[np.intp],
        exact: bool,
    ) -> list[Neighbours]:
        """Both, scored by one rule, so that equal vectors tie; of the later rows those at `places`."""
        later = self._later_vectors if len(places) == len(self._later_ids) else self._later_vectors[places]
        ranked = []
        for query, one, rows in zip(queries, found, row_of, strict=True):
            best = shortlist(later @ query, k)
            both = np.concatenate([self.segment.half[one.rows].astype(np.float32), later[best]])
            names = [*rows, *(self._later_ids[place] for place in places[best].tolist())]
            ranked.append(rank(query, both, names, k, exact))
        return ranked
