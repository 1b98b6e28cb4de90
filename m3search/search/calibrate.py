"""Scores that mean the same in every modality, from statistics that were frozen with the encoder's weights.

Let t be a text, x an item of modality m, t_m and x_m their means, t0 and x0 the means of these over modalities:

    none      t.x                                                         the cosine
    mean      (t - t0).(x - x0)                                           without the gap between texts and items
    standard  what t.x is in standard deviations from what texts of m score on items of m
    both      the same of (t - t0).(x - x0)

Within a modality each is a rising straight line over one inner product, so the order of its items follows from one
vector that a store searches with, and only the lines differ between modalities. Standard scores are given in the units
of the mean modality's cosines, so they stay comparable with those of an encoder without statistics.

A query may be made of texts, items or both, with weights: what it is expected to score on items of m is then the
weighted sum of what its ingredients are. The spread is that of texts; none is frozen for items.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from m3search.encoders.base import normalise
from m3search.errors import BundleError, UsageError

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.encoders.base import Encoder
    from m3search.search.compose import Composed
    from m3search.types import Float32

Method = Literal["none", "mean", "standard", "both"]
METHODS: tuple[Method, ...] = get_args(Method)
# For queries that hold words. As good as plain cosines in benchmarks/fusion.py for the shipped bundle, whose modalities
# are even already, and unlike the standardised methods one search is enough.
DEFAULT: Method = "mean"


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """Of one modality, over training data: what calibration.json of a bundle says."""

    text_mean: Float32  # (D,) of unit vectors of texts
    item_mean: Float32  # (D,) of unit vectors of items
    score_mean: float  # of inner products of all texts with all items
    score_std: float


@dataclass(frozen=True, slots=True)
class Line:
    """Calibrated score = slope * inner product with the query's direction + shift; slope > 0."""

    slope: float
    shift: float

    def __call__(self, scores: Float32) -> npt.NDArray[np.float64]:
        """Calibrated scores, any shape."""
        calibrated: npt.NDArray[np.float64] = self.slope * scores.astype(np.float64) + self.shift
        return calibrated


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """How one query is scored: what a store searches with, and the line of each modality."""

    direction: Float32  # (D,), unit length
    line: Line  # of modalities that have none of their own
    lines: Mapping[str, Line] = field(default_factory=dict)  # by modality; empty where all share `line`

    def of(self, modality: str) -> Line:
        """The line of a modality."""
        return self.lines.get(modality, self.line)


class Calibration:
    """The statistics of an encoder; empty where it has none, and then every score is a cosine."""

    def __init__(self, statistics: Mapping[str, Statistics]) -> None:
        self.statistics = dict(statistics)
        if statistics:
            self.text_centre: Float32 = np.mean([one.text_mean for one in statistics.values()], axis=0)
            self.item_centre: Float32 = np.mean([one.item_mean for one in statistics.values()], axis=0)

    @classmethod
    def of(cls, encoder: Encoder) -> Calibration:
        """What the encoder's bundle says.

        Raises:
            BundleError: its calibration.json lacks a value or holds one of another dimension.
        """
        found = encoder.calibration().get("modalities", {})
        return cls({modality: _parse(encoder, modality, values) for modality, values in found.items()})

    def method(self, asked: Method | None, holds_words: bool) -> Method:
        """What to use where `asked` may leave it open: the default for queries with words, cosines between items.

        Raises:
            UsageError: no such method, or one that needs statistics which the encoder has not.
        """
        if asked is None:
            return DEFAULT if self.statistics and holds_words else "none"
        if asked not in METHODS:
            raise UsageError(f"there is no calibration {asked!r}; choose from {', '.join(METHODS)}")
        if asked != "none" and not self.statistics:
            raise UsageError(f"this index's encoder has no statistics for calibration {asked!r}; use none")
        return asked

    def scale(self, query: Composed, method: Method) -> Scale:
        """How the query is scored under a method."""
        if method == "none":
            return Scale(query.vector, Line(1.0, 0.0))
        centred = method in ("mean", "both")
        vector, offset = query.vector, 0.0
        if centred:
            vector = vector - query.texts * self.text_centre - query.items * self.item_centre
            offset = -float(vector @ self.item_centre)
        length = float(np.linalg.norm(vector)) or 1.0
        common = Line(length, offset)
        if method == "mean":
            return Scale(normalise(vector), common)
        expected = {name: self._expected(query, one, centred) for name, one in self.statistics.items()}
        centre = float(np.mean(list(expected.values())))
        spread = float(np.mean([one.score_std for one in self.statistics.values()]))
        lines = {}
        for name, one in self.statistics.items():
            slope = spread / one.score_std
            lines[name] = Line(length * slope, centre + slope * (offset - expected[name]))
        return Scale(normalise(vector), common, lines)

    def _expected(self, query: Composed, of: Statistics, centred: bool) -> float:
        """What a query made like this one scores on average on items of its own modality."""
        if not centred:
            return query.texts * of.score_mean + query.items * float(of.item_mean @ of.item_mean)
        items = of.item_mean - self.item_centre
        return query.texts * float((of.text_mean - self.text_centre) @ items) + query.items * float(items @ items)

    def topic_of(self, vector: Float32) -> Statistics | None:
        """Of the modality that a text's vector (D,) speaks of: the nearest mean text. None without statistics."""
        topics = list(self.statistics.values())
        return max(topics, key=lambda one: float(normalise(one.text_mean) @ vector), default=None)


def _parse(encoder: Encoder, modality: str, values: Mapping[str, Any]) -> Statistics:
    try:
        parsed = Statistics(
            np.asarray(values["text_mean"], dtype=np.float32),
            np.asarray(values["image_mean"], dtype=np.float32),
            float(values["score_mean"]),
            float(values["score_std"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"bundle {encoder.name}: calibration.json, {modality}: {error}; export it again") from error
    if parsed.text_mean.shape != (encoder.dim,) or parsed.item_mean.shape != (encoder.dim,) or parsed.score_std <= 0:
        raise BundleError(
            f"bundle {encoder.name}: calibration.json, {modality}: means must have {encoder.dim} values and score_std "
            "must be above 0; export it again"
        )
    return parsed
