"""TIFF pyramids that openslide refuses: stripped, OME-TIFF sub-resolutions, 16 bit. Read tile by tile."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from m3search.errors import Reason, UnreadableFile
from m3search.formats.pyramid import PLAUSIBLE_MPP, Level, Slide, mpp_of
from m3search.formats.quiet import quiet

if TYPE_CHECKING:
    import numpy.typing as npt

LARGE = 8192  # pixels: a tiled TIFF with a side this long is a slide even without a pyramid
NEXT_LEVEL = 8.0  # a picture with one far smaller copy of itself has a thumbnail, not a pyramid
SAME_SHAPE = 0.02  # relative difference of the two sides' downsampling that rounding explains
_OME_MPP = re.compile(r'PhysicalSizeX="([\d.eE+-]+)"')
_OME_UNIT = re.compile(r'PhysicalSizeXUnit="([^"]+)"')
_APERIO_MPP = re.compile(r"\bMPP\s*=\s*([\d.]+)")
_APERIO_POWER = re.compile(r"\bAppMag\s*=\s*([\d.]+)")


def is_slide(path: Path) -> bool:
    """True for a pyramid, and for a tiled TIFF with a side of LARGE pixels or more."""
    import tifffile

    try:
        with quiet("tifffile"), tifffile.TiffFile(path) as tiff:
            pages = _pyramid(tiff)
            first = pages[0]
            if len(pages) > 1 and (first.is_tiled or first.imagewidth / pages[1].imagewidth <= NEXT_LEVEL):
                return True
            return bool(first.is_tiled and max(first.imagewidth, first.imagelength) >= LARGE)
    except Exception:  # a damaged TIFF: the raster format reports it
        return False


def is_deep(path: Path) -> bool:
    """True for a TIFF of more than 8 bits a channel."""
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        return int(tiff.pages.first.bitspersample) > 8


class TiffSlide(Slide):
    """Through tifffile's page-wise decoding: only the segments that a region touches are read."""

    reader = "tifffile"

    def __init__(self, path: Path) -> None:
        import tifffile

        self.path = path
        self._tiff = tifffile.TiffFile(path)
        self._pages = _pyramid(self._tiff)
        first = self._pages[0]
        if first.samplesperpixel not in (1, 3, 4) or first.imagedepth != 1:
            raise UnreadableFile(
                path, Reason.UNSUPPORTED, f"a slide of {first.samplesperpixel} channels is not searched here"
            )
        if any(min(*_tile_of(page), page.imagelength) < 1 for page in self._pages):
            raise UnreadableFile(path, Reason.CORRUPT, "the slide has tiles without pixels; copy it again")
        size = path.stat().st_size
        if any(offset + count > size for offset, count in zip(first.dataoffsets, first.databytecounts, strict=True)):
            raise UnreadableFile(path, Reason.TRUNCATED, "the slide's tiles end early; copy the file again")
        self.levels = tuple(
            Level(page.imagewidth, page.imagelength, first.imagewidth / page.imagewidth) for page in self._pages
        )
        self.mpp, self.mpp_from = _resolution_of(self._tiff, first)

    def _decode(self, level: int, left: int, top: int, width: int, height: int) -> npt.NDArray[Any]:
        page = self._pages[level]
        region = np.zeros((height, width, page.samplesperpixel), dtype=page.dtype)
        for index in _segments(page, left, top, width, height):
            for tile, x, y, sample in self._segment(page, index):
                x0, y0 = max(x, left), max(y, top)
                x1, y1 = min(x + tile.shape[1], left + width), min(y + tile.shape[0], top + height)
                if x1 > x0 and y1 > y0:
                    samples = slice(sample, sample + tile.shape[2])
                    region[y0 - top : y1 - top, x0 - left : x1 - left, samples] = tile[y0 - y : y1 - y, x0 - x : x1 - x]
        if page.photometric == 0:  # white is zero
            region = np.iinfo(page.dtype).max - region
        return region[..., 0] if page.samplesperpixel == 1 else region[..., :3]

    def _segment(self, page: Any, index: int) -> Iterator[tuple[npt.NDArray[Any], int, int, int]]:
        """One tile or strip, (h, w, samples), its place in the level and its first sample; nothing if absent."""
        handle = self._tiff.filehandle
        if not page.databytecounts[index]:
            return
        handle.seek(page.dataoffsets[index])
        raw = handle.read(page.databytecounts[index])
        tile, (sample, _, y, x, _), shape = page.decode(
            raw, index, jpegtables=page.jpegtables, jpegheader=page.jpegheader
        )
        if tile is not None:
            yield tile[0, : shape[1], : shape[2]], x, y, sample

    def close(self) -> None:
        self._tiff.close()


def _tile_of(page: Any) -> tuple[int, int]:
    """Width and height of a tile or strip."""
    return (page.tilewidth, page.tilelength) if page.is_tiled else (page.imagewidth, page.rowsperstrip)


def _segments(page: Any, left: int, top: int, width: int, height: int) -> Iterator[int]:
    """Numbers of the tiles or strips that a rectangle touches, in each stored plane."""
    wide, high = _tile_of(page)
    high = min(high, page.imagelength)
    across, down = -(-page.imagewidth // wide), -(-page.imagelength // high)
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    for plane in range(planes):
        for row in range(top // high, min(down, -(-(top + height) // high))):
            for column in range(left // wide, min(across, -(-(left + width) // wide))):
                yield (plane * down + row) * across + column


def _pyramid(tiff: Any) -> list[Any]:
    """Pages that show the largest page's picture at decreasing sizes; label and macro have other proportions."""
    pages = [page.aspage() for page in tiff.pages]
    pages += [sub.aspage() for page in pages if page.subifds for sub in page.pages]
    pages.sort(key=lambda page: -page.imagewidth * page.imagelength)
    first = pages[0]
    levels = {first.imagewidth: first}
    for page in pages[1:]:
        across, down = first.imagewidth / page.imagewidth, first.imagelength / page.imagelength
        rounding = SAME_SHAPE + 1 / page.imagewidth + 1 / page.imagelength
        alike = page.dtype == first.dtype and page.samplesperpixel == first.samplesperpixel
        if alike and across > 1.1 and abs(across / down - 1) < rounding and page.subfiletype not in (9,):  # 9: macro
            levels.setdefault(page.imagewidth, page)
    return list(levels.values())


def _resolution_of(tiff: Any, first: Any) -> tuple[float, str]:
    """mpp of the finest level and its origin: OME-XML, Aperio's description, TIFF resolution, objective power."""
    text = tiff.pages.first.description[:100_000]
    stated = (_ome_mpp(text), _matched(_APERIO_MPP, text), _tag_mpp(first))
    plausible = next((mpp for mpp in stated if PLAUSIBLE_MPP[0] <= mpp <= PLAUSIBLE_MPP[1]), 0.0)
    return mpp_of(plausible, _matched(_APERIO_POWER, text))


def _ome_mpp(text: str) -> float:
    unit = _OME_UNIT.search(text)
    return _matched(_OME_MPP, text) * {"nm": 1e-3, "mm": 1e3}.get(unit[1] if unit else "µm", 1.0)


def _matched(pattern: re.Pattern[str], text: str) -> float:
    match = pattern.search(text)
    try:
        return float(match[1]) if match else 0.0
    except ValueError:
        return 0.0


def _tag_mpp(page: Any) -> float:
    across, over = page.tags.valueof(282, (0, 1))
    micrometres = {2: 25_400.0, 3: 10_000.0}.get(int(page.tags.valueof(296, 2)), 0.0)
    return micrometres * over / across if across else 0.0
