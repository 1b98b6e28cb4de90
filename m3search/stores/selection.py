"""Which rows of a segment a filter selects. Rows lie in the order of their ids, so ids are looked up, not compared."""

from __future__ import annotations

from bisect import bisect_left
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from m3search.filters import mask
from m3search.filters.conditions import AllOf, AnyOf, Compare, OneOf, StartsWith

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt
    import pyarrow as pa

    from m3search.filters import Filter

    Bool = npt.NDArray[np.bool_]

REMEMBERED = 16  # filters whose rows are kept: a page asks for the same ones again and again
LAST = "\U0010ffff"  # above every other character


class Selections:
    """Rows by filter. `table` has the columns that may be asked for; `id_of` gives the id of a row, ascending."""

    def __init__(self, table: pa.Table, count: int, id_of: Callable[[int], str]) -> None:
        self._table = table
        self._rows = range(count)
        self._id_of = id_of
        self._kept: dict[Filter, Bool] = {}
        self._forgetting = Lock()

    def of(self, where: Filter) -> Bool:
        """(N,) which rows match; read-only."""
        if (found := self._kept.pop(where, None)) is None:
            found = self._select(where)
            found.flags.writeable = False
        with self._forgetting:
            self._kept[where] = found  # the last one asked for is the last one forgotten
            for oldest in list(self._kept)[:-REMEMBERED]:
                self._kept.pop(oldest, None)
        return found

    def row(self, item_id: str) -> int | None:
        """The row of an id, or None."""
        place = bisect_left(self._rows, item_id, key=self._id_of)
        return place if place in self._rows and self._id_of(place) == item_id else None

    def _select(self, where: Filter) -> Bool:
        match where:
            case AllOf(operands):
                return np.asarray(np.logical_and.reduce([self._all, *map(self.of, operands)], axis=0))
            case AnyOf(operands):
                return np.asarray(np.logical_or.reduce([~self._all, *map(self.of, operands)], axis=0))
            case Compare("item_id", "=", str(item_id)):
                return self._these((item_id,))
            case OneOf("item_id", item_ids):
                return self._these(tuple(map(str, item_ids)))
            case StartsWith("item_id", beginning):
                found = ~self._all
                first = bisect_left(self._rows, beginning, key=self._id_of)
                found[first : bisect_left(self._rows, beginning + LAST, key=self._id_of)] = True
                return found
        return mask(where, self._table)

    def _these(self, item_ids: tuple[str, ...]) -> Bool:
        found = ~self._all
        found[[row for row in map(self.row, item_ids) if row is not None]] = True
        return found

    @property
    def _all(self) -> Bool:
        return np.ones(len(self._rows), dtype=bool)
