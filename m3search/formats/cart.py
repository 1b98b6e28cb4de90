"""Files of ECG carts: SCP-ECG (EN 1064), HL7 aECG and GE MUSE XML, each a resting ECG of some seconds.

ecgdatakit parses them, XML through defusedxml. Such a file is small, so it is read whole, the header with the samples.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from m3search.errors import Reason, UnreadableFile
from m3search.formats.limits import require_readable
from m3search.formats.quiet import quiet
from m3search.formats.storage import blame
from m3search.formats.wfdb import Signal
from m3search.privacy import PLACEHOLDERS
from m3search.types import Header

if TYPE_CHECKING:
    from ecgdatakit import ECGRecord
    from ecgdatakit.models import Lead

KINDS = {  # by what their files begin with: the everyday name, and the parser
    "scp": ("SCP-ECG", "ecgdatakit.parsing.parsers.scp_ecg", "SCPECGParser"),
    "aecg": ("HL7 aECG", "ecgdatakit.parsing.parsers.hl7_aecg", "HL7aECGParser"),
    "muse": ("MUSE XML", "ecgdatakit.parsing.parsers.ge_muse_xml", "GEMuseXMLParser"),
}
SCP_MAGIC, SCP_MAGIC_AT = b"SCPECG", 16  # in the header of section 0; some old writers leave it out
SCP_SUFFIX = ".scp"
AECG = re.compile(r"<(?:[A-Za-z_][\w.-]*:)?AnnotatedECG\b")
MUSE = re.compile(r"<RestingECG[\s>]")
MOST_BYTES = 64 << 20  # of a file: an hour of twelve leads as decimal text
SHORTEST_NAME = 3  # characters; initials would mask half of all paths


def sniff(path: Path, head: bytes) -> bool:
    """By the magic word of SCP-ECG, by the root element of the XML kinds, or by the suffix .scp."""
    return _kind(head) is not None or path.suffix.lower() == SCP_SUFFIX


def read_header(path: Path) -> Header:
    """Everything of a file.

    `attributes`: leads, units (tuples of str), rate_hz, seconds, year, sex, age (None if not told), text (what the
    interpretation states), notes, container, signal (`Signal`).

    Raises:
        UnreadableFile: EMPTY, CORRUPT (also where a checksum does not fit), TOO_LARGE, UNSUPPORTED.
    """
    kind, record = _parse(path)
    with _translated(path):
        chosen, rate = _alike(record)
        if not chosen:
            raise UnreadableFile(path, Reason.CORRUPT, "holds no samples")
        signal = _signal(chosen, rate)
        notes = [f"{len(record.leads) - len(chosen)} leads of other rates left out"] * (len(record.leads) > len(chosen))
        attributes: dict[str, Any] = {
            "leads": signal.leads,
            "units": signal.units,
            "rate_hz": rate,
            "seconds": signal.data.shape[1] / rate,
            "year": record.recording.date.year if record.recording.date else None,
            "sex": record.patient.sex if record.patient.sex in ("F", "M") else "",
            "age": record.patient.age,
            "text": "\n".join(
                dict.fromkeys(filter(None, (_sentence(one) for one in record.interpretation.statements)))
            ),
            "notes": tuple(notes),
            "container": KINDS[kind][0],
            "signal": signal,
        }
        return Header(path, "cart", attributes, identifiers=_identifiers(record))


def read(header: Header) -> Signal:
    """The rhythm, in the units of the file. Averaged beats are left out."""
    signal: Signal = header.attributes["signal"]
    return signal


def _kind(head: bytes) -> str | None:
    if head[SCP_MAGIC_AT : SCP_MAGIC_AT + len(SCP_MAGIC)] == SCP_MAGIC or _is_scp_without_magic(head):
        return "scp"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start == b"<" or head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = head.decode("utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8", "ignore")
        return "aecg" if AECG.search(text) else "muse" if MUSE.search(text) else None
    return None


def _is_scp_without_magic(head: bytes) -> bool:
    """Section 0 at byte 7, of whole pointers, the first of which points to itself (EN 1064, 5.3.3)."""
    if len(head) < 32 or head[8:10] != b"\0\0":
        return False
    length, first, at = (struct.unpack_from("<I", head, place)[0] for place in (10, 24, 28))
    return length >= 26 and (length - 16) % 10 == 0 and first == length and at == 7 and head[22:24] == b"\0\0"


def _parse(path: Path) -> tuple[str, ECGRecord]:
    from importlib import import_module

    require_readable(path)
    if path.stat().st_size > MOST_BYTES:
        raise UnreadableFile(path, Reason.TOO_LARGE, f"is larger than any resting ECG ({MOST_BYTES >> 20} MiB)")
    raw = path.read_bytes()
    kind = _kind(raw[:4096])
    if kind is None:
        raise UnreadableFile(path, Reason.CORRUPT, "is named like an SCP-ECG file, but its content is something else")
    if kind == "scp":
        _check_scp(path, raw)
    _, module, parser = KINDS[kind]
    with _translated(path):
        record: ECGRecord = getattr(import_module(module), parser)().parse(path)
    if record.raw_metadata.get("checksum_valid") is False:
        raise UnreadableFile(path, Reason.CORRUPT, "does not fit its checksum; copy it again from its source")
    return kind, record


def _check_scp(path: Path, raw: bytes) -> None:
    """Refuse a file that is cut, or whose leads declare more samples than bits: they would be made room for."""
    declared = int.from_bytes(raw[2:6], "little")
    if declared > len(raw):
        held = f"{100 * len(raw) // declared}% of the bytes it declares"
        raise UnreadableFile(path, Reason.TRUNCATED, f"holds {held}; copy it again from its source")
    pointers = range(22, min(6 + int.from_bytes(raw[10:14], "little"), len(raw)) - 9, 10)
    for at in pointers:
        section, length, place = struct.unpack_from("<HII", raw, at)
        if section == 3:
            body = raw[place - 1 + 16 : place - 1 + length]
            for lead in range(2, len(body) - 8, 9):
                first, last = struct.unpack_from("<II", body, lead)
                if last - first >= 8 * len(raw):
                    raise UnreadableFile(path, Reason.TOO_LARGE, "declares more samples than it has bits")


def _alike(record: ECGRecord) -> tuple[list[Lead], float]:
    """The leads of the commonest rate, and the rate: as stated, where the library rounds it."""
    rates = Counter(lead.sampling_rate for lead in record.leads if len(lead.samples) and lead.sampling_rate > 0)
    if not rates:
        return [], 0.0
    rate = rates.most_common(1)[0][0]
    exact = (record.raw_metadata.get("rhythm_time") or {}).get("sampling_rate_exact", 0.0)
    return [lead for lead in record.leads if lead.sampling_rate == rate], float(exact if round(exact) == rate else rate)


def _signal(leads: list[Lead], rate: float) -> Signal:
    """Leads by lead, NaN behind those that are shorter; without a stated unit as they are stored, of unit ""."""
    data = np.full((len(leads), max(len(lead.samples) for lead in leads)), np.nan, dtype=np.float32)
    units = []
    for row, lead in zip(data, leads, strict=True):
        scaled = lead.to_physical() if lead.resolution_unit and lead.resolution else lead
        row[: len(scaled.samples)] = scaled.samples
        units.append(scaled.units)
    return Signal(tuple(lead.label for lead in leads), tuple(units), rate, data)


def _sentence(statement: tuple[str, str]) -> str:
    return ": ".join(part.strip() for part in statement if part.strip())


def _identifiers(record: ECGRecord) -> tuple[str, ...]:
    """What names the person, and staff, of which interpretations make mention ("Confirmed by …")."""
    person, recording = record.patient, record.recording
    born = person.birth_date
    whole = [
        person.patient_id, person.first_name, person.last_name, f"{person.first_name} {person.last_name}",
        recording.technician, recording.referring_physician, record.interpretation.interpreter,
        recording.device.institution, *((f"{born:%Y%m%d}", f"{born:%Y-%m-%d}") if born else ()),
        *(str(record.raw_metadata.get(key) or "") for key in SECRETS),
    ]  # fmt: skip
    names = [word for name in whole[:7] for word in re.split(r"[\s,^]+", name)]
    found = dict.fromkeys(one.strip() for one in (*whole, *names))
    return tuple(one for one in found if len(one) >= SHORTEST_NAME and one.casefold() not in PLACEHOLDERS)


# Of what ecgdatakit keeps as it found it: further names and ids.
SECRETS = (
    "second_last_name", "confirming_physician", "SecondaryID", "OrderingMDID", "OrderingMDLastName",
    "OrderingMDFirstName", "document_id",
)  # fmt: skip


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """What ecgdatakit raises on damaged files, as an UnreadableFile. Its warnings and messages may quote: left out."""
    from ecgdatakit.exceptions import ECGDataKitError, UnsupportedFormatError

    try:
        with quiet("ecgdatakit"):
            yield
    except UnreadableFile:
        raise
    except UnsupportedFormatError as error:
        raise UnreadableFile(path, Reason.UNSUPPORTED, "is compressed or stored in a way that is not read") from error
    except (
        ECGDataKitError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError, OSError,
        struct.error, zlib.error, AssertionError,
    ) as error:  # fmt: skip
        damaged = UnreadableFile(path, Reason.CORRUPT, "is not a well-formed file of an ECG cart; export it again")
        raise blame(error, damaged) from error
