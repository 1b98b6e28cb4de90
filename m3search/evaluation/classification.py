"""Telling labels apart, however the scores came about: balanced accuracy and AUROC, with intervals over patients.

An item may carry several labels. So a label counts as recognised on an item that carries it if it scores above every
label that the item does not carry; with one label per item that is the usual top-1. Balanced accuracy is the mean over
labels of the share of their items on which they were recognised. Chance for an item with m of C labels is
1 / (C - m + 1). AUROC compares one label's score on items with it and on items without (chance 0.5); its mean is over
labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from m3search.evaluation.figures import Part
from m3search.metrics import auroc, nan_mean

if TYPE_CHECKING:
    import numpy.typing as npt

    Float64 = npt.NDArray[np.float64]
    Bool = npt.NDArray[np.bool_]
    Statistic = Callable[["Round", Float64], Float64]  # (S, G) weights of groups -> (S, C)


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """Scores of N items for C labels. Zero-shot classification has one round, a linear probe one per draw."""

    scores: Float64  # (N, C)
    carries: Bool  # (N, C)
    group: npt.NDArray[np.intp]  # (N,) place of the item's group in `Classification.groups`


@dataclass(frozen=True, slots=True, eq=False)
class Classification:
    """Labels told apart within one modality, or one modality and source."""

    modality: str
    source: str
    labels: tuple[str, ...]  # (C,)
    groups: tuple[str, ...]  # (G,) drawn as wholes for intervals
    rounds: tuple[Round, ...]

    def balanced_accuracy(self) -> Part:
        """Mean over labels of the share of items on which they were recognised."""
        return self._part(recalls, chance=float(np.mean([_chance(each) for each in self.rounds])))

    def auroc(self) -> Part:
        """Mean over labels."""
        return self._part(aurocs, chance=0.5)

    def by_label(self) -> dict[str, Part]:
        """AUROC of each label; `queries` are the items that carry it."""
        return {label: self._part(aurocs, chance=0.5, only=place) for place, label in enumerate(self.labels)}

    def _part(self, statistic: Statistic, chance: float, only: int | None = None) -> Part:
        carriers = max(int(each.carries[:, only].sum()) for each in self.rounds)
        return Part(
            names=self.labels if only is None else (self.labels[only],),
            groups=self.groups,
            statistic=partial(_mean, self.rounds, statistic, only),
            chance=chance,
            queries=len(self.labels) if only is None else carriers,
            items=max(len(each.scores) for each in self.rounds),
        )


def recalls(each: Round, weights: Float64) -> Float64:
    """(S, C) the weighted share of each label's items on which it was recognised."""
    hits = recognised(each.scores, each.carries)
    drawn = weights[:, each.group]
    total = drawn @ each.carries
    return np.where(total > 0, drawn @ (hits * each.carries) / np.where(total > 0, total, 1), np.nan)


def aurocs(each: Round, weights: Float64) -> Float64:
    """(S, C)."""
    drawn = weights[:, each.group]
    columns = range(each.scores.shape[1])
    return np.stack([auroc(each.scores[:, c], each.carries[:, c], drawn) for c in columns], axis=1)


def recognised(scores: Float64, carries: Bool) -> Float64:
    """(N, C) 1 where a label scores above all labels that the item does not carry, 1 / (1 + t) where it ties with t of
    them at the top, else 0."""
    wrong = np.where(carries, -np.inf, scores)
    best = wrong.max(axis=1, keepdims=True, initial=-np.inf)
    tied = (wrong == best).sum(axis=1, keepdims=True)
    return np.where(scores > best, 1.0, np.where(scores == best, 1 / (1 + tied), 0.0))


def _chance(each: Round) -> float:
    """Of `recalls`: every order of an item's labels is as likely."""
    wrong = (~each.carries).sum(axis=1, keepdims=True)
    total = each.carries.sum(axis=0)
    share = (each.carries / (wrong + 1)).sum(axis=0)
    return float(np.mean(share[total > 0] / total[total > 0]))


def _mean(rounds: Sequence[Round], statistic: Statistic, only: int | None, weights: Float64) -> Float64:
    """(S,) over labels, then over rounds; labels and rounds of which a draw left nothing do not count."""
    values = np.stack([statistic(each, weights) for each in rounds])  # (R, S, C)
    chosen = values if only is None else values[:, :, only : only + 1]
    return nan_mean(nan_mean(chosen, axis=2), axis=0)
