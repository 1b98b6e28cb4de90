"""DICOM pixels: decoded, and rendered as PS3.3 C.11 says: Modality LUT, VOI LUT or window, presentation LUT shape."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from m3search.errors import Reason, UnreadableFile
from m3search.formats.dicom import functional_group, text_of, translated, values_of
from m3search.formats.dicom_codestream import check_frame
from m3search.formats.dicom_decoders import decoder_of
from m3search.formats.dicom_lut import Table, table_of
from m3search.formats.dicom_reduced import JPEG_2000, decode_reduced
from m3search.formats.levels import Levels, percentiles

if TYPE_CHECKING:
    import numpy.typing as npt
    from pydicom.dataset import Dataset

    from m3search.types import Float32, UInt8

# Compressed transfer syntaxes in everyday words (PS3.5 A.4), for messages and for `m3search doctor`.
SYNTAXES = {
    "1.2.840.10008.1.2.4.50": "JPEG baseline",
    "1.2.840.10008.1.2.4.51": "JPEG extended",
    "1.2.840.10008.1.2.4.57": "JPEG lossless",
    "1.2.840.10008.1.2.4.70": "JPEG lossless, first order",
    "1.2.840.10008.1.2.4.80": "JPEG-LS lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS near-lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.4.201": "High-throughput JPEG 2000 lossless",
    "1.2.840.10008.1.2.4.203": "High-throughput JPEG 2000",
    "1.2.840.10008.1.2.5": "RLE",
}


@dataclass(frozen=True, slots=True, eq=False)
class Displayed:
    """A frame as a viewer would show it."""

    pixels: UInt8  # (H, W) or (H, W, 3)
    steps: tuple[str, ...]  # what was done to the stored values, in order


def stored(path: Path, dataset: Dataset, frame: int = 0) -> npt.NDArray[Any]:
    """Decoded values of one frame as stored: (H, W), or RGB uint8 (H, W, 3) for colour.

    Raises:
        UnreadableFile: no pixels, truncated, corrupt, or no decoder for its transfer syntax.
    """
    if "PixelData" not in dataset and "FloatPixelData" not in dataset:
        raise UnreadableFile(path, Reason.UNSUPPORTED, "holds no image: it has no pixel data")
    from pydicom.pixels.processing import apply_color_lut
    from pydicom.pixels.utils import pixel_array

    with translated(path):
        _check_decodable(path, dataset, frame)
        high = _high_bit(dataset)
        pixels: npt.NDArray[Any] = pixel_array(dataset, index=frame, correct_unused_bits=high is None)
        if high is not None:
            pixels = _moved_down(pixels, high, dataset)
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            pixels = apply_color_lut(pixels, dataset)
            pixels = _to_8_bit(pixels, 8 * pixels.itemsize)
        elif pixels.ndim == 3:
            pixels = _to_8_bit(pixels, int(dataset.BitsStored))
    return pixels


def rescaled(path: Path, dataset: Dataset, frame: int = 0) -> Float32:
    """A greyscale frame after the Modality LUT or rescale (PS3.3 C.11.1), padding as it is. float32 (H, W).

    Raises:
        UnreadableFile: as `stored`; also a colour image.
    """
    return _rescaled(path, dataset, frame)[0]


def modality_values(path: Path, dataset: Dataset, frame: int = 0) -> Float32:
    """As `rescaled`, with padding outside the scanned field (PixelPaddingValue) as low as the smallest value within it.

    Hounsfield units for CT.

    Raises:
        UnreadableFile: as `rescaled`.
    """
    grey, outside = _rescaled(path, dataset, frame)
    if not outside.all():
        grey[outside] = grey[~outside].min()
    return grey


def _rescaled(path: Path, dataset: Dataset, frame: int) -> tuple[Float32, npt.NDArray[np.bool_]]:
    values = stored(path, dataset, frame)
    if values.ndim != 2:
        raise UnreadableFile(path, Reason.WRONG_MODALITY, "is a colour image, where grey values were expected")
    with translated(path):
        return _modality_lut(dataset, values, frame)[0], _padding(dataset, values)


def displayed(path: Path, dataset: Dataset, frame: int = 0, least: int = 0) -> Displayed:
    """A frame as a viewer shows it, with the steps that led there.

    Without a VOI LUT or window in the header, the grey values between the 0.5th and 99.5th percentile are shown.

    Args:
        least: pixels that the longest side needs; a frame whose coding allows it is decoded at half its size, or a
            quarter, and so on, as long as it has them. 0: whole.

    Raises:
        UnreadableFile: as `stored`.
    """
    values, reduced = _reduced(path, dataset, frame, least)
    if values.ndim == 3:
        return Displayed(values, (f"{dataset.PhotometricInterpretation} as RGB",))
    levels = Levels.of(values)
    with translated(path):
        if levels is None:
            pixels, steps = _shown(dataset, frame, values)
        else:
            shown, steps = _shown(dataset, frame, levels.values, levels.counts)
            pixels = levels.picture(shown)
    return Displayed(pixels, (*reduced, *steps))


def syntax_name(dataset: Dataset) -> str:
    """The transfer syntax in everyday words."""
    uid = dataset.file_meta.TransferSyntaxUID
    return SYNTAXES.get(uid, "uncompressed" if not uid.is_compressed else str(uid.name))


def decoders() -> dict[str, tuple[str, ...]]:
    """The installed decoders of every compressed transfer syntax that pydicom knows, by its everyday name."""
    from pydicom.uid import UID

    return {name: tuple(decoder_of(UID(uid)).available_plugins) for uid, name in SYNTAXES.items()}


def _high_bit(dataset: Dataset) -> int | None:
    """HighBit where it is not that of the lowest BitsStored bits, as old scanners had it (PS3.5 8.1.1, until 2014)."""
    bits, allocated = int(dataset.get("BitsStored") or 0), int(dataset.BitsAllocated)
    high = int(dataset.get("HighBit") or 0)
    return high if not dataset.file_meta.TransferSyntaxUID.is_encapsulated and 0 < bits <= high < allocated else None


def _moved_down(words: npt.NDArray[Any], high: int, dataset: Dataset) -> npt.NDArray[Any]:
    """The stored bits of each word from where they lie in it; a sign is extended."""
    allocated = int(dataset.BitsAllocated)
    moved: npt.NDArray[Any] = (words << (allocated - 1 - high)) >> (allocated - int(dataset.BitsStored))
    return moved


def _check_decodable(path: Path, dataset: Dataset, frame: int) -> None:
    """Refuse a compressed frame that nothing here decodes, or that is not what the header says."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_compressed:
        return
    try:
        available = decoder_of(syntax).is_available
    except NotImplementedError:  # a video, or a syntax younger than the installed pydicom
        raise UnreadableFile(
            path,
            Reason.MISSING_DECODER,
            f"is stored as {syntax_name(dataset)}, which nothing here decodes: convert it, as with gdcmconv --raw",
        ) from None
    if not available:
        raise UnreadableFile(
            path,
            Reason.MISSING_DECODER,
            f"no decoder for {syntax_name(dataset)} is installed: pip install -U m3search",
        )
    check_frame(path, dataset, frame)


def _reduced(path: Path, dataset: Dataset, frame: int, least: int) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
    """Stored values, fewer of them where `least` allows, and what is to be said of that."""
    if least and dataset.file_meta.TransferSyntaxUID in JPEG_2000 and "PixelData" in dataset:
        with translated(path):
            _check_decodable(path, dataset, frame)
            fewer = decode_reduced(dataset, frame, least)
        if fewer is not None:
            return fewer, (f"decoded at {fewer.shape[1]} x {fewer.shape[0]}",)
    return stored(path, dataset, frame), ()


def _shown(
    dataset: Dataset, frame: int, values: npt.NDArray[Any], counts: npt.NDArray[np.int64] | None = None
) -> tuple[UInt8, list[str]]:
    """Stored grey values to what is shown, each by itself, and the steps.

    Args:
        counts: how many pixels have each value, where `values` are levels; None: `values` are the pixels.
    """
    outside = _padding(dataset, values)
    grey, steps = _modality_lut(dataset, values, frame)
    below_zero = values.dtype.kind == "i" or bool(grey.min() < 0)  # what the VOI LUT takes is signed (C.11.2.1.1)
    group = functional_group(dataset, frame, "FrameVOILUTSequence")
    shown, step = _voi(dataset, group, grey, ~outside, below_zero, counts)
    steps.append(step)
    if inverted := _inverted(dataset):  # after VOI: the window is defined on the values as stored
        shown = 1 - shown
        steps.append(inverted)
    if outside.any():
        shown[outside] = 0
        steps.append("padding shown black")
    return (shown * 255 + 0.5).astype(np.uint8), steps


def _modality_lut(dataset: Dataset, values: npt.NDArray[Any], frame: int) -> tuple[Float32, list[str]]:
    group = functional_group(dataset, frame, "PixelValueTransformationSequence")
    if table := _table(dataset, group, "ModalityLUTSequence", values.dtype.kind == "i"):
        return table.look_up(values), ["modality LUT"]
    slope, intercept = _number(group, "RescaleSlope", 1.0), _number(group, "RescaleIntercept", 0.0)
    if slope == 0:  # it would leave nothing of the image
        return values.astype(np.float32), ["rescale slope of 0 not applied"]
    if (slope, intercept) == (1.0, 0.0) and "RescaleSlope" not in group:
        return values.astype(np.float32), []
    grey = (values * np.float64(slope) + intercept).astype(np.float32)
    return grey, [f"rescale slope={slope:g} intercept={intercept:g}"]


def _table(dataset: Dataset, group: Dataset, keyword: str, signed: bool) -> Table | None:
    """The first table of a sequence that has any."""
    item = next(iter(group.get(keyword) or ()), None)
    return table_of(item, signed, dataset.file_meta.TransferSyntaxUID.is_little_endian) if item else None


def _number(group: Dataset, keyword: str, default: float) -> float:
    values = values_of(group, keyword)
    return float(values[0]) if values else default


def _padding(dataset: Dataset, values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Pixels outside the scanned field (PS3.3 C.7.5.1.1.2), by their stored values; none if that were all."""
    stated = dataset.get("PixelPaddingValue")
    if stated is None or values.dtype.kind not in "iu":
        return np.zeros(values.shape, dtype=bool)
    limits = [int(stated), int(dataset.get("PixelPaddingRangeLimit", stated))]
    # Some writers state a negative padding value as unsigned: 63536 for -2000.
    low, high = sorted(int(np.array(limit).astype(values.dtype)) for limit in limits)
    outside: npt.NDArray[np.bool_] = (values >= low) & (values <= high)
    return np.zeros_like(outside) if outside.all() else outside


def _voi(
    dataset: Dataset,
    group: Dataset,
    grey: Float32,
    inside: npt.NDArray[np.bool_],
    signed: bool,
    counts: npt.NDArray[np.int64] | None,
) -> tuple[Float32, str]:
    """Grey values to [0, 1] by VOI LUT, window or, without either, percentiles of those inside (PS3.3 C.11.2).

    A window in which nothing of the image can be told apart is wrong, and not used.
    """
    stated = _stated_voi(dataset, group, grey, signed)
    if stated is not None and (np.ptp(stated[0][inside]) > 0 or np.ptp(grey[inside]) == 0):
        return stated
    low, high = percentiles(grey[inside], (0.5, 99.5), None if counts is None else counts[inside])
    if low == high:  # nearly all pixels are the same: show what the others are
        low, high = grey[inside].min(), grey[inside].max()
    shown = ((grey - low) / max(high - low, 1e-6)).clip(0, 1).astype(np.float32)
    why = "no window stated" if stated is None else f"{stated[1]} shows nothing"
    return shown, f"0.5 to 99.5 percentile, {why}"


def _stated_voi(dataset: Dataset, group: Dataset, grey: Float32, signed: bool) -> tuple[Float32, str] | None:
    if table := _table(dataset, group, "VOILUTSequence", signed):
        return table.look_up(grey) / np.float32(2**table.bits - 1), "VOI LUT"
    centres, widths = values_of(group, "WindowCenter"), values_of(group, "WindowWidth")
    if not centres or not widths:
        return None
    centre, width = float(centres[0]), float(widths[0])
    function = (text_of(group, "VOILUTFunction") or "LINEAR").upper()
    if not width > 0 or (function == "LINEAR" and width < 1):
        return None
    return window(grey, centre, width, function), f"window {function} centre={centre:g} width={width:g}"


def _inverted(dataset: Dataset) -> str:
    """Why low values are shown white, or "". PresentationLUTShape is the last word where there is one.

    For radiographs it repeats PhotometricInterpretation (PS3.3 C.8.11.3.1.2). In files where the two contradict each
    other, dcmtk and dcm4che go by the shape, and so does this.
    """
    photometric, shape = text_of(dataset, "PhotometricInterpretation"), text_of(dataset, "PresentationLUTShape").upper()
    is_negative = photometric == "MONOCHROME1"
    if shape in ("IDENTITY", "INVERSE") and (shape == "INVERSE") != is_negative:
        return "" if is_negative else "inverted (presentation LUT shape INVERSE)"
    return "inverted (MONOCHROME1)" if is_negative else ""


def window(grey: Float32, centre: float, width: float, function: str = "LINEAR") -> Float32:
    """Grey values to [0, 1] (PS3.3 C.11.2.1.2 and C.11.2.1.3). An unknown function is taken as LINEAR, its default."""
    if function == "SIGMOID":
        shown = 1 / (1 + np.exp(-4 * (grey - centre) / width))
    elif function == "LINEAR_EXACT":
        shown = (grey - centre) / width + 0.5
    else:
        shown = (grey - (centre - 0.5)) / max(width - 1, 1e-6) + 0.5
    clipped: Float32 = shown.clip(0, 1).astype(np.float32)
    return clipped


def _to_8_bit(colour: npt.NDArray[Any], bits: int) -> UInt8:
    """Colours of so many bits as bytes."""
    return (colour >> max(bits - 8, 0)).astype(np.uint8)
