"""WFDB records: a text header (.hea) beside its signal files (.dat, .mat, ...), as PhysioNet publishes them.

The header is parsed here, without importing the wfdb library, because planning reads every header of an archive,
because the library drops the µ of "µV", and because paths named in a header must be judged before anything opens them.
Samples are decoded by the library, a stretch of time at once, so that a 24 h record never fills the memory.
Source: WFDB Applications Guide, header(5) and signal(5), https://physionet.org/physiotools/wag/.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import numpy as np

from m3search.errors import Reason, UnreadableFile
from m3search.formats.limits import require_readable
from m3search.formats.storage import blame
from m3search.privacy import PLACEHOLDERS
from m3search.types import Header

if TYPE_CHECKING:
    from m3search.types import Float32

DEFAULT_GAIN = 200.0  # ADC units per physical unit where a header states none (header(5))
DEFAULT_RATE_HZ = 250.0
MAX_HEADER_BYTES = 8 << 20  # a month of one-minute segments is a tenth of this
MAX_VALUES = 1 << 28  # samples decoded at once: 1 GiB as float32
BITS_PER_SAMPLE = {
    "8": 8, "16": 16, "24": 24, "32": 32, "61": 16, "80": 8, "160": 16, "212": 12, "310": 32 / 3, "311": 32 / 3,
}  # fmt: skip
COMPRESSED = ("508", "516", "524")  # FLAC: the size of the file says nothing about its length

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


@dataclass(frozen=True, slots=True, eq=False)
class Signal:
    """A stretch of a record in physical units."""

    leads: tuple[str, ...]
    units: tuple[str, ...]  # one per lead, as written in the header
    rate_hz: float
    data: Float32  # (leads, T), NaN where a sample is missing


def sniff(path: Path, head: bytes) -> bool:
    """True for a .hea file, also a damaged one.

    The layout of a multi-segment record (its signals lie in file "~") is no record: its master header speaks for it.
    """
    if path.suffix.lower() != ".hea":
        return False
    lines = _split(_text_of(head))[0]
    is_layout = len(lines) > 1 and all(line.startswith("~ ") for line in lines[1:])
    return not is_layout


def read_header(path: Path) -> Header:
    """Leads, rate, length and comments; the files that hold the samples are the companions.

    `attributes`: leads, units (tuples of str), rate_hz (of the fastest signal), seconds, year, comments, notes (what is
    assumed about the signals), record (`RecordHeader`).

    Raises:
        UnreadableFile: EMPTY, CORRUPT, TRUNCATED; MISSING_FILE names the file; UNSUPPORTED where there are no signals.
    """
    record, companions = _read_record(path)
    seconds = record.frames / record.frame_rate_hz
    attributes: dict[str, Any] = {
        "leads": tuple(channel.name for channel in record.channels),
        "units": tuple(channel.units for channel in record.channels),
        "rate_hz": record.frame_rate_hz * max(channel.per_frame for channel in record.channels),
        "seconds": seconds,
        "year": record.year,
        "comments": record.comments,
        "notes": _notes(record),
        "record": record,
    }
    return Header(
        path=path, format="wfdb", attributes=attributes, companions=companions,
        identifiers=identifiers_of(record.comments),
    )  # fmt: skip


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


def read(
    header: Header, start: float = 0.0, seconds: float | None = None, channels: Sequence[int] | None = None
) -> Signal:
    """Decode from `start` for `seconds` (None: to the end), of all channels or those numbered.

    Signals with fewer samples per frame than the fastest one read are repeated up to its rate.

    Raises:
        UnreadableFile: TOO_LARGE where the stretch would not fit; CORRUPT or TRUNCATED where decoding fails.
    """
    record: RecordHeader = header.attributes["record"]
    numbers = list(range(len(record.channels))) if channels is None else list(channels)
    first = min(max(0, round(start * record.frame_rate_hz)), record.frames - 1)
    last = (
        record.frames if seconds is None else min(record.frames, first + max(1, round(seconds * record.frame_rate_hz)))
    )
    chosen = [record.channels[number] for number in numbers]
    per_frame = max(channel.per_frame for channel in chosen)
    decoded_to = last if record.frames_stated else record.frames  # see _decode
    if (decoded_to - first) * per_frame * len(chosen) > MAX_VALUES:
        raise UnreadableFile(
            header.path, Reason.TOO_LARGE, "declares more samples at once than fit; read it in windows"
        )
    return Signal(
        leads=tuple(channel.name for channel in chosen),
        units=tuple(channel.units for channel in chosen),
        rate_hz=record.frame_rate_hz * per_frame,
        data=_read_frames(header.path, record, first, last, numbers),
    )


def _read_frames(path: Path, record: RecordHeader, first: int, last: int, numbers: Sequence[int]) -> Float32:
    """float32 (channels, (last - first) * samples per frame of the fastest), physical units, NaN in gaps."""
    per_frame = max(record.channels[number].per_frame for number in numbers)
    if not record.segments:
        columns = _decode(path, record, first, last, list(numbers))
        return np.stack([_at_rate(column, (last - first) * per_frame) for column in columns])
    data = np.full((len(numbers), (last - first) * per_frame), np.nan, dtype=np.float32)
    begin = 0
    for name, length in record.segments:
        start, stop = max(first, begin), min(last, begin + length)
        if start < stop and name != "~":
            segment_path = path.parent / f"{name}.hea"
            segment, _ = _read_record(segment_path)
            places = {
                row: place for row, number in enumerate(numbers) if (place := _place_in(segment, record, number)) >= 0
            }
            if places:
                part = _read_frames(
                    segment_path, segment, start - begin, min(stop - begin, segment.frames), list(places.values())
                )
                stretch = slice((start - first) * per_frame, (stop - first) * per_frame)
                for row, column in zip(places, part, strict=True):
                    data[row, stretch] = _at_rate(column, (stop - start) * per_frame)
        begin += length
    return data


def _place_in(segment: RecordHeader, record: RecordHeader, number: int) -> int:
    """Where a segment has channel `number` of its record: the same place or, under a layout, by name; -1 if nowhere."""
    has_layout = record.segments[0][1] == 0
    if not has_layout:
        return number if number < len(segment.channels) else -1
    wanted = record.channels[number]
    names = [(channel.name, channel.units) for channel in segment.channels]
    return names.index((wanted.name, wanted.units)) if (wanted.name, wanted.units) in names else -1


def _notes(record: RecordHeader) -> tuple[str, ...]:
    notes = []
    if record.segments:
        notes.append(f"joined from {len(record.segments)} segments")
    if without := sum(not channel.gain_stated for channel in record.channels):
        notes.append(f"gain not stated for {without} signals: {DEFAULT_GAIN:g} ADC units per mV assumed")
    if len({channel.per_frame for channel in record.channels}) > 1:
        notes.append("signals sampled at different rates: a slower one read beside a faster one is repeated")
    return tuple(notes)


def _at_rate(column: Float32, length: int) -> Float32:
    """(n,) to (length,) by repeating each sample; n divides length except where a segment is shorter than announced."""
    if len(column) == length:
        return column
    return column[np.arange(length) * len(column) // length]


def _decode(path: Path, record: RecordHeader, first: int, last: int, channels: list[int]) -> list[Float32]:
    """One float32 column per channel of a single-segment record, in physical units, each at its own rate."""
    import wfdb

    with _decoding(path):
        # An absolute local path and no pn_dir: the library reads this disk and never the network.
        # It takes an end only where the header states the length.
        decoded = wfdb.rdrecord(
            str(path.absolute().with_suffix("")), sampfrom=first, sampto=last if record.frames_stated else None,
            channels=channels, physical=True, smooth_frames=False, return_res=32,
        )  # fmt: skip
        columns = [
            np.asarray(column[: (last - first) * record.channels[number].per_frame], dtype=np.float32)
            for number, column in zip(channels, decoded.e_p_signal, strict=True)
        ]
        if not all(len(column) for column in columns):
            raise ValueError("signals are missing")
    return columns


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """What the library raises on damaged signal files, as an UnreadableFile."""
    try:
        yield
    except (OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError) as error:
        damaged = UnreadableFile(
            path, Reason.CORRUPT, "its signal files do not match the header; copy the record again"
        )
        raise blame(error, damaged) from error


def _read_record(path: Path) -> tuple[RecordHeader, tuple[Path, ...]]:
    """The header, complete, and every file that its samples come from; segments of a multi-segment record included."""
    record = _parse(path)
    if record.segments:
        return _join_segments(path, record)
    if not record.channels:
        raise UnreadableFile(
            path, Reason.UNSUPPORTED, "a WFDB header without signals: there is nothing to search in it"
        )
    files: dict[str, list[Channel]] = {}
    for channel in record.channels:
        files.setdefault(channel.file, []).append(channel)
    lengths = [_frames_in(path, name, channels, record.frames) for name, channels in files.items() if name != "~"]
    if not record.frames and lengths:
        record = replace(record, frames=min(lengths), frames_stated=False)
        if not record.frames:
            raise UnreadableFile(path, Reason.CORRUPT, "states no length, and its signal files do not tell one")
    return record, tuple(sorted(path.parent / name for name in files if name != "~"))


def _join_segments(path: Path, master: RecordHeader) -> tuple[RecordHeader, tuple[Path, ...]]:
    """A multi-segment record takes its signals from the layout (first, zero frames long) or the first real segment."""
    names = dict.fromkeys(name for name, _ in master.segments if name != "~")
    parts: dict[str, RecordHeader] = {}
    companions: list[Path] = []
    for name in names:
        segment_path = path.parent / f"{name}.hea"
        if not segment_path.is_file():
            raise UnreadableFile(
                path, Reason.MISSING_FILE, f"its segment {name}.hea is missing; copy it beside the header"
            )
        if _parse(segment_path).segments:
            raise UnreadableFile(path, Reason.CORRUPT, f"its segment {name} has segments itself, which WFDB forbids")
        parts[name], files = _read_record(segment_path)
        companions += [segment_path, *files]
    if not parts:
        raise UnreadableFile(path, Reason.UNSUPPORTED, "a WFDB record of gaps only: there is nothing to search in it")
    channels = parts[next(iter(names))].channels
    frames = master.frames or sum(length for _, length in master.segments)
    return replace(master, frames=frames, channels=channels), tuple(companions)


def _frames_in(path: Path, name: str, channels: Sequence[Channel], announced: int) -> int:
    """Frames that a signal file holds; checks that it is there and as long as the header announces."""
    file = path.parent / name
    if not file.is_file():
        raise UnreadableFile(path, Reason.MISSING_FILE, f"its signal file {name} is missing; copy it beside the header")
    if channels[0].format in COMPRESSED:
        return announced
    if channels[0].format not in BITS_PER_SAMPLE:
        raise UnreadableFile(path, Reason.UNSUPPORTED, f"signal format {channels[0].format} is not one of WFDB's")
    bits = BITS_PER_SAMPLE[channels[0].format] * sum(channel.per_frame for channel in channels)
    size = file.stat().st_size
    held = int((size - channels[0].offset) * 8 / bits + 1e-6)
    if size == 0:
        raise UnreadableFile(path, Reason.EMPTY, f"its signal file {name} is empty; copy it again")
    if held < announced and math.floor(announced * bits / 8) > size - channels[0].offset:
        share = f"{max(held, 0)} of {announced} samples"
        raise UnreadableFile(path, Reason.TRUNCATED, f"its signal file {name} holds {share}; copy it again")
    return held


def _parse(path: Path) -> RecordHeader:
    """A .hea file as written."""
    require_readable(path)
    if path.stat().st_size > MAX_HEADER_BYTES:
        raise UnreadableFile(path, Reason.TOO_LARGE, "is far larger than any WFDB header")
    lines, comments = _split(_text_of(path.read_bytes()))
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


def _text_of(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")  # also where `head` ends inside a character


def _split(text: str) -> tuple[list[str], tuple[str, ...]]:
    """Lines that count, and comments without their #."""
    lines = [line.strip() for line in text.splitlines()]
    comments = tuple(line.lstrip("#").strip() for line in lines if line.startswith("#"))
    return [line for line in lines if line and not line.startswith("#")], comments
