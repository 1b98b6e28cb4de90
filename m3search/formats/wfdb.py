"""WFDB records: a text header (.hea) beside its signal files (.dat, .mat, ...), as PhysioNet publishes them.

Headers are parsed in `wfdb_header.py`. Samples are decoded by the wfdb library, a stretch of time at once, so that a
24 h record never fills the memory.
Source: WFDB Applications Guide, signal(5), https://physionet.org/physiotools/wag/.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from m3search.errors import Reason, UnreadableFile
from m3search.formats.storage import blame
from m3search.formats.wfdb_header import DEFAULT_GAIN, Channel, RecordHeader, identifiers_of, parse, split, text_of
from m3search.types import Header

if TYPE_CHECKING:
    from m3search.types import Float32

MAX_VALUES = 1 << 28  # samples decoded at once: 1 GiB as float32
BITS_PER_SAMPLE = {
    "8": 8, "16": 16, "24": 24, "32": 32, "61": 16, "80": 8, "160": 16, "212": 12, "310": 32 / 3, "311": 32 / 3,
}  # fmt: skip
COMPRESSED = ("508", "516", "524")  # FLAC: the size of the file says nothing about its length


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
    lines = split(text_of(head))[0]
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


def named_in(path: Path) -> tuple[str, ...]:
    """The files that a header speaks of, by name, there or not: of signals, or the headers of its segments.

    Raises:
        UnreadableFile: EMPTY, CORRUPT, TRUNCATED, TOO_LARGE.
    """
    record = parse(path)
    segments = (f"{name}.hea" for name, _ in record.segments if name != "~")
    return tuple(dict.fromkeys([*segments, *(channel.file for channel in record.channels if channel.file != "~")]))


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
    record = parse(path)
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
        if parse(segment_path).segments:
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
