"""A table: one question, one measure, a figure for each part of the data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from m3search.evaluation.figures import Figure, QueryScore, figure, macro, stratify
from m3search.evaluation.items import EncodeText
from m3search.evaluation.trials import Trial, score
from m3search.metrics import Interval, interval_of

if TYPE_CHECKING:
    import numpy.typing as npt

MEAN = "mean"  # the last row of a table by modality: all weigh alike


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """What one encoder reached."""

    key: str  # the same in every release: recorded baselines are found by it
    title: str
    measure: str  # "AP", "R@10", "balanced accuracy", "AUROC", "pair accuracy"
    figures: Mapping[str, Figure]  # by part: "xray", "xray/a source", "xray→ct", …
    scores: Mapping[str, Sequence[QueryScore]] = field(default_factory=dict)  # behind the figures, where there are any
    trials: tuple[Trial, ...] = ()  # behind the scores: what TREC files are written from
    honest: str = ""  # of a flawed protocol: the key of the table to print beside it


def retrieval_table(
    key: str,
    title: str,
    trials: Iterable[Trial],
    measure: str = "AP",
    by: Literal["modality", "source"] = "modality",
    honest: str = "",
) -> Table:
    """A table of the trials; with a mean over modalities where there are several."""
    trials = tuple(trials)
    strata = stratify(score(trials, measure), by)
    figures = {name: figure(members) for name, members in strata.items()}
    if by == "modality" and len(strata) > 1:
        figures[MEAN] = macro(strata)
    return Table(key, title, measure, figures, strata, trials, honest)


Pairs = list[tuple[float, float, str]]
"""Ours, theirs and the cluster of each query that both were asked."""


def ratio(table: Table, other: Table) -> dict[str, Interval]:
    """What `table` reaches relative to `other`, part by part, on the queries both were asked; bounds by bootstrap of
    patients, the same draw for both. Empty for tables without scores of single queries."""
    ratios: dict[str, Interval] = {}
    aligned: dict[str, Pairs] = {}
    for name in table.scores:
        if name in other.scores and (pairs := _pairs(table.scores[name], other.scores[name])):
            aligned[name] = pairs
            ratios[name] = _ratio([pairs])
    if MEAN in table.figures and len(aligned) > 1:
        ratios[MEAN] = _ratio(list(aligned.values()))
    return ratios


def _pairs(ours: Sequence[QueryScore], theirs: Sequence[QueryScore]) -> Pairs:
    values = {(scored.query, scored.source): scored.value for scored in theirs}
    return [
        (scored.value, values[scored.query, scored.source], scored.cluster)
        for scored in ours
        if (scored.query, scored.source) in values
    ]


def _ratio(strata: Sequence[Pairs]) -> Interval:
    """The mean over strata of our means, over that of theirs."""
    values = np.array([pair[:2] for pairs in strata for pair in pairs])  # (N, 2)
    weight = np.concatenate([np.full(len(pairs), 1 / len(pairs)) for pairs in strata])

    def statistic(times: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        drawn = times * weight
        sums = drawn @ values  # (S, 2)
        return np.where(sums[:, 1] > 0, sums[:, 0] / np.where(sums[:, 1] > 0, sums[:, 1], 1), np.nan)

    return interval_of(statistic, [pair[2] for pairs in strata for pair in pairs])


def remembering(encode_text: EncodeText) -> EncodeText:
    """The same encoder of texts, asked once for each text: protocols repeat each other's."""
    known: dict[str, npt.NDArray[np.float32]] = {}

    def encode(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        new = list(dict.fromkeys(text for text in texts if text not in known))
        if new:
            known.update(zip(new, encode_text(new), strict=True))
        return np.stack([known[text] for text in texts])

    return encode
