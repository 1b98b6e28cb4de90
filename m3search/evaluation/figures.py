"""From the scores of single queries to figures: means with 95% intervals, beside chance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from m3search.metrics import Interval, bootstrap_interval, interval_of, nan_mean, weighted_share

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class QueryScore:
    """What one query reached in one measure."""

    query: str  # a label's name, a text, or an item_id
    modality: str
    source: str  # "" unless the scope is "source", or the query is an item
    cluster: str  # queries of one cluster are not independent: intervals resample clusters
    value: float
    chance: float  # what a random order of the same gallery reaches on average
    relevant: int
    gallery: int


@dataclass(frozen=True, slots=True)
class Figure:
    """A measure's mean over queries, with its 95% interval."""

    value: float
    low: float | None  # None where all queries are of one cluster: nothing to draw an interval from
    high: float | None
    chance: float
    queries: int
    items: int  # in the largest gallery

    @classmethod
    def of(cls, interval: Interval, clusters: Sequence[str], *, chance: float, queries: int, items: int) -> Figure:
        """With bounds where there are several clusters and the interval is defined."""
        bounded = len(set(clusters)) > 1 and not np.isnan(interval.low)
        low, high = (interval.low, interval.high) if bounded else (None, None)
        return cls(interval.mean, low, high, chance, queries, items)

    def text(self) -> str:
        """Value and interval for a table, 22 characters: "  0.719 [0.683, 0.755]"."""
        interval = "" if self.low is None or self.high is None else f"[{self.low:.3f}, {self.high:.3f}]"
        return f"{self.value:7.3f} {interval:14}"


def summarise(scores: Iterable[QueryScore], by: Literal["modality", "source"] = "modality") -> dict[str, Figure]:
    """Means per modality, or per "modality/source", in the order of their first query."""
    return {name: figure(members) for name, members in stratify(scores, by).items()}


def stratify(
    scores: Iterable[QueryScore], by: Literal["modality", "source"] = "modality"
) -> dict[str, list[QueryScore]]:
    """Scores per modality, or per "modality/source", in the order of their first query."""
    strata: dict[str, list[QueryScore]] = defaultdict(list)
    for score in scores:
        strata[stratum_name(score.modality, score.source if by == "source" else "")].append(score)
    return dict(strata)


def figure(scores: Sequence[QueryScore]) -> Figure:
    """The mean of these scores, at least one."""
    clusters = [score.cluster for score in scores]
    return Figure.of(
        bootstrap_interval(np.array([score.value for score in scores]), groups=clusters),
        clusters,
        chance=float(np.mean([score.chance for score in scores])),
        queries=len(scores),
        items=max(score.gallery for score in scores),
    )


def macro(strata: Mapping[str, Sequence[QueryScore]]) -> Figure:
    """The mean over strata of their means, each weighing alike; patients are drawn for all strata at once."""
    scores = [scored for members in strata.values() for scored in members]
    ends = np.cumsum([len(members) for members in strata.values()])[:-1]
    parts = np.split(np.arange(len(scores)), ends)
    values = np.array([scored.value for scored in scores])

    def statistic(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return nan_mean(np.stack([weighted_share(values[part], weights[:, part]) for part in parts]), axis=0)

    clusters = [scored.cluster for scored in scores]
    return Figure.of(
        interval_of(statistic, clusters),
        clusters,
        chance=float(np.mean([np.mean([scored.chance for scored in members]) for members in strata.values()])),
        queries=len(scores),
        items=max(scored.gallery for scored in scores),
    )


def stratum_name(modality: str, source: str) -> str:
    """How a table names a part of the data."""
    return f"{modality}/{source}" if source else modality
