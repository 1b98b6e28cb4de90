"""Measures of ranked retrieval, in numpy. Q queries, G gallery items; a measure gives one float64 per query, (Q,).

All take the same arguments:

    scores      (Q, G) any float, higher is nearer. Equal scores keep the gallery's order: sort the gallery by id.
    relevance   (Q, G) bool, whether the item answers the query.
    exclude     (Q, G) bool or None: items that do not take part, such as the query itself.

and raise ValueError where shapes differ, a score is NaN, or k < 1. A query to which nothing is relevant has the value
NaN and is left out of means. Names and definitions are those of trec_eval and ir_measures (`R@k`, `P@k`, `AP`,
`nDCG@k`, `RR`, `Success@k`), with binary relevance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Bool = npt.NDArray[np.bool_]
    Float64 = npt.NDArray[np.float64]


def recall_at_k(scores: npt.NDArray[Any], relevance: Bool, k: int, exclude: Bool | None = None) -> Float64:
    """Part of the relevant items that is among the first k."""
    hits = _ranked(scores, relevance, exclude)
    return _defined(_first(hits, k).sum(axis=1) / np.maximum(hits.sum(axis=1), 1), hits)


def precision_at_k(scores: npt.NDArray[Any], relevance: Bool, k: int, exclude: Bool | None = None) -> Float64:
    """Part of the first k places that is relevant; a gallery smaller than k counts as filled up with others."""
    hits = _ranked(scores, relevance, exclude)
    return _defined(_first(hits, k).sum(axis=1) / k, hits)


def success_at_k(scores: npt.NDArray[Any], relevance: Bool, k: int, exclude: Bool | None = None) -> Float64:
    """1 where a relevant item is among the first k, else 0. Papers on cross-modal retrieval call this R@k."""
    hits = _ranked(scores, relevance, exclude)
    return _defined(_first(hits, k).any(axis=1), hits)


def average_precision(scores: npt.NDArray[Any], relevance: Bool, exclude: Bool | None = None) -> Float64:
    """Mean, over the relevant items, of the precision at their rank."""
    hits = _ranked(scores, relevance, exclude)
    precisions = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    return _defined((precisions * hits).sum(axis=1) / np.maximum(hits.sum(axis=1), 1), hits)


def ndcg_at_k(scores: npt.NDArray[Any], relevance: Bool, k: int, exclude: Bool | None = None) -> Float64:
    """Discounted gain of the first k over that of an ideal order; discount 1 / log2(rank + 1). Järvelin, 2002."""
    hits = _ranked(scores, relevance, exclude)
    first = _first(hits, k)
    discounts = 1 / np.log2(np.arange(2, first.shape[1] + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])[np.minimum(hits.sum(axis=1), first.shape[1])]
    return _defined((first * discounts).sum(axis=1) / np.where(ideal == 0, 1, ideal), hits)


def reciprocal_rank(scores: npt.NDArray[Any], relevance: Bool, exclude: Bool | None = None) -> Float64:
    """1 / rank of the first relevant item."""
    hits = _ranked(scores, relevance, exclude)
    return _defined((hits / np.arange(1, hits.shape[1] + 1)).max(axis=1, initial=0), hits)


def mean_average_precision(scores: npt.NDArray[Any], relevance: Bool, exclude: Bool | None = None) -> float:
    """mAP: mean `average_precision` of the queries that have a relevant item; NaN if none has."""
    return mean(average_precision(scores, relevance, exclude))


def mrr(scores: npt.NDArray[Any], relevance: Bool, exclude: Bool | None = None) -> float:
    """Mean `reciprocal_rank` of the queries that have a relevant item; NaN if none has."""
    return mean(reciprocal_rank(scores, relevance, exclude))


def mean(values: Float64) -> float:
    """Mean of the values that are defined; NaN if none is."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its confidence interval; all NaN where nothing is defined."""

    mean: float
    low: float
    high: float


def bootstrap_interval(
    values: Float64,
    groups: npt.ArrayLike | None = None,
    *,
    level: float = 0.95,
    samples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap of the mean over queries. The same seed gives the same interval.

    Args:
        values: (Q,) one measure per query; NaN is left out.
        groups: (Q,) queries of one group (a patient) are not independent and are drawn together; None: each alone.
        level: of confidence.
        samples: how often to draw.
        seed: of the draws.
    """
    values = np.asarray(values, dtype=np.float64)
    names = np.arange(len(values)) if groups is None else np.asarray(groups)
    keep = ~np.isnan(values)
    if not keep.any():
        return Interval(float("nan"), float("nan"), float("nan"))
    _, member = np.unique(names[keep], return_inverse=True)
    sums, counts = np.bincount(member, weights=values[keep]), np.bincount(member)
    generator, even = np.random.default_rng(seed), np.full(len(sums), 1 / len(sums))
    drawn = (generator.multinomial(len(sums), even) for _ in range(samples))
    means = [(times @ sums) / (times @ counts) for times in drawn]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values[keep].mean()), float(low), float(high))


def _ranked(scores: npt.NDArray[Any], relevance: Bool, exclude: Bool | None) -> Bool:
    """Relevance in the order of the scores: hits (Q, G), best first; excluded items come last and are none."""
    relevance = np.asarray(relevance, dtype=bool)
    keys = -np.asarray(scores, dtype=np.float64)
    if keys.ndim != 2 or keys.shape != relevance.shape or (exclude is not None and exclude.shape != keys.shape):
        raise ValueError(f"scores {keys.shape}, relevance {relevance.shape} and exclude must share one shape (Q, G)")
    if np.isnan(keys).any():
        raise ValueError("a score is NaN")
    if exclude is not None:
        relevance = relevance & ~exclude
        keys = np.where(exclude, np.nan, keys)  # sorted last, behind infinity
    order = np.argsort(keys, axis=1, kind="stable")
    return np.take_along_axis(relevance, order, axis=1)


def _first(hits: Bool, k: int) -> Bool:
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    return hits[:, :k]


def _defined(values: npt.ArrayLike, hits: Bool) -> Float64:
    return np.where(hits.any(axis=1), values, np.nan)
