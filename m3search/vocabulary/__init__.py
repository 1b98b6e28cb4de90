"""Words of medicine for what the archives hold: examinations, findings, groups of findings, and how each is denied.

Tables, reviewed by hand; nothing is generated at random. To add a finding, write one line in the table of its part of
medicine; to add a word, make sure that it is true of whoever has that finding. A word that several findings share is
written at each of them, or once in a group: `meaning` collects all that a word may mean.
"""

from m3search.vocabulary.concepts import Finding, Group
from m3search.vocabulary.examinations import NAMES, names_for, region_claimed, region_of, with_age
from m3search.vocabulary.groups import EXCLUSIVE, GROUPS
from m3search.vocabulary.meanings import (
    FINDINGS,
    SYNONYMS,
    groups_of,
    inside,
    kinds_of,
    meaning,
    words_for,
)
from m3search.vocabulary.negation import denials_in
from m3search.vocabulary.spelling import american, british
from m3search.vocabulary.templates import BARE_PAIRS, PAIRS, TEMPLATES, templates_for

__all__ = [
    "BARE_PAIRS",
    "EXCLUSIVE",
    "FINDINGS",
    "GROUPS",
    "NAMES",
    "PAIRS",
    "SYNONYMS",
    "TEMPLATES",
    "Finding",
    "Group",
    "american",
    "british",
    "denials_in",
    "groups_of",
    "inside",
    "kinds_of",
    "meaning",
    "names_for",
    "region_claimed",
    "region_of",
    "templates_for",
    "with_age",
    "words_for",
]
