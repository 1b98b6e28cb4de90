"""Text in pixels: found where it is drawn, not found in anatomy, and done with as policy says."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image, ImageDraw, ImageFont

from m3search.errors import Reason, UnreadableFile
from m3search.indexer import Options, index
from m3search.modalities import burned_in
from m3search.modalities.burned_in import Box, Policy, find_text
from m3search.phantoms import Phantom
from m3search.search import Engine
from m3search.types import Item, Part, Source

Phantoms = tuple[Path, list[Phantom]]


def drawn(grey: Any, word: str, at: tuple[int, int], height: int, ink: int = 255) -> Any:
    """A copy of uint8 (H, W) with a word in it."""
    picture = Image.fromarray(np.ascontiguousarray(grey))
    ImageDraw.Draw(picture).text(at, word, fill=ink, font=ImageFont.load_default(height))
    return np.asarray(picture)


def noise(ground: int) -> Any:
    return np.random.default_rng(0).normal(ground, 6, (600, 800)).clip(0, 255).astype(np.uint8)


def item(*parts: Any, modality: str = "xray", format_: str = "raster", path: str = "a.png") -> Item:
    return Item(Source(modality, format_, (Path(path),)), tuple(Part("", data) for data in parts))


@pytest.mark.parametrize("word", ["QUISTGAARDSEN ZEPHYRINELLA", "DOB 12/08/1943", "MRN77340192"])
@pytest.mark.parametrize(("ground", "ink"), [(10, 255), (120, 255), (230, 0)])
@pytest.mark.parametrize("height", [18, 40])
def test_drawn_text_is_found_and_covered(word: str, ground: int, ink: int, height: int) -> None:
    plain = noise(ground)
    assert find_text(plain) == []
    image = drawn(plain, word, (20, 500), height, ink)
    covered = np.zeros(image.shape, dtype=bool)
    for box in find_text(image):
        covered[box.top : box.bottom, max(0, box.left) : box.right] = True
    written = np.abs(image.astype(int) - plain) > 60
    assert (written & covered).sum() >= 0.97 * written.sum()
    assert covered.mean() < 0.2


def test_a_side_marker_and_a_ruler_are_no_text() -> None:
    image = drawn(noise(20), "L", (700, 40), 60)
    image = image.copy()
    image[100:500:40, 20:30] = 255
    assert find_text(image) == []


def test_opening_is_the_usual_one() -> None:
    from scipy import ndimage

    image = np.random.default_rng(0).integers(0, 255, (50, 37)).astype(np.uint8)
    assert (burned_in._opened(image) == ndimage.grey_opening(image, size=(9, 9))).all()


def test_phantoms_hold_no_text(indexed: Path) -> None:
    engine = Engine.open(indexed)
    assert [row for row in map(engine.show, engine.store.matching()) if "burned_in" in row["provenance"]] == []


def test_masking_paints_over_and_says_so() -> None:
    image = drawn(noise(10), "MRN77340192", (20, 20), 30)
    masked = burned_in.apply(item(image), "mask")
    assert masked.parts[0].data.max() < 60
    assert masked.provenance == {"burned_in": "what looks like text was painted over"}
    units = np.full((512, 512), -1000, dtype=np.float32)
    units[image[:512, :512] > 200] = 3071
    assert burned_in.apply(item(units, modality="ct"), "mask").parts[0].data.max() == -1000


def test_quarantine_names_the_file_and_keep_does_not_look() -> None:
    image = item(drawn(noise(10), "MRN77340192", (20, 20), 30))
    with pytest.raises(UnreadableFile, match="shows what looks like text") as caught:
        burned_in.apply(image, "quarantine")
    assert caught.value.reason is Reason.BURNED_IN
    assert "MRN" not in str(caught.value)
    assert burned_in.apply(image, "keep") is image
    clean = item(noise(10))
    assert burned_in.apply(clean, "mask") is clean
    assert burned_in.apply(clean, "quarantine") is clean


def test_a_box_beyond_the_edge_is_cut() -> None:
    part = burned_in._painted(Part("", np.zeros((10, 10), np.uint8)), [Box(-5, -5, 3, 4), Box(-9, -9, -1, -1)])
    assert part.data.shape == (10, 10)


@pytest.mark.parametrize(
    ("policy", "says", "written", "failed"),
    [
        ("mask", "YES", False, True),  # claims text, and none was found to paint over
        ("mask", "YES", True, False),
        ("mask", "NO", True, False),
        ("quarantine", "NO", True, True),
        ("quarantine", "YES", False, True),
        ("quarantine", "NO", False, False),
        ("keep", "YES", True, False),
    ],
)
def test_what_a_run_does_with_a_dicom_file(
    phantoms: Phantoms, tmp_path: Path, policy: Policy, says: str, written: bool, failed: bool
) -> None:
    source = next(phantoms[0] / one.path for one in phantoms[1] if one.modality == "xray" and one.format == "dicom")
    dataset = pydicom.dcmread(source)
    dataset.BurnedInAnnotation = says
    if written:
        pixels = dataset.pixel_array.copy()
        width = pixels.shape[1]
        mask = drawn(np.zeros(pixels.shape, np.uint8), "QUISTGAARDSEN", (width // 50, width // 50), width // 16)
        bright = dataset.PhotometricInterpretation == "MONOCHROME2"
        pixels[mask > 128] = 4095 if bright else 0
        dataset.PixelData = pixels.tobytes()
    archive = tmp_path / "archive"
    archive.mkdir()
    dataset.save_as(archive / "a.dcm")
    report = index(archive, tmp_path / "i", model="fake", options=Options(workers=0, burned_in=policy))
    assert (report.indexed, report.failed) == (int(not failed), int(failed))
    engine = Engine.open(tmp_path / "i")
    if failed:
        assert [row["reason"] for row in engine.failures()] == ["burned-in-text"]
        kept = index(archive, tmp_path / "i", options=Options(workers=0, burned_in="keep"))
        assert (kept.indexed, kept.failed) == (1, 0)
    else:
        said = engine.show(engine.store.matching()[0])["provenance"]
        assert ("painted over" in said) == (written and policy == "mask")


def test_a_capture_of_a_screen_needs_less_text(phantoms: Phantoms, tmp_path: Path) -> None:
    source = next(phantoms[0] / one.path for one in phantoms[1] if one.modality == "xray" and one.format == "dicom")
    dataset = pydicom.dcmread(source, stop_before_pixels=True)
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    dataset.save_as(tmp_path / "a.dcm")
    three = item(drawn(noise(10), "JD1", (20, 20), 40), format_="dicom", path=str(tmp_path / "a.dcm"))
    assert burned_in.said_by(three.source).suggests
    assert "burned_in" in burned_in.apply(three, "mask").provenance
    shutil.copy(source, tmp_path / "a.dcm")
    assert burned_in.apply(replace(three, source=three.source), "mask").provenance == {}


@pytest.mark.shared_data
def test_what_is_found_in_real_images_is_text(shared_data: Path) -> None:
    """Of 75 images of the archive only the three with words written into them; of 600 training images, one or none."""
    said = [
        path.name
        for path in sorted(shared_data.glob("archive/xray/*/*.png"))
        if find_text(np.asarray(Image.open(path).convert("L")))
    ]
    assert set(said) <= {"ARDSSevere.png", "00000150_002.png", "00000211_013.png"}
    assert len(said) == 3
