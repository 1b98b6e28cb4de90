"""EDF, EDF+ and BDF records, as Holter recorders and sleep laboratories write them (https://www.edfplus.info/specs).

edfio reads them, a stretch of time at once: the samples of an EDF file are mapped, not loaded. A record with
interruptions (EDF+D) is refused: its samples would seem to follow each other.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from m3search.errors import Reason, UnreadableFile
from m3search.formats.limits import LIMITS, require_readable
from m3search.formats.quiet import quiet
from m3search.formats.storage import blame
from m3search.formats.wfdb import Signal
from m3search.privacy import PLACEHOLDERS
from m3search.types import Header

if TYPE_CHECKING:
    import edfio

EDF_VERSION, BDF_VERSION = b"0       ", b"\xffBIOSEMI"  # the first field of 8 characters
HEADER_BYTES = 256  # of the record, and again of each signal
SIGNALS_AT, RECORDS_AT = slice(252, 256), slice(236, 244)
MOST_SIGNALS = 2048
SUFFIXES = frozenset({".edf", ".bdf"})
UNKNOWN = "X"  # stands in an EDF+ header for what is not told
SHORTEST_NAME = 3  # characters; initials would mask half of all paths


def sniff(path: Path, head: bytes) -> bool:
    """By the version and the number of signals, which the length of the header repeats; or by the suffix."""
    if path.suffix.lower() in SUFFIXES:
        return True
    declared = head[184:192].strip()
    signals = head[SIGNALS_AT].strip()
    return (
        head[:8] in (EDF_VERSION, BDF_VERSION)
        and declared.isdigit()
        and signals.isdigit()
        and int(declared) == HEADER_BYTES * (1 + int(signals))
    )


def read_header(path: Path) -> Header:
    """Signals, rate, length and what is told of the person; no samples.

    `attributes`: leads, units (tuples of str), rates_hz (one per signal), seconds, year, sex, age (None if not told).

    Raises:
        UnreadableFile: EMPTY, CORRUPT, TRUNCATED, TOO_LARGE, UNSUPPORTED where it has interruptions.
    """
    record = _open(path)
    with _translated(path):
        attributes: dict[str, Any] = {
            "leads": tuple(signal.label for signal in record.signals),
            "units": tuple(_unit(signal) for signal in record.signals),
            "rates_hz": tuple(float(signal.sampling_frequency) for signal in record.signals),
            "seconds": float(record.duration),
            "year": _year(record),
            **_person(record),
        }
        if not attributes["seconds"] > 0 or not all(rate > 0 for rate in attributes["rates_hz"]):
            raise UnreadableFile(path, Reason.CORRUPT, "declares no samples, or a rate that is not positive")
        return Header(path, "edf", attributes, identifiers=_identifiers(record))


def read(header: Header, start: float = 0.0, seconds: float | None = None, channels: Sequence[int] = ()) -> Signal:
    """Decode from `start` for `seconds` (None: to the end), of the channels numbered (none: of all).

    Slower signals are repeated up to the rate of the fastest one read.

    Raises:
        UnreadableFile: TOO_LARGE where the stretch would not fit; CORRUPT where decoding fails.
    """
    path, attributes = header.path, header.attributes
    numbers = list(channels) or list(range(len(attributes["leads"])))
    rates = [attributes["rates_hz"][number] for number in numbers]
    rate = max(rates)
    end = attributes["seconds"] if seconds is None else min(start + seconds, attributes["seconds"])
    length = max(1, round((end - start) * rate))
    LIMITS.check_bytes(path, length * len(numbers) * 8)
    record = _open(path)
    data = np.full((len(numbers), length), np.nan, dtype=np.float32)
    with _translated(path):
        for row, number, own in zip(data, numbers, rates, strict=True):
            signal = record.signals[number]
            first = round(start * own)
            last = min(
                first + max(1, round((end - start) * own)), signal.samples_per_data_record * record.num_data_records
            )
            samples = signal.get_data_slice(first / own, last / own)  # reads only the data records that hold them
            row[:] = samples[(np.arange(length) * own / rate).astype(np.int64).clip(0, len(samples) - 1)]
    return Signal(
        leads=tuple(attributes["leads"][number] for number in numbers),
        units=tuple(attributes["units"][number] for number in numbers),
        rate_hz=rate,
        data=data,
    )


def _open(path: Path) -> edfio.Edf | edfio.Bdf:
    import edfio

    require_readable(path)
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    if len(head) < HEADER_BYTES:
        raise UnreadableFile(path, Reason.TRUNCATED, "ends within its header; copy it again from its source")
    if head[:8] not in (EDF_VERSION, BDF_VERSION):
        raise UnreadableFile(path, Reason.CORRUPT, "is named like an EDF file, but its content is something else")
    with _translated(path):
        if not 0 < int(head[SIGNALS_AT]) <= MOST_SIGNALS:
            raise UnreadableFile(path, Reason.CORRUPT, "declares a number of signals that cannot be")
        declared = int(head[RECORDS_AT])
        if head.startswith(BDF_VERSION):
            LIMITS.check_bytes(path, 4 * path.stat().st_size)  # not mapped: 24 bits become 64
            record: edfio.Edf | edfio.Bdf = edfio.read_bdf(path, header_encoding="latin-1")
        else:
            record = edfio.read_edf(path, header_encoding="latin-1")
        if record.num_data_records < declared:
            held = f"{record.num_data_records} of {declared} data records"
            raise UnreadableFile(path, Reason.TRUNCATED, f"holds {held}; copy it again from its source")
        if "+D" in record.reserved and not record.is_continuous:
            raise UnreadableFile(
                path, Reason.UNSUPPORTED, "was recorded with interruptions (EDF+D): split it into continuous files"
            )
        return record


def _unit(signal: Any) -> str:
    """As written; "" where the range says nothing: then samples are not calibrated."""
    low, high = signal.physical_range
    return str(signal.physical_dimension) if low != high and signal.digital_min != signal.digital_max else ""


def _year(record: edfio.Edf | edfio.Bdf) -> int | None:
    try:
        return record.startdate.year
    except ValueError:  # anonymised
        return None


def _person(record: edfio.Edf | edfio.Bdf) -> dict[str, Any]:
    """Sex and age of an EDF+ header; EDF's has free text there, in which only identifiers are looked for."""
    fields = record.local_patient_identification.split()
    sex = fields[1] if len(fields) > 1 and fields[1] in ("F", "M") else ""
    age = None
    try:
        birth = record.patient.birthdate
        today: datetime.date = record.startdate
        age = today.year - birth.year - ((today.month, today.day) < (birth.month, birth.day))
    except (ValueError, LookupError):
        pass
    return {"sex": sex, "age": age if age is not None and 0 <= age < 130 else None}


def _identifiers(record: edfio.Edf | edfio.Bdf) -> tuple[str, ...]:
    """Every word of the two fields that describe person and recording, but the words that EDF+ prescribes."""
    found: dict[str, None] = {}
    for field in (record.local_patient_identification, record.local_recording_identification):
        for word in field.split():
            parts = (word.replace("_", " "), *word.split("_"))
            found.update(dict.fromkeys(part for part in parts if len(part) >= SHORTEST_NAME))
    return tuple(word for word in found if word.casefold() not in {*PLACEHOLDERS, "startdate"})


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """What edfio raises on damaged files, as an UnreadableFile. Its warnings quote headers: silenced."""
    try:
        with quiet("edfio"):
            yield
    except UnreadableFile:
        raise
    except (
        ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError, NameError, StopIteration,
        OSError, AssertionError,
    ) as error:  # fmt: skip
        damaged = UnreadableFile(path, Reason.CORRUPT, "is not a well-formed EDF file; copy it again from its source")
        raise blame(error, damaged) from error
