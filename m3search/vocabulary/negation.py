"""What a text says is not there."""

from __future__ import annotations

import re
from functools import lru_cache

from m3search.vocabulary.groups import GROUPS
from m3search.vocabulary.meanings import FINDINGS, meaning, words_for

# A list follows: "no effusion, pneumothorax or consolidation". It ends with the clause.
_DENIAL = re.compile(
    r"\b(?:no(?: evidence of| signs? of| definite| focal| obvious)?|without(?: evidence of| signs? of)?|absence of"
    r"|negative for|free of)\s+(?:an?\s+|any\s+)?([^.;:()]{3,80})",
    re.IGNORECASE,
)
_SEPARATOR = re.compile(r",\s*(?:and\s+|or\s+|nor\s+|no\s+)?|\s+(?:and|or|nor)\s+(?:no\s+)?")
_EPITHETS = re.compile(r"^(?:(?:an?|any|the|focal|lobar|alveolar|large|small|acute|definite)\s+)+")
_ABNORMAL_WORDS = frozenset(
    word.lower() for finding in FINDINGS.values() if finding.kind == "abnormal" for word in words_for(finding.label)
) | {word.lower() for group in GROUPS for word in group.words}


@lru_cache(maxsize=16384)
def denials_in(text: str) -> frozenset[str]:
    """Labels that a text says are absent. Only what follows a plain denial and is a word of the vocabulary counts.

    >>> sorted(denials_in("Cardiomegaly without pneumothorax or focal consolidation."))
    ['Consolidation', 'Pneumothorax', 'Tension pneumothorax']
    """
    found: set[str] = set()
    for match in _DENIAL.finditer(text):
        for phrase in _SEPARATOR.split(match.group(1)):
            word = _known(phrase)
            if not word:
                break  # the list is over, or holds what we do not know: "without fever but with effusion"
            found |= meaning(word)
    return frozenset(found)


def _known(phrase: str) -> str:
    """The longest beginning of a phrase that the vocabulary knows, whatever its number; "" where there is none."""
    words = _EPITHETS.sub("", phrase.strip().lower()).split()
    for length in range(len(words), 0, -1):
        beginning = " ".join(words[:length])
        for word in (beginning, beginning.removesuffix("s"), beginning + "s"):
            if word in _ABNORMAL_WORDS:
                return word
    return ""
