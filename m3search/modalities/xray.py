"""Radiographs, as DICOM (CR, DX) or pictures: each image is an item."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from m3search.modalities.dicom_tags import identity_of, tags_of
from m3search.modalities.imaging import encode_thumbnail, enough, letterbox, refuse_constant
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

    def read(self, source: Source, spec: InputSpec) -> Item:
        """The image as a viewer shows it: VOI applied, MONOCHROME1 inverted, so that bone is bright.

        Larger ones may be decoded at a fraction of their size: see `imaging.enough`.

        Raises:
            UnreadableFile: CONSTANT for a blank image; else as the format's reader says.
        """
        path = source.files[0]
        tags, identity = Tags(), Identity()
        spacing_mm = 0.0
        if source.format == "dicom":
            from m3search.formats import dicom, dicom_pixels

            dataset = dicom.read_dataset(path)
            shown = dicom_pixels.displayed(path, dataset, least=enough(spec.size))
            pixels, steps = shown.pixels, (dicom_pixels.syntax_name(dataset), *shown.steps)
            with dicom.translated(path):
                if (frames := dicom.frame_count(dataset)) > 1:
                    steps = (*steps, f"first of {frames} frames")
                tags, identity, size = tags_of(dataset), identity_of(dataset), (int(dataset.Rows), int(dataset.Columns))
                spacing_mm = dicom.spacing(dataset) * size[0] / pixels.shape[0]
        else:
            from m3search.formats import raster

            image = raster.read(path, enough(spec.size))
            pixels, steps, size = image.pixels, image.description, image.size
        refuse_constant(path, pixels)
        return Item(
            source=source,
            parts=(Part("", pixels, spacing_mm=spacing_mm),),
            tags=tags,
            identity=identity,
            provenance={"pixels": list(steps), "size": list(size)},
        )

    def prepare(self, item: Item, spec: InputSpec) -> UInt8:
        """uint8 (1, 3, size, size): the whole image, proportions kept, black around it."""
        return np.stack([letterbox(part.data, spec.size) for part in item.parts])

    def thumbnail(self, item: Item) -> bytes:
        """JPEG of the image."""
        return encode_thumbnail(item.parts[0].data)
