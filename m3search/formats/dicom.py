"""DICOM files: recognised, parsed, their headers and functional groups.

Pixels are decoded and rendered by `dicom_pixels`, waveforms read by `dicom_waveform`, whole slides by `slide_dicom`.
"""

from __future__ import annotations

import io
import logging
import os
import re
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m3search.errors import Reason, UnreadableFile
from m3search.formats.limits import LIMITS, require_readable
from m3search.formats.storage import blame
from m3search.privacy import PLACEHOLDERS
from m3search.types import Header

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


PREAMBLE_BYTES = 128  # PS3.10 7.1
META_BYTES = 1024  # the file meta information lies within
DEFLATED = (
    b"1.2.840.10008.1.2.1.99"  # transfer syntax: everything behind the meta information is compressed (PS3.5 A.5)
)
CHUNK = 1 << 20
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData", "PixelDataProviderURL")
MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"  # DICOMDIR: lists files, is none
VALUE_REPRESENTATIONS = re.compile(rb"[A-Z]{2}")

# What identifies a person, beside names: PS3.15 E.1, the attributes that a hospital writes for every examination.
IDENTIFYING = (
    "PatientID", "OtherPatientIDs", "AccessionNumber", "PatientBirthDate", "PatientTelephoneNumbers", "AdmissionID",
    "PatientAddress", "MedicalRecordLocator", "PatientTelecomInformation", "InstitutionName",
    "InstitutionAddress", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID",
)  # fmt: skip
NAMES = (
    "PatientName", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName", "ReferringPhysicianName",
    "PerformingPhysicianName", "RequestingPhysician", "NameOfPhysiciansReadingStudy", "PhysiciansOfRecord",
    "OperatorsName", "ResponsiblePerson",
)  # fmt: skip
SHORTEST_NAME = 3  # characters; initials would mask half of all paths


@dataclass(frozen=True, slots=True)
class SlicePosition:
    """Where a frame lies in the patient (PS3.3 C.7.6.2, C.7.6.16.2). None where the header does not say."""

    path: Path
    frame: int  # from 0
    position: tuple[float, float, float] | None  # millimetres, of the first pixel
    orientation: tuple[float, ...] | None  # direction cosines of rows, then of columns
    instance_number: int | None
    acquisition_number: int | None
    instance_uid: str = field(default="", repr=False)  # in memory only


def sniff(path: Path, head: bytes) -> bool:
    """DICOM by its magic word, by a first element of group 2 or 8 without preamble, or, failing both, by its suffix.

    A DICOMDIR is left out: the files that it lists are met on their own.
    """
    if path.name.upper() == "DICOMDIR" or MEDIA_DIRECTORY.encode() in head[PREAMBLE_BYTES:META_BYTES]:
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
    if dataset.file_meta.get("MediaStorageSOPClassUID") == MEDIA_DIRECTORY:  # named to be read
        raise UnreadableFile(path, Reason.UNSUPPORTED, "is a DICOMDIR: the files it lists are read, not the list")
    with translated(path):
        attributes: dict[str, Any] = {
            "Modality": text_of(dataset, "Modality"),
            "SOPClassUID": text_of(dataset, "SOPClassUID"),
            "StudyInstanceUID": text_of(dataset, "StudyInstanceUID"),
            "SeriesInstanceUID": text_of(dataset, "SeriesInstanceUID"),
            "ImageType": tuple(str(value) for value in values_of(dataset, "ImageType")),
            "ImageOrientationPatient": _orientation(dataset) or (),
            "NumberOfFrames": frame_count(dataset),
            "Rows": int(dataset.get("Rows") or 0),
            "Columns": int(dataset.get("Columns") or 0),
            "BodyPartExamined": text_of(dataset, "BodyPartExamined"),
        }
        return Header(path, "dicom", attributes, identifiers=identifiers_of(dataset))


def read_dataset(path: Path) -> Dataset:
    """The whole file, pixel data not yet decoded.

    Raises:
        UnreadableFile: not DICOM, truncated, or with more declared pixels than may be.
    """
    dataset = _parse(path, pixels=True)
    with translated(path):
        if any(keyword in dataset for keyword in PIXELS):
            _check_declared(path, dataset)
    return dataset


def read_positions(path: Path) -> list[SlicePosition]:
    """Where the frames of a file lie, from its header alone: one, or of a multi-frame file all.

    Frames that all lie in one place, or of which none says where, have no position: they follow each other in time.

    Raises:
        UnreadableFile: not DICOM, or a header that ends early.
    """
    dataset = _parse(path, pixels=False)
    with translated(path):
        count = frame_count(dataset)
        LIMITS.check_frames(path, count)
        apart = count == 1 or "PerFrameFunctionalGroupsSequence" in dataset
        positions = [frame_position(dataset, frame) if apart else None for frame in range(count)]
        known = count == 1 or len(set(positions)) > 1
        return [
            SlicePosition(
                path,
                frame,
                position if known else None,
                frame_orientation(dataset, frame),
                _integer(dataset, "InstanceNumber"),
                _integer(functional_group(dataset, frame, "FrameContentSequence"), "FrameAcquisitionNumber")
                or _integer(dataset, "AcquisitionNumber"),
                text_of(dataset, "SOPInstanceUID"),
            )
            for frame, position in enumerate(positions)
        ]


def _integer(dataset: Dataset, keyword: str) -> int | None:
    value = dataset.get(keyword)
    return None if value is None or value == "" else int(value)


class BoundedFile(io.BufferedReader):
    """A file whose end is known: pydicom asks for what an element declares, and Python reserves all of it first."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(os.fspath(path)))  # pydicom wants a name that is text
        self._end = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > CHUNK:
            size = max(0, min(size, self._end - self.tell()))
        return super().read(size)


def read_annotation(path: Path) -> dict[str, str]:
    """What the header says of text in the pixels: BurnedInAnnotation, SOPClassUID, ImageType (joined by "\\").

    Raises:
        UnreadableFile: not DICOM, or a header that ends early.
    """
    from pydicom import dcmread

    keywords = ("BurnedInAnnotation", "SOPClassUID", "ImageType")
    require_readable(path)
    with translated(path):
        dataset = dcmread(path, force=True, stop_before_pixels=True, specific_tags=list(keywords))
        return {keyword: "\\".join(map(str, values_of(dataset, keyword))) for keyword in keywords}


def frame_count(dataset: Dataset) -> int:
    """Frames of an image; 1 where the header does not say."""
    return int(dataset.get("NumberOfFrames") or 1)


def frame_position(dataset: Dataset, frame: int = 0) -> tuple[float, float, float] | None:
    """ImagePositionPatient of a frame, millimetres (PS3.3 C.7.6.2, C.7.6.16.2.3)."""
    values = values_of(functional_group(dataset, frame, "PlanePositionSequence"), "ImagePositionPatient")
    return (float(values[0]), float(values[1]), float(values[2])) if len(values) == 3 else None


def frame_orientation(dataset: Dataset, frame: int = 0) -> tuple[float, ...] | None:
    """ImageOrientationPatient of a frame: six direction cosines."""
    return _orientation(functional_group(dataset, frame, "PlaneOrientationSequence"))


def spacing(dataset: Dataset, frame: int = 0) -> float:
    """Millimetres per pixel (PixelSpacing, else ImagerPixelSpacing); 0 where unknown."""
    values = values_of(functional_group(dataset, frame, "PixelMeasuresSequence"), "PixelSpacing") or values_of(
        dataset, "ImagerPixelSpacing"
    )
    return float(values[0]) if values else 0.0


def identifiers_of(dataset: Dataset) -> tuple[str, ...]:
    """Every string of the header that identifies a person: whole values, and the words of names."""
    found: dict[str, None] = {}
    for keyword in IDENTIFYING:
        for value in values_of(dataset, keyword):
            found[str(value).strip()] = None
            if keyword.endswith("Address"):  # a town may be named without its street
                found.update(dict.fromkeys(part.strip() for part in re.split(r"[,;\n]", str(value))))
    for other in dataset.get("OtherPatientIDsSequence") or ():
        found[text_of(other, "PatientID")] = None
    for keyword in NAMES:
        for value in values_of(dataset, keyword):
            found.update(dict.fromkeys(words_of_name(str(value))))
    birth = text_of(dataset, "PatientBirthDate")
    if len(birth) == 8:
        found[f"{birth[:4]}-{birth[4:6]}-{birth[6:]}"] = None
    return tuple(one for one in found if one and one.casefold() not in PLACEHOLDERS)


def words_of_name(name: str) -> list[str]:
    """A person's name (PS3.5 6.2, value representation PN) as it stands, and each of its words."""
    return [word for word in (name, *re.split(r"[\^=\s,-]+", name)) if len(word) >= SHORTEST_NAME]


def _parse(path: Path, pixels: bool) -> Dataset:
    from pydicom import dcmread
    from pydicom.uid import ImplicitVRLittleEndian

    require_readable(path)
    with path.open("rb") as file:
        head = file.read(META_BYTES)
    has_magic = head[PREAMBLE_BYTES : PREAMBLE_BYTES + 4] == b"DICM"
    if not has_magic and not _starts_with_element(head):
        raise UnreadableFile(path, Reason.CORRUPT, "is named like a DICOM file, but its content is something else")
    with translated(path):
        if has_magic and DEFLATED in head:
            _check_inflated(path, head)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            with BoundedFile(path) as file:
                dataset = dcmread(file, force=not has_magic, stop_before_pixels=not pixels)
        # pydicom keeps what it could read of a file that ends early, and warns.
        if any("end of file" in str(warning.message).casefold() for warning in said):
            raise UnreadableFile(path, Reason.TRUNCATED, "ends early; copy it again from its source")
        if missing := _missing(dataset, pixels):
            raise UnreadableFile(path, Reason.TRUNCATED, f"ends before {missing}; copy it again from its source")
        if "TransferSyntaxUID" not in dataset.file_meta:  # a file without PS3.10 header: the default of PS3.5 10.1
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return dataset


def _missing(dataset: Dataset, pixels: bool) -> str:
    """What a file of its kind must hold and this one does not, or "": so a file looks that was cut between elements."""
    from pydicom.uid import UID

    kind = dataset.file_meta.get("MediaStorageSOPClassUID") or dataset.get("SOPClassUID")
    if kind is None and "Rows" not in dataset:
        return "it says what it is"
    name = UID(str(kind)).name
    if "Image Storage" in name and "Rows" not in dataset:
        return "its image is described"
    if pixels and "Rows" in dataset and not any(keyword in dataset for keyword in PIXELS):
        return "its pixels"
    if pixels and "Waveform Storage" in name and "WaveformSequence" not in dataset:
        return "its waveforms"
    return ""


def _check_inflated(path: Path, head: bytes) -> None:
    """Refuse a deflated file that grows beyond the limit: pydicom would inflate it whole."""
    start = PREAMBLE_BYTES + 16 + int.from_bytes(head[PREAMBLE_BYTES + 12 : PREAMBLE_BYTES + 16], "little")
    inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    with path.open("rb") as file:
        file.seek(start)  # behind the group whose length the first element states (PS3.10 7.1)
        while chunk := file.read(CHUNK):
            while chunk:
                size += len(inflater.decompress(chunk, 16 * CHUNK))
                chunk = inflater.unconsumed_tail
                LIMITS.check_bytes(path, size)
    if not inflater.eof:
        raise EOFError


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
    if dataset.get("PhotometricInterpretation") == "YBR_FULL_422":
        declared = declared * 2 // 3  # two pixels share their colours (PS3.3 C.7.6.3.1.2)
    keyword = next(keyword for keyword in PIXELS if keyword in dataset)
    if not dataset.file_meta.TransferSyntaxUID.is_compressed and keyword != "PixelDataProviderURL":
        there = len(dataset[keyword].value or b"")
        if there < declared:
            raise UnreadableFile(
                path,
                Reason.TRUNCATED,
                f"holds {100 * there // declared}% of the pixels it declares; copy it again from its source",
            )


def functional_group(dataset: Dataset, frame: int, sequence: str) -> Dataset:
    """The functional group of one frame, else the shared one, else the dataset itself (PS3.3 C.7.6.16.1)."""
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    shared = dataset.get("SharedFunctionalGroupsSequence") or ()
    for group in (*frames[frame : frame + 1], *shared[:1]):
        if found := group.get(sequence):
            functional: Dataset = found[0]
            return functional
    return dataset


def _orientation(dataset: Dataset) -> tuple[float, ...] | None:
    values = values_of(dataset, "ImageOrientationPatient")
    return tuple(float(value) for value in values) if len(values) == 6 else None


def values_of(dataset: Mapping[str, Any] | Dataset, keyword: str) -> list[Any]:
    """The values of an element as a list, however many it has."""
    value = dataset.get(keyword)
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, list | tuple) or hasattr(value, "append") else [value]


def text_of(dataset: Dataset, keyword: str) -> str:
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
    except (InvalidDicomError, BytesLengthException, zlib.error) as error:
        raise UnreadableFile(path, Reason.CORRUPT, "is not a well-formed DICOM file") from error
    except (
        ValueError, TypeError, AttributeError, LookupError, RuntimeError, ArithmeticError, AssertionError,
        OSError, struct.error,
    ) as error:  # fmt: skip
        message = f"its header or pixels contradict themselves ({type(error).__name__}); copy it again"
        raise blame(error, UnreadableFile(path, Reason.CORRUPT, message)) from error
    finally:
        logger.setLevel(level)
