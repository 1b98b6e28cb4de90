"""DICOM visible-light (VL) images: photographs of the eye, fields of a microscope (PS3.3 A.32)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from m3search.modalities.dicom_tags import identity_of, tags_of
from m3search.modalities.imaging import evenly

if TYPE_CHECKING:
    from m3search.types import Identity, Tags, UInt8


@dataclass(frozen=True, slots=True, eq=False)
class Photographs:
    """The frames of one file as a viewer shows them."""

    frames: tuple[tuple[str, UInt8], ...]  # locator ("frame=3" from 1, "" for the only one) and (H, W, 3)
    steps: tuple[str, ...]  # how the stored values became these, for provenance
    tags: Tags
    identity: Identity


def read_photographs(path: Path, most: int) -> Photographs:
    """At most `most` frames, evenly spread.

    Raises:
        UnreadableFile: as `formats.dicom` says.
    """
    from m3search.formats import dicom, dicom_pixels

    dataset = dicom.read_dataset(path)
    count = dicom.frame_count(dataset)
    frames: list[tuple[str, UInt8]] = []
    steps: tuple[str, ...] = ()
    for number in evenly(count, most):
        shown = dicom_pixels.displayed(path, dataset, number)
        steps = (dicom_pixels.syntax_name(dataset), *shown.steps)
        rgb = shown.pixels if shown.pixels.ndim == 3 else np.repeat(shown.pixels[..., None], 3, axis=2)
        frames.append((f"frame={number + 1}" if count > 1 else "", rgb))
    with dicom.translated(path):
        return Photographs(tuple(frames), steps, tags_of(dataset), identity_of(dataset))
