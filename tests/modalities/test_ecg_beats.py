"""Beats found and measured: on phantoms of known rate and finding, and where there is nothing to find."""

from __future__ import annotations

import numpy as np
import pytest

from m3search.modalities.ecg import ECG
from m3search.modalities.ecg_beats import BEFORE, average_beats, find_beats
from m3search.modalities.ecg_layout import beside, layout_of
from m3search.modalities.ecg_leads import LEADS
from m3search.modalities.ecg_measures import LEAD_MEASURES, RHYTHM, VOLTAGES, measure
from m3search.phantoms import ecg as phantom
from m3search.types import InputSpec, Item, Part, Source

RATE = 100.0
SPEC = InputSpec("signal", rate_hz=RATE, seconds=10, max_parts=1, beat_seconds=0.96)


def record(kind: str, seed: int = 0, rate_hz: float = RATE, seconds: float = 10.0) -> tuple[np.ndarray, float]:
    """(12, T) of a phantom, and its beats per minute."""
    rng = np.random.default_rng(seed)
    findings = phantom.choose(rng, kind)
    return phantom.render(rng, findings, rate_hz, seconds), float(findings[0].extent)


def measured(leads: np.ndarray, rate_hz: float = RATE) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Measures by name: of the leads, (12,) each, and of the rhythm."""
    beats = average_beats(leads, rate_hz, SPEC.beat_seconds)
    assert beats is not None
    by_lead, rhythm = measure(leads, beats, rate_hz)
    return dict(zip(LEAD_MEASURES, by_lead.T, strict=True)), dict(zip(RHYTHM, rhythm.tolist(), strict=True))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("kind", [kind for kind in phantom.KINDS if kind != "atrial fibrillation"])
def test_the_rate_is_found(kind: str, seed: int) -> None:
    leads, rate = record(kind, seed)
    at = find_beats(leads, RATE)
    assert 60 * RATE / np.median(np.diff(at)) == pytest.approx(rate, rel=0.04)
    assert np.ptp(np.diff(at)) < 0.25 * np.median(np.diff(at))  # none missed, none counted twice


@pytest.mark.parametrize("rate_hz", [125.0, 250.0, 500.0])
def test_beats_lie_at_the_same_time_at_every_sampling_rate(rate_hz: float) -> None:
    leads, _ = record("normal", 3, 500.0)
    expected = find_beats(leads, 500.0) / 500.0
    found = find_beats(leads[:, :: round(500 / rate_hz)], rate_hz) / rate_hz
    assert len(found) == len(expected)
    np.testing.assert_allclose(found, expected, atol=0.03)


@pytest.mark.parametrize(
    "change",
    [
        lambda leads: leads * -1,
        lambda leads: leads * 0.1,
        lambda leads: leads + 1.5 * np.sin(2 * np.pi * 0.3 * np.arange(leads.shape[1]) / RATE),
        lambda leads: leads + np.random.default_rng(0).normal(0, 0.08, leads.shape),
        lambda leads: np.where(np.arange(12)[:, None] == 1, leads, np.nan),
    ],
    ids=["upside down", "small", "wandering baseline", "noise", "one lead"],
)
def test_beats_are_found_all_the_same(change) -> None:  # type: ignore[no-untyped-def]
    leads, _ = record("normal", 4)
    expected, found = find_beats(leads, RATE), find_beats(change(leads), RATE)
    assert len(found) == len(expected)
    np.testing.assert_allclose(found, expected, atol=4)


def test_spikes_of_a_pacemaker_are_no_beats() -> None:
    leads, _ = record("left bundle branch block", 5, 500.0)
    expected = find_beats(leads, 500.0)
    paced = leads.copy()
    for beat in expected:
        paced[:, max(0, beat - 80) : max(1, beat - 79)] += 3.0  # 2 ms wide, 160 ms ahead
    found = find_beats(paced, 500.0)
    assert len(found) == len(expected)


def test_a_shock_hides_no_beats() -> None:
    leads, _ = record("normal", 6)
    expected = find_beats(leads, RATE)
    shocked = leads.copy()
    shocked[:, 510:516] = 10.0
    assert abs(len(find_beats(shocked, RATE)) - len(expected)) <= 1


@pytest.mark.parametrize(
    "leads",
    [
        np.zeros((12, 1000), np.float32),
        np.full((12, 1000), np.nan, np.float32),
        np.zeros((12, 40), np.float32),
        np.zeros((12, 0), np.float32),
        np.random.default_rng(0).normal(0, 0.3, (12, 1000)).astype(np.float32),
        np.random.default_rng(0).normal(0, 0.3, (12, 60)).astype(np.float32),
    ],
    ids=["flat", "missing", "short and flat", "empty", "noise", "short noise"],
)
def test_where_there_is_no_beat_nothing_is_made_up(leads: np.ndarray) -> None:
    assert average_beats(leads, RATE, SPEC.beat_seconds) is None
    assert np.isnan(beside(leads, SPEC)).all()


def test_the_usual_beat_is_that_of_the_record_and_premature_ones_leave_no_trace() -> None:
    leads, _ = record("normal", 7)
    plain = average_beats(leads, RATE, SPEC.beat_seconds)
    assert plain is not None
    disturbed = leads.copy()
    middle = int(plain.whole[len(plain.whole) // 2])
    disturbed[:, middle - 10 : middle + 15] *= -2.0
    beats = average_beats(disturbed, RATE, SPEC.beat_seconds)
    assert beats is not None
    np.testing.assert_allclose(beats.usual, plain.usual, atol=0.08)
    assert beats.likeness.min() < 0.5
    assert np.abs(beats.other - beats.usual).max() > 0.5
    assert np.abs(plain.other - plain.usual).max() < 1e-6
    r = round(BEFORE * RATE)
    assert np.abs(beats.usual[1]).argmax() == pytest.approx(r, abs=3)


def test_missing_leads_stay_missing() -> None:
    leads, _ = record("normal", 8)
    leads[[3, 9]] = np.nan
    by_lead, rhythm = measured(leads)
    for values in by_lead.values():
        assert set(np.flatnonzero(np.isnan(values))) == {3, 9}
    assert np.isfinite([rhythm["rate"], rhythm["QRS duration"], rhythm["P height"]]).all()
    row = beside(leads, SPEC)
    layout = layout_of(SPEC)
    own = slice(0, layout.rhythm.start - layout.signal.stop)
    assert np.isnan(row[[3, 9], own]).all()
    assert np.isfinite(row[[0, 1, 2], own]).all()


def test_one_lead_alone_is_measured() -> None:
    leads, rate = record("normal", 9)
    leads[np.arange(12) != 1] = np.nan
    by_lead, rhythm = measured(leads)
    assert rhythm["rate"] == pytest.approx(rate, rel=0.04)
    assert np.isfinite(by_lead["R"][1])
    assert np.isnan(rhythm["axis left"])


def test_findings_show_in_the_measures() -> None:
    normal_leads, normal = measured(record("normal", 10)[0])
    _, block = measured(record("left bundle branch block", 10)[0])
    assert block["QRS duration"] >= normal["QRS duration"] + 0.03
    anterior, _ = measured(record("anterior ST elevation", 10)[0])
    inferior, _ = measured(record("inferior ST elevation", 10)[0])
    chest, feet = [LEADS.index(lead) for lead in ("V2", "V3")], [LEADS.index(lead) for lead in ("II", "III", "aVF")]
    assert (anterior["ST 80 ms"][chest] > normal_leads["ST 80 ms"][chest] + 0.03).all()
    assert (inferior["ST 80 ms"][feet] > normal_leads["ST 80 ms"][feet] + 0.03).all()


def test_fibrillation_is_irregular_and_without_steady_p_waves() -> None:
    sinus = [measured(record("normal", seed)[0])[1] for seed in range(5)]
    fibrillating = [measured(record("atrial fibrillation", seed)[0])[1] for seed in range(5)]
    assert min(f["RR change"] for f in fibrillating) > max(s["RR change"] for s in sinus)
    assert np.mean([f["P steadiness"] for f in fibrillating]) < min(s["P steadiness"] for s in sinus)


def test_only_voltages_follow_the_gain() -> None:
    leads, _ = record("inferior ST elevation", 11)
    (plain, rhythm), (double, faster) = measured(leads), measured(leads * 2)
    for name, before, after in [
        *((name, plain[name], double[name]) for name in plain),
        *((name, np.array(rhythm[name]), np.array(faster[name])) for name in rhythm),
    ]:
        gain = np.log(2) if name in VOLTAGES else 0.0
        np.testing.assert_allclose(after - before, gain, atol=0.01, err_msg=name)


def test_leads_scaled_one_by_one_have_no_voltage() -> None:
    leads, _ = record("normal", 12)
    by_lead, rhythm = measured(leads / leads.std(axis=1, keepdims=True))
    for name in VOLTAGES:
        assert np.isnan(by_lead[name] if name in by_lead else rhythm[name]).all(), name
    plain, _ = measured(leads)
    np.testing.assert_allclose(by_lead["R"], plain["R"], atol=0.02)


def test_beats_lie_beside_an_unchanged_signal() -> None:
    leads, _ = record("normal", 13, 500.0, 12.0)
    item = Item(Source("ecg", "wfdb", ()), (Part("", leads, rate_hz=500.0), Part("", leads[:, :100], rate_hz=500.0)))
    alone = InputSpec("signal", rate_hz=RATE, seconds=10, max_parts=2)
    plain, rich = ECG().prepare(item, alone), ECG().prepare(item, SPEC)
    layout = layout_of(SPEC)
    assert layout_of(alone).columns == plain.shape[2] == 1000
    assert not layout_of(alone).has_beats
    assert rich.shape == (2, 12, layout.columns)
    assert rich.dtype == np.float32
    np.testing.assert_array_equal(rich[:, :, layout.signal], plain)
    assert np.isfinite(rich[0, :, layout.usual]).all()
    assert np.isnan(rich[1, :, 1000:]).all()  # too short for a beat
    heart = rich[0, :, layout.rhythm].T.ravel()[: len(RHYTHM)]
    assert dict(zip(RHYTHM, heart.tolist(), strict=True))["rate"] == pytest.approx(
        60 * RATE / np.median(np.diff(find_beats(plain[0], RATE)))
    )


@pytest.mark.shared_data
def test_a_beat_is_found_in_every_resting_record_of_the_archive(shared_data) -> None:  # type: ignore[no-untyped-def]
    paths = sorted((shared_data / "archive" / "ecg").rglob("*.hea"))
    found = []
    for path in paths:
        inputs = ECG().prepare(ECG().read(Source("ecg", "wfdb", (path,)), SPEC), SPEC)
        found.append(bool(np.isfinite(inputs[0, :, layout_of(SPEC).usual]).any()))
    assert np.mean(found) > 0.95
