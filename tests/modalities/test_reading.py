"""From a path to a source: who says what a file shows, and what is said where nobody can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from m3search.errors import MissingExtra, Reason, UnreadableFile, UsageError
from m3search.modalities import reading
from m3search.types import Header, InputSpec, Source


def dicom(kind: str, **attributes: Any) -> Header:
    return Header(Path("scan.dcm"), "dicom", {"Modality": kind, **attributes})


@pytest.fixture
def png(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    Image.fromarray(np.arange(600, dtype=np.uint8).reshape(20, 30)).save(path)
    return path


def test_declared_modality_of_a_picture(png: Path) -> None:
    source = reading.source_of(png, "retina", "manifest")
    assert source == Source("retina", "raster", (png,), "manifest")


def test_folder_name_speaks_before_the_encoder(png: Path) -> None:
    folder = png.parent / "pathology"
    folder.mkdir()
    inside = png.rename(folder / png.name)
    assert reading.source_of(inside, guess=lambda image: ("retina", 0.9)).modality == "pathology"
    assert reading.source_of(inside).modality_from == "folder"
    assert reading.source_of(inside, "xray").modality == "xray"


def test_encoder_guesses_last_from_the_whole_picture(png: Path) -> None:
    shapes = []

    def guess(image: np.ndarray) -> tuple[str, float]:
        shapes.append((image.shape, image.dtype))
        return "xray", 0.7

    source = reading.source_of(png, guess=guess)
    assert (source.modality, source.modality_from) == ("xray", "encoder")
    assert shapes == [((20, 30, 3), np.uint8)]


def test_nobody_can_say(png: Path) -> None:
    with pytest.raises(UsageError, match=r"picture\.png: .*state its modality"):
        reading.source_of(png)


def test_unknown_modality_is_a_usage_error(png: Path) -> None:
    with pytest.raises(UsageError, match="no modality 'xrays'"):
        reading.source_of(png, "xrays")


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", Reason.EMPTY), (b"patient notes, plain text", Reason.UNKNOWN_FORMAT)]
)
def test_file_that_is_no_image(tmp_path: Path, content: bytes, reason: Reason) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(UnreadableFile, match=r"notes\.txt") as caught:
        reading.source_of(path, "xray")
    assert caught.value.reason == reason


def test_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"absent\.png") as caught:
        reading.source_of(tmp_path / "absent.png", "xray")
    assert caught.value.reason == Reason.VANISHED


def test_header_contradicts_the_manifest() -> None:
    with pytest.raises(
        UnreadableFile, match="declared as retina, but its header shows ct; correct the manifest"
    ) as caught:
        reading.modality_of(dicom("CT", SOPClassUID="1.2.840.10008.5.1.4.1.1.2"), "retina", "manifest")
    assert caught.value.reason == Reason.WRONG_MODALITY


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("MR", "a magnetic resonance image"),
        ("US", "an ultrasound image"),
        ("SR", "a structured report"),
        ("PR", "a presentation state"),
    ],
)
def test_dicom_of_another_kind_is_named(kind: str, words: str) -> None:
    header = dicom(kind)
    assert reading.modality_of(header) == (None, "option")
    assert not reading.may_show_anything(header)
    assert reading.kind_of(header) == f"{words} (DICOM {kind})"
    with pytest.raises(UnreadableFile, match=words) as caught:
        reading.modality_of(header, "xray", "manifest")
    assert caught.value.reason == Reason.WRONG_MODALITY


@pytest.mark.parametrize("kind", ["OT", "SC", ""])
def test_dicom_of_any_kind_is_believed_what_is_declared(kind: str) -> None:
    assert reading.may_show_anything(dicom(kind))
    assert reading.modality_of(dicom(kind), "retina", "manifest") == ("retina", "manifest")


def test_kind_never_repeats_free_text() -> None:
    assert "Smith" not in reading.kind_of(dicom("Smith John 1950"))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PermissionError(13, "Permission denied"), Reason.PERMISSION),
        (FileNotFoundError(2, "No such file"), Reason.VANISHED),
        (MemoryError(), Reason.MEMORY),
        (MissingExtra("pip install codec"), Reason.MISSING_DECODER),
        (OSError(5, "Input/output error"), Reason.UNREACHABLE),
        (OSError(27, "File too large"), Reason.CORRUPT),
        (KeyError("PatientName: DOE^JANE"), Reason.INTERNAL),
    ],
)
def test_unexpected_exceptions_become_failures_of_one_file(
    monkeypatch: pytest.MonkeyPatch, error: Exception, reason: Reason
) -> None:
    class Broken:
        def read(self, source: Source, spec: InputSpec) -> None:
            raise error

    monkeypatch.setattr(reading.modalities, "get", lambda name: Broken())
    with pytest.raises(UnreadableFile) as caught:
        reading.read_item(Source("xray", "dicom", (Path("a.dcm"),)), InputSpec("image"))
    assert caught.value.reason == reason
    assert "DOE" not in str(caught.value)
