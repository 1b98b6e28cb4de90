"""Free text without what names a person: first the identifiers that the file itself states, then what looks like one.

Rules, not a language model: they need no network, no downloads and no second framework, do the same every time, and
cost 0.2 ms a sentence. They find what is written as forms and reports write it ("Dr. …", "MRN: …", "12 March 2019"), in
English. A bare name in the middle of a sentence is found only where the header or the manifest states it.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

from m3search.privacy.dates import WITH_YEAR, WITHOUT_YEAR, as_stated, dates_in
from m3search.privacy.patterns import AGES, OLDEST, PATTERNS

REMOVED = "[removed]"
PLACEHOLDERS = {  # what stands for a name that was taken out: it identifies nobody, and is part of many a file's name
    "anon", "anonym", "anonymous", "anonymized", "anonymised", "deidentified", "de-identified", "removed", "redacted",
    "unknown", "none", "name", "noname", "patient", "test", "phantom", "xxx", "xxxx",
}  # fmt: skip
SHORTEST = 3  # characters of an identifier that is looked for; initials would hit half of all words
SHORTEST_NUMBER = 4  # digits; a report has many numbers of one to three


def scrub(text: str, identifiers: Iterable[str] = ()) -> str:
    """The text without `identifiers` and without what looks like one; dates become years, ages over 89 become "90+".

    Args:
        identifiers: what the file's header or the manifest states of this person and of staff: names, ids, addresses,
            dates as DICOM writes them (YYYYMMDD). Those of 3 characters and more are found in any case, without regard
            to accents, as whole words, and dates in every usual spelling.
    """
    return _Scrubber(text, identifiers).text


def findings(text: str) -> Counter[str]:
    """What `scrub` would change without knowing any identifier, by kind: "date", "number", "name", "phone", …"""
    return _Scrubber(text).found


class _Scrubber:
    """The text with each rule applied after the other, and how often each kind of rule changed it."""

    def __init__(self, text: str, identifiers: Iterable[str] = ()) -> None:
        self.text = text
        self.found: Counter[str] = Counter()
        stripped = {one.strip() for one in identifiers}
        known = sorted(filter(_is_telling, stripped), key=lambda one: (-len(one), one))
        for identifier in known:
            self._known(identifier)
        self._dates(frozenset(as_stated(known)))
        for kind, pattern in PATTERNS:
            self._replace(kind, pattern, REMOVED)
        for pattern in AGES:
            self._replace("age over 89", pattern, f"{OLDEST}+")

    def _known(self, identifier: str) -> None:
        """Whole words, whatever their case, accents and white space."""
        words = r"[\s,^]+".join(re.escape(word) for word in _folded(identifier).replace("^", " ").split())
        before = r"(?<!\d)" if identifier[0].isdigit() else r"(?<![^\W\d_])"
        after = r"(?!\d)" if identifier[-1].isdigit() else r"(?![^\W\d_])"
        places = [match.span() for match in re.finditer(before + words + after, _folded(self.text))] if words else []
        self._cut("known identifier", [(start, end, REMOVED) for start, end in places])

    def _dates(self, births: frozenset[tuple[int, int, int]]) -> None:
        for pattern in WITH_YEAR:
            dates = dates_in(self.text, pattern)
            self._cut("date", [(d.start, d.end, REMOVED if d.meant & births else str(d.year)) for d in dates])
        self._replace("date", WITHOUT_YEAR, REMOVED)

    def _replace(self, kind: str, pattern: re.Pattern[str], by: str) -> None:
        places = pattern.finditer(self.text)
        self._cut(kind, [(m.start(), m.end(), (m.groupdict().get("kept") or "") + by) for m in places])

    def _cut(self, kind: str, places: list[tuple[int, int, str]]) -> None:
        for start, end, new in reversed(places):
            if self.text[start:end] != new:
                self.text = self.text[:start] + new + self.text[end:]
                self.found[kind] += 1


def _is_telling(identifier: str) -> bool:
    return len(identifier) >= (SHORTEST_NUMBER if identifier.isdigit() else SHORTEST)


def _folded(text: str) -> str:
    """Lower case without accents, of the same length."""
    if text.isascii():
        return text.lower()
    return "".join(unicodedata.normalize("NFKD", one)[0].lower()[:1] or one for one in text)
