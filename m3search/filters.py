"""Conditions on items: a small typed language, never raw SQL.

    modality = 'xray' and year between 2010 and 2020
    labels contains 'Pneumonia' or text contains "effusion"
    sex = F and not (view in (AP, PA)) and laterality is not null

A condition has SQL's three truth values: a null column makes every comparison unknown, `not` keeps it unknown, and only
true matches; `is null` finds it. `contains` ignores case: a whole label in `labels`, a substring elsewhere. `to_sql` is
what LanceDB is given and `mask` is the same in plain Python; tests hold the two equal.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias

import numpy as np

from m3search.errors import FilterError

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    Bool = npt.NDArray[np.bool_]

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

MAX_DEPTH = 50  # of nested parentheses


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
class All:
    """`a and b and ...`; of nothing: true."""

    operands: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Any_:
    """`a or b or ...`; of nothing: false."""

    operands: tuple[Filter, ...]


Leaf: TypeAlias = Compare | OneOf | Contains | StartsWith | IsNull
Filter: TypeAlias = Leaf | Not | All | Any_


# Made by programs -----------------------------------------------------------------------------------------------------
def equals(column: str, value: Value) -> Filter:
    """`column = value`."""
    return Compare(_known(column), "=", _typed(column, value))


def one_of(column: str, values: Iterable[Value]) -> Filter:
    """`column in (values)`; no values match nothing."""
    return OneOf(_known(column), tuple(_typed(column, value) for value in values))


def starts_with(column: str, value: str) -> Filter:
    """`column starts with value`."""
    _text_only(column, "starts with")
    return StartsWith(_known(column), value)


def contains(column: str, value: str) -> Filter:
    """`column contains value`."""
    if COLUMNS[_known(column)] not in ("string", "labels") or not value:
        raise FilterError(f"{column} cannot contain {value!r}: give some text, and a column of text or labels")
    return Contains(column, value)


def all_of(filters: Iterable[Filter]) -> Filter:
    """All of them; the one itself where there is one."""
    operands = tuple(filters)
    return operands[0] if len(operands) == 1 else All(operands)


def any_of(filters: Iterable[Filter]) -> Filter:
    """At least one of them; the one itself where there is one."""
    operands = tuple(filters)
    return operands[0] if len(operands) == 1 else Any_(operands)


def _known(column: str) -> str:
    if column in COLUMNS:
        return column
    near = get_close_matches(column.lower(), COLUMNS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(COLUMNS)}"
    raise FilterError(f"there is no column {column!r} to filter on; {hint}")


def _text_only(column: str, what: str) -> None:
    if COLUMNS[_known(column)] != "string":
        raise FilterError(f"{column} has no {what!r}: it is not text")


def _typed(column: str, value: Value) -> Value:
    """The value as the column's type, or FilterError."""
    kind = COLUMNS[_known(column)]
    try:
        if kind == "integer":
            if isinstance(value, datetime) or abs(number := int(value)) >= 2**63:
                raise ValueError
            return number
        if kind == "time":
            time = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
            return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        wanted = "a whole number" if kind == "integer" else "a date or time such as 2024-05-31"
        raise FilterError(f"{column} takes {wanted}, not {value!r}") from None
    if kind == "labels":
        raise FilterError(f"{column} is a list; write: {column} contains {str(value)!r}")
    return str(value)


# SQL ------------------------------------------------------------------------------------------------------------------
def to_sql(condition: Filter) -> str:
    """The condition as LanceDB (DataFusion) SQL. Values appear as escaped literals only, columns from COLUMNS only."""
    match condition:
        case Not(operand):
            return f"NOT ({to_sql(operand)})"
        case All(operands):
            return " AND ".join(f"({to_sql(one)})" for one in operands) or "true"
        case Any_(operands):
            return " OR ".join(f"({to_sql(one)})" for one in operands) or "false"
    column = f"`{_known(condition.column)}`"
    match condition:
        case Compare(_, symbol, value):
            return f"{column} {symbol} {_literal(value)}"
        case OneOf(_, values):
            return f"{column} IN ({', '.join(map(_literal, values))})" if values else "false"
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


# In memory ------------------------------------------------------------------------------------------------------------
def mask(condition: Filter, table: pa.Table) -> Bool:
    """Which rows of the table match: (N,) bool. Plain Python on purpose: an oracle, and no import of pyarrow.compute."""
    return _truth(condition, table)[0]


def _truth(condition: Filter, table: pa.Table) -> tuple[Bool, Bool]:
    """(is true, is false), each (N,); a row where neither holds is unknown."""
    match condition:
        case Not(operand):
            true, false = _truth(operand, table)
            return false, true
        case All(operands):
            pairs = [_truth(one, table) for one in operands]
            nothing = np.zeros(table.num_rows, dtype=bool)
            return (
                np.logical_and.reduce([true for true, _ in pairs], axis=0, initial=True) | nothing,
                np.logical_or.reduce([nothing, *(false for _, false in pairs)]),
            )
        case Any_(operands):
            return _truth(Not(All(tuple(Not(one) for one in operands))), table)
        case OneOf(_, ()):
            return np.zeros(table.num_rows, dtype=bool), np.ones(table.num_rows, dtype=bool)
    test = _test(condition)
    verdicts: dict[Hashable, bool | None] = {}
    answers: list[bool | None] = []
    for value in table[condition.column].to_pylist():
        key = tuple(value) if isinstance(value, list) else value
        if key not in verdicts:
            verdicts[key] = test(value)
        answers.append(verdicts[key])
    return (
        np.array([answer is True for answer in answers], dtype=bool),
        np.array([answer is False for answer in answers], dtype=bool),
    )


def _test(leaf: Leaf) -> Callable[[Any], bool | None]:
    """The leaf as a function of one stored value; None is unknown."""
    if isinstance(leaf, IsNull):
        return lambda stored: stored is None
    known: Callable[[Any], bool]
    match leaf:
        case Compare(_, symbol, value):
            compare = OPERATORS[symbol]
            known = lambda stored: compare(stored, value)  # noqa: E731
        case OneOf(_, values):
            known = lambda stored: stored in values  # noqa: E731
        case Contains("labels", value):
            needle = value.lower()
            known = lambda stored: any(one is not None and one.lower() == needle for one in stored)  # noqa: E731
        case Contains(_, value):
            needle = value.lower()
            known = lambda stored: needle in stored.lower()  # noqa: E731
        case StartsWith(_, value):
            known = lambda stored: stored.startswith(value)  # noqa: E731
    return lambda stored: None if stored is None else known(stored)


# Written by people ----------------------------------------------------------------------------------------------------
TOKEN = re.compile(
    r"""\s*(?: (?P<quoted>'(?:[^']|'')*'|"(?:[^"]|"")*") | (?P<symbol><=|>=|!=|<>|==|[=<>(),]) | (?P<word>[^\s()=<>!,'"]+) )""",
    re.VERBOSE,
)
KEYWORDS = {"and", "or", "not", "in", "between", "contains", "starts", "with", "is", "null"}


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # "quoted", "symbol", "word", "end"
    text: str
    place: int  # offset in the expression

    @property
    def keyword(self) -> str:
        """The keyword or symbol this token is, else ""."""
        if self.kind == "symbol":
            return {"<>": "!=", "==": "="}.get(self.text, self.text)
        return self.text.lower() if self.kind == "word" and self.text.lower() in KEYWORDS else ""


def parse(expression: str) -> Filter:
    """The condition a person wrote.

    Raises:
        FilterError: showing the place, and naming the nearest column where a column is unknown.
    """
    return _Parser(expression).parse()


class _Parser:
    """Recursive descent: or > and > not > comparison."""

    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._tokens = list(self._tokenise())
        self._next = 0

    def parse(self) -> Filter:
        condition = self._any(0)
        if self._peek().kind != "end":
            self._fail("expected 'and', 'or' or the end")
        return condition

    def _tokenise(self) -> Iterable[_Token]:
        place, end = 0, len(self._expression.rstrip())
        while place < end:
            match = TOKEN.match(self._expression, place)
            if match is None:
                start = place + len(self._expression[place:]) - len(self._expression[place:].lstrip())
                self._fail("a quote is not closed" if self._expression[start] in "'\"" else "not understood", start)
            kind = str(match.lastgroup)
            yield _Token(kind, match[kind], match.start(kind))
            place = match.end()
        yield _Token("end", "", end)

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._peek()
        self._next += token.kind != "end"
        return token

    def _accept(self, keyword: str) -> bool:
        found = self._peek().keyword == keyword
        self._next += found
        return found

    def _expect(self, keyword: str) -> None:
        if not self._accept(keyword):
            self._fail(f"expected {keyword!r}")

    def _fail(self, message: str, place: int | None = None) -> NoReturn:
        place = self._peek().place if place is None else place
        line = re.sub(r"\s", " ", self._expression)
        raise FilterError(f"filter: {message}\n  {line}\n  {' ' * place}^")

    def _any(self, depth: int) -> Filter:
        if depth > MAX_DEPTH:
            self._fail(f"more than {MAX_DEPTH} nested conditions")
        operands = [self._all(depth)]
        while self._accept("or"):
            operands.append(self._all(depth))
        return any_of(operands)

    def _all(self, depth: int) -> Filter:
        operands = [self._not(depth)]
        while self._accept("and"):
            operands.append(self._not(depth))
        return all_of(operands)

    def _not(self, depth: int) -> Filter:
        if self._accept("not"):
            if depth > MAX_DEPTH:
                self._fail(f"more than {MAX_DEPTH} nested conditions")
            return Not(self._not(depth + 1))
        if self._accept("("):
            condition = self._any(depth + 1)
            self._expect(")")
            return condition
        return self._comparison()

    def _comparison(self) -> Filter:
        token = self._take()
        if token.kind != "word" or token.keyword:
            self._fail("expected the name of a column", token.place)
        column = token.text.lower()
        with_place = token.place
        if column not in COLUMNS:
            try:
                _known(column)
            except FilterError as error:
                self._fail(str(error), with_place)
        if self._accept("is"):
            negated = self._accept("not")
            self._expect("null")
            return Not(IsNull(column)) if negated else IsNull(column)
        negated = self._accept("not")
        condition = self._operator(column)
        return Not(condition) if negated else condition

    def _operator(self, column: str) -> Filter:
        token = self._take()
        if token.keyword in OPERATORS:
            return Compare(column, token.keyword, self._value(column))
        if token.keyword == "between":
            low = self._value(column)
            self._expect("and")
            return All((Compare(column, ">=", low), Compare(column, "<=", self._value(column))))
        if token.keyword == "in":
            self._expect("(")
            values = [self._value(column)]
            while self._accept(","):
                values.append(self._value(column))
            self._expect(")")
            return OneOf(column, tuple(values))
        if token.keyword == "contains":
            return self._made(lambda: contains(column, self._word()), token.place)
        if token.keyword == "starts":
            self._expect("with")
            return self._made(lambda: starts_with(column, self._word()), token.place)
        self._fail(f"expected one of {', '.join(OPERATORS)}, in, between, contains, starts with, is null", token.place)

    def _word(self) -> str:
        token = self._take()
        if token.kind == "quoted":
            quote = token.text[0]
            return token.text[1:-1].replace(quote * 2, quote)
        if token.kind != "word" or token.keyword:
            self._fail("expected a value; put text in quotes", token.place)
        return token.text

    def _value(self, column: str) -> Value:
        place = self._peek().place
        word = self._word()
        try:
            return _typed(column, word)
        except FilterError as error:
            self._fail(str(error), place)

    def _made(self, make: Callable[[], Filter], place: int) -> Filter:
        try:
            return make()
        except FilterError as error:
            if "\n" in str(error):  # has its place already
                raise
            self._fail(str(error), place)


def columns_of(condition: Filter) -> Sequence[str]:
    """The columns a condition looks at, sorted."""
    match condition:
        case Not(operand):
            return columns_of(operand)
        case All(operands) | Any_(operands):
            return sorted({column for one in operands for column in columns_of(one)})
    return [condition.column]
