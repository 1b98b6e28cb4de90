"""JPEG 2000 frames of DICOM files decoded at a fraction of their size: the finest wavelets are never computed.

Half the size takes a quarter of the time. Whatever is out of the ordinary (an odd precision, a stream cut short, few
resolutions) is left to the full decoder, which tells what is wrong.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from m3search.formats.dicom_codestream import coding_2000, encoded_frame
from m3search.formats.limits import halvings

if TYPE_CHECKING:
    import numpy.typing as npt
    from pydicom.dataset import Dataset

JPEG_2000 = {
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.4.202",
    "1.2.840.10008.1.2.4.203",
}


def decode_reduced(dataset: Dataset, frame: int, least: int) -> npt.NDArray[Any] | None:
    """Stored values of a grey frame, its sides halved while the longest keeps `least` pixels.

    None where it is not JPEG 2000, is too small already, or should better be decoded whole.
    """
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    is_grey = int(dataset.get("SamplesPerPixel") or 1) == 1 and "PALETTE" not in dataset.PhotometricInterpretation
    times = halvings(max(int(dataset.Rows), int(dataset.Columns)), least)
    if syntax not in JPEG_2000 or not is_grey or not times:
        return None
    stream = encoded_frame(dataset, frame)
    coding = coding_2000(stream)
    bits, signed = int(dataset.BitsStored), bool(dataset.PixelRepresentation)
    if coding is None or not coding.whole or coding.halvings < times:
        return None
    if (coding.components, coding.bits, coding.signed) != (1, bits, signed):
        return None
    return _decoded(stream, times, bits, signed, int(dataset.BitsAllocated))


def _decoded(stream: bytes, times: int, bits: int, signed: bool, allocated: int) -> npt.NDArray[Any] | None:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(stream), formats=["JPEG2000"]) as image:
            image.reduce = times  # type: ignore[method-assign, assignment]  # of this plug-in: a number, not the method
            image.load()
            filled = np.asarray(image)
    except (OSError, SyntaxError, ValueError):
        return None
    if filled.ndim != 2 or filled.dtype.itemsize * 8 < bits or allocated < bits:
        return None
    # Pillow moves values up to fill 8 or 16 bits, and signed ones to begin at 0.
    values = (filled >> (8 * filled.dtype.itemsize - bits)).astype(np.int32) - (signed << (bits - 1))
    return values.astype(f"{'i' if signed else 'u'}{allocated // 8}")
