"""A slide as a pyramid of resolutions, read by region: what every slide reader offers.

Readers decode rectangles of one level; choosing levels, borders, bit depth and errors is done once, here.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from m3search.errors import Reason, UnreadableFile
from m3search.formats.quiet import quiet
from m3search.formats.storage import blame

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.types import UInt8

PLAUSIBLE_MPP = (0.03, 40.0)  # micrometres per pixel; 72 dots per inch (353) is a default that nobody measured
OBJECTIVE_MPP = 10.0  # micrometres per pixel times objective power: 40x is 0.25, 20x is 0.5
BLOCK = 4 << 20  # pixels decoded at once while a large stretch is shrunk
MOST_PIXELS = 4_000_000_000  # of the level that an overview is made from: above, a slide lacks its coarse levels
WHITE = 255  # outside of the scanned area


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution of the pyramid."""

    width: int
    height: int
    downsample: float  # 1 for the finest


class Slide(ABC):
    """A slide opened for reading. Subclasses decode; choosing levels, borders and bit depth is done here."""

    path: Path
    reader: str  # "openslide", "tifffile" or "dicom"
    levels: tuple[Level, ...]  # finest first
    mpp: float  # micrometres per pixel of level 0; 0 where unknown
    mpp_from: str  # "header", "objective power" or "" where unknown
    companions: tuple[Path, ...] = ()

    @abstractmethod
    def _decode(self, level: int, left: int, top: int, width: int, height: int) -> npt.NDArray[Any]:
        """(height, width) or (height, width, 3), any depth; the rectangle lies inside the level, in its own pixels."""

    @abstractmethod
    def close(self) -> None:
        """Give back file handles."""

    def __enter__(self) -> Slide:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def width(self) -> int:
        return self.levels[0].width

    @property
    def height(self) -> int:
        return self.levels[0].height

    def level_for(self, downsample: float) -> int:
        """The coarsest level that is still as fine as `downsample` asks (within 2%: 2.0005 serves as 2)."""
        fine_enough = [i for i, level in enumerate(self.levels) if level.downsample <= downsample * 1.02]
        return max(fine_enough, key=lambda i: self.levels[i].downsample, default=0)

    def read_region(self, x: float, y: float, width: float, height: float, size: tuple[int, int]) -> UInt8:
        """A rectangle of level-0 pixels as uint8 (size[1], size[0], 3); white where it leaves the slide.

        Raises:
            UnreadableFile: TRUNCATED or CORRUPT tiles.
        """
        from PIL import Image

        level = self.level_for(min(width / size[0], height / size[1]))
        scale = self.levels[level].downsample
        left, top = round(x / scale), round(y / scale)
        pixels = self._read(
            level, left, top, max(1, round((x + width) / scale) - left), max(1, round((y + height) / scale) - top)
        )
        if pixels.shape[1::-1] == size:
            return pixels
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0))

    def overview(self, longest: int) -> UInt8:
        """The whole slide as uint8 (H, W, 3), its longer side `longest` pixels or less, decoded block by block.

        Raises:
            UnreadableFile: TRUNCATED or CORRUPT tiles; TOO_LARGE without a coarse level.
        """
        shrink = max(1.0, max(self.width, self.height) / longest)
        size = max(1, round(self.width / shrink)), max(1, round(self.height / shrink))
        source = self.levels[self.level_for(shrink)]
        if source.width * source.height > MOST_PIXELS:
            raise UnreadableFile(
                self.path,
                Reason.TOO_LARGE,
                f"has no level coarser than {source.width} x {source.height} pixels; convert it to a pyramid",
            )
        step = max(1, int((BLOCK**0.5) * source.downsample / shrink))  # pixels of the overview that one block makes
        picture = np.full((size[1], size[0], 3), WHITE, dtype=np.uint8)
        for top in range(0, size[1], step):
            for left in range(0, size[0], step):
                block = min(step, size[0] - left), min(step, size[1] - top)
                picture[top : top + block[1], left : left + block[0]] = self.read_region(
                    left * self.width / size[0], top * self.height / size[1],
                    block[0] * self.width / size[0], block[1] * self.height / size[1], block,
                )  # fmt: skip
        return picture

    def _read(self, level: int, left: int, top: int, width: int, height: int) -> UInt8:
        """uint8 (height, width, 3) of one level, white outside of it."""
        here = self.levels[level]
        x0, y0 = max(0, left), max(0, top)
        x1, y1 = min(here.width, left + width), min(here.height, top + height)
        region = np.full((height, width, 3), WHITE, dtype=np.uint8)
        if x1 > x0 and y1 > y0:
            with translated(self.path):
                values = self._decode(level, x0, y0, x1 - x0, y1 - y0)
                region[y0 - top : y1 - top, x0 - left : x1 - left] = self._eight_bit(values)
        return region

    def _eight_bit(self, values: npt.NDArray[Any]) -> UInt8:
        """(H, W, 3); deeper values are scaled alike for the whole slide, so that neighbouring tiles stay comparable."""
        if values.dtype != np.uint8:
            low, high = self.intensity_range
            values = (np.clip((values.astype(np.float32) - low) / (high - low), 0, 1) * 255).round().astype(np.uint8)
        return np.repeat(values[..., None], 3, axis=2) if values.ndim == 2 else values[..., :3]

    @cached_property
    def intensity_range(self) -> tuple[float, float]:
        """Shown as black and as white on a slide deeper than 8 bits: 0.5 and 99.5 percentile of its coarsest level."""
        level = len(self.levels) - 1
        here = self.levels[level]
        side = int(BLOCK**0.5)
        width, height = min(here.width, side), min(here.height, side)
        values = self._decode(level, (here.width - width) // 2, (here.height - height) // 2, width, height)
        low, high = (float(edge) for edge in np.percentile(values, (0.5, 99.5)))
        return low, high if high > low else low + 1.0


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """What the slide readers raise on damaged files, as an UnreadableFile."""
    from openslide import OpenSlideError

    try:
        with quiet("tifffile"):
            yield
    except UnreadableFile:
        raise
    except (
        OpenSlideError, OSError, EOFError, ValueError, LookupError, TypeError, struct.error, RuntimeError,
        ArithmeticError, AttributeError, AssertionError,
    ) as error:  # fmt: skip
        damaged = UnreadableFile(path, Reason.CORRUPT, "the slide cannot be decoded; copy it again from its source")
        raise blame(error, damaged) from error


def mpp_of(stated: float, objective_power: float = 0.0) -> tuple[float, str]:
    """Micrometres per pixel and their origin: as stated if plausible, else from the objective power, else (0, "")."""
    if PLAUSIBLE_MPP[0] <= stated <= PLAUSIBLE_MPP[1]:
        return stated, "header"
    return (OBJECTIVE_MPP / objective_power, "objective power") if 1 <= objective_power <= 150 else (0.0, "")
