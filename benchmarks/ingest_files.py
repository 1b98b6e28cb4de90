"""Archives for `python -m benchmarks.ingest`: a few phantoms of each kind, and copies that differ in some bytes.

What costs time is the same in every copy, and none is recognised as another.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from m3search.phantoms import chest, ecg, examine, pathology
from m3search.phantoms.dicom import Stamp, write_film
from m3search.phantoms.files import write_slide, write_wfdb

FILM = 2048  # pixels of a side
SLIDE = 2048
TEMPLATES = 2  # of each kind
DIGITS = 8  # of the number that tells copies apart
SQUARE = 64  # pixels of a side of the small pictures


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of file. `write` makes copies `first` to `first + count` of the template with that number."""

    about: str
    modality: str
    write: Callable[[Path, int, range], None]  # folder, template, copies


def write_archive(folder: Path, kind: str, count: int) -> None:
    """`count` files of a kind, each of other bytes, in `folder`."""
    folder.mkdir(parents=True)
    for template in range(TEMPLATES):
        KINDS[kind].write(folder, template, range(template, count, TEMPLATES))


def write_small(folder: Path, count: int) -> None:
    """`count` grey pictures of SQUARE pixels, a thousand in each sub-folder."""
    picture = chest.render(np.random.default_rng(0), size=SQUARE)
    for number in range(count):
        home = folder / f"{number // 1000:04}"
        home.mkdir(parents=True, exist_ok=True)
        picture[0, :DIGITS] = [int(digit) for digit in f"{number:0{DIGITS}}"]
        Image.fromarray(picture).save(home / f"{number:0{DIGITS}}.png", compress_level=1)


def _write_jpegs(folder: Path, template: int, copies: range) -> None:
    stream = io.BytesIO()
    Image.fromarray((_film(template) * 255).astype(np.uint8)).save(stream, "JPEG", quality=90)
    _write_trailed(folder, ".jpg", stream.getvalue(), copies)


def _write_raw(folder: Path, template: int, copies: range) -> None:
    _write_dicom(folder, template, copies, "")


def _write_jpeg2000(folder: Path, template: int, copies: range) -> None:
    _write_dicom(folder, template, copies, "1.2.840.10008.1.2.4.90")


def _write_dicom(folder: Path, template: int, copies: range, syntax: str) -> None:
    from pydicom import dcmread

    path = folder / f"template-{template}.dcm"
    write_film(path, _film(template), Stamp(examine("xray", template)), computed=False)
    dataset = dcmread(path)
    if syntax:
        dataset.compress(syntax, generate_instance_uid=False)
        dataset.save_as(path)
    content, own = path.read_bytes(), dataset.SOPInstanceUID.encode()
    path.unlink()
    for number in copies:
        other = own[:-DIGITS] + f"{number:0{DIGITS}}".encode()
        (folder / f"{number:0{DIGITS}}.dcm").write_bytes(content.replace(own, other))


def _write_ecgs(folder: Path, template: int, copies: range) -> None:
    examination = examine("ecg", template)
    signal = ecg.render(examination.rng("picture"), examination.findings)
    for number in copies:
        moved = np.roll(signal, number, axis=1)
        write_wfdb(folder / f"{number:0{DIGITS}}.hea", moved, 500.0, "F", 60)


def _write_slides(folder: Path, template: int, copies: range) -> None:
    path = folder / f"template-{template}.tiff"
    examination = examine("pathology", template)
    write_slide(path, pathology.slide(examination.rng("picture"), examination.findings, SLIDE), 0.5, lossy=True)
    content = path.read_bytes()
    path.unlink()
    _write_trailed(folder, ".tiff", content, copies)


def _write_trailed(folder: Path, suffix: str, content: bytes, copies: range) -> None:
    """Readers of JPEG and TIFF do not look behind the end."""
    for number in copies:
        (folder / f"{number:0{DIGITS}}{suffix}").write_bytes(content + f"{number:0{DIGITS}}".encode())


def _film(template: int) -> np.ndarray:
    examination = examine("xray", template)
    return chest.film(examination.rng("picture"), examination.findings, FILM)


KINDS = {
    "jpeg": Kind(f"JPEG radiograph, {FILM} x {FILM}", "xray", _write_jpegs),
    "raw": Kind(f"uncompressed DICOM radiograph, {FILM} x {FILM}, 12 bits", "xray", _write_raw),
    "jpeg2000": Kind(f"JPEG 2000 DICOM radiograph, {FILM} x {FILM}, lossless", "xray", _write_jpeg2000),
    "ecg": Kind("WFDB record of 12 leads, 10 s, 500 Hz", "ecg", _write_ecgs),
    "tiles": Kind(f"TIFF slide, {SLIDE} x {SLIDE}, cut into tiles", "pathology", _write_slides),
}
