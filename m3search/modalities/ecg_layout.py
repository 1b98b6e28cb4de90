"""The columns of a prepared ECG window: the signal, and beside it the usual beat and what is measured on it.

A few hundred records teach a network what the rhythm and the shape of a beat mean, but hardly to find the beats; so
`ECG.prepare` finds and measures them where `InputSpec.beat_seconds` asks for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from m3search.modalities.ecg_leads import LEADS
from m3search.modalities.ecg_measures import LEAD_MEASURES, RHYTHM

if TYPE_CHECKING:
    from m3search.types import Float32, InputSpec


@dataclass(frozen=True, slots=True)
class Layout:
    """Where in the (12, columns) of a window what lies. Without beats everything but the signal is empty."""

    signal: slice  # millivolts over time
    usual: slice  # the usual beat, millivolts over time; its QRS is `BEFORE` seconds after its start
    spread: slice  # how far beats of its kind lie from it
    other: slice  # the beat least like it
    measures: slice  # LEAD_MEASURES of each lead
    rhythm: slice  # RHYTHM: the first twelve from the first column downwards, then the next column
    columns: int

    @property
    def has_beats(self) -> bool:
        """Whether anything lies beside the signal."""
        return self.columns > int(self.signal.stop)


def layout_of(spec: InputSpec) -> Layout:
    """The layout of windows prepared as `spec` says."""
    beat = round(spec.rate_hz * spec.beat_seconds)
    measures, rhythm = (len(LEAD_MEASURES), math.ceil(len(RHYTHM) / len(LEADS))) if beat else (0, 0)
    ends = np.cumsum([round(spec.rate_hz * spec.seconds), beat, beat, beat, measures, rhythm]).tolist()
    starts = [0, *ends[:-1]]
    signal, usual, spread, other, by_lead, heart = (slice(*bounds) for bounds in zip(starts, ends, strict=True))
    return Layout(signal, usual, spread, other, by_lead, heart, columns=ends[-1])


def beside(leads: Float32, spec: InputSpec) -> Float32:
    """What lies beside the signal `leads` (12, T), NaN for a missing lead: float32 (12, columns - signal).

    NaN where a lead is missing, and everywhere where no beat was recognised.
    """
    from m3search.modalities.ecg_beats import average_beats
    from m3search.modalities.ecg_measures import measure

    layout = layout_of(spec)
    row = np.full((len(LEADS), layout.columns), np.nan, dtype=np.float32)
    beats = average_beats(leads, spec.rate_hz, spec.beat_seconds)
    if beats is not None:
        row[:, layout.usual], row[:, layout.spread], row[:, layout.other] = beats.usual, beats.spread, beats.other
        row[:, layout.measures], rhythm = measure(leads, beats, spec.rate_hz)
        filled = np.full(len(LEADS) * (layout.rhythm.stop - layout.rhythm.start), np.nan, dtype=np.float32)
        filled[: len(rhythm)] = rhythm
        row[:, layout.rhythm] = filled.reshape(-1, len(LEADS)).T
    return row[:, layout.signal.stop :]
