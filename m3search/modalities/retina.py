"""Fundus photographs, as pictures or DICOM: the field of view found and cropped, the eye known where somebody states it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from m3search.modalities import dicom_tags
from m3search.modalities.fundus import crop_to_field, find_field_of_view
from m3search.modalities.imaging import encode_thumbnail, letterbox, refuse_constant
from m3search.types import Identity, Item, Part, Tags

if TYPE_CHECKING:
    from m3search.types import Header, InputSpec, Source, UInt8

OPHTHALMIC_PHOTOGRAPHY = ("1.2.840.10008.5.1.4.1.1.77.1.5.1", "1.2.840.10008.5.1.4.1.1.77.1.5.2")  # 8 and 16 bit
_EYE_WORDS = {
    "l": "L", "left": "L", "os": "L", "oculus_sinister": "L",
    "r": "R", "right": "R", "od": "R", "oculus_dexter": "R",
    "ou": "B",
}  # fmt: skip


class Retina:
    """Colour fundus photographs: the item is the photograph; frames of a multi-frame file are its parts."""

    name = "retina"
    folder_names = frozenset(
        {"retina", "retinal", "retinas", "fundus", "fundi", "fundoscopy", "ophthalmology", "eye", "eyes"}
    )

    def recognises(self, header: Header) -> bool:
        """True for DICOM ophthalmic photography (OP), not for tomography (OPT)."""
        if header.format != "dicom":
            return False
        attributes = header.attributes
        return str(attributes.get("SOPClassUID", "")) in OPHTHALMIC_PHOTOGRAPHY or attributes.get("Modality") == "OP"

    def series(self, header: Header) -> str:  # noqa: ARG002
        """Every photograph stands alone, though left and right share a series."""
        return ""

    def read(self, source: Source, spec: InputSpec) -> Item:
        """The photograph, or at most `spec.max_parts` frames, each cropped to its field of view.

        Raises:
            UnreadableFile: CONSTANT for a blank picture; else as the format's reader says.
        """
        path = source.files[0]
        pictures, steps, tags, identity = _read_dicom(path, spec) if source.format == "dicom" else _read_raster(path)
        parts, crops = [], []
        for locator, rgb in pictures:
            refuse_constant(path, rgb)
            field = find_field_of_view(rgb)
            parts.append(Part(locator, crop_to_field(rgb, field) if field else rgb))
            crops.append({"box": list(field.box), "disc": field.circle is not None} if field else None)
        laterality_from = "header" if tags.laterality else ""
        if not tags.laterality and (eye := eye_of(path)):
            tags, laterality_from = replace(tags, laterality=eye), "file name"
        provenance: dict[str, Any] = {
            "pixels": steps,
            "field_of_view": crops[0] if len(crops) == 1 else crops,  # None: no dark border, the whole picture is used
            "laterality_from": laterality_from,
        }
        return Item(source=source, parts=tuple(parts), tags=tags, identity=identity, provenance=provenance)

    def prepare(self, item: Item, spec: InputSpec) -> UInt8:
        """uint8 (P, 3, size, size): the field of view with its proportions kept, black around it."""
        return np.stack([letterbox(part.data, spec.size) for part in item.parts])

    def thumbnail(self, item: Item) -> bytes:
        """JPEG of the first frame's field of view."""
        return encode_thumbnail(item.parts[0].data)


def eye_of(path: Path) -> str:
    """ "L", "R" or "B" by a word of the file's name ("Patient001_L", "12_OD", "img-left"); "" where none or both are there."""
    words = re.split(r"[^a-z]+", path.stem.lower())
    eyes = {_EYE_WORDS[word] for word in words if word in _EYE_WORDS}
    return eyes.pop() if len(eyes) == 1 else ""


def _read_raster(path: Path) -> tuple[list[tuple[str, UInt8]], list[str], Tags, Identity]:
    from m3search.formats import raster

    image = raster.read(path)
    return [("", image.rgb)], list(image.description), Tags(), Identity()


def _read_dicom(path: Path, spec: InputSpec) -> tuple[list[tuple[str, UInt8]], list[str], Tags, Identity]:
    """Frames as a viewer shows them, evenly spread where there are more than `spec.max_parts`."""
    from m3search.formats import dicom

    dataset = dicom.read_dataset(path)
    count = dicom.frame_count(dataset)
    frames = np.unique(np.linspace(0, count - 1, min(count, spec.max_parts)).round().astype(int)).tolist()
    pictures, steps = [], []
    for frame in frames:
        shown = dicom.displayed(path, dataset, frame)
        steps = [dicom.syntax_name(dataset), *shown.steps]
        rgb = shown.pixels if shown.pixels.ndim == 3 else np.repeat(shown.pixels[..., None], 3, axis=2)
        pictures.append((f"frame={frame + 1}" if count > 1 else "", rgb))
    return pictures, steps, dicom_tags.tags_of(dataset), dicom_tags.identity_of(dataset)
