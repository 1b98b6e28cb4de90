"""ECG: leads by name, units, derived and missing leads, windows, resampling, the drawn strip."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import wfdb as library
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from m3search.errors import Reason, UnreadableFile
from m3search.formats import dicom, wfdb
from m3search.modalities.ecg import CLIP, ECG
from m3search.modalities.ecg_leads import (
    LEADS,
    blank_disconnected,
    derive_limb_leads,
    is_unnamed_ecg,
    lead_of,
    millivolts_per,
    place,
)
from m3search.modalities.ecg_strip import draw_strip
from m3search.types import InputSpec, Item, Part, Source

SPEC = InputSpec("signal", rate_hz=100, seconds=10, max_parts=4)


def heart(seconds: float, rate: int = 500) -> np.ndarray:
    """(12, T) millivolts of one dipole: limb leads obey Einthoven and Goldberger, chest leads are all different."""
    time = np.arange(round(seconds * rate)) / rate
    beat = np.exp(-(((time % 0.8) - 0.3) ** 2) / 0.0008)
    one, two = 0.6 * beat + 0.02 * np.sin(2 * np.pi * time), 1.1 * beat + 0.03 * np.sin(2 * np.pi * 2 * time)
    chest = [beat * (0.2 * n - 0.5) + 0.01 * np.sin(2 * np.pi * n * time) for n in range(1, 7)]
    return np.stack([one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2, *chest])


def write(
    folder: Path,
    signal: np.ndarray,
    names: list[str],
    units: str = "mV",
    rate: int = 500,
    comments: tuple[str, ...] = (),
    gain: float = 3000,
) -> Source:
    leads = len(names)
    library.wrsamp(
        "rec", fs=rate, units=[units] * leads, sig_name=names, p_signal=signal.T, fmt=["16"] * leads,
        adc_gain=[gain] * leads, baseline=[0] * leads, comments=list(comments), write_dir=str(folder),
    )  # fmt: skip
    return Source("ecg", "wfdb", (folder / "rec.hea",))


def read(source: Source, spec: InputSpec = SPEC) -> Item:
    return ECG().read(source, spec)


def reason_of(source: Source) -> Reason:
    with pytest.raises(UnreadableFile) as caught:
        read(source)
    return caught.value.reason


@pytest.mark.parametrize(
    ("name", "lead"),
    [
        ("I", ("I", 1)), ("ii", ("II", 1)), ("Lead I (Einthoven)", ("I", 1)), ("AVR", ("aVR", 1)), ("a VL", ("aVL", 1)),
        ("aVF, augmented voltage, foot", ("aVF", 1)), ("MDC_ECG_LEAD_V3", ("V3", 1)), ("2:64", ("aVF", 1)),
        ("5.6.3-9-61", ("III", 1)), ("MLII", ("II", 1)), ("MCL1", ("V1", 1)), ("DIII", ("III", 1)), ("CM5", ("V5", 1)),
        ("v6", ("V6", 1)), ("-aVR", ("aVR", -1)), ("ECG lead II", ("II", 1)),
        ("ECG 1", None), ("ECG", None), ("V", None), ("Lead 1", None), ("vx", None), ("V3R", None), ("V7", None),
        ("ABP", None), ("PLETH", None), ("RESP", None), ("C3", None), ("", None), ("V1-V2", None),
    ],
)  # fmt: skip
def test_lead_names(name: str, lead: tuple[str, int] | None) -> None:
    assert lead_of(name) == lead


def test_exact_name_goes_before_its_variant_and_unnamed_ones_stand_in_last() -> None:
    assert place(["MLII", "II", "ABP"]).channels == {"II": (1, 1)}
    assert place(["II", "MLII"]).channels == {"II": (0, 1)}
    alone = place(["RESP", "ECG1", "ECG2"])
    assert alone.channels == {"II": (1, 1)}
    assert alone.notes
    assert not place(["ABP", "PLETH"]).channels
    assert is_unnamed_ecg("EKG channel 2")
    assert not is_unnamed_ecg("EEG")


@pytest.mark.parametrize(
    ("unit", "factor"), [("mV", 1), ("uV", 1e-3), ("µV", 1e-3), ("μV", 1e-3), ("V", 1e3), ("NU", None)]
)
def test_units(unit: str, factor: float | None) -> None:
    assert millivolts_per(unit) == factor


def test_leads_are_found_by_name_whatever_their_order(tmp_path: Path) -> None:
    order = np.random.default_rng(3).permutation(12)
    names = [LEADS[i].upper() for i in order] + ["vx", "RESP"]
    signal = np.concatenate([heart(10)[order], heart(10)[6:8]])
    item = read(write(tmp_path, signal, names))
    np.testing.assert_allclose(item.parts[0].data, heart(10), atol=1e-3)
    assert item.parts[0].locator == ""
    assert item.parts[0].rate_hz == 500
    assert item.provenance["ignored_channels"] == 2
    assert item.provenance["missing_leads"] == []


@pytest.mark.parametrize(("units", "scale"), [("uV", 1e-3), ("V", 1e3), ("NU", 1.0)])
def test_units_become_millivolts(tmp_path: Path, units: str, scale: float) -> None:
    item = read(write(tmp_path, heart(10) / scale, list(LEADS), units=units, gain=3000 * scale))
    np.testing.assert_allclose(item.parts[0].data, heart(10), atol=1e-3)
    assert item.provenance["calibrated"] is (units != "NU")


@pytest.mark.parametrize("pair", [("I", "II"), ("II", "III"), ("I", "III")])
def test_limb_leads_follow_from_any_two(tmp_path: Path, pair: tuple[str, str]) -> None:
    rows = [LEADS.index(lead) for lead in pair]
    item = read(write(tmp_path, heart(10)[rows], list(pair)))
    np.testing.assert_allclose(item.parts[0].data[:6], heart(10)[:6], atol=2e-3)
    assert np.isnan(item.parts[0].data[6:]).all()
    assert set(item.provenance["derived_leads"]) == set(LEADS[:6]) - set(pair)
    assert item.provenance["missing_leads"] == list(LEADS[6:])


def test_one_limb_lead_derives_nothing() -> None:
    leads = heart(1).astype(np.float32)
    leads[[0, 2]] = np.nan
    same, derived = derive_limb_leads(leads)
    assert derived == ()
    np.testing.assert_array_equal(same, leads)


def test_disconnected_lead_is_missing_and_a_flat_record_is_refused(tmp_path: Path) -> None:
    signal = heart(10)
    signal[8] = 0.25
    item = read(write(tmp_path, signal, list(LEADS)))
    assert item.provenance["missing_leads"] == ["V3"]
    assert reason_of(write(tmp_path, np.full((12, 5000), 0.5), list(LEADS))) is Reason.CONSTANT
    empty = np.full((12, 9), np.nan, dtype=np.float32)
    assert np.isnan(blank_disconnected(empty, np.ones(12, dtype=bool))).all()


def test_a_lead_that_shows_no_heart_is_missing() -> None:
    leads = heart(10).astype(np.float32) + np.random.default_rng(1).normal(0, 0.01, (12, 5000)).astype(np.float32)
    leads[1] = 0.005 * (np.arange(5000) % 97 == 0)  # the last bit of an amplifier without patient
    leads[7] = np.where(np.arange(5000) % 500 < 60, leads[7], 5.0)  # an electrode that touches now and then
    leads[8] *= 0.1  # low voltage, and yet a heart
    leads[9, 2000:2100] = 5.0  # a moment at the rail
    found = blank_disconnected(leads, np.ones(12, dtype=bool))
    assert np.flatnonzero(np.isnan(found).all(axis=1)).tolist() == [1, 7]
    unscaled = blank_disconnected(leads / 1000, np.zeros(12, dtype=bool))  # of no known unit: small may be anything
    assert not np.isnan(unscaled).any()


def test_spikes_of_a_pacemaker_are_kept(tmp_path: Path) -> None:
    """2 ms wide: read as they are, and still there at 100 samples a second, though they are narrower than a sample."""
    signal = heart(10)
    spikes = np.arange(70, 5000, 400)  # 160 ms before each beat
    signal[:, spikes] += 4.0
    item = read(write(tmp_path, signal, list(LEADS)))
    np.testing.assert_allclose(item.parts[0].data, signal, atol=1e-3)
    without = ECG().prepare(read(write(tmp_path, heart(10), list(LEADS))), SPEC)[0]
    added = ECG().prepare(item, SPEC)[0] - without
    assert added[:, spikes // 5].min() > 0.5
    assert np.abs(np.delete(added, np.add.outer(spikes // 5, range(-8, 9)).ravel() % 1000, axis=1)).max() < 0.05


def test_iec_chest_leads_are_known_by_all_six_beside_limb_leads(tmp_path: Path) -> None:
    names = [*LEADS[:6], *(f"C{number}" for number in range(1, 7))]
    item = read(write(tmp_path, heart(10), names))
    np.testing.assert_allclose(item.parts[0].data, heart(10), atol=1e-3)
    assert any("V1 to V6" in note for note in item.provenance["notes"])
    assert set(place(["I", "C3", "C4"]).channels) == {"I"}  # sleep laboratories record both
    assert not place([f"C{number}" for number in range(1, 7)]).channels


def test_record_without_ecg_is_of_another_modality(tmp_path: Path) -> None:
    source = write(tmp_path, heart(10)[:2], ["ABP", "PLETH"], units="mmHg")
    assert reason_of(source) is Reason.WRONG_MODALITY
    assert not ECG().recognises(wfdb.read_header(source.files[0]))


@pytest.mark.parametrize("rate", ["99999999999", "2"])
def test_a_rate_that_no_ecg_has_is_refused(rate: str, tmp_path: Path) -> None:
    """Found by `python -m tests.fuzz --seed 7`: nothing was left of it after resampling."""
    source = write(tmp_path, heart(2)[:2], ["I", "II"])
    header = source.files[0]
    header.write_text(header.read_text().replace("rec 2 500 ", f"rec 2 {rate} "))
    assert reason_of(source) is Reason.IMPLAUSIBLE


def test_windows_are_spread_over_a_long_record(tmp_path: Path) -> None:
    source = write(tmp_path, heart(95, rate=250), list(LEADS), rate=250)
    item = read(source)
    assert [part.locator for part in item.parts] == [
        "window=0-10s", "window=28.33-38.33s", "window=56.67-66.67s", "window=85-95s",
    ]  # fmt: skip
    np.testing.assert_allclose(item.parts[3].data, heart(95, rate=250)[:, -2500:], atol=1e-3)
    assert ECG().prepare(item, SPEC).shape == (4, 12, 1000)


def test_record_longer_than_one_window_but_shorter_than_two_has_one(tmp_path: Path) -> None:
    item = read(write(tmp_path, heart(17), list(LEADS)))
    assert [part.locator for part in item.parts] == ["window=0-10s"]


def test_windows_in_gaps_are_left_out(tmp_path: Path) -> None:
    signal = heart(200, rate=100)
    signal[:, :15_000] = 0  # connected after 150 s
    item = read(write(tmp_path, signal, list(LEADS), rate=100))
    assert [part.locator for part in item.parts] == ["window=190-200s"]
    signal[:, 18_500:] = 0  # now no window of the first look meets the signal
    item = read(write(tmp_path, signal, list(LEADS), rate=100))
    assert {part.locator for part in item.parts} >= {"window=160-170s", "window=170-180s"}


def test_prepare_keeps_the_beat_and_centres_it(tmp_path: Path) -> None:
    signal = heart(10) + 0.7  # an offset of the amplifier
    inputs = ECG().prepare(read(write(tmp_path, signal, list(LEADS))), SPEC)
    assert inputs.shape == (1, 12, 1000)
    assert inputs.dtype == np.float32
    expected = heart(10)[:, ::5] - np.median(heart(10), axis=1, keepdims=True)
    np.testing.assert_allclose(inputs[0], expected, atol=0.02)


def test_prepare_keeps_out_what_the_rate_cannot_hold() -> None:
    time = np.arange(5000) / 500
    mains = np.sin(2 * np.pi * 90 * time)  # would alias to 10 Hz at 100 samples per second
    item = Item(Source("ecg", "wfdb", ()), (Part("", np.tile(mains, (12, 1)).astype(np.float32), rate_hz=500),))
    assert np.abs(ECG().prepare(item, SPEC)[0, :, 50:-50]).max() < 0.02


@pytest.mark.parametrize("rate", [100, 128, 250, 257, 360, 400, 1000])
def test_prepare_from_every_usual_rate(rate: int) -> None:
    time = np.arange(10 * rate) / rate
    item = Item(
        Source("ecg", "wfdb", ()),
        (Part("", np.tile(np.sin(2 * np.pi * 3 * time), (12, 1)).astype(np.float32), rate_hz=rate),),
    )
    inputs = ECG().prepare(item, SPEC)[0, 0]
    np.testing.assert_allclose(inputs[50:-50], np.sin(2 * np.pi * 3 * np.arange(1000) / 100)[50:-50], atol=0.02)


@pytest.mark.parametrize("rate", [250, 360, 500, 1000])
def test_another_way_of_resampling_gives_the_same(rate: int) -> None:
    """scipy's FFT, which wfdb.processing uses; ours is a polyphase filter. Of what 100 Hz holds, to 30 Hz."""
    from scipy.signal import resample

    spectrum = np.zeros(5 * rate + 1, dtype=complex)
    rng = np.random.default_rng(rate)
    spectrum[1:300] = rng.normal(size=299) + 1j * rng.normal(size=299)  # a line every 0.1 Hz
    signal = np.fft.irfft(spectrum, 10 * rate)
    signal /= np.abs(signal).max()
    part = Part("", np.tile(signal, (12, 1)).astype(np.float32), rate_hz=rate)
    ours = ECG().prepare(Item(Source("ecg", "wfdb", ()), (part,)), SPEC)[0, 4]
    theirs = resample(signal - np.median(signal), 1000)
    np.testing.assert_allclose(ours[20:-20], theirs[20:-20], atol=0.01)


def test_prepare_pads_clips_bridges_and_masks() -> None:
    data = heart(6, rate=100).astype(np.float32)
    data[1] = np.nan  # missing
    data[2, 100:110] = np.nan  # a gap
    data[3, :400] = np.nan  # more gap than lead
    data[4, 300] = 500  # a spike
    inputs = ECG().prepare(Item(Source("ecg", "wfdb", ()), (Part("", data, rate_hz=100),)), SPEC)[0]
    assert np.isnan(inputs[[1, 3]]).all()
    assert np.isfinite(np.delete(inputs, [1, 3], axis=0)).all()
    assert (np.delete(inputs, [1, 3], axis=0)[:, 600:] == 0).all()
    assert inputs[4].max() == CLIP
    gap = inputs[2, 99:111]
    np.testing.assert_allclose(gap, np.linspace(gap[0], gap[-1], 12), atol=1e-5)


@pytest.mark.parametrize(
    ("comments", "sex", "band"),
    [
        (("Age: 77", "Sex: Female", "Dx: 426783006"), "F", "70-79"),
        (("age: 81", "sex: male"), "M", "80-89"),
        (("69 M 1085 1629 x1", "Aldomet, Inderal"), "M", "60-69"),
        (("<age>: 34  <sex>: F  <diagnoses> (none)",), "F", "30-39"),
        (("Age: NaN", "Sex: Unknown"), "", ""),
        (("ECG date: 01/10/1990", "Message about Mr. Doe"), "", ""),
    ],
)
def test_comments_give_age_band_and_sex_and_nothing_else(
    tmp_path: Path, comments: tuple[str, ...], sex: str, band: str
) -> None:
    item = read(write(tmp_path, heart(10), list(LEADS), comments=(*comments, "Name: PLANTED")))
    assert (item.tags.sex, item.tags.age_band) == (sex, band)
    assert item.text == ""
    stored = json.dumps(item.provenance) + repr(item)
    assert not [word for word in ("PLANTED", "Doe", "426783006", "Aldomet") if word in stored]


def write_dicom(folder: Path, groups: list[tuple[str, list[str], np.ndarray, int]]) -> Source:
    """A 12-lead ECG waveform file; per group its label, channel names, microvolts (C, T) and rate."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.9.1.1"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.Modality, dataset.PatientName, dataset.PatientID, dataset.PatientSex = "ECG", "Planted^Jane", "ID-77", "F"
    dataset.WaveformSequence = Sequence()
    for label, names, microvolts, rate in groups:
        group = Dataset()
        group.MultiplexGroupLabel, group.SamplingFrequency = label, rate
        group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = microvolts.shape
        group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
        group.ChannelDefinitionSequence = Sequence()
        for name in names:
            channel, unit, lead = Dataset(), Dataset(), Dataset()
            unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "uV", "UCUM", "microvolt"
            lead.CodeValue, lead.CodingSchemeDesignator, lead.CodeMeaning = "x", "99TEST", name
            channel.ChannelSourceSequence, channel.ChannelSensitivityUnitsSequence = Sequence([lead]), Sequence([unit])
            channel.ChannelSensitivity, channel.ChannelSensitivityCorrectionFactor, channel.ChannelBaseline = 1, 1, 0
            channel.WaveformBitsStored = 16
            group.ChannelDefinitionSequence.append(channel)
        group.WaveformData = microvolts.T.round().astype("<i2").tobytes()
        dataset.WaveformSequence.append(group)
    path = folder / "ecg.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return Source("ecg", "dicom", (path,))


def test_dicom_rhythm_is_read_and_the_median_beat_is_not(tmp_path: Path) -> None:
    names = [f"Lead {lead}" for lead in LEADS]
    source = write_dicom(
        tmp_path, [("MEDIAN BEAT", names, heart(20) * -999, 500), ("RHYTHM", names, heart(10) * 1000, 500)]
    )
    item = read(source)
    np.testing.assert_allclose(item.parts[0].data, heart(10), atol=1e-3)
    assert item.tags.sex == "F"
    assert item.identity.patient_id == "ID-77"
    assert "Planted" not in json.dumps(item.provenance) + repr(item)
    assert ECG().recognises(dicom.read_header(source.files[0]))


def test_dicom_groups_sampled_alike_are_joined(tmp_path: Path) -> None:
    groups = [
        (f"GROUP {n}", [f"Lead {lead}" for lead in LEADS[n : n + 3]], heart(10)[n : n + 3] * 1000, 500)
        for n in (0, 3, 6, 9)
    ]
    item = read(write_dicom(tmp_path, groups))
    np.testing.assert_allclose(item.parts[0].data, heart(10), atol=1e-3)
    assert item.provenance["notes"] == ["joined from 4 multiplex groups"]


def test_strip_shows_every_recorded_lead() -> None:
    whole = heart(10).astype(np.float32)
    few = np.full_like(whole, np.nan)
    few[[1, 10]] = whole[[1, 10]]
    pictures = [Image.open(io.BytesIO(draw_strip(leads, 500))).convert("L") for leads in (whole, few, few * 0.1)]
    assert [picture.width for picture in pictures] == [512, 512, 512]
    assert pictures[0].height > pictures[1].height > 60
    ink = [(np.asarray(picture) < 120).sum() / picture.height for picture in pictures]
    assert min(ink) > 4  # a curve across the whole width, not names alone
    assert ink[1] > ink[2]  # a tenth of the voltage is drawn smaller: the scale is fixed


def test_strip_of_tall_waves_states_a_smaller_gain() -> None:
    tall = (heart(10) * 6).astype(np.float32)
    rows = np.asarray(Image.open(io.BytesIO(draw_strip(tall, 500))).convert("L"))
    assert (rows[:3] < 120).sum() == 0  # nothing leaves the paper


@pytest.mark.shared_data
def test_every_ecg_of_the_archive(shared_data: Path) -> None:
    folder = shared_data / "archive" / "ecg"
    paths = [*sorted(folder.rglob("*.hea")), *folder.rglob("*.dcm")]
    assert len(paths) == 43
    for path in paths:
        source = Source("ecg", "dicom" if path.suffix == ".dcm" else "wfdb", (path,))
        item = read(source)
        inputs = ECG().prepare(item, SPEC)
        assert inputs.shape[1:] == (12, 1000)
        assert item.provenance["calibrated"]
        if "wfdb_samples" not in str(path):
            residual = (
                inputs[0, 0] + inputs[0, 2] - inputs[0, 1]
            )  # Einthoven: I + III = II, if leads are where they belong
            assert np.ptp(np.percentile(residual, [5, 95])) < 0.1 * np.ptp(inputs[0, 1])
