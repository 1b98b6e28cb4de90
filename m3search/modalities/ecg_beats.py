"""Heart beats of a twelve-lead ECG: where they are, and the usual one, aligned and averaged lead by lead.

Beats are found by the steepness of all leads together within the band of the QRS complex, in the manner of Pan and
Tompkins (IEEE Trans Biomed Eng 32:230-236, 1985); the usual beat is the median of those that look alike, so that a
premature beat, a cough or a loose electrode leaves no trace in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.types import Float32

    Samples = npt.NDArray[np.int64]

BEFORE = 0.35  # seconds of a beat ahead of its QRS: the P wave of a long PR interval
BAND = (5.0, 25.0)  # Hz: where QRS complexes stand out from T waves, wander and muscle
REFRACTORY = 0.24  # seconds: no heart beats faster
T_WAVE = 0.36  # seconds after a beat within which a much weaker event is its T wave
WEAKER = 0.6  # of a beat's strength: less is a T wave, or noise
FAINTEST = 0.4  # of the usual beat's strength: less is none
SHIFT = 0.04  # seconds by which a beat is moved at most to lie on the usual one
ALIKE = 0.8  # correlation of QRS complexes from which on beats are of one kind
RECOGNISABLE = 0.5  # median correlation to the usual beat: below, the "beats" are noise
QRS = (-0.12, 0.14)  # seconds: the part of a beat that is compared


@dataclass(frozen=True, slots=True, eq=False)
class Beats:
    """Beats of one window. `n` is the length of a beat in samples; its QRS is at `round(BEFORE * rate_hz)`."""

    at: Samples  # (N,) the QRS of every beat, samples
    whole: Samples  # (M,) of those that lie wholly within the window, aligned on the usual beat
    likeness: Float32  # (M,) correlation of their QRS complexes with that of the usual beat
    usual: Float32  # (12, n) median of the like beats, around its own median, millivolts; NaN where the lead is missing
    spread: Float32  # (12, n) median distance of the like beats from it
    other: Float32  # (12, n) the beat least like it, or itself where all are alike

    @property
    def alike(self) -> npt.NDArray[np.bool_]:
        """(M,) which beats are of the usual kind."""
        return _alike(self.likeness)


def find_beats(leads: Float32, rate_hz: float) -> Samples:
    """Samples at which the ventricles are activated, ascending. `leads` (L, T), NaN where missing."""
    from scipy.signal import find_peaks

    length = leads.shape[1]
    if length < rate_hz:
        return np.zeros(0, dtype=np.int64)
    strength = _steepness(leads, rate_hz)

    events, _ = find_peaks(strength, distance=max(1, round(REFRACTORY * rate_hz)))
    second = round(rate_hz)
    tops = [strength[start : start + 2 * second].max() for start in range(0, length - second + 1, second)]
    events = events[strength[events] > max(FAINTEST * float(np.median(tops)), 1e-6)]
    found: list[int] = []
    for event in events.tolist():
        gap = event - found[-1] if found else length
        if gap < T_WAVE * rate_hz and strength[event] < WEAKER * strength[found[-1]]:
            continue
        if gap < 0.3 * rate_hz and strength[found[-1]] < WEAKER * strength[event]:
            found.pop()  # a P wave or the spike of a pacemaker
        found.append(event)
    return np.array(found, dtype=np.int64)


def average_beats(leads: Float32, rate_hz: float, seconds: float) -> Beats | None:
    """The beats of `leads` (12, T) millivolts, each of `seconds`; None where none is whole or they are but noise."""
    before, length = round(BEFORE * rate_hz), round(seconds * rate_hz)
    at = find_beats(leads, rate_hz)
    signal = np.nan_to_num(leads)
    room = round(SHIFT * rate_hz)
    whole = at[(at - before >= room) & (at - before + length + room <= signal.shape[1])]
    if not len(whole):
        return None
    around = np.arange(length) - before
    compared = slice(before + round(QRS[0] * rate_hz), before + round(QRS[1] * rate_hz))
    beats = _cut(signal, whole, around)
    for _ in range(2):
        template = np.median(beats[_alike(_likeness(beats, compared))], axis=0)
        whole = whole + _best_shift(signal, whole, around[compared], template[:, compared], room)
        whole = whole.clip(before, signal.shape[1] - length + before)
        beats = _cut(signal, whole, around)
    likeness = _likeness(beats, compared)
    if float(np.median(likeness)) < RECOGNISABLE and len(whole) > 1:
        return None
    like = beats[_alike(likeness)]
    usual = np.median(like, axis=0)
    odd = int(np.argmin(likeness))
    missing = np.isnan(leads).all(axis=1).reshape(-1, 1)
    shapes = [usual, np.median(np.abs(like - usual), axis=0), usual if likeness[odd] >= ALIKE else beats[odd]]
    usual, spread, other = (np.where(missing, np.nan, shape).astype(np.float32) for shape in shapes)
    return Beats(at, whole, likeness, usual, spread, other)


@lru_cache(maxsize=8)
def _band(rate_hz: float) -> Any:
    from scipy.signal import butter

    return butter(2, (BAND[0], min(BAND[1], 0.45 * rate_hz)), "band", fs=rate_hz, output="sos")


def _steepness(leads: Float32, rate_hz: float) -> npt.NDArray[np.float64]:
    """(T,) of all leads together, each relative to its own; smoothed over 90 ms."""
    from scipy.ndimage import uniform_filter1d
    from scipy.signal import sosfiltfilt

    filtered = sosfiltfilt(_band(rate_hz), np.nan_to_num(leads), axis=1)
    usual = np.percentile(np.abs(filtered), 97, axis=1, keepdims=True)
    live = usual[:, 0] > 1e-4
    if not live.any():
        return np.zeros(leads.shape[1])
    relative = (filtered[live] / usual[live]).clip(-3, 3)  # a shock or a step of the amplifier counts no more than this
    slope = np.diff(relative, axis=1, prepend=relative[:, :1]) * rate_hz / 100
    strength = 2 * np.sqrt((slope**2).mean(axis=0)) + 0.5 * np.sqrt((relative**2).mean(axis=0))
    smooth: npt.NDArray[np.float64] = uniform_filter1d(strength, max(1, round(0.09 * rate_hz)))
    return smooth


def _cut(signal: Float32, at: Samples, around: Samples) -> Float32:
    """(M, L, n): the beats at `at`, each lead around its median."""
    beats = signal[:, at[:, None] + around].transpose(1, 0, 2)
    return beats - np.median(beats, axis=2, keepdims=True)


def _best_shift(signal: Float32, at: Samples, around: Samples, template: Float32, room: int) -> Samples:
    """(M,) by how many samples each beat has to move so that its QRS lies on the template's (L, q)."""
    shifts = np.arange(-room, room + 1)
    places = (at[:, None, None] + shifts[:, None] + around).clip(0, signal.shape[1] - 1)  # (M, S, q)
    centred = template - template.mean(axis=1, keepdims=True)
    best: Samples = shifts[np.einsum("lmsq,lq->ms", signal[:, places], centred, optimize=True).argmax(axis=1)]
    return best


def _likeness(beats: Float32, compared: slice) -> Float32:
    """(M,) correlation of QRS complexes, all leads at once, with their median over beats."""
    complexes = beats[:, :, compared]
    complexes = (complexes - complexes.mean(axis=2, keepdims=True)).reshape(len(beats), -1)
    median = np.median(complexes, axis=0)
    length = np.linalg.norm(complexes, axis=1) * np.linalg.norm(median)
    alike: Float32 = (complexes @ median / np.maximum(length, 1e-9)).astype(np.float32)
    return alike


def _alike(likeness: Float32) -> npt.NDArray[np.bool_]:
    """Which beats are of the usual kind: all, where hardly any two are alike."""
    alike: npt.NDArray[np.bool_] = likeness >= max(ALIKE, float(np.median(likeness)) - 0.1)
    return alike if alike.sum() >= min(2, len(alike)) else np.ones(len(likeness), dtype=bool)
