"""Computed tomography: a DICOM series, a NIfTI volume or a single slice is an item; slices are its parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from m3search.errors import Reason, UnreadableFile
from m3search.modalities.ct_stack import Stack, stack
from m3search.modalities.dicom_tags import identity_of, tags_of
from m3search.modalities.imaging import encode_thumbnail, enough, evenly, letterbox, to_uint8
from m3search.types import Identity, Item, Part, Tags

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from m3search.formats.dicom import SlicePosition
    from m3search.types import Float32, Header, InputSpec, Source, UInt8

# (centre, width) in Hounsfield units, as radiologists set them.
LUNG, MEDIASTINUM, BONE = (-600.0, 1500.0), (40.0, 400.0), (400.0, 1800.0)
DEFAULT_WINDOWS = (LUNG, MEDIASTINUM, BONE)
AIR = -1000.0  # Hounsfield units
MOST_LABELS = 64  # different values in the slices that are read; an image has hundreds


@dataclass(frozen=True, slots=True)
class Slice:
    """One slice of an item, not yet decoded."""

    path: Path
    frame: int = 0  # of a DICOM file, or the axial index in a NIfTI volume


class CT:
    """Hounsfield units where the file has them, display grey where it is a picture."""

    name = "ct"
    folder_names = frozenset({"ct", "cts", "tomography", "hrct", "cbct"})

    def recognises(self, header: Header) -> bool:
        """True for DICOM CT, enhanced or not, and for NIfTI volumes: nothing else that is searched comes as NIfTI."""
        return header.format == "nifti" or (header.format == "dicom" and header.attributes.get("Modality") == "CT")

    def series(self, header: Header) -> str:
        """Slices of one SeriesInstanceUID and orientation; localizers, which look across the slices, apart."""
        if header.format != "dicom" or not header.attributes["SeriesInstanceUID"]:
            return ""
        cosines = (round(cosine, 2) + 0.0 for cosine in header.attributes["ImageOrientationPatient"])  # never -0.00
        orientation = "/".join(f"{cosine:.2f}" for cosine in cosines)
        kind = "localizer" if "LOCALIZER" in header.attributes["ImageType"] else "slices"
        return f"{header.attributes['SeriesInstanceUID']}/{kind}/{orientation}"

    def read(self, source: Source, spec: InputSpec) -> Item:
        """At most `spec.max_parts` slices, evenly spread; only these are decoded, unless none of them can be.

        They rise along the normal of the slices: from feet to head in an axial series of the usual orientation
        (1\\0\\0\\0\\1\\0, +z is the head) and in every NIfTI volume. Locators count all slices of the item from 0.

        Raises:
            UnreadableFile: no slice can be read (the first one's reason), or all are constant.
        """
        read = {"dicom": _read_series, "nifti": _read_volume}.get(source.format, _read_picture)
        item = read(source, spec)
        if all(part.data.min() == part.data.max() for part in item.parts):
            raise UnreadableFile(source.files[0], Reason.CONSTANT, "every pixel has the same value in every slice")
        return item

    def prepare(self, item: Item, spec: InputSpec) -> UInt8:
        """uint8 (P, 3, size, size): one window per channel (`spec.windows`, else lung, mediastinum and bone).

        A single window is shown in all three channels, and so is the grey of a picture.
        """
        return np.stack([_channels(part, spec) for part in item.parts])

    def thumbnail(self, item: Item) -> bytes:
        """JPEG of the middle slice: mediastinal window, or lung window where most of the body is air."""
        part = item.parts[len(item.parts) // 2]
        if part.data.dtype == np.uint8:
            return encode_thumbnail(part.data)
        return encode_thumbnail(windowed(part.data, window_for(part.data)))


def slices_of(source: Source) -> tuple[Slice, ...]:
    """All slices of an item in the order its locators count them. Only headers are read.

    Raises:
        UnreadableFile: no file has a header that can be read.
    """
    if source.format == "dicom":
        return tuple(Slice(one.path, one.frame) for one in _ordered(source)[0].slices)
    path = source.files[0]
    if source.format == "nifti":
        from m3search.formats import nifti

        return tuple(Slice(path, index) for index in range(len(nifti.open_volume(path))))
    return (Slice(path),)


def read_slice(one: Slice, format_name: str) -> Part:
    """One slice as `CT.read` gives it: Hounsfield units, or the grey of a picture. Its locator is "".

    Raises:
        UnreadableFile: as the format's reader says.
    """
    if format_name == "dicom":
        from m3search.formats import dicom, dicom_pixels

        dataset = dicom.read_dataset(one.path)
        units = _without_gaps(dicom_pixels.modality_values(one.path, dataset, one.frame))
        with dicom.translated(one.path):
            return Part("", units, spacing_mm=dicom.spacing(dataset, one.frame))
    if format_name == "nifti":
        from m3search.formats import nifti

        volume = nifti.open_volume(one.path)
        return Part("", _without_gaps(volume.axial(one.frame)), spacing_mm=volume.spacing_mm[0])
    return Part("", _picture(one.path)[0])


def window_for(units: Float32) -> tuple[float, float]:
    """The window that shows a slice best: the mediastinum's, or the lung's where most of the body is air."""
    body = units[units > -950]  # without the air around the patient
    return LUNG if body.size and np.median(body) < -400 else MEDIASTINUM


def windowed(units: Float32, window: tuple[float, float]) -> UInt8:
    """Hounsfield units as grey: (centre, width) of a window, everything beyond it black or white."""
    centre, width = window
    return to_uint8(units, centre - width / 2, centre + width / 2)


def _ordered(source: Source) -> tuple[Stack, list[UnreadableFile]]:
    """The slices of a DICOM series, and what is wrong with files whose header cannot be read."""
    from m3search.formats import dicom

    errors: list[UnreadableFile] = []
    positions: list[SlicePosition] = []
    for path in source.files:
        try:
            positions += dicom.read_positions(path)
        except UnreadableFile as error:
            errors.append(error)
    if not positions:
        raise errors[0]
    return stack(positions), errors


def _read_series(source: Source, spec: InputSpec) -> Item:
    from m3search.formats import dicom, dicom_pixels

    ordered, errors = _ordered(source)
    slices = ordered.slices
    decoded: list[Part] = []
    steps: tuple[str, ...] = ()
    tags, identity = Tags(), Identity()
    dataset, opened = None, None
    chosen = evenly(len(slices), spec.max_parts)
    for index in (*chosen, *(spare for spare in range(len(slices)) if spare not in chosen)):
        if decoded and index not in chosen:  # the spare ones only until one of them can be read, if no chosen one could
            break
        path, frame = slices[index].path, slices[index].frame
        try:
            if dataset is None or opened != path:  # the frames of one file share it
                dataset, opened = dicom.read_dataset(path), path
            units = _without_gaps(dicom_pixels.modality_values(path, dataset, frame))
            with dicom.translated(path):
                decoded.append(Part(f"slice={index}", units, spacing_mm=dicom.spacing(dataset, frame)))
                steps = (dicom_pixels.syntax_name(dataset), _rescaling(dataset))
                tags, identity = tags_of(dataset), identity_of(dataset)
        except UnreadableFile as error:
            errors.append(error)
    if not decoded:
        raise errors[0]
    parts = _of_one_shape(decoded)
    provenance = {"pixels": list(steps), "slices": len(slices), "read": len(parts)} | ordered.provenance()
    left_out = {"unreadable": len(errors), "other_shape": len(decoded) - len(parts)}
    provenance |= {name: count for name, count in left_out.items() if count}
    return Item(source, tuple(parts), tags, identity, provenance=provenance)


def _rescaling(dataset: Dataset) -> str:
    """How the values became Hounsfield units; enhanced CT states it per frame and must (PS3.3 C.8.15.3.10)."""
    stated = ("RescaleIntercept", "ModalityLUTSequence", "SharedFunctionalGroupsSequence")
    if any(keyword in dataset for keyword in stated):
        return "rescaled to Hounsfield units"
    return "no rescale stated: stored values taken as Hounsfield units"


def _without_gaps(units: Float32) -> Float32:
    """Air where a voxel is not a number: so converters mark what lies outside the scanned field."""
    return np.nan_to_num(units, nan=AIR, posinf=AIR, neginf=AIR)


def _read_volume(source: Source, spec: InputSpec) -> Item:
    from m3search.formats import nifti

    volume = nifti.open_volume(source.files[0])
    spacing = volume.spacing_mm[0]
    chosen = evenly(len(volume), spec.max_parts)
    parts = tuple(Part(f"slice={index}", _without_gaps(volume.axial(index)), spacing_mm=spacing) for index in chosen)
    if _is_label_map(parts):
        raise UnreadableFile(
            volume.path,
            Reason.UNSUPPORTED,
            "holds few whole numbers from 0 on: a label map (segmentation), not an image",
        )
    provenance = {
        "pixels": [*volume.steps, "scaled as the header says, taken as Hounsfield units"],
        "slices": len(volume),
        "read": len(parts),
        "ordered_by": "affine, feet to head",
    }
    return Item(source, parts, provenance=provenance)


def _is_label_map(parts: Sequence[Part]) -> bool:
    """True for what lies beside many NIfTI volumes: organs numbered from 1, around them 0. Blank slices are none."""
    values = np.unique(np.concatenate([np.unique(part.data) for part in parts]))
    return bool(1 < len(values) <= MOST_LABELS and values[0] == 0 and (values == values.round()).all())


def _read_picture(source: Source, spec: InputSpec) -> Item:
    pixels, steps = _picture(source.files[0], enough(spec.size))
    provenance: dict[str, Any] = {"pixels": [*steps, "display grey: no Hounsfield units"], "slices": 1}
    return Item(source, (Part("", pixels),), provenance=provenance)


def _picture(path: Path, least: int = 0) -> tuple[UInt8, tuple[str, ...]]:
    """A picture of a slice, uint8 (H, W), and the steps that made it so; see `raster.read` for `least`."""
    from m3search.formats import raster

    image = raster.read(path, least)
    pixels = image.pixels if image.pixels.ndim == 2 else image.pixels.mean(axis=2).round().astype(np.uint8)
    return pixels, image.description


def _of_one_shape(parts: Sequence[Part]) -> list[Part]:
    """The parts of the commonest shape: a stray localizer or dose report inside a series has another."""
    shape = Counter(part.data.shape for part in parts).most_common(1)[0][0]
    return [part for part in parts if part.data.shape == shape]


def _channels(part: Part, spec: InputSpec) -> UInt8:
    if part.data.dtype == np.uint8:
        return letterbox(part.data, spec.size)
    windows = spec.windows or DEFAULT_WINDOWS
    planes = [letterbox(windowed(part.data, window), spec.size)[0] for window in windows]
    return np.stack(planes if len(planes) == 3 else [planes[0]] * 3)
