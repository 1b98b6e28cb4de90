"""Histopathology: whole slides as tiles at one resolution, and loose patches as they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from m3search.formats import dicom
from m3search.formats.slide import open_slide
from m3search.formats.slide_dicom import DicomSlide
from m3search.modalities import dicom_tags
from m3search.modalities.imaging import encode_thumbnail, refuse_constant
from m3search.modalities.tissue import choose_tiles, find_ink, find_tissue
from m3search.modalities.visible_light import read_photographs
from m3search.types import Identity, Item, Part, Tags

if TYPE_CHECKING:
    from m3search.formats.pyramid import Slide
    from m3search.types import Header, InputSpec, Source, UInt8

WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"  # VL Whole Slide Microscopy Image Storage
MICROSCOPY = ("1.2.840.10008.5.1.4.1.1.77.1.2", "1.2.840.10008.5.1.4.1.1.77.1.3")  # VL Microscopic: a field of view
ASSUMED_MPP = 0.5  # micrometres per pixel (a 20x objective) where a slide states neither resolution nor objective
LARGEST_ENLARGEMENT = (
    2.0  # a slide coarser than the tiles asked for is enlarged up to this, then the tiles show more tissue
)
OVERVIEW = 1024  # pixels of the longer side at which tissue is looked for
PIXELS_PER_TILE = 8  # of the overview, at least
THUMBNAIL = 256


class Pathology:
    """The item is a slide, whose parts are tiles ("tile=x,y" in level-0 pixels), or a loose patch, its only part."""

    name = "pathology"
    folder_names = frozenset(
        {
            "pathology",
            "histopathology",
            "histology",
            "histo",
            "slides",
            "wsi",
            "wsm",
            "h&e",
            "svs",
            "biopsy",
            "biopsies",
        }
    )

    def recognises(self, header: Header) -> bool:
        """True for whole slides and for DICOM microscopy (modality SM)."""
        if header.format == "slide":
            return True
        attributes = header.attributes
        microscopy = str(attributes.get("SOPClassUID", "")) in (WHOLE_SLIDE, *MICROSCOPY)
        return header.format == "dicom" and (microscopy or attributes.get("Modality") == "SM")

    def series(self, header: Header) -> str:
        """The levels of one DICOM whole slide share their series; everything else stands alone."""
        if header.format == "dicom" and str(header.attributes.get("SOPClassUID", "")) == WHOLE_SLIDE:
            return str(header.attributes.get("SeriesInstanceUID", ""))
        return ""

    def read(self, source: Source, spec: InputSpec) -> Item:
        """Tiles of `spec.size` pixels at `spec.tile_mpp`, at most `spec.max_parts`, where most tissue is; or the patch.

        Raises:
            UnreadableFile: CONSTANT for a blank picture; else as the format's reader says.
        """
        if source.format == "raster":
            return _read_patch(source)
        if source.format == "dicom" and not is_whole_slide(source.files[0]):
            return _read_field(source, spec)
        with open_slide(source.files, dicom=source.format == "dicom") as slide:
            parts, provenance = _read_tiles(slide, spec)
            refuse_constant(source.files[0], np.stack([part.data for part in parts]))
            tags, identity = _describe(slide)
        return Item(source=source, parts=parts, tags=tags, identity=identity, provenance=provenance)

    def prepare(self, item: Item, spec: InputSpec) -> UInt8:
        """uint8 (P, 3, size, size). A patch is shrunk until its shorter side fits and its middle is taken.

        Padding would show the tower black bars that no slide has, and squeezing would change the shape of nuclei.
        """
        return np.stack([_middle_square(part.data, spec.size).transpose(2, 0, 1) for part in item.parts])

    def thumbnail(self, item: Item) -> bytes:
        """JPEG: the slide from afar, or the patch."""
        if not item.parts[0].locator.startswith("tile="):
            return encode_thumbnail(item.parts[0].data)
        with open_slide(item.source.files, dicom=item.source.format == "dicom") as slide:
            return encode_thumbnail(slide.overview(THUMBNAIL))


def _read_tiles(slide: Slide, spec: InputSpec) -> tuple[tuple[Part, ...], dict[str, Any]]:
    """Tiles of the slide and how they were chosen."""
    mpp = slide.mpp or ASSUMED_MPP
    wanted = spec.size * (spec.tile_mpp or mpp) / mpp  # level-0 pixels along a tile
    side = round(min(max(wanted, spec.size / LARGEST_ENLARGEMENT), slide.width, slide.height))
    side = max(1, side)
    longest = max(slide.width, slide.height)
    overview = slide.overview(max(OVERVIEW, min(4 * OVERVIEW, longest * PIXELS_PER_TILE // side)))
    tissue = find_tissue(overview)
    mask = np.ones(overview.shape[:2], dtype=np.bool_) if tissue is None else tissue
    tiles = choose_tiles((slide.width, slide.height), mask, side, spec.max_parts)
    tile_mpp = mpp * side / spec.size
    parts = tuple(
        Part(
            f"tile={tile.x},{tile.y}",
            slide.read_region(tile.x, tile.y, side, side, (spec.size, spec.size)),
            spacing_mm=tile_mpp / 1000 if slide.mpp else 0.0,
        )
        for tile in tiles
    )
    ink = float(find_ink(overview).mean())
    return parts, {
        "reader": slide.reader,
        "size": [slide.width, slide.height],
        "mpp": slide.mpp or None,
        "mpp_from": slide.mpp_from or f"unknown: {ASSUMED_MPP} assumed",
        "tile_mpp": round(tile_mpp, 4),
        "tile_level": slide.level_for(side / spec.size),
        "tissue": "not told from the background: the whole slide" if tissue is None else round(float(mask.mean()), 4),
        "tiles": len(parts),
    } | ({"pen_marks": round(ink, 4)} if ink else {})


def _describe(slide: Slide) -> tuple[Tags, Identity]:
    if not isinstance(slide, DicomSlide):
        return Tags(), Identity()
    with dicom.translated(slide.path):
        return dicom_tags.tags_of(slide.dataset), dicom_tags.identity_of(slide.dataset)


def _read_patch(source: Source) -> Item:
    from m3search.formats import raster

    image = raster.read(source.files[0])
    refuse_constant(source.files[0], image.pixels)
    return Item(source=source, parts=(Part("", image.rgb),), provenance={"pixels": list(image.description)})


def _read_field(source: Source, spec: InputSpec) -> Item:
    """DICOM microscopy that is no whole slide: its frames are patches."""
    photographs = read_photographs(source.files[0], spec.max_parts)
    for _, rgb in photographs.frames:
        refuse_constant(source.files[0], rgb)
    return Item(
        source=source,
        parts=tuple(Part(locator, rgb) for locator, rgb in photographs.frames),
        tags=photographs.tags,
        identity=photographs.identity,
        provenance={"pixels": list(photographs.steps)},
    )


def is_whole_slide(path: Path) -> bool:
    """Whether a DICOM file is a level of a whole slide, and not a field of a microscope."""
    return bool(dicom.read_header(path).attributes["SOPClassUID"] == WHOLE_SLIDE)


def _middle_square(rgb: UInt8, size: int) -> UInt8:
    """(H, W, 3) to (size, size, 3): the shorter side becomes `size`, the longer one is cut on both ends."""
    height, width = rgb.shape[:2]
    if (height, width) == (size, size):
        return rgb
    from PIL import Image

    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    square = Image.fromarray(rgb).crop((left, top, left + side, top + side))
    return np.asarray(square.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0))
