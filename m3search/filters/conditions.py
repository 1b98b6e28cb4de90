"""What a condition is: frozen values, and functions that make them with the right types."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, Literal, TypeAlias

from m3search.errors import FilterError

Kind = Literal["string", "integer", "labels", "time"]
Value: TypeAlias = str | int | datetime

# What may be filtered on. Times are ISO 8601 and UTC where they name no zone.
COLUMNS: dict[str, Kind] = {
    "item_id": "string",
    "modality": "string",
    "format": "string",
    "uri": "string",
    "text": "string",
    "labels": "labels",
    "sex": "string",
    "age_band": "string",
    "body_part": "string",
    "view": "string",
    "laterality": "string",
    "year": "integer",
    "patient_key": "string",
    "study_key": "string",
    "series_key": "string",
    "run_id": "string",
    "indexed_at": "time",
}

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
LARGEST = 32767  # integer columns are int16


@dataclass(frozen=True, slots=True)
class Compare:
    """`column operator value`. Strings are ordered by code point."""

    column: str
    operator: str  # a key of OPERATORS
    value: Value


@dataclass(frozen=True, slots=True)
class OneOf:
    """`column in (values)`."""

    column: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Contains:
    """`column contains value`, ignoring case: a whole label of `labels`, a substring of any other column."""

    column: str
    value: str


@dataclass(frozen=True, slots=True)
class StartsWith:
    """`column starts with value`, case matters."""

    column: str
    value: str


@dataclass(frozen=True, slots=True)
class IsNull:
    """`column is null`."""

    column: str


@dataclass(frozen=True, slots=True)
class Not:
    """`not operand`."""

    operand: Filter


@dataclass(frozen=True, slots=True)
class AllOf:
    """`a and b and ...`; of nothing: true."""

    operands: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """`a or b or ...`; of nothing: false."""

    operands: tuple[Filter, ...]


Leaf: TypeAlias = Compare | OneOf | Contains | StartsWith | IsNull
Filter: TypeAlias = Leaf | Not | AllOf | AnyOf


def equals(column: str, value: Value) -> Filter:
    """`column = value`."""
    return Compare(known(column), "=", typed(column, value))


def one_of(column: str, values: Iterable[Value]) -> Filter:
    """`column in (values)`; no values match nothing."""
    return OneOf(known(column), tuple(typed(column, value) for value in values))


def starts_with(column: str, value: str) -> Filter:
    """`column starts with value`."""
    _text_only(column, "starts with")
    return StartsWith(known(column), value)


def contains(column: str, value: str) -> Filter:
    """`column contains value`."""
    if COLUMNS[known(column)] not in ("string", "labels") or not value:
        raise FilterError(f"{column} cannot contain {value!r}: give some text, and a column of text or labels")
    return Contains(column, value)


def all_of(filters: Iterable[Filter]) -> Filter:
    """All of them; the one itself where there is one."""
    operands = tuple(filters)
    return operands[0] if len(operands) == 1 else AllOf(operands)


def any_of(filters: Iterable[Filter]) -> Filter:
    """At least one of them; the one itself where there is one."""
    operands = tuple(filters)
    return operands[0] if len(operands) == 1 else AnyOf(operands)


def known(column: str) -> str:
    if column in COLUMNS:
        return column
    near = get_close_matches(column.lower(), COLUMNS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(COLUMNS)}"
    raise FilterError(f"there is no column {column!r} to filter on; {hint}")


def _text_only(column: str, what: str) -> None:
    if COLUMNS[known(column)] != "string":
        raise FilterError(f"{column} has no {what!r}: it is not text")


def typed(column: str, value: Value) -> Value:
    """The value as the column's type, or FilterError."""
    kind = COLUMNS[known(column)]
    try:
        if kind == "integer":
            if isinstance(value, datetime) or abs(number := int(value)) > LARGEST:
                raise ValueError
            return number
        if kind == "time":
            time = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
            return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        wanted = f"a whole number up to {LARGEST}" if kind == "integer" else "a date or time such as 2024-05-31"
        raise FilterError(f"{column} takes {wanted}, not {value!r}") from None
    if kind == "labels":
        raise FilterError(f"{column} is a list; write: {column} contains {str(value)!r}")
    return str(value)


def columns_of(condition: Filter) -> Sequence[str]:
    """The columns a condition looks at, sorted."""
    match condition:
        case Not(operand):
            return columns_of(operand)
        case AllOf(operands) | AnyOf(operands):
            return sorted({column for one in operands for column in columns_of(one)})
    return [condition.column]
