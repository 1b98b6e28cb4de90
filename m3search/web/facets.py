"""How many items have which values: what a page's chips show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from m3search import filters
from m3search.web.shapes import Facet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from m3search.filters import Filter
    from m3search.stores.reader import Reader

COLUMNS: tuple[str, ...] = get_args(Facet)
MOST = 50  # values of a column
BY_VALUE = ("year", "age_band")


def facets(store: Reader, where: str | None, modality: Sequence[str], columns: Sequence[str]) -> dict[str, Any]:
    """Counts of the items that match. Those of `modality` tell what another choice of modalities would give.

    Raises:
        FilterError: the filter cannot be understood.
    """
    asked = filters.parse(where) if where else None
    matching = selection(asked, modality)
    found = {
        column: _values(column, store.tally(column, asked if column == "modality" else matching))
        for column in columns or COLUMNS
    }
    return {"matching": store.count(matching), "items": store.count(), "facets": found}


def selection(where: Filter | None, modality: Sequence[str]) -> Filter | None:
    """Both as one filter; None is everything."""
    conditions = [] if where is None else [where]
    if modality:
        conditions.append(filters.one_of("modality", sorted(set(modality))))
    return filters.all_of(conditions) if conditions else None


def _values(column: str, counts: dict[str, int]) -> list[dict[str, Any]]:
    known = [(value, count) for value, count in counts.items() if value]
    ordered = sorted(known, key=lambda one: one[0] if column in BY_VALUE else (-one[1], one[0]))
    return [
        {
            "value": int(value) if column == "year" else value,
            "count": count,
            "expression": _expression(column, value),
        }
        for value, count in ordered[:MOST]
    ]


def _expression(column: str, value: str) -> str:
    """A filter for the items that are counted."""
    quoted = "'" + value.replace("'", "''") + "'"
    if column == "year":
        return f"year = {value}"
    return f"labels contains {quoted}" if column == "labels" else f"{column} = {quoted}"
