"""Confidence intervals by bootstrap: queries, or whole patients with their queries, are drawn again and again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from m3search.metrics.binary import weighted_share

if TYPE_CHECKING:
    import numpy.typing as npt

    Float64 = npt.NDArray[np.float64]

SAMPLES = 1000
BLOCK = 5_000_000  # weights at a time: 40 MB


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its confidence interval; all NaN where nothing is defined."""

    mean: float
    low: float
    high: float


def interval_of(
    statistic: Callable[[Float64], Float64],
    groups: npt.ArrayLike,
    *,
    level: float = 0.95,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap of a statistic. The same seed gives the same interval.

    Args:
        statistic: from weights (S, N), how often each item counts, to its values (S,); a value may be NaN where a draw
            left nothing to compute it from, and such draws are left out.
        groups: (N,) items of one group (a patient) are not independent and are drawn together.
        level: of confidence.
        samples: how often to draw.
        seed: of the draws.
    """
    _, member = np.unique(np.asarray(groups), return_inverse=True)
    if not len(member):
        return Interval(float("nan"), float("nan"), float("nan"))
    times = _draws(int(member.max()) + 1, samples, seed)
    block = max(1, BLOCK // len(member))
    blocks = (times[start : start + block, member] for start in range(0, samples, block))
    drawn = np.concatenate([statistic(weights.astype(np.float64)) for weights in blocks])
    whole = statistic(np.ones((1, len(member))))
    return _percentiles(float(whole[0]), drawn, level)


def bootstrap_interval(
    values: Float64,
    groups: npt.ArrayLike | None = None,
    *,
    level: float = 0.95,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Interval:
    """`interval_of` the mean over queries.

    Args:
        values: (Q,) one measure per query; NaN is left out.
        groups: (Q,) queries of one group are drawn together; None: each alone.
        level: of confidence.
        samples: how often to draw.
        seed: of the draws.
    """
    values = np.asarray(values, dtype=np.float64)
    names = np.arange(len(values)) if groups is None else np.asarray(groups)
    keep = ~np.isnan(values)
    return interval_of(
        lambda weights: weighted_share(values[keep], weights), names[keep], level=level, samples=samples, seed=seed
    )


def _draws(groups: int, samples: int, seed: int) -> npt.NDArray[np.int64]:
    """(samples, groups) how often each group is drawn."""
    return np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), size=samples)


def _percentiles(mean: float, drawn: Float64, level: float) -> Interval:
    defined = drawn[~np.isnan(drawn)]
    if not len(defined):
        return Interval(mean, float("nan"), float("nan"))
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high))
