"""Rows of a segment that may be found, in the forms that searches want them in, each made once."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Bool = npt.NDArray[np.bool_]


class Chosen:
    """A set of rows."""

    def __init__(self, mask: Bool, list_of_rows: npt.NDArray[np.int32] | None = None) -> None:
        """
        Args:
            mask: (N,), not to be changed.
            list_of_rows: (N,) the inverted list of each row, where there are lists.
        """
        self.mask = mask
        self._list_of_rows = list_of_rows

    def __len__(self) -> int:
        return self._count

    @cached_property
    def _count(self) -> int:
        return int(np.count_nonzero(self.mask))

    @cached_property
    def rows(self) -> npt.NDArray[np.intp]:
        """Their numbers, ascending."""
        return np.flatnonzero(self.mask)

    @cached_property
    def bits(self) -> npt.NDArray[np.uint8]:
        """A bit for each row, as FAISS takes it."""
        return np.packbits(self.mask, bitorder="little")

    @cached_property
    def per_list(self) -> npt.NDArray[np.int64]:
        """(lists,) how many of the rows each inverted list holds."""
        assert self._list_of_rows is not None
        return np.bincount(self._list_of_rows[self.mask], minlength=int(self._list_of_rows.max(initial=-1)) + 1)

    @cached_property
    def holding(self) -> Chosen:
        """The lists that hold any of the rows."""
        return Chosen(self.per_list > 0)
