"""Radiographs, as DICOM (CR, DX) or pictures: each image is an item."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from m3search.modalities.dicom_tags import identity_of, tags_of
from m3search.modalities.imaging import encode_thumbnail, letterbox, refuse_constant
from m3search.types import Identity, Item, Part, Tags

if TYPE_CHECKING:
    from m3search.types import Header, InputSpec, Source, UInt8

MODALITIES = {"CR", "DX", "RG"}  # PS3.3 C.7.3.1.1.1; RG is film that was digitised


class XRay:
    """Projection radiographs. Fluoroscopy and mammography are other modalities of the standard, and not searched."""

    name = "xray"
    folder_names = frozenset({"xray", "xrays", "cxr", "cxrs", "radiograph", "radiographs", "radiography", "dx", "cr"})

    def recognises(self, header: Header) -> bool:
        """True for DICOM computed and digital radiography."""
        return header.format == "dicom" and header.attributes.get("Modality") in MODALITIES

    def series(self, header: Header) -> str:  # noqa: ARG002
        """Every image stands alone, though frontal and lateral views share a series."""
        return ""

    def read(self, source: Source, spec: InputSpec) -> Item:  # noqa: ARG002
        """The image as a viewer shows it: VOI applied, MONOCHROME1 inverted, so that bone is bright.

        Raises:
            UnreadableFile: CONSTANT for a blank image; else as the format's reader says.
        """
        path = source.files[0]
        tags, identity = Tags(), Identity()
        spacing_mm = 0.0
        if source.format == "dicom":
            from m3search.formats import dicom, dicom_pixels

            dataset = dicom.read_dataset(path)
            shown = dicom_pixels.displayed(path, dataset)
            pixels, steps = shown.pixels, (dicom_pixels.syntax_name(dataset), *shown.steps)
            with dicom.translated(path):
                if (frames := dicom.frame_count(dataset)) > 1:
                    steps = (*steps, f"first of {frames} frames")
                tags, identity, spacing_mm = tags_of(dataset), identity_of(dataset), dicom.spacing(dataset)
        else:
            from m3search.formats import raster

            image = raster.read(path)
            pixels, steps = image.pixels, image.description
        refuse_constant(path, pixels)
        return Item(
            source=source,
            parts=(Part("", pixels, spacing_mm=spacing_mm),),
            tags=tags,
            identity=identity,
            provenance={"pixels": list(steps), "size": [int(side) for side in pixels.shape[:2]]},
        )

    def prepare(self, item: Item, spec: InputSpec) -> UInt8:
        """uint8 (1, 3, size, size): the whole image, proportions kept, black around it."""
        return np.stack([letterbox(part.data, spec.size) for part in item.parts])

    def thumbnail(self, item: Item) -> bytes:
        """JPEG of the image."""
        return encode_thumbnail(item.parts[0].data)
