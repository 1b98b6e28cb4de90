"""The columns that filters ask about, dictionary-coded: a filter looks at each distinct value once.

Written beside a segment's items, and mapped. Columns whose values hardly repeat (texts, ids) are not coded; filters
read them from the items themselves.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import pyarrow as pa

from m3search.filters.conditions import COLUMNS

REPEATS = 2  # rows for each distinct value, at least, for a column to be coded


def coded(items: pa.Table) -> pa.Table:
    """Those columns of `items` that filters may name and whose values repeat; null is a value as any other."""
    columns = {}
    for name in COLUMNS:
        if name in items.column_names and (column := _coded(items[name].combine_chunks())) is not None:
            columns[name] = column
    return pa.table(columns)


def _coded(column: pa.Array) -> pa.DictionaryArray | None:
    places: dict[Hashable, int] = {}
    codes = np.empty(len(column), dtype=np.int32)
    most = max(len(column) // REPEATS, 64)
    for row, value in enumerate(column.to_pylist()):
        key = tuple(value) if isinstance(value, list) else value
        codes[row] = places.setdefault(key, len(places))
        if len(places) > most:
            return None
    values: list[Any] = [list(key) if isinstance(key, tuple) else key for key in places]
    smallest = np.min_scalar_type(max(len(places) - 1, 0))
    narrow = codes.astype(np.int8 if smallest == np.uint8 and len(places) <= 128 else np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(narrow), pa.array(values, type=column.type))
