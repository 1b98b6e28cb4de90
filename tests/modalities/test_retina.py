"""Fundus photographs: the field of view, what is blanked outside of it, the eye."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from m3search.errors import Reason, UnreadableFile
from m3search.formats import dicom
from m3search.modalities.fundus import crop_to_field, find_field_of_view
from m3search.modalities.retina import Retina, eye_of
from m3search.types import InputSpec, Source

SPEC = InputSpec("image", size=96)


def fundus(width: int, height: int, centre: tuple[int, int], radius: int, noise: float = 3) -> np.ndarray:
    """uint8 (H, W, 3): a lit red disc, darker to its edge, on a noisy black border."""
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(x - centre[0], y - centre[1]) / radius
    lit = np.where(distance < 1, 1 - 0.6 * distance**2, 0)[..., None] * np.array([200, 110, 50])
    return np.clip(lit + np.random.default_rng(0).normal(0, noise, (height, width, 3)), 0, 255).astype(np.uint8)


def read(path: Path, fmt: str = "raster"):
    return Retina().read(Source("retina", fmt, (path,), "folder"), SPEC)


@pytest.mark.parametrize(
    ("width", "height", "centre", "radius"),
    [
        (400, 300, (210, 148), 120),
        (1300, 900, (640, 460), 400),
        (300, 200, (140, 100), 130),
        (640, 640, (320, 320), 300),
    ],
)
def test_disc_is_found(width: int, height: int, centre: tuple[int, int], radius: int) -> None:
    field = find_field_of_view(fundus(width, height, centre, radius))
    assert field is not None
    x, y = centre
    expected = (max(0, x - radius), max(0, y - radius), min(width, x + radius), min(height, y + radius))
    np.testing.assert_allclose(field.box, expected, atol=0.04 * radius)
    assert field.circle is not None
    np.testing.assert_allclose(field.circle, (*centre, radius), atol=0.04 * radius)


def test_writing_in_the_corner_is_blanked() -> None:
    picture = Image.fromarray(fundus(600, 500, (300, 250), 220))
    draw = ImageDraw.Draw(picture)
    draw.text((90, 40), "DOE JANE 1950-01-02", fill="white", font_size=14)  # within the box, outside of the disc
    draw.text((5, 480), "2020-03-04", fill="white")
    pixels = np.asarray(picture)
    field = find_field_of_view(pixels)
    assert field is not None
    np.testing.assert_allclose(field.box, (80, 30, 520, 470), atol=9)
    assert pixels[30:70, 80:180].max() == 255
    assert crop_to_field(pixels, field)[:30, :60].max() < 60


@pytest.mark.parametrize("kind", ["close-up", "black", "grey"])
def test_picture_without_a_border_stays_whole(kind: str) -> None:
    pixels = (
        fundus(200, 200, (100, 100), 400)
        if kind == "close-up"
        else np.full((200, 200, 3), 7 if kind == "black" else 130, np.uint8)
    )
    assert find_field_of_view(pixels) is None


@pytest.mark.parametrize(
    ("name", "eye"),
    [
        ("Patient001_L.jpg", "L"), ("Patient001_R.jpg", "R"), ("12-OD.png", "R"), ("12_os_macula.png", "L"),
        ("left.png", "L"), ("IMG (right).jpg", "R"), ("both_OU.jpg", "B"), ("left_right.png", ""), ("model.png", ""),
        ("Larson_7.png", ""),
    ],
)  # fmt: skip
def test_eye_by_file_name(name: str, eye: str) -> None:
    assert eye_of(Path(name)) == eye


def test_item_is_cropped_and_says_how(tmp_path: Path) -> None:
    Image.fromarray(fundus(400, 300, (210, 148), 120)).save(tmp_path / "case_OS.png")
    item = read(tmp_path / "case_OS.png")
    assert item.tags.laterality == "L"
    assert item.provenance["laterality_from"] == "file name"
    left, top, right, bottom = item.provenance["field_of_view"]["box"]
    assert item.parts[0].data.shape == (bottom - top, right - left, 3)
    inputs = Retina().prepare(item, SPEC)
    assert inputs.shape == (1, 3, 96, 96)
    assert inputs[0, 0, 48, 48] > 150
    assert inputs[0, :, 2, 2].max() == 0
    with Image.open(io.BytesIO(Retina().thumbnail(item))) as thumbnail:
        assert max(thumbnail.size) <= 256


def test_blank_picture_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (300, 200), (12, 12, 12)).save(tmp_path / "blank.png")
    with pytest.raises(UnreadableFile) as caught:
        read(tmp_path / "blank.png")
    assert caught.value.reason is Reason.CONSTANT


def write_dicom(path: Path, frames: list[np.ndarray], laterality: str) -> Path:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.5.1"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.Modality, dataset.PatientName, dataset.ImageLaterality = "OP", "Doe^Jane", laterality
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = *frames[0].shape[:2], 3
    dataset.PhotometricInterpretation, dataset.PlanarConfiguration = "RGB", 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation, dataset.NumberOfFrames = 7, 0, len(frames)
    dataset.PixelData = np.stack(frames).tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_dicom_photograph_and_its_header(tmp_path: Path) -> None:
    frames = [fundus(400, 300, (200 + shift, 150), 120) for shift in (-20, 0, 20)]
    path = write_dicom(tmp_path / "left.dcm", frames, "R")
    assert Retina().recognises(dicom.read_header(path))
    item = read(path, "dicom")
    assert item.tags.laterality == "R"  # the header, not the name of the file
    assert item.provenance["laterality_from"] == "header"
    assert [part.locator for part in item.parts] == ["frame=1", "frame=2", "frame=3"]
    lefts = [crop["box"][0] for crop in item.provenance["field_of_view"]]
    np.testing.assert_allclose(lefts, [60, 80, 100], atol=4)
    assert "Doe" not in repr(item)


@pytest.mark.shared_data
def test_fields_of_view_of_the_archive(shared_data: Path) -> None:
    paths = sorted((shared_data / "archive" / "retina").rglob("*.*g"))
    assert len(paths) >= 20
    for path in paths[::4]:
        item = read(path)
        field = item.provenance["field_of_view"]
        assert field is not None
        assert field["disc"]
        left, top, right, bottom = field["box"]
        assert 0.6 < (bottom - top) / (right - left) < 1.05
        assert (item.tags.laterality != "") is ("Patient" in path.name)
