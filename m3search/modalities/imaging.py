"""What image modalities share: fitting pixels to a tower's input, drawing thumbnails, refusing images of nothing."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from m3search.errors import Reason, UnreadableFile

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.types import UInt8

THUMBNAIL_PX = 256
JPEG_QUALITY = 85
DETAIL_PX = 768  # longest side that is looked at for text in pixels
FINER = 3  # times the size of a tower's input: what is scaled down from there differs little from what is from more


def enough(size: int) -> int:
    """Pixels of the longest side that suffice to prepare an image for a tower of `size`, draw it and find text in it.

    Decoders that give a fraction of an image faster than the whole may stop there.
    """
    return max(FINER * size, DETAIL_PX)


def letterbox(image: UInt8, size: int) -> UInt8:
    """Scale to fit a square and pad with black: uint8 (H, W) or (H, W, 3) -> (3, size, size). The aspect is kept.

    Anti-aliased (Lanczos), so that fine structures do not alias into false ones.
    """
    height, width = image.shape[:2]
    scale = size / max(height, width)
    fitted = (max(1, round(width * scale)), max(1, round(height * scale)))
    canvas = Image.new("RGB", (size, size))
    picture = Image.fromarray(image).resize(fitted, Image.Resampling.LANCZOS, reducing_gap=FINER).convert("RGB")
    canvas.paste(picture, ((size - fitted[0]) // 2, (size - fitted[1]) // 2))
    return np.ascontiguousarray(np.asarray(canvas).transpose(2, 0, 1))


def encode_thumbnail(image: UInt8, longest: int = THUMBNAIL_PX) -> bytes:
    """JPEG of uint8 (H, W) or (H, W, 3), at most `longest` pixels on its longest side."""
    picture = Image.fromarray(np.ascontiguousarray(image))
    picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def refuse_constant(path: Path, image: npt.NDArray[Any]) -> None:
    """Refuse an image in which every pixel is the same.

    Raises:
        UnreadableFile: CONSTANT.
    """
    if image.min() == image.max():
        raise UnreadableFile(path, Reason.CONSTANT, "every pixel has the same value: there is nothing to see in it")


def evenly(count: int, most: int) -> list[int]:
    """At most `most` of `count` indices, evenly spread from first to last; the middle one if `most` is 1."""
    spread = np.linspace(0, count - 1, min(count, most)).round() if most > 1 else [(count - 1) // 2]
    return sorted({int(index) for index in spread})


def to_uint8(image: npt.NDArray[Any], low: float, high: float) -> UInt8:
    """Map [low, high] linearly to [0, 255], clipped."""
    span = max(high - low, 1e-6)
    scaled: UInt8 = (np.clip((image.astype(np.float32) - low) / span, 0, 1) * 255 + 0.5).astype(np.uint8)
    return scaled
