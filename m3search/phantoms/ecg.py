"""Twelve-lead ECGs: a heart dipole that turns through P, QRS, ST and T, seen by the leads through Dower's matrix.

Because every lead views the same dipole, Einthoven's law and reciprocal ST changes come by themselves.
Axes of the dipole, in millivolts: x to the left, y to the feet, z to the back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import numpy as np

from m3search.phantoms.findings import Finding, find, plain

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.types import Float32

KINDS = (
    "normal",
    "atrial fibrillation",
    "anterior ST elevation",
    "inferior ST elevation",
    "sinus bradycardia",
    "sinus tachycardia",
    "left bundle branch block",
)
LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")

# Leads V1 to V6, I and II from x, y, z. Dower GE, Machado HB, Osborne JA. Clin Cardiol 1980;3:87-95.
DOWER = np.array([
    [-0.515, 0.157, -0.917], [0.044, 0.164, -1.387], [0.882, 0.098, -1.277], [1.213, 0.127, -0.601],
    [1.125, 0.127, -0.086], [0.831, 0.076, 0.230], [0.632, -0.235, 0.059], [0.235, 1.066, -0.132],
])  # fmt: skip
RATES = {
    "sinus bradycardia": (40, 54),
    "sinus tachycardia": (106, 138),
    "atrial fibrillation": (70, 125),
}  # beats per minute; 62 to 92 otherwise


@dataclass(frozen=True, slots=True)
class _Wave:
    """One deflection: a Gaussian in time along a fixed direction."""

    at: float  # seconds from the R peak
    width: float  # standard deviation, seconds
    dipole: tuple[float, float, float]  # mV along x, y, z at the peak


@dataclass(frozen=True, slots=True)
class _Beat:
    """The shape of one heart's beats."""

    atrial: tuple[_Wave, ...]
    ventricular: tuple[_Wave, ...]
    t_wave: _Wave
    st: tuple[float, float, float] = (0.0, 0.0, 0.0)  # mV, between the end of QRS and the T wave
    qrs_end: float = 0.05  # seconds from the R peak
    rotation: npt.NDArray[np.float64] = field(default_factory=lambda: np.eye(3))


P = _Wave(-0.155, 0.022, (0.06, 0.12, -0.01))
NARROW_QRS = (
    _Wave(-0.026, 0.008, (-0.10, -0.06, -0.30)),  # septum: to the right and forwards
    _Wave(0.0, 0.012, (1.05, 0.85, 0.30)),
    _Wave(0.026, 0.011, (-0.12, -0.10, 0.62)),  # base: backwards
)
WIDE_QRS = (  # left bundle branch block: slow, notched, all to the left and backwards
    _Wave(-0.025, 0.020, (0.60, 0.40, 0.62)),
    _Wave(0.038, 0.024, (0.85, 0.30, 0.80)),
)
T = _Wave(0.25, 0.045, (0.28, 0.22, -0.14))
CONTRARY_T = _Wave(0.29, 0.055, (-0.24, -0.02, -0.34))
ANTERIOR_ST = (0.05, -0.04, -0.26)
INFERIOR_ST = (-0.06, 0.33, 0.05)


def choose(rng: np.random.Generator, kind: str) -> tuple[Finding, ...]:
    """The finding of `kind` (one of KINDS); a normal rhythm is a finding too. `extent` is the heart rate per minute."""
    if kind not in KINDS:
        raise ValueError(f"ECG phantoms have no finding {kind!r}; choose from {', '.join(KINDS)}")
    return (Finding(kind, extent=str(round(rng.uniform(*RATES.get(kind, (62, 92)))))),)


def render(
    rng: np.random.Generator, findings: tuple[Finding, ...], rate_hz: float = 500.0, seconds: float = 10.0
) -> Float32:
    """Leads in the order of LEADS, float32 (12, rate_hz * seconds), millivolts."""
    rhythm = findings[0]
    time = np.arange(round(rate_hz * seconds)) / rate_hz
    fibrillates = find(findings, "atrial fibrillation") is not None
    beat = _shape(rng, rhythm.kind)
    dipole = np.zeros((len(time), 3))
    peaks = _r_peaks(rng, float(rhythm.extent), seconds, irregular=fibrillates)
    for number, peak in enumerate(peaks[:-1]):
        dipole += _one_beat(time - peak, beat, peaks[number + 1] - peak)
    if fibrillates:
        dipole += _fibrillatory(rng, time)
    chest_and_limb = DOWER @ (dipole @ beat.rotation).T * rng.uniform(0.85, 1.2)
    clean = _twelve(chest_and_limb + _interference(rng, time))
    return cast("Float32", clean.astype(np.float32))


def _shape(rng: np.random.Generator, kind: str) -> _Beat:
    """This heart's beat: what the finding changes, and an electrical axis turned a little from person to person."""
    angle = np.deg2rad(rng.normal(0, 9))
    turn = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    strength = rng.uniform(0.9, 1.3)
    match kind:
        case "atrial fibrillation":
            return _Beat((), NARROW_QRS, T, rotation=turn)
        case "left bundle branch block":
            return _Beat((P,), WIDE_QRS, CONTRARY_T, st=(-0.05, 0.0, -0.12), qrs_end=0.09, rotation=turn)
        case "anterior ST elevation" | "inferior ST elevation":
            injury = ANTERIOR_ST if kind.startswith("anterior") else INFERIOR_ST
            x, y, z = (strength * v for v in injury)
            t_wave = _Wave(T.at, 0.055, (0.15 + 0.8 * x, 0.10 + 0.8 * y, -0.05 + 0.8 * z))
            return _Beat((P,), NARROW_QRS, t_wave, st=(x, y, z), qrs_end=0.042)
    return _Beat((P,), NARROW_QRS, T, rotation=turn)


def _r_peaks(rng: np.random.Generator, rate: float, seconds: float, irregular: bool) -> npt.NDArray[np.float64]:
    """Times of the R peaks, seconds, from before the record to beyond its end."""
    count = int(seconds * rate / 60 * 2) + 8
    mean = 60 / rate
    if irregular:
        intervals = mean * np.clip(rng.gamma(14, 1 / 14, count), 0.55, 1.9)
    else:  # breathing makes a sinus rhythm vary by a few per cent
        breath = np.sin(2 * np.pi * 0.22 * mean * np.arange(count) + rng.uniform(0, 2 * np.pi))
        intervals = mean * (1 + 0.02 * breath + rng.normal(0, 0.006, count))
    peaks = np.cumsum(intervals) - 2 * mean + rng.uniform(0, mean)
    return peaks[peaks < seconds + 2 * mean]


def _one_beat(t: npt.NDArray[np.float64], beat: _Beat, interval: float) -> npt.NDArray[np.float64]:
    """The dipole (T, 3) of one beat; `t` seconds from its R peak, `interval` to the next. QT follows Bazett's root."""
    near = (t > -0.4) & (t < 0.9)
    now = t[near]
    stretch = np.clip(np.sqrt(interval), 0.72, 1.15)
    pr = np.clip(interval, 0.5, 1) ** 0.3  # the PR interval shortens a little at high rates
    dipole = np.zeros((len(now), 3))
    for wave in beat.atrial:
        dipole += _gauss(now, wave.at * pr, wave.width, wave.dipole)
    for wave in beat.ventricular:
        dipole += _gauss(now, wave.at, wave.width, wave.dipole)
    t_at = beat.t_wave.at * stretch + 0.02
    dipole += _gauss(now, t_at, beat.t_wave.width * stretch, beat.t_wave.dipole)
    plateau = 1 / (1 + np.exp(-(now - beat.qrs_end) / 0.006)) / (1 + np.exp((now - t_at - 0.03) / 0.022))
    dipole += plateau[:, None] * np.array(beat.st)
    whole = np.zeros((len(t), 3))
    whole[near] = dipole
    return whole


def _gauss(
    t: npt.NDArray[np.float64], at: float, width: float, dipole: tuple[float, float, float]
) -> npt.NDArray[np.float64]:
    curve: npt.NDArray[np.float64] = np.exp(-0.5 * ((t - at) / width) ** 2)[:, None] * np.array(dipole)
    return curve


def _fibrillatory(rng: np.random.Generator, time: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The restless baseline of fibrillating atria: 5 to 8 waves a second of changing height, largest in V1. (T, 3)."""
    wave = np.zeros_like(time)
    for frequency in rng.uniform(4.8, 8.2, 5):
        drift = np.cumsum(rng.normal(0, 0.02, len(time))) * np.sqrt(100 * (time[1] - time[0]))
        wave += np.sin(2 * np.pi * frequency * time + drift + rng.uniform(0, 2 * np.pi))
    towards_v1_and_ii = np.array([-0.012, 0.022, -0.036]) * rng.uniform(0.8, 1.4)
    return wave[:, None] * towards_v1_and_ii


def _interference(rng: np.random.Generator, time: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Baseline wander and muscle noise of the eight measured leads, mV (8, T)."""
    noise = rng.normal(0, 0.008, (8, len(time)))
    for lead in range(8):
        for frequency in rng.uniform(0.12, 0.4, 2):
            phase = rng.uniform(0, 2 * np.pi)
            noise[lead] += rng.uniform(0.005, 0.03) * np.sin(2 * np.pi * frequency * time + phase)
    return noise


def _twelve(measured: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """All twelve leads from V1 to V6, I and II: III = II - I, and Goldberger's augmented leads."""
    chest, one, two = measured[:6], measured[6], measured[7]
    return np.stack([one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2, *chest])


def describe(rng: np.random.Generator, findings: tuple[Finding, ...]) -> tuple[list[str], tuple[str, ...]]:
    """Sentences of the report, and labels as the training data name them."""
    sentences = [plain(rng, SENTENCES[finding.kind], finding) for finding in findings]
    return sentences, tuple(label for finding in findings for label in LABELS[finding.kind])


LABELS = {
    "normal": ("sinus rhythm", "normal ECG"),
    "atrial fibrillation": ("atrial fibrillation",),
    "anterior ST elevation": ("sinus rhythm", "anterior myocardial infarction", "ST elevation"),
    "inferior ST elevation": ("sinus rhythm", "inferior myocardial infarction", "ST elevation"),
    "sinus bradycardia": ("sinus bradycardia",),
    "sinus tachycardia": ("sinus tachycardia",),
    "left bundle branch block": ("sinus rhythm", "left bundle branch block"),
}
SENTENCES = {
    "normal": (
        "Normal sinus rhythm, {extent} per minute. Normal ECG.",
        "Sinus rhythm at {extent} bpm with normal intervals; normal ECG.",
        "Regular sinus rhythm, rate {extent}, no ST change.",
    ),
    "atrial fibrillation": (
        "Atrial fibrillation, mean ventricular rate {extent} per minute.",
        "Irregularly irregular rhythm without P waves: atrial fibrillation at {extent} bpm.",
        "Atrial fibrillation with a fibrillatory baseline, rate about {extent}.",
    ),
    "anterior ST elevation": (
        "Sinus rhythm, {extent} per minute. ST elevation in V1 to V4: acute anterior myocardial infarction.",
        "Anterior ST elevation in the chest leads, in keeping with anterior infarction. Sinus rhythm {extent} bpm.",
    ),
    "inferior ST elevation": (
        "Sinus rhythm, {extent} per minute. ST elevation in II, III and aVF with reciprocal depression in aVL: "
        "acute inferior myocardial infarction.",
        "Inferior ST elevation (II, III, aVF), in keeping with inferior infarction. Sinus rhythm {extent} bpm.",
    ),
    "sinus bradycardia": (
        "Sinus bradycardia, {extent} per minute.",
        "Slow sinus rhythm: bradycardia at {extent} bpm.",
    ),
    "sinus tachycardia": (
        "Sinus tachycardia, {extent} per minute.",
        "Fast regular sinus rhythm: tachycardia at {extent} bpm.",
    ),
    "left bundle branch block": (
        "Sinus rhythm, {extent} per minute. Left bundle branch block with a wide QRS.",
        "Complete left bundle branch block: broad, notched QRS in I, aVL, V5 and V6. Sinus rhythm {extent} bpm.",
    ),
}
