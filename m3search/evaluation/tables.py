"""A table: one question, one measure, a figure for each part of the data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Literal

import numpy as np

from m3search.evaluation.figures import Figure, Part, figure_of, mean_of, stratify
from m3search.evaluation.items import EncodeText
from m3search.evaluation.trials import Trial, score
from m3search.metrics import Interval, interval_of, nan_mean

if TYPE_CHECKING:
    import numpy.typing as npt

    Weights = npt.NDArray[np.float64]

MEAN = "mean"  # the last row of a table: all parts weigh alike


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """What one encoder reached."""

    key: str  # the same in every release: recorded baselines are found by it
    title: str
    measure: str  # "AP", "R@10", "balanced accuracy", "AUROC", "pair accuracy"
    figures: Mapping[
        str, Figure
    ]  # by part: "xray", "xray/a source", "xray→ct", …; and the mean where it says something
    parts: Mapping[str, Part]  # what the figures are computed from; none where they come from elsewhere
    trials: tuple[Trial, ...] = ()  # of retrieval: what TREC files are written from
    honest: str = ""  # of a flawed protocol: the key of the table to print beside it


def table(key: str, title: str, measure: str, parts: Mapping[str, Part], mean: bool = False) -> Table:
    """A table of these parts, and of their mean where it is asked for and there are several."""
    figures = {name: found for name, part in parts.items() if not isnan((found := figure_of([part])).value)}
    if mean and len(figures) > 1:
        figures[MEAN] = figure_of(list(parts.values()))
    return Table(key, title, measure, figures, parts)


def retrieval_table(
    key: str,
    title: str,
    trials: Iterable[Trial],
    measure: str = "AP",
    by: Literal["modality", "source"] = "modality",
    honest: str = "",
) -> Table:
    """A table of the trials, with the mean over modalities."""
    trials = tuple(trials)
    parts = {name: Part.of(scores) for name, scores in stratify(score(trials, measure), by).items()}
    made = table(key, title, measure, parts, mean=by == "modality")
    return Table(key, title, measure, made.figures, parts, trials, honest)


def ratio(ours: Table, theirs: Table) -> dict[str, Interval]:
    """What one encoder reaches relative to another, for each part in which both were asked the same; bounds by
    bootstrap of patients, the same draw for both, and NaN where all is of one patient."""
    shared = [name for name, part in ours.parts.items() if name in theirs.parts and _alike(part, theirs.parts[name])]
    ratios = {name: _ratio([ours.parts[name]], [theirs.parts[name]]) for name in shared}
    if MEAN in ours.figures and len(shared) == len(ours.parts):
        ratios[MEAN] = _ratio([ours.parts[name] for name in shared], [theirs.parts[name] for name in shared])
    return ratios


def _alike(one: Part, other: Part) -> bool:
    return (one.names, one.groups) == (other.names, other.groups)


def mean_ratio(ours: Mapping[str, Sequence[Part]], theirs: Mapping[str, Sequence[Part]]) -> dict[str, Interval]:
    """The mean of the ratios over several questions, for each part of the data, and the mean over all; as `ratio`."""
    pairs = {
        name: list(zip(parts, theirs[name], strict=True))
        for name, parts in ours.items()
        if name in theirs and all(map(_alike, parts, theirs[name]))
    }
    found = {name: _mean_ratio(asked) for name, asked in pairs.items()}
    return found | {MEAN: _mean_ratio([pair for asked in pairs.values() for pair in asked])} if found else {}


def _ratio(ours: Sequence[Part], theirs: Sequence[Part]) -> Interval:
    def statistic(weights: Weights) -> Weights:
        return _quotient(mean_of(ours, weights), mean_of(theirs, weights))

    return _paired(statistic, ours)


def _mean_ratio(pairs: Sequence[tuple[Part, Part]]) -> Interval:
    def statistic(weights: Weights) -> Weights:
        pieces = np.split(weights, np.cumsum([len(our.groups) for our, _ in pairs])[:-1], axis=1)
        quotients = [
            _quotient(our.statistic(piece), their.statistic(piece))
            for (our, their), piece in zip(pairs, pieces, strict=True)
        ]
        return nan_mean(np.stack(quotients), axis=0)

    return _paired(statistic, [our for our, _ in pairs])


def _quotient(above: Weights, below: Weights) -> Weights:
    return np.where(below > 0, above / np.where(below > 0, below, 1), np.nan)


def _paired(statistic: Callable[[Weights], Weights], parts: Sequence[Part]) -> Interval:
    groups = [group for part in parts for group in part.groups]
    found = interval_of(statistic, groups)
    return found if len(set(groups)) > 1 else Interval(found.mean, float("nan"), float("nan"))


def remembering(encode_text: EncodeText) -> EncodeText:
    """The same encoder of texts, asked once for each text: protocols repeat each other's."""
    known: dict[str, npt.NDArray[np.float32]] = {}

    def encode(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        new = list(dict.fromkeys(text for text in texts if text not in known))
        if new:
            known.update(zip(new, encode_text(new), strict=True))
        return np.stack([known[text] for text in texts])

    return encode
