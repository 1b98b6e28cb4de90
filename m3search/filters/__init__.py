"""Conditions on items: a small typed language, never raw SQL.

    modality = 'xray' and year between 2010 and 2020
    labels contains 'Pneumonia' or text contains "effusion"
    sex = F and not (view in (AP, PA)) and laterality is not null

A condition has SQL's three truth values: a null column makes every comparison unknown, `not` keeps it unknown, and only
true matches; `is null` finds it. `contains` ignores case: a whole label in `labels`, a substring elsewhere. `to_sql` is
what LanceDB is given and `mask` is the same in plain Python; tests hold the two equal.
"""

from __future__ import annotations

from m3search.filters.conditions import (
    COLUMNS,
    Filter,
    all_of,
    any_of,
    columns_of,
    contains,
    equals,
    one_of,
    starts_with,
)
from m3search.filters.evaluate import mask, to_sql
from m3search.filters.parser import parse

__all__ = [
    "COLUMNS",
    "Filter",
    "all_of",
    "any_of",
    "columns_of",
    "contains",
    "equals",
    "mask",
    "one_of",
    "parse",
    "starts_with",
    "to_sql",
]
