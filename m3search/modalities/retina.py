"""Fundus photographs, as pictures or DICOM: the field of view found and cropped, the eye known where stated."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from m3search.modalities.fundus import crop_to_field, find_field_of_view
from m3search.modalities.imaging import encode_thumbnail, letterbox, refuse_constant
from m3search.modalities.visible_light import Photographs, read_photographs
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
        photographs = _read(source, spec.max_parts)
        parts, crops = [], []
        for locator, rgb in photographs.frames:
            refuse_constant(path, rgb)
            field = find_field_of_view(rgb)
            parts.append(Part(locator, crop_to_field(rgb, field) if field else rgb))
            crops.append({"box": list(field.box), "disc": field.circle is not None} if field else None)
        tags = photographs.tags
        laterality_from = "header" if tags.laterality else ""
        if not tags.laterality and (eye := eye_of(path)):
            tags, laterality_from = replace(tags, laterality=eye), "file name"
        provenance: dict[str, Any] = {
            "pixels": list(photographs.steps),
            "field_of_view": crops[0] if len(crops) == 1 else crops,  # None: no dark border, the whole picture is used
            "laterality_from": laterality_from,
        }
        return Item(source=source, parts=tuple(parts), tags=tags, identity=photographs.identity, provenance=provenance)

    def prepare(self, item: Item, spec: InputSpec) -> UInt8:
        """uint8 (P, 3, size, size): the field of view with its proportions kept, black around it."""
        return np.stack([letterbox(part.data, spec.size) for part in item.parts])

    def thumbnail(self, item: Item) -> bytes:
        """JPEG of the first frame's field of view."""
        return encode_thumbnail(item.parts[0].data)


def eye_of(path: Path) -> str:
    """The eye that a word of the file's name states ("Patient001_L", "12_OD", "img-left"): "L", "R" or "B"; else ""."""
    words = re.split(r"[^a-z]+", path.stem.lower())
    eyes = {_EYE_WORDS[word] for word in words if word in _EYE_WORDS}
    return eyes.pop() if len(eyes) == 1 else ""


def _read(source: Source, most: int) -> Photographs:
    from m3search.formats import raster

    if source.format == "dicom":
        return read_photographs(source.files[0], most)
    image = raster.read(source.files[0])
    return Photographs((("", image.rgb),), image.description, Tags(), Identity())
