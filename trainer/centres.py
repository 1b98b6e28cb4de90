"""Centre texts: the sentences on which the text encoders of all modalities are made to agree (stage 1), and which the
one encoder learns from its teachers (stage 2).

For a modality they are, in this order and without repetition,

- texts at hand: reports and captions of the training side (never of held-out groups), a part of the whole,
- what is written from the vocabulary: round by round every finding of the modality once more, those that the data has
  before those that only medicine has, each time in another manner: its name, another word for it, the same said and
  denied, a phrase with a name of the examination, a sentence as reports have it with degree, place, person and view,
  beside a second finding, and with what is not there.

The words come from `m3search.vocabulary`. Nothing depends on the order of the rows, and the same rows, modality, limit
and seed always give the same texts. What a text claims and denies stands with it; a text that was written to be told
from its contrary carries that as `opposite`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from m3search.trainer.texts import Text, deniable, own_text
from m3search.vocabulary import (
    BARE_PAIRS,
    EXCLUSIVE,
    FINDINGS,
    NAMES,
    PAIRS,
    Finding,
    american,
    british,
    groups_of,
    inside,
    kinds_of,
    meaning,
    region_claimed,
    templates_for,
    with_age,
    words_for,
)
from m3search.vocabulary.examinations import REGIONS
from m3search.vocabulary.reports import AGES, NEGATIVES, PEOPLE, PLAIN_REPORTS, REPORTS, SEVERITIES, STUDIES

if TYPE_CHECKING:
    from m3search.datasets import Row

LIMIT = 2000  # texts of one modality
SEED = 20250618
AT_HAND = 0.3  # of the limit, at most
MANNERS = 9  # of writing about a finding; a round per manner, then again with other words
ROUNDS = 60  # after which a small vocabulary has little new to say

T = TypeVar("T")


def centre_texts(rows: Sequence[Row], modality: str, limit: int = LIMIT, seed: int = SEED) -> tuple[Text, ...]:
    """At most `limit` texts of one modality, no two with the same words.

    Args:
        rows: items of the training side, of any modality; only those of `modality` count.
        modality: its vocabulary is used whether or not an item shows a finding.
        limit: texts at most; fewer where vocabulary and rows have no more to say.
        seed: of all choices.
    """
    rng = np.random.default_rng([seed, *modality.encode()])
    own = [row for row in rows if row.modality == modality]
    texts = {text.words: text for text in _at_hand(own, int(AT_HAND * limit), rng)}
    writer = _Writer(modality, {label for row in own for label in row.labels}, rng)
    for number in range(ROUNDS * MANNERS):
        for finding in writer.findings:
            for text in writer.write(finding, number % MANNERS):
                if len(texts) < limit:
                    texts.setdefault(text.words, text)
        if len(texts) >= limit:
            break
    return tuple(texts.values())


def centre_texts_of_all(
    rows: Sequence[Row], modalities: Sequence[str], limit: int = LIMIT, seed: int = SEED
) -> dict[str, tuple[Text, ...]]:
    """`centre_texts` of each modality; a text that an earlier modality has is left out of the later ones."""
    said: set[str] = set()
    out: dict[str, tuple[Text, ...]] = {}
    for modality in modalities:
        out[modality] = tuple(text for text in centre_texts(rows, modality, limit, seed) if text.words not in said)
        said |= {text.words for text in out[modality]}
    return out


def _at_hand(rows: Sequence[Row], limit: int, rng: np.random.Generator) -> list[Text]:
    """Reports and captions, each once; some of them where there are more than the limit."""
    found: dict[str, Text] = {}
    for row in sorted(rows, key=lambda row: (str(row.path), row.group)):
        for words in (row.text, row.caption):
            found.setdefault(" ".join(words.split()), own_text(row, " ".join(words.split())))
    texts = [found[words] for words in sorted(found)]
    if len(texts) <= limit:
        return texts
    return [texts[i] for i in np.sort(rng.choice(len(texts), limit, replace=False))]


class _Writer:
    """Writes texts about findings of one modality."""

    def __init__(self, modality: str, labels: set[str], rng: np.random.Generator) -> None:
        self.modality, self.rng, self._labels = modality, rng, labels
        known = [finding for finding in FINDINGS.values() if modality in finding.on]
        of_data = [finding for finding in known if finding.label in labels]
        unknown = [Finding(label, on=(modality,), kind="tissue") for label in sorted(labels - {f.label for f in known})]
        self.findings = [*of_data, *unknown, *(finding for finding in known if finding.label not in labels)]
        self._manners: tuple[Callable[[Finding], list[Text]], ...] = (
            self._name, self._report, self._pair, self._report_with_negative, self._other_word, self._phrase_pair,
            self._two_findings, self._group_pair, self._report_with_negative,
        )  # fmt: skip

    def write(self, finding: Finding, manner: int) -> list[Text]:
        """None, one or two texts about a finding."""
        spell = (british, american, str)[int(self.rng.integers(3))]
        return [_spelt(text, spell) for text in self._manners[manner](finding)]

    def _name(self, finding: Finding) -> list[Text]:
        return [Text(finding.label, meaning(finding.label), either=True)]

    def _other_word(self, finding: Finding) -> list[Text]:
        word = self._pick(words_for(finding.label))
        return [Text(word, meaning(word), either=True)]

    def _pair(self, finding: Finding) -> list[Text]:
        """A finding said and denied, by itself."""
        return self._said_and_denied(self._pick(words_for(finding.label)), BARE_PAIRS, Text(""))

    def _group_pair(self, finding: Finding) -> list[Text]:
        """The same with a word for a group."""
        groups = [group for group in groups_of(finding.label, self.modality) if not group.opposite]
        return self._said_and_denied(self._pick(self._pick(groups).words), BARE_PAIRS, Text("")) if groups else []

    def _phrase_pair(self, finding: Finding) -> list[Text]:
        """The same with a name of the examination."""
        names = NAMES.get(f"{self.modality} {finding.region}", ()) + NAMES.get(self.modality, (self.modality,))
        name, word = self._pick(names), self._pick(words_for(finding.label))
        examination = Text(name, modality=self.modality, region=region_claimed(self.modality, name))
        if deniable(meaning(word)):
            return self._said_and_denied(word, PAIRS, examination)
        words = self._pick(templates_for(finding.kind, word)).format(name=name, label=inside(word))
        return [Text(words, meaning(word), self.modality, either=True, region=examination.region)]

    def _said_and_denied(self, word: str, pairs: Sequence[tuple[str, str]], examination: Text) -> list[Text]:
        labels = meaning(word)
        if not deniable(labels):
            return []
        said, no = (template.format(name=examination.words, label=inside(word)) for template in self._pick(pairs))
        denial = replace(examination, words=no, denied=labels)
        return [replace(examination, words=said, labels=labels, either=True, opposite=denial), denial]

    def _report(self, finding: Finding) -> list[Text]:
        return [self._sentence(finding, [finding], 0)]

    def _report_with_negative(self, finding: Finding) -> list[Text]:
        return [self._sentence(finding, [finding], int(self.rng.integers(1, 4)))]

    def _two_findings(self, finding: Finding) -> list[Text]:
        partners = self._partners(finding)
        if not partners:
            return []
        return [self._sentence(finding, [finding, self._pick(partners)], int(self.rng.integers(0, 2)))]

    def _sentence(self, finding: Finding, claimed: Sequence[Finding], negatives: int) -> Text:
        """A report's sentence: what is there, and `negatives` findings that are not."""
        region = finding.region if self.modality in REGIONS else ""
        study = self._pick(STUDIES.get(f"{self.modality} {region}") or STUDIES.get(self.modality, (self.modality,)))
        absent = [inside(other.label) for other in self._absent(claimed, negatives)]
        negative = self._pick(NEGATIVES[len(absent) - 1]).format(*absent) if absent else ""
        what = " and ".join(self._described(one, study) for one in claimed)
        who = with_age(int(self.rng.integers(*AGES)), self._pick(PEOPLE))
        frames = REPORTS.get(self.modality, PLAIN_REPORTS) if finding.kind in ("abnormal", "tissue") else PLAIN_REPORTS
        words = self._pick(frames).format(
            study=study, Study=_capital(study), who=who, Who=_capital(who), finding=what, Finding=_capital(what),
            negative=negative,
        )  # fmt: skip
        denied = frozenset[str]().union(*(meaning(word) for word in absent if negative in words))
        # Of one finding any kind of it makes the sentence true; of two, the one without the other is half of it.
        labels = kinds_of(finding.label) if len(claimed) == 1 else frozenset(one.label for one in claimed)
        either = len(claimed) == 1
        return Text(" ".join(words.split()), labels, self.modality, either=either, denied=denied, region=region)

    def _described(self, finding: Finding, study: str) -> str:
        """The finding with a degree or a place or both, or by another word."""
        lot = self.rng.random()
        if lot < 0.3 or not (finding.degrees or finding.places):
            kinds = kinds_of(finding.label)
            return inside(self._pick([word for word in words_for(finding.label) if meaning(word) <= kinds]))
        degree = self._pick(finding.degrees) if finding.degrees and (lot < 0.7 or not finding.places) else ""
        places = [place for place in finding.places if not ("eye" in place and "eye" in study)]
        place = self._pick(places) if places and (not degree or degree in SEVERITIES) else ""
        return " ".join(part for part in (degree, inside(finding.label), place) if part)

    def _near(self, finding: Finding) -> list[Finding]:
        """Other abnormal findings that an examination of the same part of the body may show."""
        anywhere = self.modality not in REGIONS or (finding.kind == "normal" and not finding.region)
        parts = (finding.region, "") if self.modality == "pathology" else (finding.region,)
        return [
            other
            for other in self.findings
            if other.kind == "abnormal" and other is not finding and (anywhere or other.region in parts)
        ]

    def _partners(self, finding: Finding) -> list[Finding]:
        """What may be there as well: what often comes with it and, but for pathology, what has nothing to do with it.

        A slide shows one organ with one disease; two tumours in one sentence would be nonsense.
        """
        if finding.kind != "abnormal":
            return []
        together = frozenset[str]().union(*(meaning(word) for word in finding.may_show))
        alone = frozenset[str]().union(*(one for one in EXCLUSIVE if finding.label in one)) | _family(finding)
        return [
            other
            for other in self._near(finding)
            if _family(other).isdisjoint(alone)
            and (other.label in together if finding.may_show or self.modality == "pathology" else True)
        ]

    def _absent(self, claimed: Sequence[Finding], count: int) -> list[Finding]:
        """Up to `count` findings that can be denied beside what is claimed, most of them such as the data has."""
        if claimed[0].kind in ("tissue", "technique"):
            return []
        free = [other for other in self._near(claimed[0]) if all(_independent(one, other) for one in claimed)]
        if claimed[0].kind == "normal":  # excludes just these
            excluded = meaning(claimed[0].opposite)
            free = [other for other in free if other.label in excluded]
        of_data = [other for other in free if other.label in self._labels]
        if of_data and self.rng.random() < 0.7:
            free = of_data
        chosen: list[Finding] = []
        for i in self.rng.permutation(len(free)):
            if len(chosen) < count and all(_independent(one, free[i]) for one in chosen):
                chosen.append(free[i])
        return chosen

    def _pick(self, options: Sequence[T]) -> T:
        return options[int(self.rng.integers(len(options)))]


@lru_cache(maxsize=4096)
def _family(finding: Finding) -> frozenset[str]:
    """The finding, its kinds, and what it is a kind of."""
    above = (FINDINGS[label] for label in finding.is_a)
    return kinds_of(finding.label) | frozenset(finding.is_a).union(*(_family(parent) for parent in above))


@lru_cache(maxsize=1 << 17)
def _independent(one: Finding, other: Finding) -> bool:
    """Neither is of the other's family nor often comes with it."""
    return all(
        _family(a).isdisjoint(_family(b) | frozenset[str]().union(*(meaning(word) for word in b.may_show)))
        for a, b in ((one, other), (other, one))
    )


def _spelt(text: Text, spell: Callable[[str], str]) -> Text:
    """The text and its opposite in another spelling."""
    opposite = text.opposite and replace(text.opposite, words=spell(text.opposite.words))
    return replace(text, words=spell(text.words), opposite=opposite)


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]
