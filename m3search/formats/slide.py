"""Whole slides: pyramids of tiles read by region, from whichever reader knows the file.

openslide reads the scanners' own formats (Aperio SVS, Hamamatsu NDPI, MIRAX, ...); `slide_tiff` takes the TIFF pyramids
it refuses (stripped, OME-TIFF, 16 bit) and `slide_dicom` DICOM whole slides. Label and macro pictures are never opened:
patients' names are written on them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from m3search.errors import Reason, UnreadableFile
from m3search.formats.limits import require_readable
from m3search.formats.pyramid import WHITE, Level, Slide, mpp_of, translated
from m3search.formats.tiff_directory import are_plausible, check_directories
from m3search.types import Header

if TYPE_CHECKING:
    import numpy.typing as npt

TIFF_SUFFIXES = frozenset({".svs", ".ndpi", ".svslide"})  # nothing but slides is named so
OTHER_SUFFIXES = frozenset({".vms", ".vmu", ".czi", ".scn", ".bif"})  # other programs use these, too
MIRAX = ".mrxs"  # a JPEG beside the folder that holds the slide
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
LARGE = 8192  # pixels: a tiled TIFF with a side this long is a slide even without a pyramid


def sniff(path: Path, head: bytes) -> bool:
    """True for what openslide knows and for TIFF pyramids; a plain TIFF picture is left to the raster format."""
    suffix = path.suffix.lower()
    if suffix in TIFF_SUFFIXES or suffix == MIRAX:
        return True
    is_tiff = head.startswith(TIFF_MAGIC)
    if not is_tiff and suffix not in OTHER_SUFFIXES:
        return False
    from openslide import OpenSlide

    from m3search.formats import slide_tiff

    if is_tiff and not are_plausible(path):  # openslide might end the process; the raster format reports it
        return False
    vendor = OpenSlide.detect_format(str(path))
    return vendor not in (None, "generic-tiff") or (is_tiff and slide_tiff.is_slide(path))


def read_header(path: Path) -> Header:
    """Dimensions, levels and resolution. `attributes`: width, height, downsamples, mpp, mpp_from, reader.

    Raises:
        UnreadableFile: see `open_slide`.
    """
    with open_slide([path]) as slide:
        attributes = {
            "width": slide.width,
            "height": slide.height,
            "downsamples": tuple(level.downsample for level in slide.levels),
            "mpp": slide.mpp,
            "mpp_from": slide.mpp_from,
            "reader": slide.reader,
        }
        return Header(path=path, format="slide", attributes=attributes, companions=slide.companions)


def open_slide(files: Sequence[Path], dicom: bool = False) -> Slide:
    """Open one slide; several files only for DICOM, where each level is a file.

    Raises:
        UnreadableFile: EMPTY, TRUNCATED, CORRUPT, MISSING_FILE, or UNSUPPORTED for pixels of a kind that is not read.
    """
    for path in files:
        require_readable(path)
    if dicom:
        from m3search.formats.slide_dicom import DicomSlide

        return DicomSlide(files)
    path = files[0]
    _refuse_cut_tiff(path)
    check_directories(path)
    if path.suffix.lower() == MIRAX and not path.with_suffix("").is_dir():
        raise UnreadableFile(path, Reason.MISSING_FILE, f"its folder {path.stem} is missing; copy it beside the file")
    import openslide

    from m3search.formats.slide_tiff import TiffSlide, is_deep

    with translated(path):
        try:
            if openslide.OpenSlide.detect_format(str(path)) == "generic-tiff" and is_deep(path):
                return TiffSlide(path)  # openslide would keep the high byte only
            return OpenSlideSlide(path)
        except openslide.OpenSlideError:
            return TiffSlide(path)


class OpenSlideSlide(Slide):
    """Through openslide."""

    reader = "openslide"

    def __init__(self, path: Path) -> None:
        import openslide

        self.path = path
        self._slide = openslide.OpenSlide(str(path))
        sizes, downsamples = self._slide.level_dimensions, self._slide.level_downsamples
        self.levels = tuple(Level(w, h, float(d)) for (w, h), d in zip(sizes, downsamples, strict=True))
        self.mpp, self.mpp_from = _resolution_of(self._slide.properties)
        if path.suffix.lower() == MIRAX:
            self.companions = tuple(sorted(file for file in path.with_suffix("").iterdir() if file.is_file()))

    def _decode(self, level: int, left: int, top: int, width: int, height: int) -> npt.NDArray[Any]:
        scale = self.levels[level].downsample
        rgba = np.asarray(self._slide.read_region((round(left * scale), round(top * scale)), level, (width, height)))
        if rgba[..., 3].min() == 255:
            return rgba[..., :3]
        opaque = rgba[..., 3:].astype(np.uint16)
        composed = (rgba[..., :3] * opaque + WHITE * (255 - opaque)) // 255  # unscanned parts are transparent
        return composed.astype(np.uint8)

    def close(self) -> None:
        self._slide.close()


def _resolution_of(properties: Any) -> tuple[float, str]:
    """mpp of level 0 and where it comes from: stated by the scanner, the TIFF resolution, or the objective power."""
    stated = _number(properties.get("openslide.mpp-x"))
    per_unit = _number(properties.get("tiff.XResolution"))
    micrometres = {"centimeter": 10_000.0, "inch": 25_400.0}.get(str(properties.get("tiff.ResolutionUnit")), 0.0)
    power = _number(properties.get("openslide.objective-power"))
    return mpp_of(stated or (micrometres / per_unit if per_unit else 0.0), power)


def _number(text: object) -> float:
    try:
        return float(str(text))
    except ValueError:
        return 0.0


def _refuse_cut_tiff(path: Path) -> None:
    """A copy that stopped early still opens in some readers and shows empty tiles: refuse it by its offsets."""
    with path.open("rb") as file:
        head = file.read(16)
    if not head.startswith(TIFF_MAGIC):
        return
    order = "<" if head[:2] == b"II" else ">"
    big = head[2:4] in (b"+\0", b"\0+")
    head = head.ljust(16, b"\xff")  # of a file this short the offset lies beyond the end, too
    first = struct.unpack(order + "Q", head[8:16])[0] if big else struct.unpack(order + "I", head[4:8])[0]
    if first >= path.stat().st_size:
        raise UnreadableFile(path, Reason.TRUNCATED, "the slide's directory lies beyond its end; copy the file again")
