"""A condition asked of a table: as SQL by LanceDB, or as plain Python in memory. Tests hold the two equal."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from m3search.filters.conditions import (
    OPERATORS,
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
    known,
)

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    Bool = npt.NDArray[np.bool_]


def to_sql(condition: Filter) -> str:
    """The condition as LanceDB (DataFusion) SQL. Values appear as escaped literals only, columns from COLUMNS only.

    DataFusion simplifies `a NOT IN ('x') OR a NOT IN ('y')` to true, also where `a` is null. So `not` is moved inwards
    to single comparisons, and there says that the column is not null.
    """
    return _sql(condition, negated=False)


def _sql(condition: Filter, negated: bool) -> str:
    match condition:
        case Not(operand):
            return _sql(operand, not negated)
        case AllOf(operands) | AnyOf(operands):
            every = isinstance(condition, AllOf) != negated  # De Morgan
            joined = (" AND " if every else " OR ").join(f"({_sql(one, negated)})" for one in operands)
            return joined or ("true" if every else "false")
        case OneOf(_, ()):
            return "true" if negated else "false"
    if not negated:
        return _leaf_sql(condition)
    present = f"`{known(condition.column)}` IS NOT NULL"
    return present if isinstance(condition, IsNull) else f"{present} AND NOT ({_leaf_sql(condition)})"


def _leaf_sql(leaf: Leaf) -> str:
    column = f"`{known(leaf.column)}`"
    match leaf:
        case Compare(_, symbol, value):
            return f"{column} {symbol} {_literal(value)}"
        case OneOf(_, values):
            return f"{column} IN ({', '.join(map(_literal, values))})"
        case Contains("labels", value):  # no lambdas in SQL: join the labels, each between separators
            return (
                f"contains(chr(31) || lower(array_to_string({column}, chr(31))) || chr(31), "
                f"chr(31) || {_literal(value.lower())} || chr(31))"
            )
        case Contains(_, value):
            return f"contains(lower({column}), {_literal(value.lower())})"
        case StartsWith(_, value):
            return f"starts_with({column}, {_literal(value)})"
        case IsNull():
            return f"{column} IS NULL"


def _literal(value: Value) -> str:
    if isinstance(value, datetime):
        return f"cast('{value.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}' AS timestamp)"
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"


def mask(condition: Filter, table: pa.Table) -> Bool:
    """Which rows of the table match: (N,) bool. Plain Python on purpose: an oracle, and pyarrow.compute stays out.

    Columns may be dictionary-coded, with null as a value of the dictionary: then a million rows take a millisecond.
    """
    return _truth(condition, table)[0]


def _truth(condition: Filter, table: pa.Table) -> tuple[Bool, Bool]:
    """(is true, is false), each (N,); a row where neither holds is unknown."""
    match condition:
        case Not(operand):
            true, false = _truth(operand, table)
            return false, true
        case AllOf(operands):
            pairs = [_truth(one, table) for one in operands]
            nothing = np.zeros(table.num_rows, dtype=bool)
            return (
                np.logical_and.reduce([true for true, _ in pairs], axis=0, initial=True) | nothing,
                np.logical_or.reduce([nothing, *(false for _, false in pairs)]),
            )
        case AnyOf(operands):
            return _truth(Not(AllOf(tuple(Not(one) for one in operands))), table)
        case OneOf(_, ()):
            return np.zeros(table.num_rows, dtype=bool), np.ones(table.num_rows, dtype=bool)
    verdict = _Verdicts(_test(condition))
    column = table[condition.column]
    answers = np.concatenate([np.zeros(0, dtype=np.int8), *(_answers(chunk, verdict) for chunk in column.chunks)])
    return answers == TRUE, answers == FALSE


TRUE, FALSE, UNKNOWN = 1, -1, 0


class _Verdicts(dict["Hashable", int]):
    """What a test says of each value, asked once."""

    def __init__(self, test: Callable[[Any], bool | None]) -> None:
        super().__init__()
        self._test = test

    def __missing__(self, key: Hashable) -> int:
        answer = self._test(list(key) if isinstance(key, tuple) else key)
        self[key] = UNKNOWN if answer is None else TRUE if answer else FALSE
        return self[key]


def _answers(chunk: pa.Array, verdict: _Verdicts) -> npt.NDArray[np.int8]:
    """TRUE, FALSE or UNKNOWN for each value (N,). Of a dictionary-coded column each value is looked at once."""
    indices = getattr(chunk, "indices", None)
    values = (chunk if indices is None else chunk.dictionary).to_pylist()
    keys = (tuple(value) if isinstance(value, list) else value for value in values)
    found = np.fromiter((verdict[key] for key in keys), np.int8, len(values))
    return found if indices is None else found[codes(indices)]


def codes(indices: pa.Array) -> npt.NDArray[Any]:
    """The integers (N,) of an Arrow array without nulls, not copied."""
    kind = np.dtype(str(indices.type))
    return np.frombuffer(indices.buffers()[1], kind, len(indices), indices.offset * kind.itemsize)


def _test(leaf: Leaf) -> Callable[[Any], bool | None]:
    """The leaf as a function of one stored value; None is unknown."""
    if isinstance(leaf, IsNull):
        return lambda stored: stored is None
    holds: Callable[[Any], bool]
    match leaf:
        case Compare(_, symbol, value):
            compare = OPERATORS[symbol]
            holds = lambda stored: compare(stored, value)  # noqa: E731
        case OneOf(_, values):
            holds = lambda stored: stored in values  # noqa: E731
        case Contains("labels", value):
            needle = value.lower()
            holds = lambda stored: any(one is not None and one.lower() == needle for one in stored)  # noqa: E731
        case Contains(_, value):
            needle = value.lower()
            holds = lambda stored: needle in stored.lower()  # noqa: E731
        case StartsWith(_, value):
            holds = lambda stored: stored.startswith(value)  # noqa: E731
    return lambda stored: None if stored is None else holds(stored)
