"""Dates in free text: found in the spellings that reports use, and reduced to their year."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date

_NAMES = (
    "jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|"
    "nov(?:ember)?|dec(?:ember)?"
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = rf"(?P<month>{_NAMES})\.?"
_DAY = r"(?P<day>0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?"
_NUMBER = r"0?[1-9]|[12]\d|3[01]"  # a day or a month: which one is known only when both are
_YEAR = r"(?P<year>(?:18|19|20)\d\d)"
_CLOCK = r"(?:[T,]?\s*(?:at\s+)?\d{1,2}:\d\d(?::\d\d(?:\.\d+)?)?(?:\s*[ap]\.?m\b\.?)?)?"  # goes with its date

WITH_YEAR = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?<![\d.]){_YEAR}(?P<sep>[-/.])(?P<month>0?[1-9]|1[0-2])(?P=sep)(?P<day>{_NUMBER})(?!\d){_CLOCK}",
        rf"(?<![\d.])(?P<day>{_NUMBER})(?P<sep>[-/.])(?P<month>{_NUMBER})(?P=sep){_YEAR}(?!\d){_CLOCK}",
        rf"(?<![\d.]){_YEAR}(?P<month>0[1-9]|1[0-2])(?P<day>0[1-9]|[12]\d|3[01])"
        r"(?:[ T]?[0-2]\d[0-5]\d(?:[0-5]\d)?)?(?![\d.]*\d)",
        rf"(?<![\w.]){_DAY}[\s.-]+(?:of\s+)?{_MONTH}[\s,.-]+{_YEAR}(?!\d){_CLOCK}",
        rf"\b{_MONTH}\s*{_DAY}[\s,]+{_YEAR}(?!\d){_CLOCK}",
        rf"\b{_MONTH}[\s,]+(?:of\s+)?{_YEAR}(?!\d)",
        rf"(?<![\d./-])(?P<day>{_NUMBER})/(?P<month>{_NUMBER})/(?P<short>\d\d)(?![\d/-])",
        r"(?<![\d./-])(?P<day>0[1-9]|[12]\d|3[01])(?P<sep>[.-])(?P<month>0[1-9]|1[0-2])(?P=sep)(?P<short>\d\d)"
        r"(?![\d.-]*\d)",
    )
)
_CAPITAL = "|".join(name.capitalize() for name in _NAMES.split("|"))  # "may" is a verb, "march" too
WITHOUT_YEAR = re.compile(
    rf"\b(?:{_CAPITAL})\.?\s+(?:{_NUMBER})(?:st|nd|rd|th)?\b(?![.,]?\d|\s*(?:mm|cm|%|x\b))"
    rf"|(?<![\w.,/-])(?:{_NUMBER})(?:st|nd|rd|th)?\s+(?:of\s+)?(?:{_CAPITAL})\b(?!\s+(?:be|have|also)\b)"
)


@dataclass(frozen=True, slots=True)
class Found:
    """A date in a text."""

    start: int
    end: int
    year: int
    meant: frozenset[tuple[int, int, int]]  # year, month, day: both readings of 03/04/1950; the day is 0 if not said


def dates_in(text: str, pattern: re.Pattern[str]) -> Iterator[Found]:
    """What one of WITH_YEAR finds and what can be a date."""
    for match in pattern.finditer(text):
        parts = match.groupdict()
        word, day = parts["month"], int(parts.get("day") or 0)
        month = int(word) if word.isdigit() else _MONTHS.index(word[:3].lower()) + 1
        if max(month, day) <= 31 and min(month, day) <= 12:
            year = int(parts["year"]) if parts.get("year") else _century(int(parts["short"]))
            yield Found(*match.span(), year, frozenset({(year, month, day), (year, day, month)}))


def as_stated(identifiers: Collection[str]) -> frozenset[tuple[int, int, int]]:
    """The dates among what a header states (DICOM DA: YYYYMMDD)."""
    stated = (re.fullmatch(r"((?:18|19|20)\d\d)(\d\d)(\d\d)", one) for one in identifiers)
    return frozenset((int(one[1]), int(one[2]), int(one[3])) for one in stated if one)


def _century(short: int) -> int:
    return short + (2000 if short <= date.today().year % 100 else 1900)
