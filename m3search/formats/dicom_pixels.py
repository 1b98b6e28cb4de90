"""DICOM pixels: decoded, and rendered as PS3.3 C.11 says: Modality LUT, VOI LUT or window, inversion of MONOCHROME1."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from m3search.errors import Reason, UnreadableFile
from m3search.formats.dicom import functional_group, text_of, translated, values_of

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
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.pixels.processing import apply_color_lut
    from pydicom.pixels.utils import pixel_array

    from m3search.formats import dicom_jpeg12

    dicom_jpeg12.register()
    syntax = dataset.file_meta.TransferSyntaxUID
    with translated(path):
        if syntax.is_compressed and not get_decoder(syntax).is_available:
            raise UnreadableFile(
                path,
                Reason.MISSING_DECODER,
                f"no decoder for {syntax_name(dataset)} is installed: pip install -U m3search",
            )
        pixels: npt.NDArray[Any] = pixel_array(dataset, index=frame)
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            pixels = _to_8_bit(apply_color_lut(pixels, dataset))
    return pixels


def modality_values(path: Path, dataset: Dataset, frame: int = 0) -> Float32:
    """A greyscale frame after the Modality LUT or rescale (PS3.3 C.11.1): Hounsfield units for CT. float32 (H, W).

    Padding outside the scanned field (PixelPaddingValue) becomes the smallest value within it.

    Raises:
        UnreadableFile: as `stored`; also a colour image.
    """
    values = stored(path, dataset, frame)
    if values.ndim != 2:
        raise UnreadableFile(path, Reason.WRONG_MODALITY, "is a colour image, where grey values were expected")
    return _modality_lut(path, dataset, values, frame)[0]


def displayed(path: Path, dataset: Dataset, frame: int = 0) -> Displayed:
    """A frame as a viewer shows it, with the steps that led there.

    Without a VOI LUT or window in the header, the grey values between the 0.5th and 99.5th percentile are shown.

    Raises:
        UnreadableFile: as `stored`.
    """
    values = stored(path, dataset, frame)
    if values.ndim == 3:
        return Displayed(_to_8_bit(values), (f"{dataset.PhotometricInterpretation} as RGB",))
    grey, steps = _modality_lut(path, dataset, values, frame)
    with translated(path):
        shown, step = _voi(functional_group(dataset, frame, "FrameVOILUTSequence"), grey)
    steps.append(step)
    if dataset.PhotometricInterpretation == "MONOCHROME1":  # after VOI: the window is defined on the values as stored
        shown = 1 - shown
        steps.append("inverted (MONOCHROME1)")
    return Displayed((shown * 255 + 0.5).astype(np.uint8), tuple(steps))


def syntax_name(dataset: Dataset) -> str:
    """The transfer syntax in everyday words."""
    uid = dataset.file_meta.TransferSyntaxUID
    return SYNTAXES.get(uid, "uncompressed" if not uid.is_compressed else str(uid.name))


def decoders() -> dict[str, tuple[str, ...]]:
    """The installed decoders of every compressed transfer syntax that pydicom knows, by its everyday name."""
    from pydicom.pixels.decoders.base import get_decoder

    from m3search.formats import dicom_jpeg12

    dicom_jpeg12.register()
    return {name: tuple(get_decoder(uid).available_plugins) for uid, name in SYNTAXES.items()}


def _modality_lut(path: Path, dataset: Dataset, values: npt.NDArray[Any], frame: int) -> tuple[Float32, list[str]]:
    from pydicom.pixels.processing import apply_modality_lut

    with translated(path):
        padding = _padding(dataset, values)
        group = functional_group(dataset, frame, "PixelValueTransformationSequence")
        grey = np.asarray(apply_modality_lut(values, group), dtype=np.float32)
        if padding.any() and not padding.all():
            grey[padding] = grey[~padding].min()
        steps = []
        if "ModalityLUTSequence" in group:
            steps.append("modality LUT")
        elif "RescaleSlope" in group:
            steps.append(f"rescale slope={float(group.RescaleSlope):g} intercept={float(group.RescaleIntercept):g}")
    return grey, steps


def _padding(dataset: Dataset, values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Pixels outside the scanned field (PS3.3 C.7.5.1.1.2). Padding is stated in stored values."""
    if "PixelPaddingValue" not in dataset:
        return np.zeros(values.shape, dtype=bool)
    first = int(dataset.PixelPaddingValue)
    last = int(dataset.get("PixelPaddingRangeLimit", first))
    return (values >= min(first, last)) & (values <= max(first, last))


def _voi(group: Dataset, grey: Float32) -> tuple[Float32, str]:
    """Grey values to [0, 1] by VOI LUT, window or, without either, percentiles (PS3.3 C.11.2)."""
    if "VOILUTSequence" in group and group.VOILUTSequence[0].get("LUTData") is not None:
        from pydicom.pixels.processing import apply_voi

        table = group.VOILUTSequence[0].LUTDescriptor
        looked_up = apply_voi(np.rint(grey).astype(np.int32), group)
        return (looked_up.astype(np.float32) / (2 ** int(table[2]) - 1)).clip(0, 1), "VOI LUT"
    centres, widths = values_of(group, "WindowCenter"), values_of(group, "WindowWidth")
    if centres and widths and float(widths[0]) >= 1:
        centre, width = float(centres[0]), float(widths[0])
        function = (text_of(group, "VOILUTFunction") or "LINEAR").upper()
        return window(grey, centre, width, function), f"window {function} centre={centre:g} width={width:g}"
    low, high = np.percentile(grey, [0.5, 99.5])
    return ((grey - low) / max(high - low, 1e-6)).clip(0, 1).astype(
        np.float32
    ), "0.5 to 99.5 percentile, no window stated"


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


def _to_8_bit(colour: npt.NDArray[Any]) -> UInt8:
    return colour if colour.dtype == np.uint8 else (colour >> 8 * (colour.itemsize - 1)).astype(np.uint8)
