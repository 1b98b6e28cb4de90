"""DICOM files: headers, decoded frames, displayed pixels.

Rendering follows PS3.3 C.11: Modality LUT, then VOI LUT or window, then the inversion of MONOCHROME1. Whole slides have
`slide_dicom`, waveforms `dicom_waveform`.
"""

from __future__ import annotations

import logging
import re
import struct
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from m3search.errors import Reason, UnreadableFile
from m3search.formats.limits import LIMITS, require_readable
from m3search.types import Header

if TYPE_CHECKING:
    import numpy.typing as npt
    from pydicom.dataset import Dataset

    from m3search.types import Float32, UInt8

PREAMBLE_BYTES = 128  # PS3.10 7.1
MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"  # DICOMDIR: lists files, is none
VALUE_REPRESENTATIONS = re.compile(rb"[A-Z]{2}")

# What identifies a person, beside names: PS3.15 E.1, the attributes that a hospital writes for every examination.
IDENTIFYING = ("PatientID", "OtherPatientIDs", "AccessionNumber", "PatientBirthDate", "PatientTelephoneNumbers")
NAMES = (
    "PatientName", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName", "ReferringPhysicianName",
    "PerformingPhysicianName", "RequestingPhysician", "OperatorsName", "ResponsiblePerson",
)  # fmt: skip
SHORTEST_NAME = 3  # characters; initials would mask half of all paths

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


@dataclass(frozen=True, slots=True)
class SlicePosition:
    """Where a single-frame image lies in the patient (PS3.3 C.7.6.2). None where the header does not say."""

    path: Path
    position: tuple[float, float, float] | None  # millimetres, of the first pixel
    orientation: tuple[float, ...] | None  # direction cosines of rows, then of columns
    instance_number: int | None
    spacing: float  # millimetres per pixel, 0 where unknown


def sniff(path: Path, head: bytes) -> bool:
    """DICOM by its magic word, by a first element of group 2 or 8 without preamble, or, failing both, by its suffix.

    A DICOMDIR is left out: the files that it lists are met on their own.
    """
    if path.name.upper() == "DICOMDIR":
        return False
    if head[PREAMBLE_BYTES : PREAMBLE_BYTES + 4] == b"DICM":
        return True
    return _starts_with_element(head) or path.suffix.casefold() in {".dcm", ".dicom"}


def read_header(path: Path) -> Header:
    """The attributes by which a file is recognised and grouped; nothing is decoded.

    Raises:
        UnreadableFile: not DICOM, or a header that ends early.
    """
    dataset = _parse(path, pixels=False)
    if dataset.file_meta.get("MediaStorageSOPClassUID") == MEDIA_DIRECTORY:
        raise UnreadableFile(path, Reason.UNSUPPORTED, "is a DICOMDIR: the files it lists are read, not the list")
    with translated(path):
        attributes: dict[str, Any] = {
            "Modality": _text(dataset, "Modality"),
            "SOPClassUID": _text(dataset, "SOPClassUID"),
            "SeriesInstanceUID": _text(dataset, "SeriesInstanceUID"),
            "ImageType": tuple(str(value) for value in _values(dataset, "ImageType")),
            "ImageOrientationPatient": _orientation(dataset) or (),
            "NumberOfFrames": frame_count(dataset),
            "Rows": int(dataset.get("Rows") or 0),
            "Columns": int(dataset.get("Columns") or 0),
            "BodyPartExamined": _text(dataset, "BodyPartExamined"),
        }
        return Header(path, "dicom", attributes, identifiers=identifiers_of(dataset))


def read_dataset(path: Path) -> Dataset:
    """The whole file, pixel data not yet decoded.

    Raises:
        UnreadableFile: not DICOM, truncated, or with more declared pixels than may be.
    """
    dataset = _parse(path, pixels=True)
    with translated(path):
        if "PixelData" in dataset or "FloatPixelData" in dataset:
            _check_declared(path, dataset)
    return dataset


def read_position(path: Path) -> SlicePosition:
    """Where a slice lies, from its header alone.

    Raises:
        UnreadableFile: not DICOM, or a header that ends early.
    """
    dataset = _parse(path, pixels=False)
    with translated(path):
        number = dataset.get("InstanceNumber")
        return SlicePosition(
            path,
            frame_position(dataset),
            frame_orientation(dataset),
            None if number is None else int(number),
            spacing(dataset),
        )


def frame_count(dataset: Dataset) -> int:
    """Frames of an image; 1 where the header does not say."""
    return int(dataset.get("NumberOfFrames") or 1)


def frame_position(dataset: Dataset, frame: int = 0) -> tuple[float, float, float] | None:
    """ImagePositionPatient of a frame, millimetres (PS3.3 C.7.6.2, C.7.6.16.2.3)."""
    values = _values(_group(dataset, frame, "PlanePositionSequence"), "ImagePositionPatient")
    return (float(values[0]), float(values[1]), float(values[2])) if len(values) == 3 else None


def frame_orientation(dataset: Dataset, frame: int = 0) -> tuple[float, ...] | None:
    """ImageOrientationPatient of a frame: six direction cosines."""
    return _orientation(_group(dataset, frame, "PlaneOrientationSequence"))


def spacing(dataset: Dataset, frame: int = 0) -> float:
    """Millimetres per pixel (PixelSpacing, else ImagerPixelSpacing); 0 where unknown."""
    values = _values(_group(dataset, frame, "PixelMeasuresSequence"), "PixelSpacing") or _values(
        dataset, "ImagerPixelSpacing"
    )
    return float(values[0]) if values else 0.0


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
        shown, step = _voi(_group(dataset, frame, "FrameVOILUTSequence"), grey)
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


def identifiers_of(dataset: Dataset) -> tuple[str, ...]:
    """Every string of the header that identifies a person: whole values, and the words of names."""
    found: dict[str, None] = {}
    for keyword in IDENTIFYING:
        for value in _values(dataset, keyword):
            found[str(value).strip()] = None
    for keyword in NAMES:
        for value in _values(dataset, keyword):
            words = re.split(r"[\^=\s,]+", str(value))
            found.update(dict.fromkeys(word for word in (str(value), *words) if len(word) >= SHORTEST_NAME))
    birth = _text(dataset, "PatientBirthDate")
    if len(birth) == 8:
        found[f"{birth[:4]}-{birth[4:6]}-{birth[6:]}"] = None
    found.pop("", None)
    return tuple(found)


def _parse(path: Path, pixels: bool) -> Dataset:
    from pydicom import dcmread
    from pydicom.uid import ImplicitVRLittleEndian

    require_readable(path)
    with path.open("rb") as file:
        head = file.read(PREAMBLE_BYTES + 4)
    has_magic = head.endswith(b"DICM")
    if not has_magic and not _starts_with_element(head):
        raise UnreadableFile(path, Reason.CORRUPT, "is named like a DICOM file, but its content is something else")
    with translated(path):
        dataset = dcmread(path, force=not has_magic, stop_before_pixels=not pixels)
        kind = dataset.file_meta.get("MediaStorageSOPClassUID") or dataset.get("SOPClassUID")
        if kind is None and "Rows" not in dataset:
            raise UnreadableFile(
                path, Reason.TRUNCATED, "ends before it says what it is; copy it again from its source"
            )
        if "TransferSyntaxUID" not in dataset.file_meta:  # a file without PS3.10 header: the default of PS3.5 10.1
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return dataset


def _starts_with_element(head: bytes) -> bool:
    """A little-endian data element of group 2 or 8, explicit or implicit, with a plausible length (PS3.5 7.1)."""
    if head[:2] not in (b"\x02\x00", b"\x08\x00") or len(head) < 8:
        return False
    implicit_length = int.from_bytes(head[4:8], "little")
    return bool(VALUE_REPRESENTATIONS.fullmatch(head[4:6])) or implicit_length < 256


def _check_declared(path: Path, dataset: Dataset) -> None:
    height, width = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    frames = frame_count(dataset)
    LIMITS.check_pixels(path, height, width)
    LIMITS.check_frames(path, frames)
    sample_bytes = int(dataset.get("BitsAllocated") or 8) / 8
    declared = int(height * width * frames * int(dataset.get("SamplesPerPixel") or 1) * sample_bytes)
    LIMITS.check_bytes(path, declared // frames)  # frames are decoded one at a time
    halved = 2 if dataset.get("PhotometricInterpretation") == "YBR_FULL_422" else 1
    if not dataset.file_meta.TransferSyntaxUID.is_compressed and "PixelData" in dataset:
        there = len(dataset.PixelData)
        if there < declared // halved // (3 if halved == 2 else 1):
            percent = 100 * there // max(declared, 1)
            raise UnreadableFile(
                path, Reason.TRUNCATED, f"holds {percent}% of the pixels it declares; copy it again from its source"
            )


def _modality_lut(path: Path, dataset: Dataset, values: npt.NDArray[Any], frame: int) -> tuple[Float32, list[str]]:
    from pydicom.pixels.processing import apply_modality_lut

    with translated(path):
        padding = _padding(dataset, values)
        group = _group(dataset, frame, "PixelValueTransformationSequence")
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
    centres, widths = _values(group, "WindowCenter"), _values(group, "WindowWidth")
    if centres and widths and float(widths[0]) >= 1:
        centre, width = float(centres[0]), float(widths[0])
        function = (_text(group, "VOILUTFunction") or "LINEAR").upper()
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


def _group(dataset: Dataset, frame: int, sequence: str) -> Dataset:
    """The functional group of one frame, else the shared one, else the dataset itself (PS3.3 C.7.6.16.1)."""
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    shared = dataset.get("SharedFunctionalGroupsSequence") or ()
    for group in (*frames[frame : frame + 1], *shared[:1]):
        if found := group.get(sequence):
            functional: Dataset = found[0]
            return functional
    return dataset


def _orientation(dataset: Dataset) -> tuple[float, ...] | None:
    values = _values(dataset, "ImageOrientationPatient")
    return tuple(float(value) for value in values) if len(values) == 6 else None


def _values(dataset: Mapping[str, Any] | Dataset, keyword: str) -> list[Any]:
    """The values of an element as a list, however many it has."""
    value = dataset.get(keyword)
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, list | tuple) or hasattr(value, "append") else [value]


def _text(dataset: Dataset, keyword: str) -> str:
    value = dataset.get(keyword)
    return "" if value is None else str(value).strip()


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """What pydicom and its codecs raise on bad files, as an UnreadableFile. Their warnings quote values: silenced."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UnreadableFile:
        raise
    except EOFError as error:
        raise UnreadableFile(path, Reason.TRUNCATED, "ends early; copy it again from its source") from error
    except (InvalidDicomError, BytesLengthException) as error:
        raise UnreadableFile(path, Reason.CORRUPT, "is not a well-formed DICOM file") from error
    except (ValueError, TypeError, AttributeError, LookupError, RuntimeError, OSError, struct.error) as error:
        raise UnreadableFile(
            path, Reason.CORRUPT, f"its header or pixels contradict themselves ({type(error).__name__}); copy it again"
        ) from error
    finally:
        logger.setLevel(level)
