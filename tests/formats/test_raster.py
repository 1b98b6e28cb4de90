"""Pictures: every pixel kind as a person sees it, and files that are not what they say."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from m3search.errors import Reason, UnreadableFile
from m3search.formats import raster, sniff
from m3search.formats.limits import LIMITS


def gradient(height: int = 24, width: int = 40) -> np.ndarray:
    """uint8 (H, W, 3) in which no symmetry maps the picture onto itself."""
    y, x = np.mgrid[:height, :width]
    return np.dstack([x * 6, y * 10, (x + 2 * y) % 256]).astype(np.uint8)


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def reason_of(path: Path) -> Reason:
    with pytest.raises(UnreadableFile) as caught:
        raster.read(path)
    assert caught.value.path == path
    return caught.value.reason


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".webp", ".jp2"])
def test_lossless_containers_give_the_stored_pixels(tmp_path: Path, suffix: str) -> None:
    options = {"lossless": True} if suffix == ".webp" else {}
    path = save(tmp_path / f"a{suffix}", Image.fromarray(gradient()), **options)
    image = raster.read(path)
    np.testing.assert_array_equal(image.pixels, gradient())
    assert image.description == ()
    assert sniff(path) == "raster"
    assert raster.read_header(path).attributes["width"] == 40


def test_jpeg_is_close_and_grey_stays_two_dimensional(tmp_path: Path) -> None:
    smooth = np.tile(np.arange(0, 200, 5, dtype=np.uint8), (24, 1))
    image = raster.read(save(tmp_path / "a.jpg", Image.fromarray(smooth), quality=95))
    assert image.pixels.shape == (24, 40)
    assert np.abs(image.pixels.astype(int) - smooth).max() < 6
    assert image.rgb.shape == (24, 40, 3)


# EXIF orientation -> what the camera's sensor stored, made from the upright picture (EXIF 2.32, figure for tag 274)
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: np.transpose(a, (1, 0, 2)),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.transpose(a[::-1, ::-1], (1, 0, 2)),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", STORED)
def test_orientation_is_undone(tmp_path: Path, orientation: int, suffix: str) -> None:
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](gradient())))
    exif = Image.Exif()
    exif[274] = orientation
    options = {"lossless": True} if suffix == ".webp" else {}
    image = raster.read(save(tmp_path / f"o{suffix}", stored, exif=exif, **options))
    np.testing.assert_array_equal(image.pixels, gradient())
    assert any("orientation" in step for step in image.description) is (orientation != 1)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bit_grey_is_scaled_between_its_percentiles(tmp_path: Path, suffix: str) -> None:
    values = np.linspace(1000, 5000, 40 * 50, dtype=np.uint16).reshape(40, 50)
    image = raster.read(save(tmp_path / f"deep{suffix}", Image.fromarray(values)))
    low, high = np.percentile(values, raster.PERCENTILES)
    expected = np.clip((values - low) / (high - low), 0, 1) * 255
    assert image.pixels.dtype == np.uint8
    np.testing.assert_allclose(image.pixels, expected, atol=0.51)
    assert "scaled from" in image.description[0]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bit_colour_keeps_its_low_byte(tmp_path: Path, suffix: str) -> None:
    values = gradient().astype(np.uint16) + 1  # all below 256: the high byte alone would be black
    path = tmp_path / f"deep{suffix}"
    if suffix == ".png":
        path.write_bytes(imagecodecs.png_encode(values))
    else:
        tifffile.imwrite(path, values, photometric="rgb")
    image = raster.read(path)
    assert image.pixels.shape == (24, 40, 3)
    assert int(image.pixels.max()) == 255
    assert np.corrcoef(image.pixels[..., 0].ravel(), values[..., 0].ravel())[0, 1] > 0.99
    assert raster.read_header(path).attributes["height"] == 24


def test_float_tiff_and_white_is_zero(tmp_path: Path) -> None:
    ramp = np.linspace(-1, 1, 1200, dtype=np.float32).reshape(30, 40)
    ramp[0, 0] = np.nan
    tifffile.imwrite(tmp_path / "f.tif", ramp)
    image = raster.read(tmp_path / "f.tif").pixels
    assert image[0, 0] == 0
    assert image[-1, -1] == 255
    tifffile.imwrite(tmp_path / "w.tif", np.arange(1200, dtype=np.uint16).reshape(30, 40), photometric="miniswhite")
    inverted = raster.read(tmp_path / "w.tif")
    assert inverted.pixels[0, 0] == 255
    assert inverted.pixels[-1, -1] == 0


def test_palette_cmyk_bilevel_and_alpha(tmp_path: Path) -> None:
    picture = Image.fromarray(gradient())
    palette = raster.read(save(tmp_path / "p.png", picture.quantize(256)))
    assert palette.pixels.shape == (24, 40, 3)
    assert np.abs(palette.pixels.astype(int) - gradient()).mean() < 8
    cmyk = raster.read(save(tmp_path / "c.tif", picture.convert("CMYK")))
    np.testing.assert_allclose(cmyk.pixels, gradient(), atol=2)
    bilevel = raster.read(save(tmp_path / "b.png", Image.fromarray(gradient()[..., 0] > 99)))
    np.testing.assert_array_equal(bilevel.pixels, np.where(gradient()[..., 0] > 99, 255, 0))
    half = np.dstack([gradient(), np.full((24, 40), 128, np.uint8)])
    blended = raster.read(save(tmp_path / "a.png", Image.fromarray(half)))
    np.testing.assert_allclose(blended.pixels, gradient() * (128 / 255), atol=1)
    assert "alpha composed on black" in blended.description
    opaque = raster.read(
        save(tmp_path / "o.png", Image.fromarray(np.dstack([gradient(), np.full((24, 40), 255, np.uint8)])))
    )
    assert opaque.description == ()


def test_first_page_is_taken_and_said(tmp_path: Path) -> None:
    first, second = Image.fromarray(gradient()), Image.fromarray(255 - gradient())
    path = save(tmp_path / "pages.tif", first, save_all=True, append_images=[second])
    image = raster.read(path)
    np.testing.assert_array_equal(image.pixels, gradient())
    assert image.description == ("first of 2 frames",)


def png_of(width: int, height: int, body: bytes) -> bytes:
    """A PNG with a header of one's own choice."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [21_000, 60_000, 2_000_000_000])
def test_bomb_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_of(side, side, bytes(1000)))
    assert side * side > LIMITS.pixels
    assert reason_of(path) is Reason.TOO_LARGE
    with pytest.raises(UnreadableFile, match="pixels"):
        raster.read_header(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".bmp"])
def test_half_a_file_is_truncated_or_corrupt(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path / f"half{suffix}", Image.fromarray(noise))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    reason = reason_of(path)
    assert (
        reason is Reason.TRUNCATED
        if suffix in (".png", ".jpg", ".bmp")
        else reason in (Reason.TRUNCATED, Reason.CORRUPT)
    )


def test_broken_middle_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(png_of(64, 64, b"far too few bytes"))
    assert reason_of(path) in (Reason.CORRUPT, Reason.TRUNCATED)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", Reason.EMPTY), (b"hello, I am a text file", Reason.CORRUPT), (bytes(500), Reason.CORRUPT)],
)
def test_suffix_without_a_picture(tmp_path: Path, content: bytes, reason: Reason) -> None:
    path = tmp_path / "scan.png"
    path.write_bytes(content)
    assert raster.sniff(path, content)
    assert reason_of(path) is reason
    with pytest.raises(UnreadableFile):
        raster.read_header(path)


def test_content_counts_more_than_the_suffix(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(gradient()).save(buffer, "PNG")
    path = tmp_path / "photo.jpg"
    path.write_bytes(buffer.getvalue())
    np.testing.assert_array_equal(raster.read_rgb(path), gradient())
    assert not raster.sniff(tmp_path / "notes.txt", b"BMW is a car maker")
    assert reason_of(tmp_path / "nowhere.png") is Reason.VANISHED


@pytest.mark.shared_data
def test_every_picture_of_the_archive(shared_data: Path) -> None:
    paths = [path for path in sorted((shared_data / "archive" / "pathology").rglob("*.*g")) if path.suffix != ".svg"]
    assert len(paths) >= 26
    for path in paths:
        with Image.open(path) as image:
            expected = np.asarray(image.convert("RGB"))
        np.testing.assert_array_equal(raster.read_rgb(path), expected)
