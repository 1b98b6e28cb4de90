"""What a text says is not there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from m3search.vocabulary.meanings import FINDINGS, MEANINGS, meaning

# A list may follow: "no effusion, pneumothorax or consolidation". It ends with the clause.
_DENIAL = re.compile(
    r"\b(?:no|without|negative for|absence of|free of)\s+(?:(?:evidence|signs?) (?:of|for)\s+)?([^.;:()]+)",
    re.IGNORECASE,
)
_TOKEN = re.compile(r"[^\s,]+|,")
_SEPARATORS = frozenset({",", "and", "or", "nor", "no", "without"})
_EPITHETS = frozenset({"a", "an", "any", "the", "focal", "lobar", "large", "small", "acute", "definite", "obvious"})
_ABNORMAL_WORDS = frozenset(
    word for word, labels in MEANINGS.items() if all(FINDINGS[label].kind == "abnormal" for label in labels)
)
_LONGEST = max(len(word.split()) for word in _ABNORMAL_WORDS)


@lru_cache(maxsize=16384)
def denials_in(text: str) -> frozenset[str]:
    """Labels that a text says are absent. Only what follows a plain denial and is a word of the vocabulary counts.

    >>> sorted(denials_in("Cardiomegaly without pneumothorax or focal consolidation."))
    ['Consolidation', 'Pneumothorax', 'Tension pneumothorax']
    """
    clauses = _DENIAL.findall(text.replace("E. coli", "Escherichia coli"))
    return frozenset[str]().union(*(meaning(word) for clause in clauses for word in _listed(clause)))


def _listed(clause: str) -> Iterator[str]:
    """Words of the vocabulary at the head of each member of a list; none beyond the first member that has none."""
    tokens = _TOKEN.findall(clause.lower())
    place = 0
    while place < len(tokens):
        if tokens[place] in _SEPARATORS:
            place += 1
            continue
        word, length = _longest(tokens[place : place + _LONGEST])
        if length:
            yield word
            place += length
            while place < len(tokens) and tokens[place] not in _SEPARATORS:  # "pneumothorax is evident"
                place += 1
        elif tokens[place] in _EPITHETS:
            place += 1
        else:
            return


def _longest(tokens: list[str]) -> tuple[str, int]:
    """The longest beginning that the vocabulary knows, in singular or plural, and its tokens; ("", 0) if none."""
    for length in range(len(tokens), 0, -1):
        beginning = " ".join(tokens[:length])
        for word in (beginning, beginning.removesuffix("s"), beginning + "s"):
            if word in _ABNORMAL_WORDS:
                return word, length
    return "", 0
