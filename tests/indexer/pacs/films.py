"""Small DICOM files, quick to write and unlike each other."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from m3search.phantoms import dicom
from m3search.phantoms.ct import Volume
from m3search.phantoms.examination import examine
from m3search.phantoms.phi import Phi

SIDE = 48  # pixels


def write_films(folder: Path, numbers: Iterable[int], phi: Phi | None = None) -> list[Path]:
    """One radiograph of each of these patients, each a study of its own."""
    paths = []
    for number in numbers:
        film = np.random.default_rng(number).random((SIDE, SIDE), dtype=np.float32)
        stamp = dicom.Stamp(examine("xray", number, 0), phi.of(number) if phi else None)
        paths.append(folder / f"{number:05d}.dcm")
        dicom.write_film(paths[-1], film, stamp, computed=bool(number % 2))
    return paths


def write_slices(folder: Path, number: int, count: int) -> list[Path]:
    """A CT series of so many slices."""
    hu = np.random.default_rng(number).integers(-1000, 1000, (count, SIDE, SIDE)).astype(np.int16)
    volume = Volume(hu, spacing_mm=(2.0, 1.0, 1.0), origin_mm=(0.0, 0.0, 0.0), region="CHEST", contrast=False)
    return dicom.write_series(folder, volume, dicom.Stamp(examine("ct", number, 0)))
