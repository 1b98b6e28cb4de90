"""Reports in DICOM: structured reports (PS3.3 A.35) and encapsulated PDF (A.45.1) as plain text.

Measurements that machines write for machines (dose, CAD marks, key objects) are none: nobody reads them as sentences.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m3search.errors import Reason, UnreadableFile
from m3search.formats.dicom import identifiers_of, read_dataset, text_of, translated, values_of, words_of_name

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
STRUCTURED = frozenset(  # Basic Text, Enhanced, Comprehensive, Comprehensive 3D SR (PS3.4 B.5)
    f"1.2.840.10008.5.1.4.1.1.88.{number}" for number in (11, 22, 33, 34)
)
MOST_ITEMS = 10_000  # of a content tree
DEEPEST = 64
MOST_PAGES = 50
LONGEST = 1 << 16  # characters that are kept of one report


@dataclass(frozen=True, slots=True)
class Report:
    """The words of a report, with everything that may name a person still in them: in memory only."""

    text: str = field(repr=False)
    identifiers: tuple[str, ...] = field(repr=False)  # of the header and of the names in the content


def is_report(storage: str) -> bool:
    """Whether files of this SOP class are read as text."""
    return storage in STRUCTURED or storage == ENCAPSULATED_PDF


def read_report(path: Path) -> Report:
    """The text of a report, "" where it has none (a scanned page).

    Raises:
        UnreadableFile: not DICOM, no report, damaged, or a PDF that is encrypted.
    """
    dataset = read_dataset(path)
    storage = text_of(dataset, "SOPClassUID")
    if not is_report(storage):
        raise UnreadableFile(path, Reason.UNSUPPORTED, "is no report whose text is read")
    if storage == ENCAPSULATED_PDF:
        with translated(path):
            document = bytes(dataset.EncapsulatedDocument)
            identifiers = identifiers_of(dataset)
        return Report(_tidy(_text_of_pdf(path, document)), identifiers)
    with translated(path):
        lines, names = [], list(identifiers_of(dataset))
        for item, depth in _content(path, dataset):
            kind = text_of(item, "ValueType").upper()
            if kind == "PNAME":
                names += words_of_name(text_of(item, "PersonName"))
            elif line := _line(item, kind, depth):
                lines.append(line)
        for observer in dataset.get("VerifyingObserverSequence") or ():
            names += words_of_name(text_of(observer, "VerifyingObserverName"))
    return Report(_tidy("\n".join(lines)), tuple(dict.fromkeys(names)))


def _tidy(text: str) -> str:
    """Lines as text files have them, none of them blank, not more than are kept."""
    lines = (re.sub(r"[ \t\f\v\0]+", " ", line).strip() for line in text[:LONGEST].splitlines())
    return "\n".join(line for line in lines if line)


def _content(path: Path, dataset: Dataset) -> Iterator[tuple[Dataset, int]]:
    """Every item of the content tree in reading order, with its depth; iterative, for a tree may be deep on purpose."""
    waiting = [(item, 0) for item in reversed(dataset.get("ContentSequence") or ())]
    for _ in range(MOST_ITEMS):
        if not waiting:
            return
        item, depth = waiting.pop()
        yield item, depth
        if depth < DEEPEST:
            waiting += [(child, depth + 1) for child in reversed(item.get("ContentSequence") or ())]
    raise UnreadableFile(path, Reason.TOO_LARGE, f"holds more than {MOST_ITEMS:,} items of content")


def _line(item: Dataset, kind: str, depth: int) -> str:
    """What one item says; "" for context (who, when, in which language) and for references to images and places."""
    if text_of(item, "RelationshipType").upper() in ("HAS OBS CONTEXT", "HAS ACQ CONTEXT", "HAS CONCEPT MOD"):
        return ""
    name = _meaning(item.get("ConceptNameCodeSequence"))
    if kind == "CONTAINER":
        return f"{name}:" if name and depth == 0 else name
    if kind == "TEXT":
        value = text_of(item, "TextValue")
    elif kind == "CODE":
        value = _meaning(item.get("ConceptCodeSequence"))
    elif kind == "NUM":
        value = _measured(item)
    else:
        return ""
    return f"{name}: {value}" if name and value else value


def _measured(item: Dataset) -> str:
    measured = item.get("MeasuredValueSequence") or ()
    if not measured:
        return ""
    numbers = values_of(measured[0], "NumericValue")
    units = measured[0].get("MeasurementUnitsCodeSequence") or ()
    unit = text_of(units[0], "CodeValue") if units else ""
    return f"{numbers[0]} {'' if unit == '1' else unit}".strip() if numbers else ""


def _meaning(sequence: Any) -> str:
    return text_of(sequence[0], "CodeMeaning") if sequence else ""


def _text_of_pdf(path: Path, document: bytes) -> str:
    """The words of its first pages, by pypdf. Pages that are pictures have none."""
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    from m3search.formats.quiet import quiet

    try:
        with quiet("pypdf"):
            reader = PdfReader(io.BytesIO(document))
            if reader.is_encrypted:
                raise UnreadableFile(path, Reason.UNSUPPORTED, "its PDF is encrypted; export it without a password")
            pages = [page.extract_text() for page in reader.pages[:MOST_PAGES]]
    except UnreadableFile:
        raise
    except (PyPdfError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError, OSError,
            AssertionError) as error:  # fmt: skip
        raise UnreadableFile(path, Reason.CORRUPT, "its PDF is damaged; export it again") from error
    return "\n".join(page.strip() for page in pages)
