"""Near-identical items are reported, not dropped."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

import m3search
from m3search.indexer import Options, index
from m3search.phantoms import Phantom
from m3search.search.duplicates import looks_alike

Phantoms = tuple[Path, list[Phantom]]


def test_copies_of_equal_bytes_are_one_item_and_changed_ones_are_reported(phantoms: Phantoms, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    (archive / "again").mkdir(parents=True)
    pictures = sorted((phantoms[0] / "retina").glob("*.png"))
    for name, path in zip("abc", pictures, strict=False):
        shutil.copy(path, archive / f"{name}.png")
    shutil.copy(pictures[0], archive / "again" / "same.png")
    Image.open(pictures[0]).convert("RGB").save(archive / "again" / "saved.jpg", quality=80)
    report = index(archive, tmp_path / "i", model="fake", options=Options(workers=0, modality="retina"))
    assert report.indexed == len(pictures) + 1
    found = m3search.duplicates(tmp_path / "i", similarity=0.9)
    assert [set(group.uris) for group in found] == [{"a.png", "again/saved.jpg"}]
    assert found[0].looks >= 0.99
    assert m3search.duplicates(tmp_path / "i", similarity=0.9, where="uri = 'a.png'") == []


def test_one_instance_stored_twice_with_other_bytes_is_reported(phantoms: Phantoms, tmp_path: Path) -> None:
    source = next(phantoms[0] / one.path for one in phantoms[1] if one.modality == "xray" and one.format == "dicom")
    archive = tmp_path / "archive"
    archive.mkdir()
    shutil.copy(source, archive / "a.dcm")
    dataset = pydicom.dcmread(source)
    dataset.StudyDescription = "corrected"
    dataset.save_as(archive / "b.dcm")
    index(archive, tmp_path / "i", model="fake", options=Options(workers=0))
    (group,) = m3search.duplicates(tmp_path / "i")
    assert (set(group.uris), group.patients, group.modality) == ({"a.dcm", "b.dcm"}, 1, "xray")


def jpeg(pixels: np.ndarray, quality: int = 85) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def test_looks_follow_the_picture_not_its_brightness() -> None:
    rng = np.random.default_rng(0)
    picture = np.asarray(Image.fromarray(rng.integers(40, 200, (16, 16), np.uint8)).resize((256, 256)))
    darker = (picture * 0.8).astype(np.uint8)
    assert looks_alike(jpeg(picture), jpeg(darker, 60)) == pytest.approx(1, abs=0.01)
    assert looks_alike(jpeg(picture), jpeg(np.ascontiguousarray(picture[::-1]))) < 0.5
    assert looks_alike(jpeg(picture), jpeg(np.zeros_like(picture))) == 0
    assert looks_alike(b"", jpeg(picture)) == 0
