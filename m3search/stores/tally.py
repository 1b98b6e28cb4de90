"""How often each value occurs in a column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FEW = 20_000  # values, up to which Python counts as fast as Arrow's functions are imported


def tally(column: pa.ChunkedArray, rows: npt.NDArray[np.intp] | None = None) -> Counter[str]:
    """Counts by value as text; null counts as "". A list counts for each of its values, an empty one for "".

    Args:
        rows: which of them; None is all.
    """
    return _by_python(column, rows) if len(column) <= FEW else _by_arrow(column, rows)


def merged(*counts: Counter[str]) -> dict[str, int]:
    """Their sum, by value."""
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(sorted(total.items()))


def _by_python(column: pa.ChunkedArray, rows: npt.NDArray[np.intp] | None) -> Counter[str]:
    values: Sequence[Any] = column.to_pylist()
    if rows is not None:
        values = [values[row] for row in rows.tolist()]
    if pa.types.is_list(column.type):
        values = [value for several in values for value in several or ("",)]
    return Counter(str(value or "") for value in values)


def _by_arrow(column: pa.ChunkedArray, rows: npt.NDArray[np.intp] | None) -> Counter[str]:
    """A million values as Python objects would take a second."""
    import pyarrow.compute as pc

    if rows is not None:
        column = column.take(pa.array(rows))
    counts: Counter[str] = Counter()
    if pa.types.is_list(column.type):
        if lacking := len(column) - int(pc.sum(pc.greater(pc.list_value_length(column), 0)).as_py() or 0):
            counts[""] = lacking
        column = pc.list_flatten(column)
    for pair in pc.value_counts(column).to_pylist():
        counts[str(pair["values"] or "")] += pair["counts"]
    return counts
