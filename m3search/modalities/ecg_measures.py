"""What a cardiologist measures on a twelve-lead ECG, as numbers: waves lead by lead, and the rhythm.

Heights are relative to the lead's own QRS complex, so that they hold for records without physical units too; `VOLTAGES`
alone speak of millivolts. A number that cannot be had is NaN: it is never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from m3search.modalities.ecg_beats import BEFORE

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.modalities.ecg_beats import Beats
    from m3search.types import Float32

    Float64 = npt.NDArray[np.float64]

LEAST = 1e-3  # mV: a QRS complex smaller than this is none
STEEP = 0.15  # of the steepest moment: where QRS begins and ends
SCALED = 0.05  # leads whose spreads differ by less (standard deviation of the logarithm) were scaled one by one

# Every measure with the range in which it usually lies (5 to 95% of resting ECGs of patients), beyond which more of it
# says nothing new. Times in seconds, heights in parts of the lead's QRS complex, voltages as logarithms of millivolts.
LEAD_MEASURES: Mapping[str, tuple[float, float]] = {
    "R": (0.0, 1.0), "S": (-1.0, 0.0), "Q": (-0.5, 0.0), "second R": (0.0, 0.6), "J": (-0.12, 0.12),
    "ST 40 ms": (-0.1, 0.12), "ST 80 ms": (-0.1, 0.15), "ST slope": (-0.08, 0.15), "T highest": (0.0, 0.5),
    "T lowest": (-0.3, 0.03), "T area": (-0.1, 0.15), "T time": (0.05, 0.25), "P highest": (0.0, 0.22),
    "P lowest": (-0.15, 0.0), "QRS area": (-0.3, 0.3), "QRS width": (0.04, 0.12), "R time": (0.0, 0.08),
    "restless": (0.0, 0.06), "QRS against spread": (1.3, 2.4), "log QRS": (-1.2, 1.0),
}  # fmt: skip
RHYTHM: Mapping[str, tuple[float, float]] = {
    "rate": (45.0, 120.0), "RR spread": (0.0, 0.25), "RR change": (0.0, 0.4), "RR median change": (0.0, 0.3),
    "RR shortest": (0.6, 1.0), "RR longest": (1.0, 1.6), "RR short part": (0.7, 1.0), "RR long part": (1.0, 1.4),
    "early beats": (0.0, 0.3), "late beats": (0.0, 0.3), "early alike": (0.0, 0.25), "early unlike": (0.0, 0.15),
    "unlike beats": (0.0, 0.2), "least likeness": (0.4, 1.0), "P steadiness": (0.2, 1.0), "P height": (0.02, 0.16),
    "restless baseline": (0.005, 0.035), "fibrillatory part": (0.1, 0.55), "fibrillatory rate": (4.0, 8.0),
    "QRS duration": (0.06, 0.15), "PR interval": (0.06, 0.25), "QT interval": (0.28, 0.6),
    "corrected QT": (0.3, 0.6), "axis left": (-0.5, 1.0), "axis down": (-1.0, 1.0), "log Sokolow": (0.2, 1.6),
    "log Cornell": (-1.0, 1.2), "log limb QRS": (-0.6, 0.8), "log chest QRS": (0.2, 1.6), "other QRS": (0.06, 0.15),
    "P in II": (-0.05, 0.3), "P in V1": (-0.13, 0.08), "T against QRS": (-0.02, 0.02), "ST depressed": (0.0, 6.0),
    "ST raised": (0.0, 5.0), "T inverted": (0.0, 6.0),
}  # fmt: skip
VOLTAGES = frozenset({"log QRS", "log Sokolow", "log Cornell", "log limb QRS", "log chest QRS"})


def measure(leads: Float32, beats: Beats, rate_hz: float) -> tuple[Float32, Float32]:
    """(12, len(LEAD_MEASURES)) and (len(RHYTHM),) float32; NaN where a lead is missing or a wave was not found."""
    waves = _Waves(beats, rate_hz)
    if not waves.live.any():
        return np.full((12, len(LEAD_MEASURES)), np.nan, np.float32), np.full(len(RHYTHM), np.nan, np.float32)
    spread = np.std(np.nan_to_num(leads), axis=1)
    by_lead = _by_lead(waves, spread)
    heart = {**_intervals(beats, rate_hz), **_atria(leads, beats, waves), **_whole_heart(waves, by_lead)}
    heart["corrected QT"] = heart["QT interval"] * float(np.sqrt(heart["rate"] / 60))  # Bazett
    table = np.stack([by_lead[name] for name in LEAD_MEASURES], axis=1)
    table[~waves.live] = np.nan
    rhythm = np.array([heart[name] for name in RHYTHM])
    if waves.live.sum() > 2 and np.log(spread[waves.live].clip(min=LEAST)).std() < SCALED:
        table[:, [name in VOLTAGES for name in LEAD_MEASURES]] = np.nan
        rhythm[[name in VOLTAGES for name in RHYTHM]] = np.nan
    return table.astype(np.float32), rhythm.astype(np.float32)


class _Waves:
    """The usual beat around its PQ level, (12, n), in parts of its QRS; and the samples where waves begin and end."""

    def __init__(self, beats: Beats, rate_hz: float) -> None:
        self.rate = rate_hz
        self.r = round(BEFORE * rate_hz)
        shape = beats.usual.astype(np.float64)
        self.height = np.ptp(shape[:, self.span(-0.1, 0.12)], axis=1)  # (12,) of QRS, millivolts
        self.height[~(self.height >= LEAST)] = np.nan
        self.live = ~np.isnan(self.height)  # (12,) leads with a QRS complex
        self.onset, self.offset = _qrs_bounds((shape / self.height[:, None])[self.live], self)
        level = np.median(shape[:, max(0, self.onset - self.samples(0.04)) : max(1, self.onset)], axis=1)
        self.shape = (shape - level[:, None]) / self.height[:, None]
        self.spread = beats.spread / self.height[:, None]
        self.other = beats.other / self.height[:, None]
        rr = np.median(np.diff(beats.at)) if len(beats.at) > 1 else rate_hz
        room = min(shape.shape[1], self.r + round(0.75 * rr))  # the next P wave is no T wave
        self.t = slice(min(self.offset + self.samples(0.06), room - 2), room)
        self.p = slice(max(0, self.onset - self.samples(0.24)), max(2, self.onset - self.samples(0.02)))

    def samples(self, seconds: float) -> int:
        return round(seconds * self.rate)

    def span(self, start: float, end: float) -> slice:
        """Samples from `start` to `end` seconds after the QRS."""
        return slice(max(0, self.r + self.samples(start)), self.r + self.samples(end))

    def at(self, sample: int) -> Float64:
        """(12,) heights at a sample, averaged with its neighbours."""
        sample = min(max(sample, 1), self.shape.shape[1] - 2)
        heights: Float64 = self.shape[:, sample - 1 : sample + 2].mean(axis=1)
        return heights


def _qrs_bounds(relative: Float64, waves: _Waves) -> tuple[int, int]:
    """First and last sample of QRS: where all leads together move fast, without a rest of 20 ms in between."""
    if not len(relative):
        return waves.r, waves.r
    speed = np.sqrt((np.gradient(relative, axis=1) ** 2).mean(axis=0))
    window = waves.span(-0.14, 0.2)
    part = speed[window]
    floor = float(np.percentile(speed, 30))
    fast = part > floor + STEEP * (part.max() - floor)
    peak = int(np.argmax(part))
    rest = max(1, waves.samples(0.02))
    first = last = peak
    while first > 0 and fast[max(0, first - rest) : first].any():
        first -= 1
    while last < len(fast) - 1 and fast[last + 1 : last + 1 + rest].any():
        last += 1
    return window.start + first, window.start + last


def _by_lead(waves: _Waves, spread: Float32) -> dict[str, Float64]:
    """Each of LEAD_MEASURES, (12,)."""
    shape, rate = waves.shape, waves.rate
    qrs = shape[:, waves.onset : waves.offset + 1]
    top, bottom = np.nan_to_num(qrs).argmax(axis=1)[:, None], np.nan_to_num(qrs).argmin(axis=1)[:, None]
    order = np.arange(qrs.shape[1])
    t, p = shape[:, waves.t], shape[:, waves.p]
    j, st40, st80 = (waves.at(waves.offset + waves.samples(seconds)) for seconds in (0.01, 0.04, 0.08))
    return {
        "R": qrs.max(axis=1),
        "S": qrs.min(axis=1),
        "Q": np.where(order <= top, qrs, 0).min(axis=1).clip(max=0),
        "second R": np.where(order >= bottom, qrs, 0).max(axis=1).clip(min=0),
        "J": j,
        "ST 40 ms": st40,
        "ST 80 ms": st80,
        "ST slope": st80 - j,
        "T highest": t.max(axis=1),
        "T lowest": t.min(axis=1),
        "T area": t.mean(axis=1),
        "T time": np.nan_to_num(np.abs(t)).argmax(axis=1) / rate,
        "P highest": p.max(axis=1),
        "P lowest": p.min(axis=1),
        "QRS area": qrs.sum(axis=1) / rate * 10,
        "QRS width": (np.abs(np.diff(qrs, axis=1)) > 0.05).sum(axis=1) / rate,
        "R time": top[:, 0] / rate,
        "restless": waves.spread[:, waves.p].mean(axis=1),
        "QRS against spread": np.log(waves.height / spread.clip(min=LEAST)),
        "log QRS": np.log(waves.height),
    }


_OF_INTERVALS = (
    "RR spread", "RR change", "RR median change", "RR shortest", "RR longest", "RR short part", "RR long part",
    "early beats", "late beats", "early alike", "early unlike", "unlike beats",
)  # fmt: skip


def _intervals(beats: Beats, rate_hz: float) -> dict[str, float]:
    """How regularly beats follow each other, relative to the median interval; early beats, and what they are like."""
    nan = float("nan")
    least = float(beats.likeness.min())
    if len(beats.at) < 3:
        rate = 60 * rate_hz / float(np.diff(beats.at)[0]) if len(beats.at) == 2 else nan
        return {**dict.fromkeys(_OF_INTERVALS, nan), "rate": rate, "least likeness": least}
    rr = np.diff(beats.at) / rate_hz
    usual = float(np.median(rr))
    relative, change = rr / usual, np.abs(np.diff(rr)) / usual
    # A premature beat comes early after a usual interval; in fibrillation intervals wander without such an order.
    early = np.flatnonzero(relative < 0.85) + 1
    unlike = beats.whole[~beats.alike | (beats.likeness < 0.8)]
    strange = np.array([bool(len(unlike)) and int(np.abs(unlike - beats.at[k]).min()) < 0.1 * rate_hz for k in early])
    return {
        "rate": 60 / usual,
        "RR spread": float(rr.std()) / usual,
        "RR change": float(np.sqrt((change**2).mean())),
        "RR median change": float(np.median(change)),
        "RR shortest": float(relative.min()),
        "RR longest": float(relative.max()),
        "RR short part": float(np.percentile(relative, 10)),
        "RR long part": float(np.percentile(relative, 90)),
        "early beats": len(early) / len(rr),
        "late beats": float((relative > 1.15).mean()),
        "early alike": float((~strange).sum()) / len(rr) if len(early) else 0.0,
        "early unlike": float(strange.sum()) / len(rr) if len(early) else 0.0,
        "unlike beats": len(unlike) / len(beats.whole),
        "least likeness": least,
    }


def _atria(leads: Float32, beats: Beats, waves: _Waves) -> dict[str, float]:
    """P waves, how high and how steady from beat to beat; the restless baseline of atria that fibrillate or flutter."""
    signal = np.nan_to_num(leads)
    places = beats.whole[beats.alike][:, None] - waves.r + np.arange(waves.p.start, waves.p.stop)
    seen = signal[:, places].transpose(1, 0, 2)  # (M, 12, p)
    seen = seen - seen.mean(axis=2, keepdims=True)
    usual = np.nan_to_num(waves.shape[:, waves.p] * waves.height[:, None])
    usual = usual - usual.mean(axis=1, keepdims=True)
    norms = np.sqrt((seen**2).sum(axis=(1, 2)) * (usual**2).sum())
    steadiness = float(np.median((seen * usual).sum(axis=(1, 2)) / np.maximum(norms, 1e-9)))
    power, rate = _fibrillation(signal, beats, waves)
    p = waves.shape[:, waves.p]
    high = np.abs(p - np.median(p, axis=1)[:, None])[waves.live].mean(axis=0)  # where all leads together leave the line
    return {
        "P steadiness": steadiness,
        "P height": float(np.median(np.ptp(p[waves.live], axis=1))),
        "restless baseline": float(np.median(waves.spread[waves.live, waves.p].mean(axis=1))),
        "fibrillatory part": power,
        "fibrillatory rate": rate,
        "PR interval": (waves.onset - waves.p.start - int(np.argmax(high))) / waves.rate,
        "P in II": float(p[1].max() + p[1].min()),
        "P in V1": float(p[6].max() + p[6].min()),
    }


def _fibrillation(signal: Float32, beats: Beats, waves: _Waves) -> tuple[float, float]:
    """What is left when the usual beat is taken away: its part between 4 and 10 Hz in II and V1, and its rate in Hz."""
    rest = signal[[1, 6]].astype(np.float64)
    shape = np.nan_to_num(beats.usual[[1, 6]])
    for place in beats.whole[beats.alike]:
        start = int(place) - waves.r
        rest[:, start : start + shape.shape[1]] -= shape
    covered = np.zeros(rest.shape[1], dtype=bool)
    for place in beats.at:
        covered[max(0, place + waves.samples(-0.08)) : place + waves.samples(0.12)] = True
    rest[:, covered] = 0
    power = (np.abs(np.fft.rfft(rest * np.hanning(rest.shape[1]), axis=1)) ** 2).sum(axis=0)
    frequency = np.fft.rfftfreq(rest.shape[1], 1 / waves.rate)
    band = (frequency >= 4) & (frequency <= 10)
    broad = (frequency >= 1) & (frequency <= 30)
    total = float(power[broad].sum())
    if total <= 0 or not band.any():
        return float("nan"), float("nan")
    return float(power[band].sum()) / total, float(frequency[band][np.argmax(power[band])])


def _whole_heart(waves: _Waves, by_lead: Mapping[str, Float64]) -> dict[str, float]:
    """Intervals, axis, voltages, and how many leads show what, from the usual beat."""
    rate = waves.rate
    moving = np.abs(waves.shape[waves.live, waves.t]).mean(axis=0)
    t_end = waves.t.start + int(np.flatnonzero(moving > 0.25 * moving.max())[-1])
    r, s = by_lead["R"] * waves.height, by_lead["S"] * waves.height  # mV
    axis = np.array([r[0] + s[0], (r[5] + s[5]) * 2 / np.sqrt(3)])  # to the left, to the feet
    axis /= max(float(np.linalg.norm(axis)), LEAST)
    slow = (np.abs(np.gradient(waves.other[waves.live], axis=1)).mean(axis=0) > 0.04)[waves.span(-0.14, 0.2)]
    net = (by_lead["T area"] * by_lead["QRS area"])[waves.live]
    return {
        "QRS duration": (waves.offset - waves.onset + 1) / rate,
        "QT interval": (t_end - waves.onset) / rate,
        "axis left": float(axis[0]),
        "axis down": float(axis[1]),
        "log Sokolow": float(np.log(np.maximum(np.fmax(r[10], r[11]) - s[6], 0.1))),
        "log Cornell": float(np.log(np.maximum(r[4] - s[8], 0.1))),
        "log limb QRS": float(np.log(np.fmax.reduce(waves.height[:6]))),
        "log chest QRS": float(np.log(np.fmax.reduce(waves.height[6:]))),
        "other QRS": float(slow.sum()) / rate,
        "T against QRS": float(net.mean()),
        "ST depressed": float((by_lead["ST 40 ms"] < -0.05).sum()),
        "ST raised": float((by_lead["ST 40 ms"] > 0.08).sum()),
        "T inverted": float((by_lead["T lowest"] < -0.08)[[0, 1, 4, 5, 7, 8, 9, 10, 11]].sum()),  # not III, aVR, V1
    }
