"""The lit disc of a fundus photograph: where it is, and what lies outside of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.types import UInt8

WORKING_SIZE = 512  # pixels of the longer side while searching
LIT = 0.08  # share of the way from the dark border to the bright retina at which the retina begins
DARK_BORDER = 60  # 8-bit brightness that no border of a camera's mask exceeds
LEAST_AREA, MOST_AREA = 0.12, 0.985  # shares of the picture: below it is no fundus, above there is no border
ROUND = 0.93  # overlap (intersection over union) from which the lit area is a disc cut by the picture's edges


@dataclass(frozen=True, slots=True)
class FieldOfView:
    """In pixels of the picture."""

    box: tuple[int, int, int, int]  # left, top, right, bottom; right and bottom excluded
    circle: tuple[float, float, float] | None  # centre x, y and radius, where the lit area is a disc


def find_field_of_view(rgb: UInt8) -> FieldOfView | None:
    """The lit area of uint8 (H, W, 3); None where the picture has no dark border or shows no single lit area.

    The brightest channel is taken rather than a mean: the retina is red, and dark in green and blue at the edge.
    """
    step = max(1, -(-max(rgb.shape[:2]) // WORKING_SIZE))
    brightness = rgb[::step, ::step].max(axis=2).astype(np.float32)
    border = _border_level(brightness)
    if border is None:
        return None
    bright = float(np.percentile(brightness, 95))
    lit = _largest_area(brightness > border + max(6.0, LIT * (bright - border)))
    share = float(lit.mean())
    if not LEAST_AREA <= share <= MOST_AREA:
        return None
    # A row or column belongs to the field where more than specks of it are lit.
    rows, columns = (np.flatnonzero(lit.sum(axis=axis) > 0.01 * lit.shape[axis]) for axis in (1, 0))
    left, top, right, bottom = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    circle = _disc(lit)
    height, width = rgb.shape[:2]
    box = left * step, top * step, min(right * step, width), min(bottom * step, height)
    return FieldOfView(box, (circle[0] * step, circle[1] * step, circle[2] * step) if circle else None)


def crop_to_field(rgb: UInt8, field: FieldOfView) -> UInt8:
    """The box, black outside of the disc: camera marks, dates and names stand in the corners."""
    left, top, right, bottom = field.box
    cropped = rgb[top:bottom, left:right].copy()
    if field.circle:
        x, y, radius = field.circle
        across = np.arange(left, right, dtype=np.float32) - x
        down = np.arange(top, bottom, dtype=np.float32) - y
        cropped[across[None, :] ** 2 + down[:, None] ** 2 > radius**2] = 0
    return cropped


def _border_level(brightness: npt.NDArray[np.float32]) -> float | None:
    """Brightness of the dark border, from the darkest two of the four corners; None where the corners are lit."""
    side = max(2, min(brightness.shape) // 40)
    corners = (np.s_[:side, :side], np.s_[:side, -side:], np.s_[-side:, :side], np.s_[-side:, -side:])
    darkest = sorted(float(np.median(brightness[corner])) for corner in corners)[:2]
    return darkest[1] if darkest[1] <= DARK_BORDER else None


def _largest_area(lit: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The largest connected area without its holes, thin bridges to overlaid text cut."""
    from scipy import ndimage

    opened = ndimage.binary_opening(lit, iterations=2)
    labels, count = ndimage.label(opened)
    if not count:
        return np.zeros_like(lit)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    filled: npt.NDArray[np.bool_] = ndimage.binary_fill_holes(labels == sizes.argmax())
    return filled


def _disc(lit: npt.NDArray[np.bool_]) -> tuple[float, float, float] | None:
    """Centre and radius of the disc of which `lit` is what the picture's edges left; None where it is no disc.

    A circle through the outline's points that do not lie on the picture's edge, by least squares (Kåsa 1976).
    """
    from scipy import ndimage

    outline = lit & ~ndimage.binary_erosion(lit, border_value=1)
    outline[[0, -1]] = outline[:, [0, -1]] = False
    y, x = np.nonzero(outline)
    if len(x) < 20:
        return None
    system = np.stack([2 * x, 2 * y, np.ones_like(x)], axis=1).astype(np.float64)
    centre_x, centre_y, rest = np.linalg.lstsq(system, (x**2 + y**2).astype(np.float64), rcond=None)[0]
    squared = rest + centre_x**2 + centre_y**2
    if squared <= 0:
        return None
    radius = float(np.sqrt(squared)) + 1.0
    down, across = np.ogrid[: lit.shape[0], : lit.shape[1]]
    disc = (across - centre_x) ** 2 + (down - centre_y) ** 2 <= radius**2
    overlap = (disc & lit).sum() / max(1, (disc | lit).sum())
    return (float(centre_x), float(centre_y), radius) if overlap >= ROUND else None
