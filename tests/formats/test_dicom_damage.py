"""Damaged and hostile DICOM files: each is refused with its reason, at once, and nothing else happens."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from m3search.errors import Reason, UnreadableFile
from m3search.formats import dicom, dicom_pixels
from m3search.formats.dicom_codestream import encoded_frame, frame_size
from m3search.formats.dicom_decoders import decoder_of
from m3search.formats.limits import Limits

PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
PICTURE = np.random.default_rng(0).integers(100, 130, (48, 80)).astype(np.uint8) + np.arange(80, dtype=np.uint8)
STREAMS = {
    JPEGBaseline8Bit: imagecodecs.jpeg8_encode,
    JPEGLSLossless: imagecodecs.jpegls_encode,
    JPEG2000Lossless: lambda pixels: imagecodecs.jpeg2k_encode(pixels, reversible=True, codecformat="j2k"),
}


def write(path: Path, data: bytes, syntax: str, shape: tuple[int, int] = (48, 80)) -> Path:
    """An 8-bit radiograph of that size, whatever its pixel data hold."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.Modality, dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "DX", "MONOCHROME2", 1
    dataset.Rows, dataset.Columns = shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PixelData = encapsulate([data]) if pydicom.uid.UID(syntax).is_compressed else data
    dataset["PixelData"].is_undefined_length = pydicom.uid.UID(syntax).is_compressed
    dataset.save_as(path, enforce_file_format=True)
    return path


def show(path: Path) -> None:
    dicom.read_header(path)
    dicom_pixels.displayed(path, dicom.read_dataset(path))


def refusal(path: Path) -> UnreadableFile:
    with pytest.raises(UnreadableFile) as caught:
        show(path)
    assert caught.value.path == path
    return caught.value


@pytest.mark.parametrize(
    "name",
    ["CT_small.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm",
     "JPGExtended.dcm", "SC_rgb_jpeg_dcmtk.dcm", "image_dfl.dcm", "MR_small_bigendian.dcm"],
)  # fmt: skip
@pytest.mark.parametrize("kept", [0.3, 0.5, 0.8, 0.95])
def test_file_that_ends_early_is_truncated_in_every_syntax(tmp_path: Path, name: str, kept: float) -> None:
    whole = next(PYDICOM_FILES.rglob(name)).read_bytes()
    path = tmp_path / "cut.dcm"
    path.write_bytes(whole[: int(len(whole) * kept)])
    assert refusal(path).reason is Reason.TRUNCATED


@pytest.mark.parametrize("missing", ["PixelData", "Rows"])
def test_image_without_what_every_image_has_is_truncated(tmp_path: Path, missing: str) -> None:
    dataset = pydicom.dcmread(PYDICOM_FILES / "CT_small.dcm")
    delattr(dataset, missing)
    dataset.save_as(tmp_path / "cut.dcm")
    assert refusal(tmp_path / "cut.dcm").reason is Reason.TRUNCATED


@pytest.mark.parametrize("syntax", STREAMS)
def test_whole_streams_are_shown(tmp_path: Path, syntax: str) -> None:
    path = write(tmp_path / "whole.dcm", STREAMS[syntax](PICTURE), syntax)
    stored = dicom_pixels.stored(path, dicom.read_dataset(path)).astype(int)
    assert np.abs(stored - PICTURE).mean() < (6 if syntax == JPEGBaseline8Bit else 1e-9)


@pytest.mark.parametrize("kept", [0.5, 0.9, 0.99])
def test_stream_of_12_bits_that_ends_early_is_truncated(kept: float) -> None:
    """Its decoder fills up what is missing, and says nothing."""
    path = PYDICOM_FILES / "JPGExtended.dcm"
    dataset = dicom.read_dataset(path)
    stream = encoded_frame(dataset, 0)
    dataset.PixelData = encapsulate([stream[: int(len(stream) * kept)]])
    with pytest.raises(UnreadableFile) as caught:
        dicom_pixels.displayed(path, dataset)
    assert caught.value.reason is Reason.TRUNCATED


@pytest.mark.parametrize("syntax", STREAMS)
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_stream_that_ends_early_is_refused_at_once(tmp_path: Path, syntax: str, kept: float) -> None:
    """The file itself is whole. CharLS alone would take 20 seconds to say so."""
    stream = STREAMS[syntax](PICTURE)
    path = write(tmp_path / "cut.dcm", stream[: int(len(stream) * kept)], syntax)
    began = time.perf_counter()
    assert refusal(path).reason in (Reason.TRUNCATED, Reason.CORRUPT)
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize("syntax", STREAMS)
@pytest.mark.parametrize("shape", [(24, 40), (80, 48), (96, 160)])
def test_stream_of_another_size_is_refused(tmp_path: Path, syntax: str, shape: tuple[int, int]) -> None:
    """(80, 48) has as many pixels: decoded, it would show a sheared image."""
    error = refusal(write(tmp_path / "other.dcm", STREAMS[syntax](PICTURE), syntax, shape))
    assert error.reason is Reason.CORRUPT
    assert "another size" in error.message


@pytest.mark.parametrize("syntax", STREAMS)
def test_size_of_a_stream(syntax: str) -> None:
    assert frame_size(STREAMS[syntax](PICTURE)) == (48, 80)


def test_size_of_other_streams() -> None:
    wrapped = imagecodecs.jpeg2k_encode(PICTURE, codecformat="jp2")
    assert wrapped[:4] == bytes([0, 0, 0, 12])
    assert frame_size(wrapped) == (48, 80)
    plain = imagecodecs.jpeg8_encode(PICTURE)
    with_fill = plain[:2] + b"\xff\xff\xff" + plain[3:]  # fill bytes before a marker: T.81 B.1.1.2
    assert frame_size(with_fill) == (48, 80)
    at = plain.index(b"\xff\xc0")
    assert frame_size(plain[: at + 5] + b"\0\0" + plain[at + 7 :]) is None  # stated later, by DNL
    for nothing in (b"", b"\xff\xd8", b"\xff\xd8\xff", b"RLE", plain[: at + 6], b"\xff\xd8\xff\xe0\0\0" * 9):
        assert frame_size(nothing) is None


def test_deflated_bomb_is_refused_without_inflating_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "bomb.dcm", bytes(64 << 20), DeflatedExplicitVRLittleEndian)
    assert path.stat().st_size < 1 << 20
    monkeypatch.setattr(dicom, "LIMITS", Limits(decoded_bytes=32 << 20))
    assert refusal(path).reason is Reason.TOO_LARGE


def test_video_is_named_with_a_remedy(tmp_path: Path) -> None:
    error = refusal(write(tmp_path / "video.dcm", bytes(100), MPEG2MPML))
    assert error.reason is Reason.MISSING_DECODER
    assert "MPEG2" in error.message
    assert "convert" in error.message


def test_missing_decoder_is_named_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.dcm", STREAMS[JPEGLSLossless](PICTURE), JPEGLSLossless)
    monkeypatch.setattr(decoder_of(JPEGLSLossless), "_available", {})
    error = refusal(path)
    assert error.reason is Reason.MISSING_DECODER
    assert "JPEG-LS lossless" in error.message
    assert "pip install" in error.message


def test_decoders_that_end_the_process_are_not_used() -> None:
    for name, plugins in dicom_pixels.decoders().items():
        assert plugins
        assert "gdcm" not in plugins or name.startswith("JPEG lossless"), name
    assert "pylibjpeg" not in decoder_of(RLELossless).available_plugins


def test_native_pixels_that_share_their_colours_are_not_taken_for_truncated(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(PYDICOM_FILES / "SC_ybr_full_422_uncompressed.dcm")
    whole = bytes(dataset.PixelData)
    for kept, expected in ((1.0, None), (0.9, Reason.TRUNCATED)):
        dataset.PixelData = whole[: int(len(whole) * kept) // 2 * 2]
        dataset.save_as(tmp_path / "a.dcm")
        if expected is None:
            show(tmp_path / "a.dcm")
        else:
            assert refusal(tmp_path / "a.dcm").reason is expected


FUZZED = ("CT_small.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm",
          "SC_rgb_jpeg_dcmtk.dcm", "JPGExtended.dcm", "image_dfl.dcm")  # fmt: skip


def damage(folder: Path, seed: int, rounds: int) -> None:
    """Flip bytes of real files; whatever else than an UnreadableFile is raised leaves this function."""
    chance = random.Random(seed)
    for number in range(rounds):
        content = bytearray(next(PYDICOM_FILES.rglob(FUZZED[number % len(FUZZED)])).read_bytes())
        for _ in range(chance.choice([1, 2, 5, 20])):
            content[chance.randrange(128, len(content))] = chance.randrange(256)
        path = folder / f"{number}.dcm"
        path.write_bytes(content)
        with suppress(UnreadableFile):
            show(path)


def test_flipped_bytes_raise_nothing_else_and_end_no_process(tmp_path: Path) -> None:
    """In a process of its own: decoders used to abort it."""
    call = f"import runpy; runpy.run_path({str(Path(__file__))!r})['damage'](__import__('pathlib').Path('.'), 1, 210)"
    command = [sys.executable, "-c", call]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert "pydicom" not in ended.stderr  # its warnings quote values


def test_uncompressed_needs_no_decoder(tmp_path: Path) -> None:
    path = write(tmp_path / "plain.dcm", PICTURE.tobytes(), ExplicitVRLittleEndian)
    np.testing.assert_array_equal(dicom_pixels.stored(path, dicom.read_dataset(path)), PICTURE)
