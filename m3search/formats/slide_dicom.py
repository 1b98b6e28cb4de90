"""DICOM whole slides: one file per level (or several, a concatenation), one frame per tile.

DICOM PS3.3 A.32.8 (VL Whole Slide Microscopy Image), C.7.6.17 (multi-frame dimension organisation TILED_FULL), C.8.12.4.
Frames are decoded one by one from the open file, in every transfer syntax that pydicom has a codec for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from m3search.errors import Reason, UnreadableFile
from m3search.formats.limits import LIMITS
from m3search.formats.pyramid import Level, Slide, mpp_of, translated

if TYPE_CHECKING:
    import numpy.typing as npt

WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"  # VL Whole Slide Microscopy Image Storage
SHOWS_THE_GLASS = {"LABEL", "OVERVIEW"}  # ImageType value 3: the glass with its label, where the patient's name stands


@dataclass(frozen=True, slots=True, eq=False)
class _Instance:
    """One DICOM file of a slide: where its tiles lie and how to decode them."""

    path: Path
    file: BinaryIO  # positioned anywhere
    pixels_at: int  # offset of the pixel data element's value
    options: dict[str, Any]  # for pydicom's decoders
    matrix: tuple[int, int]  # total pixel matrix: width, height
    tile: tuple[int, int]  # width, height
    frames: dict[tuple[int, int], int]  # frame number from 0 by the tile's left, top (from 0)
    mpp: float
    power: float


class DicomSlide(Slide):
    """Levels are the files' total pixel matrices, finest first; files of one size form one level."""

    reader = "dicom"

    def __init__(self, files: Sequence[Path]) -> None:
        self.path = files[0]
        opened = []
        for path in files:
            with translated(path):
                instance = _open_instance(path)
            if instance is not None:
                opened.append(instance)
        if not opened:
            raise UnreadableFile(self.path, Reason.UNSUPPORTED, "shows the slide's label or glass, not its tissue; not searched")
        sizes = sorted({instance.matrix for instance in opened}, reverse=True)
        self._instances = [[instance for instance in opened if instance.matrix == size] for size in sizes]
        self.levels = tuple(Level(width, height, sizes[0][0] / width) for width, height in sizes)
        finest = self._instances[0][0]
        self.mpp, self.mpp_from = mpp_of(finest.mpp, finest.power)

    def _decode(self, level: int, left: int, top: int, width: int, height: int) -> npt.NDArray[Any]:
        region: npt.NDArray[Any] | None = None
        for instance in self._instances[level]:
            for x, y, number in _touched(instance, left, top, width, height):
                tile = _decode_frame(instance, number)
                if region is None:  # tiles that a sparse slide leaves out stay white, or black on a dark-field one
                    white = 255 if tile.dtype == np.uint8 else 0
                    region = np.full((height, width, *tile.shape[2:]), white, dtype=tile.dtype)
                x0, y0 = max(x, left), max(y, top)
                x1, y1 = min(x + tile.shape[1], left + width), min(y + tile.shape[0], top + height)
                region[y0 - top : y1 - top, x0 - left : x1 - left] = tile[y0 - y : y1 - y, x0 - x : x1 - x]
        return np.full((height, width, 3), 255, dtype=np.uint8) if region is None else region

    def close(self) -> None:
        for instances in self._instances:
            for instance in instances:
                instance.file.close()


def _touched(instance: _Instance, left: int, top: int, width: int, height: int) -> Iterator[tuple[int, int, int]]:
    """Left, top and number of the frames that a rectangle touches."""
    wide, high = instance.tile
    for (x, y), number in instance.frames.items():
        if left - wide < x < left + width and top - high < y < top + height:
            yield x, y, number


def _open_instance(path: Path) -> _Instance | None:
    """None for a label or an overview of the glass."""
    from pydicom import dcmread
    from pydicom.pixels.common import PhotometricInterpretation  # noqa: F401  (asserts a pydicom that has decoders)
    from pydicom.pixels.utils import as_pixel_options

    file = path.open("rb")
    dataset = dcmread(file, stop_before_pixels=True)
    if SHOWS_THE_GLASS & {str(value).upper() for value in dataset.get("ImageType", ())}:
        file.close()
        return None
    tile = int(dataset.Columns), int(dataset.Rows)
    matrix = int(dataset.get("TotalPixelMatrixColumns", tile[0])), int(dataset.get("TotalPixelMatrixRows", tile[1]))
    LIMITS.check_pixels(path, tile[1], tile[0])
    if min(*tile, *matrix) < 1:
        raise ValueError("no pixels")
    # read in explicit little endian: tag (4), VR (2), reserved (2), length (4); implicit: tag (4), length (4)
    implicit = dataset.file_meta.TransferSyntaxUID.is_implicit_VR
    return _Instance(
        path=path,
        file=file,
        pixels_at=file.tell() + (8 if implicit else 12),
        options=as_pixel_options(dataset, pixel_keyword="PixelData")
        | {"transfer_syntax_uid": dataset.file_meta.TransferSyntaxUID, "pixel_vr": "OW" if implicit else "OB"},
        matrix=matrix,
        tile=tile,
        frames=_tile_positions(dataset, matrix, tile),
        mpp=_mpp(dataset),
        power=_objective_power(dataset),
    )
