"""What a word of the vocabulary means: the labels it is true of."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import lru_cache

from m3search.vocabulary.chest import CHEST
from m3search.vocabulary.concepts import Group
from m3search.vocabulary.ct import CT
from m3search.vocabulary.ecg import ECG
from m3search.vocabulary.groups import GROUPS
from m3search.vocabulary.pathology import PATHOLOGY
from m3search.vocabulary.retina import RETINA
from m3search.vocabulary.spelling import american, british

FINDINGS = {finding.label: finding for finding in CHEST + CT + RETINA + ECG + PATHOLOGY}

# Other words for a label. A label that is not here is only called by its own name.
SYNONYMS: dict[str, tuple[str, ...]] = {label: finding.words for label, finding in FINDINGS.items() if finding.words}

# Names of people, places and organisms, which keep their capital within a sentence.
_PROPER = frozenset({
    "Klebsiella", "Streptococcus", "Legionella", "Legionnaires", "Pneumocystis", "Escherichia", "Mycobacterium",
    "Friedlander", "Kerley", "Wolff", "Parkinson", "White", "Mobitz", "Wenckebach", "Brugada", "Sokolow", "Lyon",
    "Gleason",
})  # fmt: skip


def _families() -> dict[str, frozenset[str]]:
    """label -> itself and all labels that are a kind of it, at any remove."""
    children: dict[str, set[str]] = defaultdict(set)
    for finding in FINDINGS.values():
        for parent in finding.is_a:
            children[parent].add(finding.label)

    def below(label: str) -> set[str]:
        return {label}.union(*(below(child) for child in children[label]))

    return {label: frozenset(below(label)) for label in FINDINGS}


_FAMILIES = _families()


def kinds_of(label: str) -> frozenset[str]:
    """The label and every label that is a kind of it: "Pneumonia" and "Klebsiella pneumonia", ..."""
    return _FAMILIES.get(label, frozenset({label}))


def _index() -> dict[str, frozenset[str]]:
    """Word, in lower case and either spelling -> the labels of which it is true."""
    index: dict[str, set[str]] = defaultdict(set)
    for label in FINDINGS:
        for word in words_for(label):
            index[word.lower()] |= kinds_of(label)
    by_name = {group.words[0]: group for group in GROUPS}

    def members(name: str) -> set[str]:
        # A label comes before a group of the same name, except within that very group ("lung cancer").
        if name in FINDINGS:
            return set(kinds_of(name))
        return set().union(*(members(member) for member in by_name[name].members))

    for group in GROUPS:
        inside_group = members(group.words[0])
        for word in group.words:
            index[word.lower()] |= inside_group
    for word, labels in list(index.items()):
        for spelt in (british(word), american(word)):
            index[spelt] |= labels
    return {word: frozenset(labels) for word, labels in index.items()}


def words_for(label: str) -> tuple[str, ...]:
    """The label itself, then other words for it."""
    return (label, *SYNONYMS.get(label, ()))


MEANINGS = _index()


def meaning(word: str) -> frozenset[str]:
    """The labels of which a word is true, whichever of its senses is meant; an unknown word is a label by itself.

    >>> sorted(meaning("bowel cancer"))
    ['Colon adenocarcinoma', 'Colorectal adenocarcinoma epithelium']
    """
    return MEANINGS.get(word.lower()) or frozenset({word})


@lru_cache(maxsize=4096)
def groups_of(label: str, modality: str) -> tuple[Group, ...]:
    """The groups to which a label belongs, as far as they speak of the modality."""
    return tuple(
        group for group in GROUPS if label in meaning(group.words[0]) and (not group.on or modality in group.on)
    )


def inside(word: str) -> str:
    """The word as it stands within a sentence: "Pleural effusion" loses its capital, "COVID-19" does not."""
    return re.sub(r"\b[A-Z][a-z]+\b", lambda found: found[0] if found[0] in _PROPER else found[0].lower(), word)
