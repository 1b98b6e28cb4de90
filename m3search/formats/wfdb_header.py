"""The text header of a WFDB record (.hea): what it says of signals, segments and the person.

Parsed here, without importing the wfdb library, because planning reads every header of an archive, because the library
drops the µ of "µV", and because paths named in a header must be judged before anything opens them.
Source: WFDB Applications Guide, header(5), https://physionet.org/physiotools/wag/.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath

from m3search.errors import Reason, UnreadableFile
from m3search.formats.limits import require_readable
from m3search.privacy import PLACEHOLDERS

DEFAULT_GAIN = 200.0  # ADC units per physical unit where a header states none (header(5))
DEFAULT_RATE_HZ = 250.0
MAX_HEADER_BYTES = 8 << 20  # a month of one-minute segments is a tenth of this

_RECORD_LINE = re.compile(
    r"(?P<name>[^\s/]+)(?:/(?P<segments>\d{1,12}))?\s+(?P<signals>\d{1,12})"
    r"(?:\s+(?P<rate>[\d.]+(?:[eE][+-]?\d+)?)(?:/\S*)?(?:\s+(?P<frames>\d{1,15})(?:\s+(?P<rest>.*))?)?)?\s*$"
)
_FORMAT = re.compile(
    r"(?P<format>\d{1,4})(?:x(?P<per_frame>\d{1,6}))?(?::(?P<skew>\d{1,9}))?(?:\+(?P<offset>\d{1,15}))?$"
)
_GAIN = re.compile(r"(?P<gain>-?\d*\.?\d*(?:[eE][+-]?\d+)?)(?:\((?P<baseline>-?\d+)\))?(?:/(?P<units>\S+))?$")
_DATE = re.compile(r"\b\d{1,2}/\d{1,2}/(?P<year>\d{4})\b")

# Comments that people and recorders write about a person or about staff: "# Name: …", "# MRN: …".
_PERSONAL = re.compile(
    r"(?P<what>(?:patient\W*|sur|first\W*|last\W*|full\W*)?name|patient|(?:patient\W*|record\W*|case\W*)?id|mrn|ssn|dob|"
    r"(?:date of )?birth\w*|accession\w*|(?:referring |attending |reading )?(?:physician|doctor|cardiologist)|operator|"
    r"technician|hospital|institution|address|phone|tel(?:ephone)?|e-?mail)\W*[:=]\s*(?P<value>.+)",
    re.IGNORECASE,
)
_ROLE = re.compile(r"(?:operator|technician|physician|doctor|dr|prof|phone|tel|mrn|id)\b[.:\s]*", re.IGNORECASE)
SHORTEST_NAME = 3  # characters; initials would mask half of all paths


@dataclass(frozen=True, slots=True)
class Channel:
    """One signal line of a header."""

    name: str  # "" where the header states none
    units: str  # as written; "mV" where nothing is (header(5))
    file: str  # "~" in a layout header: no samples
    format: str
    per_frame: int  # samples per frame
    offset: int  # bytes before the first sample
    gain_stated: bool


@dataclass(frozen=True, slots=True)
class RecordHeader:
    """A .hea file. `channels` of a multi-segment record come from its layout or its first segment."""

    frame_rate_hz: float
    frames: int
    channels: tuple[Channel, ...]
    segments: tuple[tuple[str, int], ...] = ()  # (record name or "~" for a gap, frames); of 0 frames: the layout
    frames_stated: bool = True  # else taken from the size of the signal file
    year: int | None = None  # of the recording, if stated
    comments: tuple[str, ...] = ()  # may hold diagnoses and PHI: in memory only


def parse(path: Path) -> RecordHeader:
    """A .hea file as written.

    Raises:
        UnreadableFile: EMPTY, CORRUPT, TRUNCATED, TOO_LARGE.
    """
    require_readable(path)
    if path.stat().st_size > MAX_HEADER_BYTES:
        raise UnreadableFile(path, Reason.TOO_LARGE, "is far larger than any WFDB header")
    lines, comments = split(text_of(path.read_bytes()))
    match = _RECORD_LINE.match(lines[0]) if lines else None
    if match is None:
        raise UnreadableFile(
            path, Reason.CORRUPT, "does not begin with a WFDB record line; is it another kind of .hea?"
        )
    rate = float(match["rate"] or DEFAULT_RATE_HZ)
    if not 0 < rate < math.inf:
        raise UnreadableFile(path, Reason.CORRUPT, "states a sampling rate that is not positive")
    count = int(match["segments"] or match["signals"])
    body = lines[1 : 1 + count]
    if len(body) < count:
        raise UnreadableFile(path, Reason.TRUNCATED, f"announces {count} signals or segments and lists {len(body)}")
    date = _DATE.search(match["rest"] or "")
    record = RecordHeader(
        frame_rate_hz=rate,
        frames=int(match["frames"] or 0),
        channels=(),
        year=int(date["year"]) if date else None,
        comments=comments,
    )
    if match["segments"]:
        return replace(record, segments=tuple(_parse_segment(path, line) for line in body))
    return replace(record, channels=tuple(_parse_channel(path, line) for line in body))


def identifiers_of(comments: Sequence[str]) -> tuple[str, ...]:
    """What comments state of a person or of staff: whole values, their parts, and the words of names."""
    found: dict[str, None] = {}
    for comment in comments:
        if stated := _PERSONAL.match(comment):
            is_name = not re.match(r"\W*(?:address|hospital|institution)", stated["what"], re.IGNORECASE)
            for part in (stated["value"], *re.split(r"[,;]", stated["value"])):
                plain = _ROLE.sub("", part.strip(), count=1)
                found[plain] = None
                found.update(dict.fromkeys(plain.split() if is_name and plain.replace(" ", "").isalpha() else ()))
    return tuple(one for one in found if len(one) >= SHORTEST_NAME and one.casefold() not in PLACEHOLDERS)


def _parse_channel(path: Path, line: str) -> Channel:
    """FILE FORMAT[xSPF][:SKEW][+OFFSET] [GAIN[(BASELINE)][/UNITS] [RES [ZERO [INIT [SUM [BLOCK [DESCRIPTION]]]]]]]"""
    fields = line.split(None, 8)
    layout = _FORMAT.match(fields[1]) if len(fields) > 1 else None
    gain = _GAIN.match(fields[2]) if len(fields) > 2 else None
    if layout is None or (len(fields) > 2 and gain is None):
        raise UnreadableFile(path, Reason.CORRUPT, "has a signal line that WFDB does not define")
    stated = gain is not None and _is_number(gain["gain"]) and float(gain["gain"]) != 0
    return Channel(
        name=fields[8].strip() if len(fields) > 8 else "",
        units=(gain["units"] if gain else None) or "mV",
        file=_inside(path, fields[0]),
        format=layout["format"],
        per_frame=max(1, int(layout["per_frame"] or 1)),
        offset=int(layout["offset"] or 0),
        gain_stated=stated,
    )


def _parse_segment(path: Path, line: str) -> tuple[str, int]:
    name, _, length = line.partition(" ")
    if not length.strip().isdigit():
        raise UnreadableFile(path, Reason.CORRUPT, "has a segment line that WFDB does not define")
    return _inside(path, name), int(length)


def _inside(path: Path, name: str) -> str:
    """`name`, unless it leads out of the header's folder: a header from elsewhere must not make us open any file."""
    for flavour in (PurePosixPath(name), PureWindowsPath(name)):
        if flavour.is_absolute() or flavour.drive or len(flavour.parts) != 1 or ".." in flavour.parts or ":" in name:
            raise UnreadableFile(
                path,
                Reason.CORRUPT,
                "names a signal file outside its own folder, which is not opened; correct the header",
            )
    return name


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def text_of(raw: bytes) -> str:
    """A header's bytes, or the first of them, as text."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")  # also where `head` ends inside a character


def split(text: str) -> tuple[list[str], tuple[str, ...]]:
    """Lines that count, and comments without their #."""
    lines = [line.strip() for line in text.splitlines()]
    comments = tuple(line.lstrip("#").strip() for line in lines if line.startswith("#"))
    return [line for line in lines if line and not line.startswith("#")], comments
