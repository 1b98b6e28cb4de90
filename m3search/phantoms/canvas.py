"""Drawing primitives shared by the phantoms: coordinates, smooth noise, soft edges, anti-aliased strokes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.types import Float32, UInt8

Point = tuple[float, float]  # (x, y)


def grid(size: int) -> tuple[Float32, Float32]:
    """x and y of every pixel, float32 (size, size) each, from -1 at the left and top to 1 at the right and bottom."""
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    return x, y


def blur(image: npt.NDArray[Any], sigma: float | Sequence[float]) -> Float32:
    """Gaussian filter, sigma in pixels, float32."""
    from scipy.ndimage import gaussian_filter

    blurred: Float32 = gaussian_filter(np.asarray(image, dtype=np.float32), sigma, mode="nearest", truncate=3.0)
    return blurred


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], sigma: float) -> Float32:
    """Gaussian noise of correlation length `sigma` pixels: mean 0, standard deviation 1, float32 of `shape`.

    Long correlations are drawn on a coarse grid and enlarged: the same look at a fraction of the time.
    """
    step = max(1, int(sigma / 3))
    coarse = tuple(-(-side // step) + 2 for side in shape)
    noise = blur(rng.standard_normal(coarse, dtype=np.float32), sigma / step)
    if step > 1:
        noise = resize(noise, (coarse[0] * step, coarse[1] * step))
    noise = noise[: shape[0], : shape[1]]
    return cast("Float32", ((noise - noise.mean()) / (noise.std() + 1e-9)).astype(np.float32))


def resize(image: npt.NDArray[Any], shape: tuple[int, int]) -> Float32:
    """Bicubic resampling of a float image (H, W) to `shape`, float32."""
    resized = Image.fromarray(np.asarray(image, dtype=np.float32)).resize(shape[::-1], Image.Resampling.BICUBIC)
    return np.asarray(resized, dtype=np.float32)


def step(distance: npt.NDArray[Any], width: float) -> Float32:
    """Soft edge: 0 where `distance` is far below zero, 1 far above, rising over about `width`. float32."""
    t = np.clip(np.asarray(distance, dtype=np.float32) / width + 0.5, 0, 1)
    return cast("Float32", t * t * (3 - 2 * t))


def ellipse(x: Float32, y: Float32, centre: Point, radii: Point, degrees: float = 0.0) -> Float32:
    """About how far inside an ellipse each point lies, in units of x: positive inside, 0 on the edge. float32."""
    angle = np.deg2rad(degrees)
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    across = (dx * np.cos(angle) + dy * np.sin(angle)) / radii[0]
    along = (dy * np.cos(angle) - dx * np.sin(angle)) / radii[1]
    inside = (1 - np.hypot(across, along)) * min(radii)
    return cast("Float32", inside.astype(np.float32))


@dataclass(frozen=True, slots=True)
class Stroke:
    """A line through `points`, in the coordinates of `grid`, with a width in pixels and an opacity."""

    points: Sequence[Point]
    width: float
    value: float = 1.0
    round_ends: bool = False


def draw(size: int, strokes: Iterable[Stroke], supersample: int = 2) -> Float32:
    """The strokes on a black canvas, float32 (size, size) in [0, 1]; the last one drawn is on top."""
    side = size * supersample
    canvas = Image.new("L", (side, side))
    pen = ImageDraw.Draw(canvas)
    for stroke in strokes:
        points = [((x + 1) / 2 * (side - 1), (y + 1) / 2 * (side - 1)) for x, y in stroke.points]
        width = max(1, round(stroke.width * supersample))
        pen.line(points, fill=round(255 * stroke.value), width=width, joint="curve")
        if stroke.round_ends:
            for px, py in (points[0], points[-1]):
                pen.ellipse((px - width / 2, py - width / 2, px + width / 2, py + width / 2), round(255 * stroke.value))
    small = canvas.resize((size, size), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32) / np.float32(255)


def to_uint8(image: npt.NDArray[Any]) -> UInt8:
    """[0, 1] to [0, 255], rounded and clipped."""
    return cast("UInt8", np.clip(np.rint(np.asarray(image) * 255), 0, 255).astype(np.uint8))
