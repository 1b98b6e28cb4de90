"""PNG, JPEG, TIFF, BMP, WebP and JPEG 2000 pictures: bytes to display-ready 8-bit pixels, every step recorded.

Pillow decodes; 16-bit colour, which Pillow cuts to its high byte, goes through imagecodecs (PNG) or tifffile (TIFF),
and so do the TIFF kinds that Pillow refuses. Colour profiles (ICC) are ignored: the cameras and scanners of one archive
rarely carry the same, and the networks are trained without.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from m3search.errors import Reason, UnreadableFile
from m3search.formats.limits import LIMITS, halvings, require_readable
from m3search.formats.quiet import quiet
from m3search.formats.storage import failure_of
from m3search.formats.tiff_directory import check_directories
from m3search.types import Header

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL import Image

    from m3search.types import UInt8

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".tif", ".tiff", ".bmp", ".webp", ".jp2"})
PERCENTILES = (0.5, 99.5)  # of the values of a picture deeper than 8 bits: what is shown as 0 and as 255
PILLOW_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "JPEG2000")  # its rarer plug-ins are not exposed to archives
PNG_COLOUR_TYPES_BEYOND_GREY = (2, 4, 6)  # colour, grey with alpha, colour with alpha (PNG specification, 11.2.2)
RESERVED = 1 << 26  # bytes
MOST_CHANNELS = 4  # of a picture: red, green, blue, alpha
WHITE_IS_ZERO = 0  # TIFF PhotometricInterpretation


@dataclass(frozen=True, slots=True, eq=False)
class RasterImage:
    """A picture upright and in 8 bits, with the steps that made it so."""

    pixels: UInt8  # (H, W) or (H, W, 3)
    description: tuple[str, ...] = ()  # for provenance, in the order applied
    size: tuple[int, int] = (0, 0)  # height and width of the whole picture, of which `pixels` may be a fraction

    @property
    def rgb(self) -> UInt8:
        """uint8 (H, W, 3); a grey picture is repeated over the channels."""
        return self.pixels if self.pixels.ndim == 3 else np.repeat(self.pixels[..., None], 3, axis=2)


def sniff(path: Path, head: bytes) -> bool:
    """True for a picture's magic number, or for its suffix: other content under it is then reported."""
    return _kind(head) != "" or path.suffix.lower() in SUFFIXES


def read_header(path: Path) -> Header:
    """Width, height and container, without decoding.

    Raises:
        UnreadableFile: empty, not a picture, or larger than the limits.
    """
    with _decoding(path) as kind:
        if _needs_tifffile(path, kind):
            height, width = _read_tiff_size(path)
        else:
            with _open_with_pillow(path) as image:
                height, width = image.height, image.width
        LIMITS.check_pixels(path, height, width)
    return Header(path=path, format="raster", attributes={"width": width, "height": height, "container": kind})


def read(path: Path, least: int = 0) -> RasterImage:
    """The first frame: upright (EXIF orientation), alpha composed on black, deep values scaled between PERCENTILES.

    Args:
        least: pixels that the longest side needs; a JPEG is decoded at half its size, a quarter or an eighth, which is
            faster, as long as it has them. 0: whole.

    Raises:
        UnreadableFile: EMPTY, CORRUPT, TRUNCATED, TOO_LARGE, PERMISSION or VANISHED.
    """
    steps: list[str] = []
    with _decoding(path) as kind:
        if _needs_tifffile(path, kind):
            pixels, orientation = _read_with_tifffile(path, steps)
            height, width = pixels.shape[:2]
        else:
            pixels, orientation, (height, width) = _read_with_pillow(path, steps, least)
    if orientation in ORIENTATIONS:
        steps.append(f"EXIF orientation {orientation} undone")
        pixels = ORIENTATIONS[orientation](pixels)
        height, width = (width, height) if orientation >= TURNED else (height, width)
    return RasterImage(np.ascontiguousarray(pixels), tuple(steps), (height, width))


def read_rgb(path: Path) -> UInt8:
    """A picture as a person sees it: uint8 (H, W, 3). Raises as `read` does."""
    return read(path).rgb


# EXIF 2.32 tag 274: how the stored rows and columns become an upright picture.
ORIENTATIONS = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[::-1],
}
TURNED = 5  # from here on rows become columns


@contextmanager
def _decoding(path: Path) -> Iterator[str]:
    """Yields the container's name; whatever the decoders raise on damaged input inside becomes an UnreadableFile."""
    from PIL import Image

    require_readable(path)
    with path.open("rb") as file:
        kind = _kind(file.read(64))
    check_directories(path)
    if kind == "png" and _has_endless_chunk(path):
        raise _undecodable(path, kind, "")
    try:
        with quiet("tifffile"):
            yield kind
    except Image.DecompressionBombError as error:
        raise UnreadableFile(
            path, Reason.TOO_LARGE, "declares more pixels than a picture can hold; export it smaller, or as a slide"
        ) from error
    except (
        OSError, SyntaxError, ValueError, EOFError, struct.error, LookupError, TypeError, RuntimeError,
        ArithmeticError, AttributeError, AssertionError,
    ) as error:  # fmt: skip
        raise failure_of(path, error) or _undecodable(path, kind, str(error)) from error


def _has_endless_chunk(path: Path) -> bool:
    """Whether a PNG announces a chunk of RESERVED bytes or more beyond its end: Pillow reserves what it announces."""
    size = path.stat().st_size
    place = 8
    with path.open("rb") as file:
        while place + 8 <= size:
            file.seek(place)
            length = int.from_bytes(file.read(4))
            place += 12 + length
            if place > size + RESERVED:
                return True
    return False


def _undecodable(path: Path, kind: str, detail: str) -> UnreadableFile:
    """TRUNCATED where the end is missing, else CORRUPT."""
    if not kind:
        return UnreadableFile(
            path, Reason.CORRUPT, "is named as a picture, but its content is not one; remove or replace it"
        )
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 64))
        tail = file.read()
    ends_early = (kind == "png" and b"IEND" not in tail) or (kind == "jpeg" and b"\xff\xd9" not in tail)
    if ends_early or "truncated" in detail.lower():
        return UnreadableFile(path, Reason.TRUNCATED, f"its {kind.upper()} data end early; copy the file again")
    return UnreadableFile(path, Reason.CORRUPT, f"its {kind.upper()} data cannot be decoded; export the picture again")


def _kind(head: bytes) -> str:
    """The container by its magic number, "" where there is none."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "tiff"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "webp"
    if head.startswith(b"BM") and head[6:10] == bytes(4):
        return "bmp"
    if head.startswith((b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")):
        return "jpeg2000"
    return ""


def _open_with_pillow(path: Path) -> Image.Image:
    from PIL import Image

    # Pillow's own guard stands far below what a flatbed scanner delivers. Twice this value is refused while the header
    # is parsed; everything between is left to LIMITS, before any pixel is decoded.
    Image.MAX_IMAGE_PIXELS = LIMITS.pixels
    return Image.open(path, formats=PILLOW_FORMATS)


def _needs_tifffile(path: Path, kind: str) -> bool:
    """True for a TIFF that Pillow refuses or would cut to 8 bits (colour deeper than that)."""
    if kind != "tiff":
        return False
    from PIL import UnidentifiedImageError

    try:
        with _open_with_pillow(path) as image:
            return len(image.getbands()) > 1 and max(cast("Any", image).tag_v2.get(258, (8,))) > 8
    except UnidentifiedImageError:
        return True


def _read_tiff_size(path: Path) -> tuple[int, int]:
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        return int(page.imagelength), int(page.imagewidth)


def _read_with_tifffile(path: Path, steps: list[str]) -> tuple[npt.NDArray[Any], int]:
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        LIMITS.check_pixels(path, int(page.imagelength), int(page.imagewidth))
        if not 0 < page.samplesperpixel <= MOST_CHANNELS or page.imagedepth != 1:
            raise ValueError(f"{page.samplesperpixel} channels of {page.imagedepth} planes")
        LIMITS.check_bytes(path, int(page.nbytes))
        if len(tiff.pages) > 1:
            steps.append(f"first of {len(tiff.pages)} pages")
        values = page.asarray()
        if page.axes == "SYX":  # planes stored one after the other
            values = np.moveaxis(values, 0, -1)
        if values.ndim not in (2, 3):
            raise ValueError(f"a picture of axes {page.axes}")
        orientation = page.tags.valueof(274, 1)
        return _compose_deep(values, int(page.photometric) == WHITE_IS_ZERO, steps), int(orientation)


def _read_with_pillow(path: Path, steps: list[str], least: int) -> tuple[npt.NDArray[Any], int, tuple[int, int]]:
    """Pixels, the orientation that is left to undo, and the whole picture's height and width as it is stored."""
    with _open_with_pillow(path) as image:
        LIMITS.check_pixels(path, image.height, image.width)
        if (frames := getattr(image, "n_frames", 1)) > 1:
            steps.append(f"first of {frames} frames")
        if image.info.get("icc_profile"):
            steps.append("ICC profile ignored")
        orientation = image.getexif().get(274, 1)
        white_is_zero = image.format == "TIFF" and cast("Any", image).tag_v2.get(262) == WHITE_IS_ZERO
        if _is_deep_colour_png(path, image):
            from imagecodecs import png_decode

            pixels = _compose_deep(png_decode(path.read_bytes()), False, steps)
            return pixels, orientation, pixels.shape[:2]
        height, width = image.height, image.width
        if times := halvings(max(image.size), least):
            image.draft("", (width >> times, height >> times))  # of a JPEG: fewer of its cosines; of others, nothing
            if image.width != width:
                steps.append(f"decoded at {image.width} x {image.height}")
        image.load()
        if image.format == "TIFF" and orientation in ORIENTATIONS:
            steps.append(f"TIFF orientation {orientation} undone")
            orientation = 1  # Pillow turns a TIFF, and only a TIFF, upright while it loads
            height, width = image.height, image.width
        if image.mode.startswith(("I", "F")):
            return _compose_deep(np.asarray(image), white_is_zero, steps), orientation, (height, width)
        return _compose_shallow(image, steps), orientation, (height, width)


def _is_deep_colour_png(path: Path, image: Image.Image) -> bool:
    if image.format != "PNG":
        return False
    with path.open("rb") as file:
        depth, colour_type = file.read(26)[24:26]
    return depth == 16 and colour_type in PNG_COLOUR_TYPES_BEYOND_GREY


def _compose_shallow(image: Image.Image, steps: list[str]) -> npt.NDArray[Any]:
    """Any Pillow mode of up to 8 bits a channel to uint8 (H, W) or (H, W, 3)."""
    if image.mode in ("1", "L") and "transparency" not in image.info:
        return np.asarray(image.convert("L"))
    if image.has_transparency_data:
        return _on_black(np.asarray(image.convert("RGBA")), steps)
    if image.mode != "RGB":
        steps.append({"P": "palette"}.get(image.mode, image.mode) + " converted to RGB")
    return np.asarray(image.convert("RGB"))


def _compose_deep(values: npt.NDArray[Any], white_is_zero: bool, steps: list[str]) -> npt.NDArray[Any]:
    """(H, W), or (H, W, 1 to 4) with alpha as channel 2 or 4, of any number type, to uint8 (H, W) or (H, W, 3)."""
    channels = values.shape[2] if values.ndim == 3 else 1
    if channels > MOST_CHANNELS:
        raise ValueError(f"{channels} channels")
    colours = values if values.ndim == 2 else values[..., : 1 if channels < 3 else 3]
    scaled = _scaled(colours, steps)
    if white_is_zero:
        steps.append("white-is-zero inverted")
        scaled = 255 - scaled
    if channels in (1, 2) and values.ndim == 3:
        scaled = scaled[..., 0]
    if channels not in (2, 4):
        return scaled
    alpha = _alpha_of(values[..., -1])
    return _on_black(np.dstack([scaled if scaled.ndim == 3 else np.repeat(scaled[..., None], 3, 2), alpha]), steps)


def _alpha_of(values: npt.NDArray[Any]) -> UInt8:
    full = np.iinfo(values.dtype).max if values.dtype.kind in "ui" else 1.0
    alpha: UInt8 = np.clip(values.astype(np.float32) * (255.0 / full), 0, 255).round().astype(np.uint8)
    return alpha


def _scaled(values: npt.NDArray[Any], steps: list[str]) -> UInt8:
    """uint8, the range between PERCENTILES of the finite values spread over 0 to 255; 8-bit values stay as they are."""
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise ValueError("no finite value")
    low, high = (float(edge) for edge in np.percentile(finite, PERCENTILES))
    if low == high:  # nearly all one value: the few others are the picture
        low, high = float(finite.min()), float(finite.max())
    steps.append(f"{values.dtype} scaled from [{low:g}, {high:g}]")
    unit = (np.nan_to_num(values.astype(np.float32), nan=low) - low) / ((high - low) or 1.0)
    scaled: UInt8 = (np.clip(unit, 0, 1) * 255).round().astype(np.uint8)
    return scaled


def _on_black(rgba: UInt8, steps: list[str]) -> UInt8:
    """(H, W, 4) to (H, W, 3); nothing to record where the picture is opaque."""
    alpha = rgba[..., 3:]
    if alpha.min() == 255:
        return rgba[..., :3]
    steps.append("alpha composed on black")
    composed: UInt8 = (rgba[..., :3].astype(np.float32) * (alpha / np.float32(255))).round().astype(np.uint8)
    return composed
