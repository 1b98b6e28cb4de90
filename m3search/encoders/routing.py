"""What the router sees of a raster whose modality nobody stated: the whole, squared. Training and use share this."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from m3search.types import UInt8


def router_input(image: UInt8, size: int) -> UInt8:
    """uint8 (H, W) or (H, W, 3) to uint8 (3, size, size): aspect kept, centred on black, antialiased."""
    from PIL import Image

    picture = Image.fromarray(image).convert("RGB")
    scale = size / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    resized = picture.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=3.0)
    square = np.zeros((size, size, 3), dtype=np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    square[top : top + height, left : left + width] = np.asarray(resized)
    return np.ascontiguousarray(square.transpose(2, 0, 1))
