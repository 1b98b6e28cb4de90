"""From the scores of single queries to figures: means with 95% intervals, beside chance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from m3search.metrics import Interval, interval_of, nan_mean, weighted_share

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


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """What a figure of one part of the data is computed from, for any draw of its patients."""

    names: tuple[str, ...]  # of what was asked: two encoders can be compared where these are equal
    groups: tuple[str, ...]  # (N,) what is of one group is drawn together
    statistic: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]  # weights (S, N) -> (S,), NaN: undefined
    chance: float
    queries: int
    items: int

    @classmethod
    def of(cls, scores: Sequence[QueryScore]) -> Part:
        """The mean of these scores, at least one."""
        values = np.array([scored.value for scored in scores])
        return cls(
            names=tuple(f"{scored.query} among {scored.gallery}" for scored in scores),
            groups=tuple(scored.cluster for scored in scores),
            statistic=lambda weights: weighted_share(values, weights),
            chance=float(np.mean([scored.chance for scored in scores])),
            queries=len(scores),
            items=max(scored.gallery for scored in scores),
        )


def figure_of(parts: Sequence[Part]) -> Figure:
    """The mean over parts, each weighing alike; patients are drawn for all of them at once."""
    groups = [group for part in parts for group in part.groups]
    return Figure.of(
        interval_of(partial(mean_of, parts), groups),
        groups,
        chance=float(np.mean([part.chance for part in parts])),
        queries=sum(part.queries for part in parts),
        items=max(part.items for part in parts),
    )


def mean_of(parts: Sequence[Part], weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(S,) for weights (S, N) of all that the parts ask, one part after the other."""
    ends = np.cumsum([len(part.groups) for part in parts])[:-1]
    pieces = np.split(weights, ends, axis=1)
    return nan_mean(np.stack([part.statistic(piece) for part, piece in zip(parts, pieces, strict=True)]), axis=0)


def summarise(scores: Iterable[QueryScore], by: Literal["modality", "source"] = "modality") -> dict[str, Figure]:
    """Means per modality, or per "modality/source", in the order of their first query."""
    return {name: figure_of([Part.of(members)]) for name, members in stratify(scores, by).items()}


def stratify(
    scores: Iterable[QueryScore], by: Literal["modality", "source"] = "modality"
) -> dict[str, list[QueryScore]]:
    """Scores per modality, or per "modality/source", in the order of their first query."""
    strata: dict[str, list[QueryScore]] = defaultdict(list)
    for score in scores:
        strata[stratum_name(score.modality, score.source if by == "source" else "")].append(score)
    return dict(strata)


def stratum_name(modality: str, source: str) -> str:
    """How a table names a part of the data."""
    return f"{modality}/{source}" if source else modality
