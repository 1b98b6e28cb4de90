"""Negation: does "no pleural effusion" ask for something else than "pleural effusion"?

A finding is claimed and denied in the same words (prompts.DENIALS), and both queries rank the same items. Scores of two
queries cannot be compared, ranks can: an item with the finding should fall from the claim's ranking to the denial's,
one without it should rise. Pair accuracy is the share of pairs of an item with and an item without the finding in which
the one with it falls further, ties counting half: 1 where the order is turned around, 0.5 where the denial is not heard
or ranks at random. The AUROC of the denial counts items without the finding as what it asks for; an encoder that hears
the finding's name alone has there 1 minus the AUROC of the claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from m3search.evaluation.concepts import is_finding
from m3search.evaluation.figures import Part
from m3search.evaluation.items import MIN_RELEVANT, EncodeText, LabelledItems, Rows, similarity
from m3search.evaluation.prompts import DENIALS, fill
from m3search.metrics import auroc, nan_mean

if TYPE_CHECKING:
    import numpy.typing as npt

    Float64 = npt.NDArray[np.float64]

What = Literal["pairs", "denial", "claim"]
"""Pair accuracy, AUROC of the denial for items without the finding, AUROC of the claim for items with it."""


@dataclass(frozen=True, slots=True, eq=False)
class Denied:
    """One finding claimed and denied in T ways, over N items."""

    label: str
    carries: npt.NDArray[np.bool_]  # (N,)
    claim: Float64  # (T, N) scores
    denial: Float64  # (T, N)

    def values(self, what: What, weights: Float64) -> Float64:
        """(S,) for weights (S, N), the mean over the T ways."""
        from scipy.stats import rankdata

        if what == "pairs":  # places from the best, ties in the middle of theirs
            scores, wanted = rankdata(-self.denial, axis=1) - rankdata(-self.claim, axis=1), self.carries
        elif what == "denial":
            scores, wanted = self.denial, ~self.carries
        else:
            scores, wanted = self.claim, self.carries
        return nan_mean(np.stack([auroc(way, wanted, weights) for way in scores]), axis=0)


@dataclass(frozen=True, slots=True, eq=False)
class NegationSet:
    """All findings of one modality, or one modality and source."""

    modality: str
    source: str
    groups: tuple[str, ...]  # (N,)
    findings: tuple[Denied, ...]

    def part(self, what: What) -> Part:
        """The mean over findings."""
        return self._part(what, self.findings, len(self.findings))

    def by_label(self, what: What) -> dict[str, Part]:
        """Each finding alone; `queries` are the items that have it."""
        return {one.label: self._part(what, [one], int(one.carries.sum())) for one in self.findings}

    def _part(self, what: What, findings: Sequence[Denied], asked: int) -> Part:
        return Part(
            names=tuple(one.label for one in findings),
            groups=self.groups,
            statistic=partial(_mean, findings, what),
            chance=0.5,
            queries=asked,
            items=len(self.groups),
        )


def negation_sets(
    items: LabelledItems,
    encode_text: EncodeText,
    by_source: bool = False,
    denials: Sequence[tuple[str, str]] = DENIALS,
    min_relevant: int = MIN_RELEVANT,
) -> list[NegationSet]:
    """One per modality (and source) with a finding that at least `min_relevant` items have and as many have not."""
    spoken: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]] = {}  # texts are the same for all sources
    sets = []
    for (modality, source), rows in items.strata(by_source).items():
        findings = []
        for label in _findings(items, rows, min_relevant):
            if (modality, label) not in spoken:
                claims, denied = (fill([pair[side] for pair in denials], modality, label) for side in (0, 1))
                spoken[modality, label] = encode_text(claims), encode_text(denied)
            claim, denial = (similarity(vectors, items.vectors[rows]) for vectors in spoken[modality, label])
            findings.append(Denied(label, items.carries([label])[rows, 0], claim, denial))
        if findings:
            sets.append(NegationSet(modality, source, tuple(items.groups()[rows].tolist()), tuple(findings)))
    return sets


def _findings(items: LabelledItems, rows: Rows, min_relevant: int) -> list[str]:
    labels = [label for label in items.labels(rows) if is_finding(label)]
    counts = items.carries(labels)[rows].sum(axis=0)
    enough = (counts >= min_relevant) & (len(rows) - counts >= min_relevant)
    return [label for label, kept in zip(labels, enough, strict=True) if kept]


def _mean(findings: Sequence[Denied], what: What, weights: Float64) -> Float64:
    return nan_mean(np.stack([one.values(what, weights) for one in findings]), axis=0)
