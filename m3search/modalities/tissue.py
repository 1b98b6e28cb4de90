"""Where a slide holds tissue, and which tiles show it best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.types import UInt8

    Mask = npt.NDArray[np.bool_]

COLOUR_RANGE = (6.0, 20.0)  # 8-bit chroma: Otsu's threshold is kept between glass and the palest eosin
COLOURLESS = 6.0  # below this 99th percentile of chroma a slide has no colour: darkness decides
LEAST_TISSUE = 0.001  # share of the overview below which no tissue was found
LEAST_IN_TILE = 0.05  # share of a tile that must be tissue
# Optical densities (log10) by which ink is told from stain. Haematoxylin, eosin, DAB and fast red absorb green at
# least as much as red (Ruifrok & Johnston 2001); blue and green ink absorb red more. Red ink lets only red through.
MORE_RED_ABSORBED = 0.1  # than green, by blue and green ink
RED_INK = (0.7, 0.7, 0.2)  # of green at least; of blue, then of red: share of green's density, at least and at most
INK_MARGIN = 2  # overview pixels around ink, where it fades
MOST_INK = 0.8  # share of all colour: above, it is a stain (trichrome, Alcian blue) and not ink
FULL = (0.9, 0.5)  # tiles covered by this much tissue are as good as any: among them, spread decides


@dataclass(frozen=True, slots=True)
class Tile:
    """A square of level-0 pixels."""

    x: int
    y: int
    side: int
    tissue: float  # share covered by tissue, 0 to 1


def find_tissue(overview: UInt8) -> Mask | None:
    """bool (H, W), True on tissue, for uint8 (H, W, 3); None where none can be told from the glass.

    Stains are coloured, glass, dust, shadows and black ink are grey: chroma (maximum minus minimum of the channels) is
    cut by Otsu's threshold, which is bounded, because on a slide full of tissue Otsu would part the pale from the dark.
    Coloured ink is left out.
    """
    red, green, blue = _smoothed(overview)
    chroma = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    ink = np.zeros(chroma.shape, dtype=np.bool_)
    if float(np.percentile(chroma, 99)) < COLOURLESS:
        grey = (red + green + blue) / np.float32(3)
        chroma = np.abs(grey - np.median(np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])))
    else:
        ink = find_ink(overview)
    mask: Mask = (chroma > np.clip(otsu(chroma[~ink]), *COLOUR_RANGE)) & ~ink
    return mask if mask.mean() >= LEAST_TISSUE else None


def find_ink(overview: UInt8) -> Mask:
    """bool (H, W), True where the glass was marked with a blue, green or red pen, or a margin of the tissue with ink.

    The brightest colour is taken for that of the light: some cameras make all glass green.
    """
    from scipy import ndimage

    smooth = _smoothed(overview)
    light = np.percentile(smooth.reshape(3, -1), 99, axis=1).clip(128, 255).astype(np.float32)
    red, green, blue = -np.log10((smooth / light[:, None, None]).clip(1 / 255, 1))
    dense, blue_share, red_share = RED_INK
    ink = red - green > MORE_RED_ABSORBED
    ink |= (green > dense) & (blue > blue_share * green) & (red < red_share * green)
    coloured = smooth.max(axis=0) - smooth.min(axis=0) > COLOUR_RANGE[1]
    if ink.sum() > MOST_INK * coloured.sum():
        return np.zeros_like(ink)
    grown: Mask = ndimage.binary_dilation(ink, iterations=INK_MARGIN)
    return grown


def otsu(values: npt.NDArray[np.float32]) -> float:
    """The threshold that parts `values` into two groups of least variance within (Otsu 1979), over 256 bins."""
    counts, edges = np.histogram(values, bins=256)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    total = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (total / below - (total[-1] - total) / above) ** 2
    return float(edges[1:][int(np.nanargmax(np.nan_to_num(between)))])


def choose_tiles(size: tuple[int, int], mask: Mask, side: int, most: int) -> list[Tile]:
    """At most `most` tiles of `side` level-0 pixels, in reading order: those with the most tissue, spread over it.

    Args:
        size: width and height of level 0.
        mask: bool, the whole slide at any resolution.
    """
    grid = _grid(size, mask, side)
    tiles = [tile for tile in grid if tile.tissue >= LEAST_IN_TILE] or [tile for tile in grid if tile.tissue > 0]
    tiles.sort(key=lambda tile: (-tile.tissue, tile.y, tile.x))
    fullest = ([tile for tile in tiles if tile.tissue >= share] for share in FULL)
    enough = next((group for group in fullest if len(group) > most), None)
    chosen = tiles[:most] if enough is None else _spread(enough, most)
    return sorted(chosen, key=lambda tile: (tile.y, tile.x))


def _grid(size: tuple[int, int], mask: Mask, side: int) -> list[Tile]:
    """Tiles that cover the slide from edge to edge, overlapping a little where its sides are no multiples of `side`."""
    height, width = mask.shape
    below = np.zeros((height + 1, width + 1), dtype=np.int32)  # below[y, x]: tissue pixels above and left of (x, y)
    np.cumsum(mask, axis=0, dtype=np.int32, out=below[1:, 1:])
    np.cumsum(below[1:, 1:], axis=1, out=below[1:, 1:])
    columns, rows = (np.linspace(0, length - side, -(-length // side)).round().astype(int) for length in size)
    tiles = []
    for y in rows.tolist():
        for x in columns.tolist():
            left, right = (round(edge * width / size[0]) for edge in (x, x + side))
            top, bottom = (round(edge * height / size[1]) for edge in (y, y + side))
            left, top = min(left, width - 1), min(top, height - 1)
            right, bottom = max(right, left + 1), max(bottom, top + 1)
            covered = below[bottom, right] - below[top, right] - below[bottom, left] + below[top, left]
            tiles.append(Tile(x, y, side, float(covered) / ((right - left) * (bottom - top))))
    return tiles


def _spread(tiles: list[Tile], most: int) -> list[Tile]:
    """Farthest-point choice, beginning with the fullest tile: each next one is farthest from all chosen before."""
    places = np.array([(tile.x, tile.y) for tile in tiles], dtype=np.float64)
    chosen = [0]
    distance = np.full(len(tiles), np.inf)
    while len(chosen) < most:
        distance = np.minimum(distance, ((places - places[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(distance.argmax()))  # the first of equals: the fuller tile
    return [tiles[number] for number in chosen]


def _smoothed(picture: UInt8) -> npt.NDArray[np.float32]:
    """(3, H, W) mean over 3 x 3 pixels: JPEG noise has colour too. Planes, since arithmetic within pixels is slow."""
    planes = np.ascontiguousarray(picture.transpose(2, 0, 1)).astype(np.uint16)
    padded = np.pad(planes, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    total: npt.NDArray[np.uint16] = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    return total.astype(np.float32) / np.float32(9)
