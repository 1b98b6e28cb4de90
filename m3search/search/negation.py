"""What the words of a query ask to be absent: "cardiomegaly without effusion" keeps the one and denies the other.

`m3search.vocabulary.negation` finds labels that a report denies; a query may deny anything ("no pacemaker"), in more
ways, and what it does not deny has to be kept. Lists end alike in both: "no effusion, pneumothorax or consolidation"
denies all three, up to a full stop, "but" or "with". What the vocabulary lists as a finding of its own ("no diabetic
retinopathy", "CT without contrast") is not a denial.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from m3search.vocabulary.meanings import MEANINGS

_SEEN = r"(?:seen|shown|present|identified|demonstrated|detected|visible|found|evident)"
_BEFORE = re.compile(  # what follows is denied
    r"""\b(?:
        (?:there\ (?:is|are)\s+)?(?:no|without)(?:\s+(?:evidence|signs?|suggestion|trace)\s+(?:of|for))?
      | w/o | (?:but\s+)?not | excluding | except(?:\ for)? | other\ than | minus | never
      | (?:negative\ for|absence\ of|free\ of|clear\ of|devoid\ of) | (?:lack|lacks|lacking)(?:\ of)?
      | (?:fails?|failed)\ to\ (?:demonstrate|show|reveal) | (?:excluded|excludes|denies|denied)
      | (?:cannot|can't|could\ not|do\ not|does\ not|did\ not|doesn't|don't)\ (?:see|show|demonstrate|reveal|find|have)
    )\s+(?:any\s+|a\s+|an\s+|the\s+)?""",
    re.IGNORECASE | re.VERBOSE,
)
_AFTER = re.compile(  # what precedes is denied
    rf"""\s+(?:is|are|was|were|has\ been|have\ been)\s+
        (?:absent|excluded|ruled\ out|denied|not\ {_SEEN})\b | \s+(?:absent|ruled\ out|not\ {_SEEN})\b""",
    re.IGNORECASE | re.VERBOSE,
)
_TERMS = sorted((word for word in MEANINGS if _BEFORE.search(word)), key=lambda word: (-len(word), word))
_NOT_A_DENIAL = re.compile(  # held back while looking: "cannot exclude effusion" rather suspects it
    r"\b(?:no (?:longer|(?:interval )?(?:change|increase|decrease)|\d)|not only|not sure|(?:cannot|can't|not) (?:be )?"
    r"(?:exclude|excluded|rule out|ruled out)|without (?:doubt|contrast)|(?:"
    + "|".join(map(re.escape, _TERMS))
    + r")s?)\b",
    re.IGNORECASE,
)
_CLAUSE = re.compile(r"(?:\.(?=\s|$)|[;:()\n])+\s*")
_END = re.compile(r"\s*,?\s+(?:but|with|however|although|though|on|here)\b", re.IGNORECASE)
_MEMBERS = re.compile(r"\s*(?:,\s*(?:and|or|nor)?|\b(?:and|or|nor)\b)\s+(?:(?:no|without|not)\s+)?", re.IGNORECASE)
_EDGE = re.compile(
    r"^(?:[\s,]|(?:and|or|but|with|which|that|on|here)\b)+|(?:[\s,]|\b(?:and|or|but|with)\b)+$", re.IGNORECASE
)
_FILLER = frozenset({
    "a", "an", "the", "this", "that", "there", "here", "it", "i", "we", "is", "are", "was", "were", "be", "has",
    "have", "had", "of", "on", "in", "at", "to", "and", "or", "but", "with", "can", "cannot", "reader",
    "radiologist", "report", "study", "examination", "image", "scan", "patient", "case", "show", "shows", "see",
    "any", "find", "me",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Said:
    """A query text taken apart."""

    text: str
    kept: str  # what of it is asked for; "" where nothing but denials is left
    denied: tuple[str, ...] = ()  # noun phrases, in the order of the text


def read_denials(text: str) -> Said:
    """Take a query text apart. A text without a denial is kept as it is.

    >>> said = read_denials("chest x-ray with cardiomegaly, without pleural effusion or pneumothorax")
    >>> said.kept, said.denied
    ('chest x-ray with cardiomegaly', ('pleural effusion', 'pneumothorax'))
    """
    kept: list[str] = []
    denied: list[str] = []
    for clause in filter(None, (part.strip() for part in _CLAUSE.split(text))):
        _read_clause(clause, kept, denied)
    text = text.strip()
    if not denied:
        return Said(text, text)
    words = ". ".join(part for part in kept if _says_something(part))
    return Said(text, words, tuple(dict.fromkeys(denied)))


def _read_clause(clause: str, kept: list[str], denied: list[str]) -> None:
    """Append what the clause keeps and what it denies."""
    held = _NOT_A_DENIAL.sub(lambda found: "\0" * len(found[0]), clause)  # same length, so places stay
    if after := _AFTER.search(held):
        said, rest = clause[: after.start()], clause[after.end() :].strip(" ,")
        subject = re.split(r",\s+|\b(?:but|with)\b", said)[-1]
        kept.append(_trim(said[: len(said) - len(subject)]))
        denied += _members(subject)
        if rest:
            _read_clause(rest, kept, denied)
        return
    if not (before := _BEFORE.search(held)):
        kept.append(_trim(clause))
        return
    kept.append(_trim(clause[: before.start()]))
    rest = clause[before.end() :]
    end = _END.search(rest)
    denied += _members(rest[: end.start()] if end else rest)
    if end and rest[end.start() :].strip():
        _read_clause(rest[end.start() :].strip(" ,"), kept, denied)


def _members(words: str) -> list[str]:
    return [member for part in _MEMBERS.split(words) if _says_something(member := _trim(part))]


def _trim(words: str) -> str:
    return _EDGE.sub("", words).strip()


def _says_something(words: str) -> bool:
    return any(word not in _FILLER for word in re.findall(r"[\w&'-]+", words.lower()))
