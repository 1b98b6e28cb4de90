"""What a random order of the gallery reaches on average, in closed form: the line every figure is read against."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from m3search.metrics.ranked import Measure, Ranking, discounts

if TYPE_CHECKING:
    import numpy.typing as npt

    Float64 = npt.NDArray[np.float64]


def expected(measure: Measure, gains: Float64, gallery: int, missing: Float64 | None = None) -> float:
    """The mean of a measure over all orders of a gallery of so many items; NaN where nothing is relevant.

    Args:
        measure: which one.
        gains: (R,) of the relevant items in the gallery.
        gallery: how many items are ranked, relevant ones included.
        missing: (M,) gains of relevant items that are not in the gallery, so that no order finds them.

    Raises:
        ValueError: more relevant items than items.
    """
    gains, missing = _positive(gains), _positive(() if missing is None else missing)
    if len(gains) > gallery:
        raise ValueError(f"{len(gains)} relevant items in a gallery of {gallery}")
    if not len(gains):
        return 0.0 if len(missing) else float("nan")
    places = min(measure.k or gallery, gallery)
    return _EXPECTED[measure.kind](measure, gains, gallery, places) * _within_reach(measure, gains, missing)


def _positive(gains: npt.ArrayLike) -> Float64:
    """Those above 0, largest first."""
    values = np.sort(np.asarray(gains, dtype=np.float64))[::-1]
    return values[values > 0]


def _within_reach(measure: Measure, gains: Float64, missing: Float64) -> float:
    """Missing items only change what a measure divides by: by as much for a random order as for the best one."""
    judged = _positive(np.concatenate([gains, missing]))
    all_judged, only_found = (measure(Ranking(gains[None], ideal[None]))[0] for ideal in (judged, gains))
    return float(all_judged / only_found)


def expected_average_precision(relevant: int, gallery: int) -> float:
    """`expected` of AP for `relevant` items among `gallery`: a bit above their share."""
    return expected(Measure.parse("AP"), np.ones(relevant), gallery) if relevant else 0.0


def _recall(measure: Measure, gains: Float64, gallery: int, places: int) -> float:  # noqa: ARG001
    return places / gallery


def _precision(measure: Measure, gains: Float64, gallery: int, places: int) -> float:
    assert measure.k is not None
    return len(gains) * places / (gallery * measure.k)


def _success(measure: Measure, gains: Float64, gallery: int, places: int) -> float:  # noqa: ARG001
    return 1 - float(_all_missed(len(gains), gallery, places)[-1])


def _average_precision(measure: Measure, gains: Float64, gallery: int, places: int) -> float:  # noqa: ARG001
    """An item at rank j is relevant with probability r/n, and each of the j - 1 before it with (r - 1) / (n - 1)."""
    also_relevant = (len(gains) - 1) / max(gallery - 1, 1)
    ranks = np.arange(1, places + 1)
    return float(((1 + (ranks - 1) * also_relevant) / ranks).sum() / gallery)


def _ndcg(measure: Measure, gains: Float64, gallery: int, places: int) -> float:  # noqa: ARG001
    ideal = gains[:places]
    return float(gains.sum() / gallery * discounts(places).sum() / (ideal @ discounts(len(ideal))))


def _reciprocal_rank(measure: Measure, gains: Float64, gallery: int, places: int) -> float:  # noqa: ARG001
    missed = np.concatenate([[1.0], _all_missed(len(gains), gallery, places)])
    return float(((missed[:-1] - missed[1:]) / np.arange(1, places + 1)).sum())


def _all_missed(relevant: int, gallery: int, places: int) -> Float64:
    """(places,) the probability that none of the first 1, 2, … places is relevant."""
    left = gallery - np.arange(places)
    return np.asarray(np.cumprod(np.maximum(left - relevant, 0) / left), dtype=np.float64)


_EXPECTED: dict[str, Callable[[Measure, Float64, int, int], float]] = {
    "AP": _average_precision,
    "RR": _reciprocal_rank,
    "nDCG": _ndcg,
    "R": _recall,
    "P": _precision,
    "Success": _success,
}
