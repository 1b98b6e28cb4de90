"""Measures of ranked retrieval, in numpy, for Q queries at once.

First `rank` puts each query's relevance (Q, G) in the order of its scores; then every measure takes these *hits*:

    hits        (..., G) bool, best first: whether the item at that rank is relevant. All relevant items are in it.

and gives one float64 per query, (...). A query to which nothing is relevant has the value NaN and is left out of means.
Names and definitions are those of trec_eval and ir_measures (`R@k`, `P@k`, `AP`, `nDCG@k`, `RR`, `Success@k`), with
binary relevance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Bool = npt.NDArray[np.bool_]
    Float64 = npt.NDArray[np.float64]


def rank(scores: npt.NDArray[Any], relevance: Bool, exclude: Bool | None = None) -> Bool:
    """Hits (Q, G): relevance in ranked order.

    Args:
        scores: (Q, G) any float, higher is nearer. Equal scores keep the gallery's order: sort the gallery by id.
        relevance: (Q, G), whether the item answers the query.
        exclude: (Q, G), items that do not take part, such as the query itself. They come last, as not relevant.

    Raises:
        ValueError: shapes differ, or a score is NaN.
    """
    relevance = np.asarray(relevance, dtype=bool)
    keys = -np.asarray(scores, dtype=np.float64)
    if keys.ndim != 2 or keys.shape != relevance.shape or (exclude is not None and exclude.shape != keys.shape):
        raise ValueError(f"scores {keys.shape}, relevance {relevance.shape} and exclude must share one shape (Q, G)")
    if np.isnan(keys).any():
        raise ValueError("a score is NaN")
    if exclude is not None:
        relevance = relevance & ~exclude
        keys = np.where(exclude, np.inf, keys)
    order = np.argsort(keys, axis=1, kind="stable")
    return np.take_along_axis(relevance, order, axis=1)


def recall_at_k(hits: Bool, k: int) -> Float64:
    """Part of the relevant items that is among the first k."""
    return _defined(_first(hits, k).sum(axis=-1) / np.maximum(hits.sum(axis=-1), 1), hits)


def precision_at_k(hits: Bool, k: int) -> Float64:
    """Part of the first k places that is relevant; a gallery smaller than k counts as filled up with others."""
    return _defined(_first(hits, k).sum(axis=-1) / k, hits)


def success_at_k(hits: Bool, k: int) -> Float64:
    """1 where a relevant item is among the first k, else 0. Papers on cross-modal retrieval call this R@k."""
    return _defined(_first(hits, k).any(axis=-1), hits)


def average_precision(hits: Bool) -> Float64:
    """Mean, over the relevant items, of the precision at their rank."""
    precisions = np.cumsum(hits, axis=-1) / np.arange(1, hits.shape[-1] + 1)
    return _defined((precisions * hits).sum(axis=-1) / np.maximum(hits.sum(axis=-1), 1), hits)


def ndcg_at_k(hits: Bool, k: int) -> Float64:
    """Discounted gain of the first k over that of an ideal order; discount 1 / log2(rank + 1). Järvelin, 2002."""
    first = _first(hits, k)
    discounts = 1 / np.log2(np.arange(2, first.shape[-1] + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])[np.minimum(hits.sum(axis=-1), first.shape[-1])]
    return _defined((first * discounts).sum(axis=-1) / np.where(ideal == 0, 1, ideal), hits)


def reciprocal_rank(hits: Bool) -> Float64:
    """1 / rank of the first relevant item."""
    return _defined((hits / np.arange(1, hits.shape[-1] + 1)).max(axis=-1, initial=0), hits)


def expected_average_precision(relevant: int, gallery: int) -> float:
    """What a random order gives on average: the chance level of `average_precision`, in closed form.

    A place i holds a relevant item with probability R/G; then the i - 1 places before it hold (i - 1)(R - 1)/(G - 1).
    """
    if not 0 < relevant <= gallery:
        return float("nan")
    ranks = np.arange(1, gallery + 1)
    before = (ranks - 1) * ((relevant - 1) / max(gallery - 1, 1))
    return float(((1 + before) / ranks).mean())


def mean(values: npt.NDArray[Any]) -> float:
    """Mean of the values that are defined; NaN if none is. Of `average_precision`: mAP; of `reciprocal_rank`: MRR."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def mean_average_precision(hits: Bool) -> float:
    """mAP over the queries that have a relevant item."""
    return mean(average_precision(hits))


def mrr(hits: Bool) -> float:
    """Mean reciprocal rank over the queries that have a relevant item."""
    return mean(reciprocal_rank(hits))


def confidence_interval(
    values: npt.NDArray[Any],
    clusters: npt.ArrayLike | None = None,
    *,
    level: float = 0.95,
    samples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """(low, high) of the mean over queries, by percentile bootstrap. The same seed gives the same interval.

    Args:
        values: (Q,) one measure per query; NaN is left out.
        clusters: (Q,) queries of one cluster (a patient) are not independent and are drawn together; None: each alone.
        level: of confidence.
        samples: how often to draw.
        seed: of the draws.
    """
    values = np.asarray(values, dtype=np.float64)
    names = np.arange(len(values)) if clusters is None else np.asarray(clusters)
    keep = ~np.isnan(values)
    if not keep.any():
        return float("nan"), float("nan")
    _, member = np.unique(names[keep], return_inverse=True)
    sums, counts = np.bincount(member, weights=values[keep]), np.bincount(member)
    generator, even = np.random.default_rng(seed), np.full(len(sums), 1 / len(sums))
    drawn = (generator.multinomial(len(sums), even) for _ in range(samples))
    means = [(times @ sums) / (times @ counts) for times in drawn]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _first(hits: Bool, k: int) -> Bool:
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    return hits[..., :k]


def _defined(values: npt.ArrayLike, hits: Bool) -> Float64:
    result: Float64 = np.where(hits.any(axis=-1), values, np.nan)[()]
    return result
