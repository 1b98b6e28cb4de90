"""Radiographs: shown as a viewer shows them, bone bright, with view and side from the header."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from m3search import formats
from m3search.errors import Reason, UnreadableFile
from m3search.modalities.xray import XRay
from m3search.types import Header, InputSpec, Source

SPEC = InputSpec("image", size=32)
RAMP = np.tile(np.arange(0, 4096, 64, dtype=np.uint16), (32, 1))  # (32, 64), darker left


def write(path: Path, pixels: np.ndarray = RAMP, **elements: Any) -> Path:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.Modality, dataset.PhotometricInterpretation = "DX", "MONOCHROME2"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = *pixels.shape[-2:], 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


def read(path: Path, spec: InputSpec = SPEC) -> Any:
    return XRay().read(Source("xray", formats.sniff(path) or "", (path,)), spec)


@pytest.mark.parametrize(
    ("modality", "known"), [("CR", True), ("DX", True), ("RG", True), ("MG", False), ("RF", False), ("CT", False)]
)
def test_recognises_projection_radiography_only(modality: str, known: bool) -> None:
    assert XRay().recognises(Header(Path("a.dcm"), "dicom", {"Modality": modality})) is known
    assert not XRay().recognises(Header(Path("a.png"), "raster", {"Modality": modality}))


def test_images_of_a_series_stand_alone() -> None:
    assert XRay().series(Header(Path("a.dcm"), "dicom", {"Modality": "CR", "SeriesInstanceUID": "1.2"})) == ""


def test_monochrome1_is_inverted_to_look_like_monochrome2(tmp_path: Path) -> None:
    bright_right = read(write(tmp_path / "m2.dcm"))
    bright_left = read(write(tmp_path / "m1.dcm", PhotometricInterpretation="MONOCHROME1"))
    assert bright_right.parts[0].data[0, 0] < 5 < 250 < bright_right.parts[0].data[0, -1]
    assert np.abs(255 - bright_left.parts[0].data.astype(int) - bright_right.parts[0].data).max() <= 1
    assert "inverted (MONOCHROME1)" in bright_left.provenance["pixels"]


def test_tags_spacing_and_provenance(tmp_path: Path) -> None:
    item = read(
        write(
            tmp_path / "pa.dcm", PatientSex="F", PatientAge="064Y", BodyPartExamined="CHEST", ViewPosition="PA",
            ImagerPixelSpacing=[0.14, 0.14], PatientName="PLANTED^NAME", PatientID="PLANTED-7",
        )
    )  # fmt: skip
    assert (item.tags.view, item.tags.body_part, item.tags.age_band) == ("PA", "CHEST", "60-69")
    assert item.identity.patient_id == "PLANTED-7"
    assert item.parts[0].spacing_mm == pytest.approx(0.14)
    assert item.provenance["size"] == [32, 64]
    assert item.provenance["pixels"][0] == "uncompressed"
    assert "PLANTED" not in f"{item.provenance} {item.tags} {item.parts}"


def test_first_of_several_frames_is_recorded(tmp_path: Path) -> None:
    item = read(write(tmp_path / "frames.dcm", np.stack([RAMP, RAMP[:, ::-1]]), NumberOfFrames=2))
    assert len(item.parts) == 1
    assert item.parts[0].data[0, 0] < item.parts[0].data[0, -1]
    assert "first of 2 frames" in item.provenance["pixels"]


def test_picture_of_a_radiograph(tmp_path: Path) -> None:
    pixels = (RAMP >> 4).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "film.png")
    item = read(tmp_path / "film.png")
    np.testing.assert_array_equal(item.parts[0].data, pixels)
    assert item.tags.view == ""


def test_prepare_keeps_proportions(tmp_path: Path) -> None:
    inputs = XRay().prepare(read(write(tmp_path / "wide.dcm")), SPEC)
    assert (inputs.shape, inputs.dtype) == ((1, 3, 32, 32), np.uint8)
    assert inputs[0, :, :8].max() == inputs[0, :, -8:].max() == 0  # twice as wide as high
    assert inputs[0, 0, 16, -1] > 240
    np.testing.assert_array_equal(inputs[0, 0], inputs[0, 2])


def test_blank_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile) as caught:
        read(write(tmp_path / "blank.dcm", np.full_like(RAMP, 700)))
    assert caught.value.reason is Reason.CONSTANT


def test_header_that_contradicts_itself_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "bad.dcm", ImagerPixelSpacing=[0.125, 0.125])
    path.write_bytes(path.read_bytes().replace(b"0.125\\0.125", b"abcde\\fghij"))
    with pytest.raises(UnreadableFile) as caught:
        read(path)
    assert caught.value.reason is Reason.CORRUPT
    assert "abcde" not in str(caught.value)


@pytest.mark.shared_data
def test_real_radiographs(shared_data: Path) -> None:
    paths = sorted((shared_data / "archive" / "xray").rglob("*.dcm"))
    assert paths
    for path in paths:
        assert XRay().recognises(formats.get("dicom").read_header(path))
        assert XRay().prepare(read(path), SPEC).std() > 5
