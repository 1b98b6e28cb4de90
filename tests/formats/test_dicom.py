"""DICOM headers, decoding and rendering, against the standard's formulas and pydicom's own test files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

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
    del dataset.PixelData
    assert reason_of(saved(dataset, tmp_path / "sr.dcm")) is Reason.UNSUPPORTED


def test_the_header_knows_what_identifies_a_person_and_does_not_print_it(tmp_path: Path) -> None:
    dataset = radiograph(
        RAMP, PatientName="Mustermann^Erika", PatientID="4711-X", PatientBirthDate="19500131", AccessionNumber="ACC99"
    )
    header = dicom.read_header(saved(dataset, tmp_path / "a.dcm"))
    assert {"Mustermann", "Erika", "4711-X", "19500131", "1950-01-31", "ACC99"} <= set(header.identifiers)
    assert "Mustermann" not in repr(header)


def test_a_dicomdir_is_no_image() -> None:
    path = PYDICOM_FILES / "dicomdirtests" / "DICOMDIR"
    assert not dicom.sniff(path, path.read_bytes()[:4096])


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


def test_an_image_holds_no_waveform() -> None:
    with pytest.raises(UnreadableFile) as caught:
        read_waveforms(PYDICOM_FILES / "CT_small.dcm")
    assert caught.value.reason is Reason.UNSUPPORTED
