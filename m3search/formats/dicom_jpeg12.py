"""JPEG of 12 bits for pydicom, through imagecodecs (libjpeg-turbo 3).

pydicom's permissive plugins decode JPEG Extended of 8 bits only; the one that does 12 is under the GPL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom.pixels.decoders.base import JPEGExtended12BitDecoder
from pydicom.uid import UID, JPEGExtended12Bit

if TYPE_CHECKING:
    from pydicom.pixels.decoders.base import DecodeRunner

# pydicom's plugin interface: what it needs by transfer syntax, and the two functions below.
DECODER_DEPENDENCIES = {JPEGExtended12Bit: ("numpy", "imagecodecs")}


def is_available(uid: UID) -> bool:
    """True for JPEG Extended: imagecodecs is always installed with m3search."""
    return uid in DECODER_DEPENDENCIES


def decode_frame(frame: bytes, runner: DecodeRunner) -> bytearray:
    """One encoded frame as raw little-endian samples, 16 bits each where the stream has more than 8."""
    import imagecodecs

    pixels = imagecodecs.jpeg_decode(frame)
    runner.set_option("bits_allocated", 8 * pixels.itemsize)
    return bytearray(pixels.tobytes())


def register() -> None:
    """Let pydicom ask this decoder when its own have failed. Does nothing the second time."""
    if "imagecodecs" not in JPEGExtended12BitDecoder.available_plugins:
        JPEGExtended12BitDecoder.add_plugin("imagecodecs", (__name__, "decode_frame"))
