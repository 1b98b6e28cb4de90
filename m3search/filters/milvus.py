"""A condition as a Milvus expression, and the scalar fields it looks at.

Fields hold no nulls, which servers before 2.5 do not know: each is coded so that its null is a value of its own, and
values keep their order.

| column | field | null |
| --- | --- | --- |
| text: sex, modality, … | "=" and the value | "" |
| labels | "=" and each label, in lower case | "null" |
| year | the number | NO_YEAR |
| indexed_at | microseconds since 1970, UTC | NO_TIME |

`uri` and `text` are not there, and no substring is looked for: a cluster is given nothing that a person wrote, and
Milvus compares letters with their case. Such conditions are refused (FilterError).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from m3search.errors import FilterError
from m3search.filters.conditions import (
    COLUMNS,
    AllOf,
    AnyOf,
    Compare,
    Contains,
    Filter,
    IsNull,
    Leaf,
    Not,
    OneOf,
    StartsWith,
    Value,
    columns_of,
    known,
)

KEY = "item_id"  # the primary key: never null, held as it is
KEPT = tuple(column for column in COLUMNS if column not in ("uri", "text"))
NO_YEAR = -32768
NO_TIME = -(1 << 62)
NO_LABELS = "null"
LAST = chr(0x10FFFF)  # after all that begins alike; no text of an archive holds it
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def field_of(column: str, value: Any) -> str | int | list[str]:
    """A stored value as its field holds it; None is null."""
    match COLUMNS[known(column)]:
        case "labels":
            return [NO_LABELS] if value is None else [f"={one.lower()}" for one in value if one is not None]
        case "integer":
            return NO_YEAR if value is None else int(value)
        case "time":
            return NO_TIME if value is None else (value - EPOCH) // timedelta(microseconds=1)
    if column == KEY:
        return str(value)
    return "" if value is None else f"={value}"


def to_milvus(condition: Filter) -> str:
    """The condition as a Milvus boolean expression. Values appear as escaped literals only, columns from KEPT only.

    As in SQL, what is asked of a null is neither true nor false: `not` is moved inwards to single comparisons, which
    all say that there is a value.

    Raises:
        FilterError: the condition looks at `uri` or `text`, or for a substring.
    """
    for column in columns_of(condition):
        if column not in KEPT:
            raise FilterError(f"{column} is not kept in Milvus; leave it out of the filter, or search without --store")
    return _expression(condition, negated=False)


def _expression(condition: Filter, negated: bool) -> str:
    match condition:
        case Not(operand):
            return _expression(operand, not negated)
        case AllOf(operands) | AnyOf(operands):
            every = isinstance(condition, AllOf) != negated  # De Morgan
            joined = (" and " if every else " or ").join(f"({_expression(one, negated)})" for one in operands)
            return joined or _always(every)
        case OneOf(_, ()):
            return _always(negated)
        case IsNull(column):
            return f"not ({_present(column)})" if not negated else _present(column)
    leaf = _leaf(condition)
    return f"({_present(condition.column)}) and {f'not ({leaf})' if negated else f'({leaf})'}"


def _always(true: bool) -> str:
    return f'{KEY} {"!=" if true else "=="} ""'


def _present(column: str) -> str:
    match COLUMNS[known(column)]:
        case "labels":
            return f"not (array_contains({column}, {literal(NO_LABELS)}))"
        case "integer":
            return f"{column} != {NO_YEAR}"
        case "time":
            return f"{column} != {NO_TIME}"
    return f'{column} != ""'


def _leaf(leaf: Leaf) -> str:
    match leaf:
        case Compare(column, operator, value):
            return f"{column} {'==' if operator == '=' else operator} {_literal(column, value)}"
        case OneOf(column, values):
            return f"{column} in [{', '.join(_literal(column, value) for value in values)}]"
        case StartsWith(column, value):
            start = str(field_of(column, value))
            return f"{column} >= {literal(start)} and {column} <= {literal(start + LAST)}"
        case Contains("labels", value):
            return f"array_contains(labels, {literal('=' + value.lower())})"
        case Contains(column, _):
            raise FilterError(f"Milvus cannot look for text within {column}; use = or in, or search without --store")
    raise AssertionError(leaf)


def _literal(column: str, value: Value) -> str:
    coded = field_of(column, value)
    return str(coded) if isinstance(coded, int) else literal(str(coded))


def literal(value: str) -> str:
    """A text as Milvus reads it: only these four are escaped, as servers differ in what other escapes they know."""
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r")):
        value = value.replace(plain, escaped)
    return f'"{value}"'
