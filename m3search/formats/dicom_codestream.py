"""Compressed DICOM frames before they are decoded: whether they are whole, and as large as the header says.

Decoders believe the compressed stream. One that declares another size than Rows and Columns would be decoded to what it
declares (a decompression bomb), or be cut to size and show something else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from m3search.errors import Reason, UnreadableFile

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

JPEG_START = b"\xff\xd8"
JPEG_END = b"\xff\xd9"
# CharLS, which all JPEG-LS decoders share, takes 20 s to notice that 4 KB end early; that of 12-bit JPEG never does.
END_NEEDED = {"1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"}
# Frame headers, which hold the size: SOF0 to SOF15 (ITU-T T.81 B.2.2; C4, C8 and CC are others), SOF55 (T.87 C.2.2).
FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})  # markers that stand alone
CODESTREAM_2000 = re.compile(rb"\xff\x4f\xff\x51.{4}(.{4})(.{4})(.{4})(.{4})", re.DOTALL)  # T.800 A.5.1: SOC, SIZ
WRAPPED_WITHIN = (
    4096  # a JPEG 2000 codestream begins here at the latest: some writers keep the boxes of a .jp2 around it
)
PADDING = 64  # what may follow the end marker
COMPONENTS_AT = 40  # bytes from the start of a JPEG 2000 codestream to its number of components (A.5.1)
COD, SOT = 0xFF52, 0xFF90  # coding style; first tile, where the main header ends (A.6.1, A.4.2)


@dataclass(frozen=True, slots=True)
class Coding2000:
    """What the main header of a JPEG 2000 codestream says of its samples (ITU-T T.800 A.5.1, A.6.1)."""

    components: int
    bits: int  # of the first component
    signed: bool
    halvings: int  # how often its sides can be halved by leaving wavelets out
    whole: bool  # whether its end is there


def check_frame(path: Path, dataset: Dataset, frame: int) -> None:
    """Refuse a compressed frame that is cut short, or whose size is not that of the header.

    Raises:
        UnreadableFile: TRUNCATED or CORRUPT.
        ValueError: there is no such frame.
    """
    stream = encoded_frame(dataset, frame)
    if dataset.file_meta.TransferSyntaxUID in END_NEEDED and JPEG_END not in stream[-PADDING:]:
        raise UnreadableFile(path, Reason.TRUNCATED, "its compressed pixels end early; copy it again from its source")
    declared, found = (int(dataset.Rows), int(dataset.Columns)), frame_size(stream)
    if found not in (None, declared):
        raise UnreadableFile(
            path,
            Reason.CORRUPT,
            "its compressed pixels have another size than its header states; export it again from its source",
        )


def frame_size(stream: bytes) -> tuple[int, int] | None:
    """Rows and columns that a JPEG, JPEG-LS or JPEG 2000 stream declares; None where it is another or does not say."""
    if stream.startswith(JPEG_START):
        return _jpeg_size(stream)
    if found := CODESTREAM_2000.search(stream, 0, WRAPPED_WITHIN):
        right, bottom, left, top = (int.from_bytes(value, "big") for value in found.groups())
        return bottom - top, right - left
    return None


def _jpeg_size(stream: bytes) -> tuple[int, int] | None:
    at = len(JPEG_START)
    while at + 9 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker == 0xFF or marker in WITHOUT_LENGTH:  # a fill byte, or nothing to skip
            at += 1 if marker == 0xFF else 2
        elif marker in FRAME_HEADERS:  # length, precision, lines, samples per line
            lines, samples = (
                int.from_bytes(stream[at + 5 : at + 7], "big"),
                int.from_bytes(stream[at + 7 : at + 9], "big"),
            )
            return (lines, samples) if lines and samples else None  # 0: stated later, by a DNL marker
        else:
            at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    return None


def coding_2000(stream: bytes) -> Coding2000 | None:
    """None for what is no JPEG 2000, or has no coding style before its first tile."""
    if (found := CODESTREAM_2000.search(stream, 0, WRAPPED_WITHIN)) is None:
        return None
    at = found.start()
    components, sample = int.from_bytes(stream[at + COMPONENTS_AT :][:2], "big"), stream[at + COMPONENTS_AT + 2]
    at += len(JPEG_START)
    while at + 4 <= len(stream) and (marker := int.from_bytes(stream[at : at + 2], "big")) != SOT:
        if marker == COD and at + 9 < len(stream):
            whole = JPEG_END in stream[-PADDING:]  # the end marker is that of JPEG
            return Coding2000(components, (sample & 0x7F) + 1, bool(sample & 0x80), stream[at + 9], whole)
        at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    return None


def encoded_frame(dataset: Dataset, frame: int) -> bytes:
    """The compressed stream of one frame.

    Raises:
        ValueError: there is no such frame.
    """
    from pydicom.encaps import get_frame

    offsets = None
    if "ExtendedOffsetTable" in dataset and "ExtendedOffsetTableLengths" in dataset:
        offsets = (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths)
    count = int(dataset.get("NumberOfFrames") or 1)
    return get_frame(dataset.PixelData, frame, extended_offsets=offsets, number_of_frames=count)
