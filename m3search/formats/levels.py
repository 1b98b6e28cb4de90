"""The distinct values of a grey image: what is done to each pixel alike is done once to each value, and looked up.

A radiograph has four million pixels and at most 65,536 values. Exact, not an approximation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.types import Float32, UInt8

DEEPEST = 2  # bytes of a value: tables for more would be longer than images
CHUNK = 1 << 17  # pixels at a time, so that what numpy makes of them stays in the processor's cache


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """Values of an image, each once, in any order, and how many pixels have them."""

    values: npt.NDArray[Any]  # (L,) of the image's type
    counts: npt.NDArray[np.int64]  # (L,)
    _codes: npt.NDArray[Any] = field(repr=False)  # the image, its bits taken as unsigned

    @classmethod
    def of(cls, image: npt.NDArray[Any]) -> Levels | None:
        """Of an image of whole numbers of at most 16 bits; None for others."""
        if image.dtype.kind not in "iu" or image.dtype.itemsize > DEEPEST:
            return None
        unsigned = np.dtype(f"u{image.dtype.itemsize}")
        codes = np.ascontiguousarray(image, dtype=image.dtype.newbyteorder("=")).view(unsigned)
        flat = codes.ravel()
        counts = np.zeros(int(flat.max(initial=0)) + 1, dtype=np.int64)
        for start in range(0, flat.size, CHUNK):
            counts += np.bincount(flat[start : start + CHUNK], minlength=len(counts))
        present = np.flatnonzero(counts)
        return cls(present.astype(unsigned).view(image.dtype.newbyteorder("=")), counts[present], codes)

    def picture(self, shown: UInt8) -> UInt8:
        """The image, of the same shape, with each value replaced by what is shown for it, (L,)."""
        places = self.values.view(self._codes.dtype)
        table = np.zeros(int(places.max(initial=0)) + 1, dtype=np.uint8)
        table[places] = shown
        pixels = np.empty(self._codes.shape, dtype=np.uint8)
        flat, found = self._codes.ravel(), pixels.ravel()
        for start in range(0, flat.size, CHUNK):
            place = slice(start, start + CHUNK)
            np.take(table, flat[place], out=found[place], mode="clip")
        return pixels


def percentiles(
    values: Float32, ranks: tuple[float, float], counts: npt.NDArray[np.int64] | None = None
) -> tuple[float, float]:
    """As numpy.percentile of two ranks, each value counting as often as `counts` says; None: once."""
    if counts is None:
        low, high = np.percentile(values, ranks)
        return float(low), float(high)
    order = np.argsort(values, kind="stable")
    ends = np.cumsum(counts[order])
    at = np.asarray(ranks) / 100 * (ends[-1] - 1)  # between two pixels in ascending order
    before = values[order[np.searchsorted(ends, np.floor(at), side="right")]].astype(np.float64)
    after = values[order[np.searchsorted(ends, np.ceil(at), side="right")]].astype(np.float64)
    low, high = before + (after - before) * (at - np.floor(at))
    return float(low), float(high)
