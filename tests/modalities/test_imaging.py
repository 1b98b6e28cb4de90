"""Fitting pixels to a tower's input, thumbnails, even choice."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from m3search.errors import Reason, UnreadableFile
from m3search.modalities.imaging import encode_thumbnail, evenly, letterbox, refuse_constant, to_uint8


@pytest.mark.parametrize(
    ("shape", "rows", "columns"), [((100, 200), 32, 64), ((300, 100, 3), 64, 21), ((7, 7), 64, 64)]
)
def test_letterbox_keeps_proportions_and_pads_with_black(shape: tuple[int, ...], rows: int, columns: int) -> None:
    fitted = letterbox(np.full(shape, 200, dtype=np.uint8), 64)
    assert (fitted.shape, fitted.dtype) == ((3, 64, 64), np.uint8)
    bright = fitted[0] > 0
    assert (bright.any(axis=1).sum(), bright.any(axis=0).sum()) == (rows, columns)
    assert set(np.unique(fitted)) <= {0, 200}
    top, left = np.argwhere(bright)[0]
    assert abs(top - (64 - rows) / 2) <= 1
    assert abs(left - (64 - columns) / 2) <= 1


def test_letterbox_keeps_the_order_of_channels_and_repeats_grey() -> None:
    colour = np.zeros((10, 10, 3), dtype=np.uint8)
    colour[...] = (10, 120, 250)
    assert letterbox(colour, 8)[:, 4, 4].tolist() == [10, 120, 250]
    grey = letterbox(np.arange(100, dtype=np.uint8).reshape(10, 10), 10)
    np.testing.assert_array_equal(grey, np.arange(100).reshape(1, 10, 10).repeat(3, axis=0))


def test_letterbox_averages_what_is_finer_than_a_pixel() -> None:
    stripes = np.zeros((512, 512), dtype=np.uint8)
    stripes[:, ::2] = 255
    inner = letterbox(stripes, 64)[0, 4:-4, 4:-4].astype(int)
    assert np.abs(inner - 127).max() < 12


def test_a_line_of_pixels_does_not_vanish() -> None:
    assert letterbox(np.full((1, 1000), 255, dtype=np.uint8), 32).max() == 255


@pytest.mark.parametrize(("shape", "size"), [((600, 300), (128, 256)), ((40, 50, 3), (50, 40))])
def test_thumbnail_is_bounded_and_never_enlarged(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    data = encode_thumbnail(np.zeros(shape, dtype=np.uint8))
    with Image.open(io.BytesIO(data)) as picture:
        assert (picture.format, picture.size) == ("JPEG", size)


@pytest.mark.parametrize(
    ("count", "most", "chosen"),
    [(3, 16, [0, 1, 2]), (1, 16, [0]), (5, 3, [0, 2, 4]), (100, 4, [0, 33, 66, 99]), (16, 16, list(range(16)))],
)
def test_evenly(count: int, most: int, chosen: list[int]) -> None:
    assert evenly(count, most) == chosen


def test_evenly_never_chooses_one_twice() -> None:
    for count in range(1, 60):
        for most in range(1, 20):
            chosen = evenly(count, most)
            assert len(chosen) == len(set(chosen)) == min(count, most)
            assert chosen == sorted(chosen)


def test_to_uint8_maps_the_bounds_and_clips() -> None:
    values = np.array([-2000.0, -1350, -600, 150, 3000], dtype=np.float32)
    assert to_uint8(values, -1350, 150).tolist() == [0, 0, 128, 255, 255]
    assert to_uint8(values, 5, 5).tolist() == [0, 0, 0, 255, 255]


def test_constant_image_is_refused() -> None:
    with pytest.raises(UnreadableFile) as caught:
        refuse_constant(Path("blank.png"), np.full((4, 4), 9))
    assert caught.value.reason is Reason.CONSTANT
    refuse_constant(Path("fine.png"), np.array([[9, 9], [9, 8]]))
