"""DICOM headers, decoding and rendering, against the standard's formulas and pydicom's own test files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    TwelveLeadECGWaveformStorage,
    generate_uid,
)

from m3search.errors import Reason, UnreadableFile
from m3search.formats import dicom, dicom_pixels
from m3search.formats.dicom_waveform import read_waveforms

PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"


def radiograph(pixels: np.ndarray, **elements: Any) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.Modality = "DX"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 1 if pixels.dtype == np.int16 else 0
    dataset.PixelData = pixels.tobytes()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def saved(dataset: Dataset, path: Path) -> Path:
    dataset.save_as(path, enforce_file_format=True)
    return path


def reason_of(path: Path) -> Reason:
    def show() -> None:
        dicom.read_header(path)
        dicom_pixels.displayed(path, dicom.read_dataset(path))

    with pytest.raises(UnreadableFile) as caught:
        show()
    assert caught.value.path == path
    return caught.value.reason


RAMP = np.arange(0, 4096, 16, dtype=np.uint16).reshape(16, 16)


def shown(dataset: Dataset) -> dicom_pixels.Displayed:
    return dicom_pixels.displayed(Path("ramp.dcm"), dataset)


def test_linear_window_is_the_standards_formula() -> None:
    pixels = shown(radiograph(RAMP, WindowCenter=2048, WindowWidth=1000)).pixels.ravel()
    x = RAMP.ravel().astype(float)
    expected = np.clip((x - 2047.5) / 999 + 0.5, 0, 1) * 255
    assert np.abs(pixels - expected).max() <= 0.5


def test_linear_window_agrees_with_pydicom() -> None:
    from pydicom.pixels.processing import apply_voi_lut

    dataset = radiograph(RAMP, WindowCenter=2048, WindowWidth=1000)
    theirs = apply_voi_lut(RAMP, dataset)
    ours = shown(dataset).pixels
    assert np.abs(theirs / 4095 * 255 - ours).max() <= 0.5


def test_sigmoid_and_exact_windows() -> None:
    x = RAMP.ravel().astype(float)
    sigmoid = shown(radiograph(RAMP, WindowCenter=2048, WindowWidth=1000, VOILUTFunction="SIGMOID")).pixels.ravel()
    assert np.abs(sigmoid - 255 / (1 + np.exp(-4 * (x - 2048) / 1000))).max() <= 0.5
    exact = shown(radiograph(RAMP, WindowCenter=2048, WindowWidth=1000, VOILUTFunction="LINEAR_EXACT")).pixels.ravel()
    assert np.abs(exact - 255 * np.clip((x - 2048) / 1000 + 0.5, 0, 1)).max() <= 0.5


def test_monochrome1_is_inverted_after_the_window() -> None:
    window = {"WindowCenter": 500, "WindowWidth": 400}
    positive = shown(radiograph(RAMP, **window))
    negative = shown(radiograph(RAMP, **window, PhotometricInterpretation="MONOCHROME1"))
    assert np.abs(positive.pixels.astype(int) + negative.pixels - 255).max() <= 1
    assert negative.steps[-1] == "inverted (MONOCHROME1)"


def test_rescale_comes_before_the_window() -> None:
    plain = shown(radiograph(RAMP, WindowCenter=2048, WindowWidth=1000))
    rescaled = shown(radiograph(RAMP, RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=3096, WindowWidth=1999))
    assert np.abs(plain.pixels.astype(int) - rescaled.pixels).max() <= 1


def test_a_voi_lut_is_applied() -> None:
    lut = Dataset()
    lut.LUTDescriptor = [4096, 0, 12]
    lut.add_new("LUTData", "OW", np.arange(4096, dtype=np.uint16)[::-1].tobytes())
    pixels = shown(radiograph(RAMP, VOILUTSequence=Sequence([lut]))).pixels.ravel()
    assert np.abs(pixels - (4095 - RAMP.ravel().astype(float)) / 4095 * 255).max() <= 0.5


def test_without_a_window_percentiles_are_shown_and_said() -> None:
    result = shown(radiograph(RAMP))
    assert (result.pixels.min(), result.pixels.max()) == (0, 255)
    assert "percentile" in result.steps[-1]


def test_padding_becomes_the_smallest_value_of_the_scanned_field() -> None:
    pixels = np.full((4, 4), 100, dtype=np.int16)
    pixels[0], pixels[1] = -2000, 40
    values = dicom_pixels.modality_values(Path("p.dcm"), radiograph(pixels, PixelPaddingValue=-2000))
    assert values.min() == 40


@pytest.mark.parametrize("stated", [-2000, 63536])
@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_shown_black_and_does_not_widen_the_percentiles(kind: str, stated: int) -> None:
    """63536 is -2000 as an unsigned number: so some writers state it for signed pixels."""
    pixels = np.tile(np.arange(100, 164, dtype=np.int16), (64, 1))
    pixels[:20] = -2000
    dataset = radiograph(pixels, PhotometricInterpretation=kind, BitsStored=16, HighBit=15)
    dataset.add_new("PixelPaddingValue", "SS" if stated < 0 else "US", stated)
    result = shown(dataset)
    assert (result.pixels[:20] == 0).all()
    field = result.pixels[20:].astype(int)
    assert (field.min(), field.max()) == (0, 255)
    assert bool(field[0, -1] > field[0, 0]) == (kind == "MONOCHROME2")
    assert result.steps[-1] == "padding shown black"


def test_image_of_nothing_but_padding_keeps_its_values() -> None:
    pixels = np.full((4, 4), 7, dtype=np.uint16)
    assert (dicom_pixels.modality_values(Path("p.dcm"), radiograph(pixels, PixelPaddingValue=7)) == 7).all()


def test_window_that_shows_nothing_is_not_used() -> None:
    result = shown(radiograph(RAMP, WindowCenter=30000, WindowWidth=100))
    assert (result.pixels.min(), result.pixels.max()) == (0, 255)
    assert "window LINEAR centre=30000 width=100 shows nothing" in result.steps[-1]
    constant = shown(radiograph(np.full((4, 4), 5, np.uint16), WindowCenter=2048, WindowWidth=4096))
    assert constant.steps[-1].startswith("window")  # nothing else could show more


def test_window_narrower_than_a_grey_value_where_its_function_allows() -> None:
    exact = shown(radiograph(RAMP, WindowCenter=2048, WindowWidth=0.5, VOILUTFunction="LINEAR_EXACT"))
    assert set(np.unique(exact.pixels)) == {0, 128, 255}
    assert "percentile" in shown(radiograph(RAMP, WindowCenter=2048, WindowWidth=0.5)).steps[-1]


def test_few_bright_pixels_are_not_lost_in_the_percentiles() -> None:
    pixels = np.full((100, 100), 10, dtype=np.uint16)
    pixels[50, 50:55] = 200
    assert np.ptp(shown(radiograph(pixels)).pixels) == 255


def test_colours_of_more_than_8_bits_keep_their_brightness() -> None:
    colours = np.array([[[4095, 2048, 0], [1024, 512, 16]]], dtype=np.uint16)
    dataset = radiograph(np.zeros((1, 2), np.uint16), SamplesPerPixel=3, PhotometricInterpretation="RGB")
    dataset.PlanarConfiguration, dataset.PixelData = 0, colours.tobytes()
    assert shown(dataset).pixels.tolist() == [[[255, 128, 0], [64, 32, 1]]]


def test_signed_values_become_hounsfield_units() -> None:
    pixels = np.array([[-1000, 0], [100, 1000]], dtype=np.int16)
    dataset = radiograph(pixels, RescaleSlope=2, RescaleIntercept=-24, BitsStored=16, HighBit=15)
    assert dicom_pixels.modality_values(Path("p.dcm"), dataset).tolist() == [[-2024, -24], [176, 1976]]


@pytest.mark.parametrize(
    "name", ["MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_bigendian.dcm"]
)
def test_lossless_syntaxes_decode_to_the_same_values(name: str) -> None:
    plain, packed = PYDICOM_FILES / "MR_small.dcm", PYDICOM_FILES / name
    expected = dicom_pixels.stored(plain, dicom.read_dataset(plain))
    assert np.array_equal(dicom_pixels.stored(packed, dicom.read_dataset(packed)), expected)


@pytest.mark.parametrize(
    "name",
    ["JPEG-lossy.dcm", "JPGExtended.dcm", "JPEG2000.dcm", "SC_rgb_jpeg_dcmtk.dcm", "JPEGLSNearLossless_16.dcm",
     "examples_jpeg2k.dcm", "SC_rgb_jpeg_gdcm.dcm", "examples_palette.dcm", "SC_ybr_full_422_uncompressed.dcm"],
)  # fmt: skip
def test_other_compressed_and_colour_files_are_shown(name: str) -> None:
    found = list(PYDICOM_FILES.rglob(name))
    if not found:
        pytest.skip(f"this pydicom does not ship {name}")
    result = dicom_pixels.displayed(found[0], dicom.read_dataset(found[0]))
    assert result.pixels.dtype == np.uint8
    assert result.pixels.std() > 1


def test_every_compressed_syntax_has_a_decoder() -> None:
    assert all(dicom_pixels.decoders().values())


def test_bad_files_say_why(tmp_path: Path) -> None:
    whole = saved(radiograph(RAMP), tmp_path / "whole.dcm").read_bytes()
    cases = {
        "empty.dcm": (b"", Reason.EMPTY),
        "text.dcm": (b"Dear colleague, thank you for referring this patient.", Reason.CORRUPT),
        "half.dcm": (whole[: len(whole) - 300], Reason.TRUNCATED),
        "header.dcm": (whole[:140], Reason.TRUNCATED),
        "noise.dcm": (b"\x00" * 128 + b"DICM" + bytes(range(256)) * 8, None),
    }
    for name, (content, expected) in cases.items():
        (tmp_path / name).write_bytes(content)
        assert reason_of(tmp_path / name) in ({expected} if expected else {Reason.CORRUPT, Reason.TRUNCATED}), name


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"Rows": 65535, "Columns": 65535}, Reason.TOO_LARGE),
        ({"NumberOfFrames": 2_000_000_000}, Reason.TOO_LARGE),
        ({"NumberOfFrames": 50}, Reason.TRUNCATED),
        ({"Rows": 0}, Reason.CORRUPT),
    ],
)
def test_absurd_sizes_are_refused_before_decoding(tmp_path: Path, elements: dict[str, int], expected: Reason) -> None:
    assert reason_of(saved(radiograph(RAMP, **elements), tmp_path / "bomb.dcm")) is expected


def test_an_examination_without_image_is_unsupported(tmp_path: Path) -> None:
    dataset = radiograph(RAMP)
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(dataset, keyword)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedSRStorage
    assert reason_of(saved(dataset, tmp_path / "sr.dcm")) is Reason.UNSUPPORTED


def test_the_header_knows_what_identifies_a_person_and_does_not_print_it(tmp_path: Path) -> None:
    dataset = radiograph(
        RAMP, PatientName="Mustermann^Erika", PatientID="4711-X", PatientBirthDate="19500131", AccessionNumber="ACC99"
    )
    other = Dataset()
    other.PatientID = "OTHER-ID-9"
    dataset.OtherPatientIDsSequence = [other]
    header = dicom.read_header(saved(dataset, tmp_path / "a.dcm"))
    assert {"OTHER-ID-9", "Mustermann", "Erika", "4711-X", "19500131", "1950-01-31", "ACC99"} <= set(header.identifiers)
    assert "Mustermann" not in repr(header)


def test_a_word_that_stands_for_a_name_identifies_nobody(tmp_path: Path) -> None:
    dataset = radiograph(RAMP, PatientName="Anonymous^TEST^Erika", PatientID="Anon")
    found = {one.casefold() for one in dicom.read_header(saved(dataset, tmp_path / "a.dcm")).identifiers}
    assert not {"anonymous", "test", "anon"} & found
    assert "erika" in found


def test_a_dicomdir_is_no_image() -> None:
    path = PYDICOM_FILES / "dicomdirtests" / "DICOMDIR"
    assert not dicom.sniff(path, path.read_bytes()[:4096])
    assert not dicom.sniff(Path("index.dcm"), path.read_bytes()[:4096])  # whatever its name


def test_a_file_without_preamble_is_dicom() -> None:
    path = PYDICOM_FILES / "CT_small.dcm"
    assert dicom.sniff(Path("noname"), path.read_bytes()[132:4096])
    assert not dicom.sniff(Path("noname"), b"hello, world, this is a text")


def test_enhanced_frames_take_their_own_rescale_and_position() -> None:
    dataset = radiograph(np.zeros((2, 2), dtype=np.uint16), NumberOfFrames=2)
    dataset.PixelData = np.ones((2, 2, 2), dtype=np.uint16).tobytes()
    frames = []
    for intercept in (-10, -20):
        rescale, plane, frame = Dataset(), Dataset(), Dataset()
        rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = 1, intercept, "HU"
        plane.ImagePositionPatient = [0, 0, intercept]
        frame.PixelValueTransformationSequence = Sequence([rescale])
        frame.PlanePositionSequence = Sequence([plane])
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    assert dicom_pixels.modality_values(Path("e.dcm"), dataset, 1).max() == -19
    assert dicom.frame_position(dataset, 1) == (0, 0, -20)


def test_waveforms_come_in_millivolts_with_their_names() -> None:
    path = PYDICOM_FILES / "waveform_ecg.dcm"
    rhythm = read_waveforms(path)[0]
    assert rhythm.data.shape == (12, 10000)
    assert rhythm.rate_hz == 1000
    assert set(rhythm.units) == {"mV"}
    assert 0.1 < np.abs(rhythm.data).max() < 10
    assert "I" in rhythm.names[0]


def ecg(samples: np.ndarray, **group_elements: Any) -> Dataset:
    """One group of two channels, samples (T, 2); the second channel states its scale in millivolts, and a baseline."""
    channels = []
    for unit, sensitivity, correction, baseline in (("uV", 2, None, None), ("mV", 0.5, 3, 10)):
        code, channel = Dataset(), Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = unit, "UCUM", unit
        channel.ChannelSensitivity, channel.ChannelSensitivityUnitsSequence = sensitivity, [code]
        channel.ChannelSensitivityCorrectionFactor, channel.ChannelBaseline = correction, baseline
        channels.append(channel)
    group = Dataset()
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples, group.SamplingFrequency = 2, len(samples), 500
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
    group.ChannelDefinitionSequence = channels
    group.add_new("WaveformData", "OW", samples.astype("<i2").tobytes())
    for keyword, value in group_elements.items():
        setattr(group, keyword, value)
    dataset = radiograph(RAMP, Modality="ECG", WaveformSequence=[group])
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = TwelveLeadECGWaveformStorage
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(dataset, keyword)
    return dataset


def test_samples_are_scaled_and_empty_elements_mean_their_defaults(tmp_path: Path) -> None:
    samples = np.array([[-1000, 4], [32767, -2]])
    (group,) = read_waveforms(saved(ecg(samples), tmp_path / "a.dcm"))
    np.testing.assert_allclose(group.data, [[-2.0, 65.534], [4 * 1.5 + 10, -2 * 1.5 + 10]], rtol=1e-6)
    assert (group.units, group.rate_hz) == (("mV", "mV"), 500)


def test_samples_without_a_sensitivity_are_of_no_unit(tmp_path: Path) -> None:
    dataset = ecg(np.array([[-1000, 4], [32767, -2]]))
    del dataset.WaveformSequence[0].ChannelDefinitionSequence[0].ChannelSensitivity
    (group,) = read_waveforms(saved(dataset, tmp_path / "a.dcm"))
    assert group.units == ("", "mV")
    assert group.data[0].tolist() == [-1000, 32767]


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"NumberOfWaveformSamples": 90}, Reason.TRUNCATED),
        ({"NumberOfWaveformSamples": 2**31}, Reason.TOO_LARGE),
        ({"WaveformBitsAllocated": 8, "WaveformSampleInterpretation": "MB"}, Reason.UNSUPPORTED),
        ({"SamplingFrequency": 0}, Reason.CORRUPT),
        ({"NumberOfWaveformChannels": 1}, Reason.CORRUPT),
    ],
)
def test_bad_waveforms_say_why(tmp_path: Path, elements: dict[str, Any], expected: Reason) -> None:
    path = saved(ecg(np.zeros((8, 2)), **elements), tmp_path / "a.dcm")
    with pytest.raises(UnreadableFile) as caught:
        read_waveforms(path)
    assert caught.value.reason is expected


def test_an_image_holds_no_waveform() -> None:
    with pytest.raises(UnreadableFile) as caught:
        read_waveforms(PYDICOM_FILES / "CT_small.dcm")
    assert caught.value.reason is Reason.UNSUPPORTED
