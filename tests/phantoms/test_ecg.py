"""ECG phantoms obey Einthoven and show, measurably, what their text says."""

from __future__ import annotations

import numpy as np
import pytest

from m3search.phantoms import ecg

RATE = 500


def record(kind: str, seed: int = 0) -> tuple[np.ndarray, float]:
    """Signal (12, T) and the stated heart rate."""
    rng = np.random.default_rng(seed)
    findings = ecg.choose(rng, kind)
    return ecg.render(rng, findings, RATE), float(findings[0].extent)


def r_peaks(signal: np.ndarray) -> np.ndarray:
    """Samples of the R peaks, from the steepness of all leads together."""
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import find_peaks

    smooth = gaussian_filter1d(signal, 0.008 * RATE, axis=1)
    steepness = gaussian_filter1d((np.diff(smooth, axis=1) ** 2).sum(axis=0), 0.04 * RATE)
    return find_peaks(steepness, height=0.25 * np.percentile(steepness, 99), distance=int(0.28 * RATE))[0]


def mean_beat(signal: np.ndarray) -> np.ndarray:
    """The median beat (12, 0.8 s), R at 0.3 s, zero between T and P."""
    peaks = [p for p in r_peaks(signal) if 0.3 * RATE <= p < signal.shape[1] - 0.5 * RATE]
    beats = np.stack([signal[:, p - int(0.3 * RATE) : p + int(0.5 * RATE)] for p in peaks])
    beat = np.median(beats, axis=0)
    return beat - beat[:, int(0.04 * RATE) : int(0.07 * RATE)].mean(axis=1, keepdims=True)


def st_level(signal: np.ndarray) -> dict[str, float]:
    """Millivolts 90 ms after the R peak, by lead."""
    beat = mean_beat(signal)
    return dict(zip(ecg.LEADS, beat[:, int(0.38 * RATE) : int(0.40 * RATE)].mean(axis=1), strict=True))


def qrs_milliseconds(signal: np.ndarray) -> float:
    """How long the dipole moves fast around the R peak."""
    from scipy.ndimage import gaussian_filter1d

    speed = np.abs(np.diff(gaussian_filter1d(mean_beat(signal), 2, axis=1), axis=1)).max(axis=0)[
        int(0.15 * RATE) : int(0.5 * RATE)
    ]
    fast = np.nonzero(speed > 0.12 * speed.max())[0]
    return float((fast[-1] - fast[0]) / RATE * 1000)


@pytest.mark.parametrize("kind", ecg.KINDS)
def test_limb_leads_obey_einthoven_and_goldberger(kind: str) -> None:
    leads = dict(zip(ecg.LEADS, record(kind)[0].astype(float), strict=True))
    assert np.allclose(leads["I"] + leads["III"], leads["II"], atol=1e-5)
    assert np.allclose(leads["aVR"] + leads["aVL"] + leads["aVF"], 0, atol=1e-5)


@pytest.mark.parametrize("kind", ecg.KINDS)
def test_rate_is_as_stated(kind: str) -> None:
    for seed in range(3):
        signal, rate = record(kind, seed)
        measured = 60 * RATE / np.diff(r_peaks(signal)).mean()
        assert measured == pytest.approx(rate, rel=0.12 if kind == "atrial fibrillation" else 0.05)


def test_only_fibrillation_is_irregular() -> None:
    def variation(kind: str, seed: int) -> float:
        intervals = np.diff(r_peaks(record(kind, seed)[0]))
        return float(intervals.std() / intervals.mean())

    irregular = [variation("atrial fibrillation", seed) for seed in range(5)]
    regular = [variation(kind, seed) for kind in ecg.KINDS if kind != "atrial fibrillation" for seed in range(3)]
    assert min(irregular) > 0.12
    assert max(regular) < 0.05


def test_fibrillation_has_no_p_wave() -> None:
    def p_wave(kind: str) -> float:
        return float(np.ptp(mean_beat(record(kind)[0])[1, int(0.08 * RATE) : int(0.22 * RATE)]))

    assert p_wave("normal") > 0.08
    assert p_wave("atrial fibrillation") < 0.7 * p_wave("normal")


@pytest.mark.parametrize("seed", range(3))
def test_st_elevation_lies_in_its_leads(seed: int) -> None:
    normal = st_level(record("normal", seed)[0])
    anterior = st_level(record("anterior ST elevation", seed)[0])
    inferior = st_level(record("inferior ST elevation", seed)[0])
    assert max(abs(value) for value in normal.values()) < 0.1
    assert min(anterior[lead] for lead in ("V2", "V3")) > 0.2
    assert min(inferior[lead] for lead in ("II", "III", "aVF")) > 0.1
    assert inferior["aVL"] < -0.05  # reciprocal
    assert abs(inferior["V2"]) < 0.1


def test_bundle_branch_block_is_wide_and_negative_in_v1() -> None:
    narrow, wide = record("normal")[0], record("left bundle branch block")[0]
    assert qrs_milliseconds(narrow) < 100
    assert qrs_milliseconds(wide) > 120
    beat = mean_beat(wide)
    assert beat[ecg.LEADS.index("V1")].min() < -0.5
    assert beat[ecg.LEADS.index("V6")].max() > 0.5


def test_other_rates_and_lengths() -> None:
    rng = np.random.default_rng(0)
    signal = ecg.render(rng, ecg.choose(rng, "normal"), rate_hz=100, seconds=4)
    assert signal.shape == (12, 400)
    assert signal.dtype == np.float32
    assert 0.5 < np.abs(signal).max() < 4  # millivolts
