"""Measures of ranked retrieval, in numpy. Q queries, G gallery items; a measure gives one float64 per query, (Q,).

The functions take the same arguments:

    scores      (Q, G) any float, higher is nearer. Equal scores keep the gallery's order: sort the gallery by id.
    relevance   (Q, G) bool, or numbers: the gain of an item that answers the query, 0 or less for one that does not.
    exclude     (Q, G) bool or None: items that do not take part, such as the query itself.

and raise ValueError where shapes differ, a score is NaN, or k < 1. A query to which nothing is relevant has the value
NaN and is left out of means. Names and definitions are those of trec_eval and ir_measures (`R@k`, `P@k`, `AP`,
`nDCG@k`, `RR`, `Success@k`): nDCG weighs gains, all others only ask whether they are above 0.

`Measure.parse` makes a measure from its name; a `Ranking` holds what it needs of a ranked list, cut short or whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Bool = npt.NDArray[np.bool_]
    Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """What each query found, and what there was to find."""

    gains: Float64  # (Q, L) of the item at each place, best first; 0 where it is not relevant
    judged: Float64  # (Q, J) of all relevant items, found or not, largest first, filled up with 0

    @property
    def relevant(self) -> npt.NDArray[np.int64]:
        """(Q,) how many items are relevant."""
        return np.asarray((self.judged > 0).sum(axis=1), dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure and its cutoff; `name` as it was asked for."""

    name: str
    kind: str  # a key of MEASURES
    k: int | None  # None: the whole list

    @classmethod
    def parse(cls, name: str) -> Measure:
        """From a name of ir_measures ("R@10", "AP", "nDCG@10") or of trec_eval ("recall_10", "map", "ndcg_cut_10").

        Raises:
            ValueError: there is no such measure, a cutoff is missing where one is needed, or it is below 1.
        """
        found = _IR_MEASURES.fullmatch(name) or _TREC_EVAL.fullmatch(name)
        if found is None:
            raise ValueError(f"there is no measure {name!r}; choose from {', '.join(MEASURES)}, with @k for a cutoff")
        kind, cutoff = _TREC_NAMES.get(found[1], found[1]), found[2]
        if cutoff is None and kind in NEED_CUTOFF:
            raise ValueError(f"{name} needs a cutoff, such as {kind}@10")
        if cutoff is not None and int(cutoff) < 1:
            raise ValueError(f"the cutoff of {name} must be at least 1")
        return cls(name, kind, int(cutoff) if cutoff else None)

    def __call__(self, ranking: Ranking) -> Float64:
        """(Q,), NaN where nothing is relevant."""
        values = MEASURES[self.kind](ranking, self.k)
        return np.where(ranking.relevant > 0, values, np.nan)


def rank(scores: npt.NDArray[Any], relevance: npt.NDArray[Any], exclude: Bool | None = None) -> Ranking:
    """The whole gallery in the order of the scores; excluded items come last and have no gain."""
    gains = np.maximum(np.asarray(relevance, dtype=np.float64), 0)
    keys = -np.asarray(scores, dtype=np.float64)
    if keys.ndim != 2 or keys.shape != gains.shape or (exclude is not None and exclude.shape != keys.shape):
        raise ValueError(f"scores {keys.shape}, relevance {gains.shape} and exclude must share one shape (Q, G)")
    if np.isnan(keys).any():
        raise ValueError("a score is NaN")
    if exclude is not None:
        gains = np.where(exclude, 0, gains)
        keys = np.where(exclude, np.nan, keys)  # sorted last, behind infinity
    order = np.argsort(keys, axis=1, kind="stable")
    return Ranking(np.take_along_axis(gains, order, axis=1), -np.sort(-gains, axis=1))


def recall_at_k(scores: npt.NDArray[Any], relevance: npt.NDArray[Any], k: int, exclude: Bool | None = None) -> Float64:
    """Part of the relevant items that is among the first k."""
    return _at("R", k)(rank(scores, relevance, exclude))


def precision_at_k(
    scores: npt.NDArray[Any], relevance: npt.NDArray[Any], k: int, exclude: Bool | None = None
) -> Float64:
    """Part of the first k places that is relevant; a gallery smaller than k counts as filled up with others."""
    return _at("P", k)(rank(scores, relevance, exclude))


def success_at_k(scores: npt.NDArray[Any], relevance: npt.NDArray[Any], k: int, exclude: Bool | None = None) -> Float64:
    """1 where a relevant item is among the first k, else 0. Papers on cross-modal retrieval call this R@k."""
    return _at("Success", k)(rank(scores, relevance, exclude))


def average_precision(scores: npt.NDArray[Any], relevance: npt.NDArray[Any], exclude: Bool | None = None) -> Float64:
    """Mean, over the relevant items, of the precision at their rank."""
    return Measure.parse("AP")(rank(scores, relevance, exclude))


def ndcg_at_k(scores: npt.NDArray[Any], relevance: npt.NDArray[Any], k: int, exclude: Bool | None = None) -> Float64:
    """Discounted gain of the first k over that of an ideal order; discount 1 / log2(rank + 1). Järvelin, 2002."""
    return _at("nDCG", k)(rank(scores, relevance, exclude))


def reciprocal_rank(scores: npt.NDArray[Any], relevance: npt.NDArray[Any], exclude: Bool | None = None) -> Float64:
    """1 / rank of the first relevant item."""
    return Measure.parse("RR")(rank(scores, relevance, exclude))


def mean_average_precision(scores: npt.NDArray[Any], relevance: npt.NDArray[Any], exclude: Bool | None = None) -> float:
    """mAP: mean `average_precision` of the queries that have a relevant item; NaN if none has."""
    return mean(average_precision(scores, relevance, exclude))


def mrr(scores: npt.NDArray[Any], relevance: npt.NDArray[Any], exclude: Bool | None = None) -> float:
    """Mean `reciprocal_rank` of the queries that have a relevant item; NaN if none has."""
    return mean(reciprocal_rank(scores, relevance, exclude))


def mean(values: Float64) -> float:
    """Mean of the values that are defined; NaN if none is."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def discounts(places: int) -> Float64:
    """(places,) of nDCG: 1 / log2(rank + 1)."""
    return np.asarray(1 / np.log2(np.arange(2, places + 2)), dtype=np.float64)


def _at(kind: str, k: int) -> Measure:
    return Measure.parse(f"{kind}@{k}")


def _recall(ranking: Ranking, k: int | None) -> Float64:
    return np.asarray(_hits(ranking, k).sum(axis=1) / _at_least_one(ranking), dtype=np.float64)


def _precision(ranking: Ranking, k: int | None) -> Float64:
    assert k is not None  # P needs a cutoff
    return np.asarray(_hits(ranking, k).sum(axis=1) / k, dtype=np.float64)


def _success(ranking: Ranking, k: int | None) -> Float64:
    return np.asarray(_hits(ranking, k).any(axis=1), dtype=np.float64)


def _average_precision(ranking: Ranking, k: int | None) -> Float64:
    hits = _hits(ranking, k)
    precisions = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    return np.asarray((precisions * hits).sum(axis=1) / _at_least_one(ranking), dtype=np.float64)


def _ndcg(ranking: Ranking, k: int | None) -> Float64:
    found, ideal = (gains[:, :k] @ discounts(gains[:, :k].shape[1]) for gains in (ranking.gains, ranking.judged))
    return np.asarray(found / np.where(ideal == 0, 1, ideal), dtype=np.float64)


def _reciprocal_rank(ranking: Ranking, k: int | None) -> Float64:
    hits = _hits(ranking, k)
    return np.asarray((hits / np.arange(1, hits.shape[1] + 1)).max(axis=1, initial=0), dtype=np.float64)


def _hits(ranking: Ranking, k: int | None) -> Bool:
    return np.asarray(ranking.gains[:, :k] > 0)


def _at_least_one(ranking: Ranking) -> npt.NDArray[np.int64]:
    return np.maximum(ranking.relevant, 1)


MEASURES: dict[str, Callable[[Ranking, int | None], Float64]] = {
    "AP": _average_precision,
    "RR": _reciprocal_rank,
    "nDCG": _ndcg,
    "R": _recall,
    "P": _precision,
    "Success": _success,
}
NEED_CUTOFF = ("R", "P", "Success")
_TREC_NAMES = {
    "map": "AP",
    "map_cut": "AP",
    "recip_rank": "RR",
    "ndcg": "nDCG",
    "ndcg_cut": "nDCG",
    "recall": "R",
    "success": "Success",
}
_IR_MEASURES = re.compile(rf"({'|'.join(MEASURES)})(?:@(-?\d+))?")
_TREC_EVAL = re.compile(r"(map_cut|map|recip_rank|ndcg_cut|ndcg|recall|success|P)(?:_(\d+))?")
