"""DICOM whole slides: one file per level (or several, a concatenation), one frame per tile.

DICOM PS3.3 A.32.8 (VL Whole Slide Microscopy Image), C.7.6.17 (multi-frame dimension, TILED_FULL), C.8.12.4.
Frames are decoded one by one from the open file, in every transfer syntax that pydicom has a codec for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from m3search.errors import Reason, UnreadableFile
from m3search.formats import dicom, dicom_pixels
from m3search.formats.dicom_decoders import decoder_of
from m3search.formats.limits import LIMITS
from m3search.formats.pyramid import Level, Slide, mpp_of, translated

if TYPE_CHECKING:
    import numpy.typing as npt
    from pydicom.dataset import Dataset

SHOWS_THE_GLASS = {
    "LABEL",
    "OVERVIEW",
    "LOCALIZER",
}  # ImageType value 3: the glass with its label, where a name may stand


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
    dataset: Dataset  # without pixels


class DicomSlide(Slide):
    """Levels are the files' total pixel matrices, finest first; files of one size form one level."""

    reader = "dicom"

    def __init__(self, files: Sequence[Path]) -> None:
        self.path = files[0]
        opened = []
        for path in files:
            with translated(path), dicom.translated(path):
                instance = _open_instance(path)
            if instance is not None:
                opened.append(instance)
        if not opened:
            raise UnreadableFile(
                self.path, Reason.UNSUPPORTED, "shows the slide's label or glass, not its tissue; not searched"
            )
        sizes = sorted({instance.matrix for instance in opened}, reverse=True)
        self._instances = [[instance for instance in opened if instance.matrix == size] for size in sizes]
        self.levels = tuple(Level(width, height, sizes[0][0] / width) for width, height in sizes)
        finest = self._instances[0][0]
        self.dataset = finest.dataset
        with dicom.translated(finest.path):
            self.mpp, self.mpp_from = mpp_of(_mpp(finest.dataset, sizes[0][0]), _objective_power(finest.dataset))

    def _decode(self, level: int, left: int, top: int, width: int, height: int) -> npt.NDArray[Any]:
        with dicom.translated(self.path):
            return self._stitch(level, left, top, width, height)

    def _stitch(self, level: int, left: int, top: int, width: int, height: int) -> npt.NDArray[Any]:
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
    """None for a picture on which the slide's label may be read."""
    file = dicom.BoundedFile(path)
    try:
        instance = _parse_instance(path, file)
    except BaseException:
        file.close()
        raise
    if instance is None:
        file.close()
    return instance


def _parse_instance(path: Path, file: BinaryIO) -> _Instance | None:
    from pydicom import dcmread
    from pydicom.pixels.utils import as_pixel_options
    from pydicom.uid import ImplicitVRLittleEndian

    dataset = dcmread(file, stop_before_pixels=True, force=True)  # leaves the file at the tag of the pixel data
    flavour = {str(value).upper() for value in dataset.get("ImageType") or ()}
    if flavour & SHOWS_THE_GLASS or dataset.get("SpecimenLabelInImage") == "YES":
        return None
    syntax = dataset.file_meta.get("TransferSyntaxUID", ImplicitVRLittleEndian)
    if syntax.is_compressed and not decoder_of(syntax).is_available:
        raise UnreadableFile(
            path,
            Reason.MISSING_DECODER,
            f"no decoder for {dicom_pixels.syntax_name(dataset)} is installed: pip install -U m3search",
        )
    tile = int(dataset.Columns), int(dataset.Rows)
    matrix = int(dataset.get("TotalPixelMatrixColumns", tile[0])), int(dataset.get("TotalPixelMatrixRows", tile[1]))
    if min(*tile, *matrix) < 1:
        raise ValueError("no pixels")
    LIMITS.check_pixels(path, tile[1], tile[0])
    instance = _Instance(
        path=path,
        file=file,
        pixels_at=file.tell() + (8 if syntax.is_implicit_VR else 12),  # PS3.5 7.1.2: tag, VR and length before it
        options={
            **as_pixel_options(dataset),
            "transfer_syntax_uid": syntax,
            "pixel_keyword": "PixelData",
            "pixel_vr": "OW" if dataset.BitsAllocated > 8 else "OB",
        },
        matrix=matrix,
        tile=tile,
        frames=_tile_positions(dataset, matrix, tile),
        dataset=dataset,
    )
    native = tile[0] * tile[1] * int(dataset.SamplesPerPixel) * (int(dataset.BitsAllocated) // 8)
    if not syntax.is_compressed and instance.pixels_at + native * len(instance.frames) > path.stat().st_size:
        raise UnreadableFile(path, Reason.TRUNCATED, "the slide's tiles end early; copy the file again")
    return instance


def _decode_frame(instance: _Instance, number: int) -> npt.NDArray[Any]:
    """(Rows, Columns) or (Rows, Columns, 3) as stored, colours as RGB."""
    decoder = decoder_of(instance.options["transfer_syntax_uid"])
    instance.file.seek(instance.pixels_at)
    frame, _ = decoder.as_array(instance.file, index=number, **instance.options)
    return frame


def _tile_positions(dataset: Dataset, matrix: tuple[int, int], tile: tuple[int, int]) -> dict[tuple[int, int], int]:
    """Frame numbers by the left and top of their tile, from 0. The middle focal plane, the first optical path.

    TILED_FULL order: columns, rows, focal planes, optical paths (C.7.6.17.3). Otherwise each frame states its place.
    """
    count = int(dataset.get("NumberOfFrames", 1))
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    if (
        dataset.get("DimensionOrganizationType") != "TILED_FULL"
        and groups
        and "PlanePositionSlideSequence" in groups[0]
    ):
        places: dict[tuple[int, int], int] = {}
        for number, group in enumerate(groups[:count]):
            place = group.PlanePositionSlideSequence[0]
            left, top = place.ColumnPositionInTotalImagePixelMatrix - 1, place.RowPositionInTotalImagePixelMatrix - 1
            places.setdefault((int(left), int(top)), number)
        return places
    across, down = -(-matrix[0] // tile[0]), -(-matrix[1] // tile[1])
    plane = int(dataset.get("TotalPixelMatrixFocalPlanes", 1)) // 2
    before = int(dataset.get("ConcatenationFrameOffsetNumber", 0) or 0)  # frames in earlier files of a concatenation
    first = plane * across * down - before
    numbers = {
        (i % across * tile[0], i // across * tile[1]): first + i for i in range(min(across * down, count + before))
    }
    return {place: number for place, number in numbers.items() if 0 <= number < count}


def _mpp(dataset: Dataset, width: int) -> float:
    """Micrometres per pixel from Pixel Spacing, else from the imaged volume, both in millimetres. 0 where absent."""
    for shared in dataset.get("SharedFunctionalGroupsSequence") or ():
        for measures in shared.get("PixelMeasuresSequence") or ():
            if spacing := measures.get("PixelSpacing"):
                return float(spacing[0]) * 1000
    return float(dataset.get("ImagedVolumeWidth") or 0) * 1000 / width


def _objective_power(dataset: Dataset) -> float:
    for optical_path in dataset.get("OpticalPathSequence") or ():
        if power := optical_path.get("ObjectiveLensPower"):
            return float(power)
    return 0.0
