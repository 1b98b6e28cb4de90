"""PNG, NIfTI, WFDB and pyramidal TIFF files of the phantoms, and the manifest beside them."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from m3search.phantoms.ecg import LEADS
from m3search.phantoms.phi import Phi

if TYPE_CHECKING:
    from m3search.phantoms.ct import Volume
    from m3search.types import Float32, UInt8

MAKER = "m3search phantom"
COLUMNS = (
    "path", "modality", "patient_id", "group", "text", "text_kind", "caption", "labels", "source", "license", "use",
    "sex", "age", "view", "fs",
)  # fmt: skip
TILE = 256
LEVELS = 3


def write_png(path: Path, image: UInt8, phi: Phi | None = None) -> None:
    """Grey (H, W) or RGB (H, W, 3); planted identifiers go into its text chunks."""
    from PIL import Image, PngImagePlugin

    words = PngImagePlugin.PngInfo()
    words.add_text("Software", MAKER)
    if phi is not None:
        words.add_text("Comment", f"{phi.given_name} {phi.family_name}; {phi.patient_id}; {phi.birth_date}")
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, pnginfo=words, compress_level=4)


def write_nifti(path: Path, volume: Volume, phi: Phi | None = None) -> None:
    """A `.nii.gz` in Hounsfield units; axes to the left, back and head, as converters from DICOM leave them."""
    import nibabel

    z, y, x = volume.spacing_mm
    at_x, at_y, at_z = volume.origin_mm
    affine = np.diag([-x, -y, z, 1.0])  # NIfTI counts to the right and to the front
    affine[:3, 3] = -at_x, -at_y, at_z
    image = nibabel.Nifti1Image(  # type: ignore[no-untyped-call]
        np.ascontiguousarray(volume.hu.transpose(2, 1, 0)), affine, dtype=np.int16
    )
    image.header.set_xyzt_units("mm")  # type: ignore[no-untyped-call]
    image.set_qform(affine, code=1)  # type: ignore[no-untyped-call]
    image.header["descrip"] = (MAKER if phi is None else f"{MAKER} {phi.patient_id} {phi.family_name}").encode()[:79]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=4, mtime=0))


def write_wfdb(header: Path, signal: Float32, rate_hz: float, sex: str, age: int, phi: Phi | None = None) -> None:
    """`header` (.hea) and its .dat from float32 (12, T) millivolts: 16 bits of one microvolt (WFDB format 16)."""
    samples = np.clip(np.rint(signal * 1000), -32767, 32767).astype("<i2")
    data = header.with_suffix(".dat")
    lines = [f"{header.stem} {len(samples)} {rate_hz:g} {samples.shape[1]}"]
    for lead, values in zip(LEADS, samples, strict=True):
        checksum = (int(values.sum(dtype=np.int64)) + 2**15) % 2**16 - 2**15
        lines.append(f"{data.name} 16 1000(0)/mV 16 0 {values[0]} {checksum} 0 {lead}")
    lines += [f"# Age: {age}", f"# Sex: {'Female' if sex == 'F' else 'Male'}", f"# Source: {MAKER}"]
    if phi is not None:
        lines += [
            f"# Name: {phi.given_name} {phi.family_name}",
            f"# MRN: {phi.patient_id}",
            f"# DOB: {phi.birth_date}",
            f"# Physician: {phi.referring_physician}, {phi.institution}, {phi.accession_number}",
            f"# Address: {phi.address}, {phi.telephone}, {phi.social_number}, operator {phi.operator}",
            f"# Address: {phi.city}, {phi.e_mail}",
            f"# Patient ID: {phi.admission_number}, {phi.insurance_number}",
            f"# Cardiologist: Dr. {phi.reading_physician}",
        ]
    header.parent.mkdir(parents=True, exist_ok=True)
    header.write_text("\n".join(lines) + "\n", encoding="utf-8")
    data.write_bytes(samples.T.tobytes())


def write_slide(path: Path, image: UInt8, mpp: float, lossy: bool, phi: Phi | None = None) -> None:
    """A tiled TIFF pyramid, each level half the one before; resolution tags give `mpp` (micrometres per pixel)."""
    import tifffile

    compression = {"compression": "jpeg", "compressionargs": {"level": 88}} if lossy else {"compression": "zlib"}
    description = MAKER
    if phi is not None:
        description += f"; case {phi.accession_number}; {phi.given_name} {phi.family_name}; {phi.patient_id}"
    path.parent.mkdir(parents=True, exist_ok=True)
    level = image
    with tifffile.TiffWriter(path) as tiff:
        for number in range(LEVELS):
            per_centimetre = 10_000 / (mpp * 2**number)
            tiff.write(
                level,
                tile=(TILE, TILE),
                photometric="rgb",
                subfiletype=1 if number else 0,
                resolution=(per_centimetre, per_centimetre),
                resolutionunit="CENTIMETER",
                description=description,
                software=MAKER,
                metadata=None,
                **compression,
            )
            level = _halve(level)


def _halve(image: UInt8) -> UInt8:
    quarters = image.reshape(image.shape[0] // 2, 2, image.shape[1] // 2, 2, 3)
    small: UInt8 = np.rint(quarters.mean(axis=(1, 3), dtype=np.float32)).astype(np.uint8)
    return small


def write_manifest(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    """`manifest.csv` with COLUMNS, one row a file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
