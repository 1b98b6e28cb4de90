"""From what a person wrote to a condition."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from m3search.errors import FilterError
from m3search.filters.conditions import (
    OPERATORS,
    AllOf,
    Compare,
    Filter,
    IsNull,
    Not,
    OneOf,
    Value,
    all_of,
    any_of,
    contains,
    known,
    starts_with,
    typed,
)

MAX_DEPTH = 50  # of nested conditions
T = TypeVar("T")

TOKEN = re.compile(
    r"""\s*(?:
        (?P<quoted> '(?:[^']|'')*' | "(?:[^"]|"")*" )
      | (?P<symbol> <=|>=|!=|<>|==|[=<>(),] )
      | (?P<word> [^\s()=<>!,'"]+ )
    )""",
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
            raise self._error("expected 'and', 'or' or the end")
        return condition

    def _tokenise(self) -> Iterable[_Token]:
        place, end = 0, len(self._expression.rstrip())
        while place < end:
            match = TOKEN.match(self._expression, place)
            if match is None:
                start = place + len(self._expression[place:]) - len(self._expression[place:].lstrip())
                raise self._error(
                    "a quote is not closed" if self._expression[start] in "'\"" else "not understood", start
                )
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
            raise self._error(f"expected {keyword!r}")

    def _error(self, message: str, place: int | None = None) -> FilterError:
        place = self._peek().place if place is None else place
        line = re.sub(r"\s", " ", self._expression)
        return FilterError(f"filter: {message}\n  {line}\n  {' ' * place}^")

    def _any(self, depth: int) -> Filter:
        if depth > MAX_DEPTH:
            raise self._error(f"more than {MAX_DEPTH} nested conditions")
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
                raise self._error(f"more than {MAX_DEPTH} nested conditions")
            return Not(self._not(depth + 1))
        if self._accept("("):
            condition = self._any(depth + 1)
            self._expect(")")
            return condition
        return self._comparison()

    def _comparison(self) -> Filter:
        token = self._take()
        if token.kind != "word" or token.keyword:
            raise self._error("expected the name of a column", token.place)
        column = self._checked(lambda: known(token.text.lower()), token.place)
        if self._accept("is"):
            negated = self._accept("not")
            self._expect("null")
            return Not(IsNull(column)) if negated else IsNull(column)
        negated = self._accept("not")
        condition = self._operator(column)
        return Not(condition) if negated else condition

    def _operator(self, column: str) -> Filter:
        token = self._take()
        match token.keyword:
            case symbol if symbol in OPERATORS:
                return Compare(column, symbol, self._value(column))
            case "between":
                low = self._value(column)
                self._expect("and")
                return AllOf((Compare(column, ">=", low), Compare(column, "<=", self._value(column))))
            case "in":
                self._expect("(")
                values = [self._value(column)]
                while self._accept(","):
                    values.append(self._value(column))
                self._expect(")")
                return OneOf(column, tuple(values))
            case "contains":
                word = self._word()
                return self._checked(lambda: contains(column, word), token.place)
            case "starts":
                self._expect("with")
                word = self._word()
                return self._checked(lambda: starts_with(column, word), token.place)
            case _:
                expected = f"{' '.join(OPERATORS)}, in, between, contains, starts with, is null"
                raise self._error(f"expected one of {expected}", token.place)

    def _word(self) -> str:
        token = self._take()
        if token.kind == "quoted":
            quote = token.text[0]
            return token.text[1:-1].replace(quote * 2, quote)
        if token.kind != "word" or token.keyword:
            raise self._error("expected a value; put text in quotes", token.place)
        return token.text

    def _value(self, column: str) -> Value:
        place = self._peek().place
        word = self._word()
        return self._checked(lambda: typed(column, word), place)

    def _checked(self, make: Callable[[], T], place: int) -> T:
        """What `make` gives; its FilterError with the place added."""
        try:
            return make()
        except FilterError as error:
            raise self._error(str(error), place) from None
