"""Images that were decoded, but that no examination looks like: left out, and named among the failures.

Wrong bytes decode too: encrypted ones become noise, a file that was cut becomes a picture with one value in nearly all
pixels, and a calibration shot shows air. Such a vector is near to everything or to nothing. The limits are far from any
image of a patient, for nobody looks at what is left out unless they read `m3search failures`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from m3search.errors import Reason, UnreadableFile

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.types import Item

LEAST_SIDE = 8  # pixels
LONGEST = 32  # times as long as wide; a long spine or leg is 4
ALIKE = 0.999  # share of pixels of one value; the most of 600 images of five public sources was 0.66
COHERENT = 0.15  # correlation of neighbouring pixels along rows or columns; the least of those images was 0.60
LINES = 128  # rows and columns that are looked at for it
SAMPLE = 512  # pixels along a side that are counted
LEAST_VALUES = 4096  # pixels below which chance alone may correlate them, or not
AIR_HU = -500.0  # below: air and lung; a scan in which nothing is denser has no patient in it


def refuse_implausible(item: Item) -> None:
    """Refuse an item none of whose parts shows anything; one that does saves the others.

    Raises:
        UnreadableFile: IMPLAUSIBLE, or CONSTANT for nearly one value.
    """
    if item.source.modality == "ecg":
        return
    found = [_flaw(part.data) for part in item.parts]
    if all(found):
        reason, what = found[len(found) // 2] or (Reason.IMPLAUSIBLE, "")
        remedy = "look at it with another program, and export it again if it looks right there"
        raise UnreadableFile(item.source.files[0], reason, f"{what}; {remedy}")


def _flaw(image: npt.NDArray[Any]) -> tuple[Reason, str] | None:
    """What is wrong with uint8 (H, W) or (H, W, 3), or Hounsfield units; None for an image like others."""
    height, width = image.shape[:2]
    if min(height, width) < LEAST_SIDE:
        return Reason.IMPLAUSIBLE, f"shows only {width} x {height} pixels"
    if max(height, width) > LONGEST * min(height, width):
        return Reason.IMPLAUSIBLE, f"is a strip of {width} x {height} pixels"
    if image.dtype != np.uint8 and image.max() < AIR_HU:
        return Reason.IMPLAUSIBLE, "shows nothing but air"
    grey = image if image.ndim == 2 else image[..., 1]  # green: where stains and the retina have most contrast
    if grey.dtype == np.uint8 and grey.size >= LEAST_VALUES and _commonest(image) > ALIKE:
        return Reason.CONSTANT, "nearly every pixel has the same value"
    if grey.size >= LEAST_VALUES and max(_coherence(grey), _coherence(grey.T)) < COHERENT:
        return Reason.IMPLAUSIBLE, "looks like noise: no pixel resembles its neighbours"
    return None


def _commonest(image: npt.NDArray[Any]) -> float:
    """Share of the commonest value, in the channel that has most of others."""
    step = max(1, min(image.shape[:2]) // SAMPLE)
    seen = image[::step, ::step]
    channels = seen.reshape(seen.shape[0] * seen.shape[1], -1).T
    return min(float(np.bincount(channel).max()) / channel.size for channel in channels)


def _coherence(image: npt.NDArray[Any]) -> float:
    """Correlation of pixels with their right neighbours, over some rows; 1 where nothing varies."""
    rows = image[:: max(1, len(image) // LINES)].astype(np.float32)
    left, right = rows[:, :-1] - rows.mean(), rows[:, 1:] - rows.mean()
    spread = float(np.sqrt((left**2).mean() * (right**2).mean()))
    return float((left * right).mean()) / spread if spread > 0 else 1.0
