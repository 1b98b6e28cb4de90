"""Measures of telling two kinds of items apart, each for many weightings of the items at once (bootstrap draws)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Float64 = npt.NDArray[np.float64]


def auroc(scores: npt.NDArray[Any], positive: npt.NDArray[np.bool_], weights: Float64 | None = None) -> Float64:
    """Area under the ROC curve: the probability that a positive item scores above a negative one, ties counting half.

    Args:
        scores: (N,) higher is more likely positive.
        positive: (N,).
        weights: (S, N) how often each item counts, in each of S draws; None is once each, S = 1.

    Returns:
        (S,), NaN where a draw has no positive or no negative item.

    Raises:
        ValueError: shapes differ, or a score is NaN.
    """
    scores, positive = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    weights = np.ones((1, len(scores))) if weights is None else weights
    if scores.ndim != 1 or scores.shape != positive.shape or weights.shape[1:] != scores.shape:
        raise ValueError(f"scores {scores.shape}, positive {positive.shape} and weights {weights.shape} do not fit")
    if np.isnan(scores).any():
        raise ValueError("a score is NaN")
    if not len(scores):
        return np.full(len(weights), np.nan)
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))  # of runs of equal scores
    drawn = weights[:, order]
    up = np.add.reduceat(drawn * positive[order], starts, axis=1)  # (S, runs) weight of positives at each score
    down = np.add.reduceat(drawn * ~positive[order], starts, axis=1)
    below = np.cumsum(down, axis=1) - down / 2
    pairs = up.sum(axis=1) * down.sum(axis=1)
    area: Float64 = np.where(pairs > 0, (up * below).sum(axis=1) / np.where(pairs > 0, pairs, 1), np.nan)
    return area


def weighted_share(hits: npt.NDArray[Any], weights: Float64) -> Float64:
    """The weighted mean of hits (N,) for each row of weights (S, N): (S,), NaN where all weights are 0."""
    total = weights.sum(axis=1)
    share: Float64 = np.where(total > 0, weights @ hits / np.where(total > 0, total, 1), np.nan)
    return share


def nan_mean(values: Float64, axis: int) -> Float64:
    """The mean of what is defined, NaN where nothing is; says nothing about it."""
    defined = ~np.isnan(values)
    count = defined.sum(axis=axis)
    total = np.where(defined, values, 0).sum(axis=axis)
    return np.where(count > 0, total / np.where(count > 0, count, 1), np.nan)
