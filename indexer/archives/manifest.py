"""`manifest.csv`: what a curator knows about files, beside the files.

Columns: `path` (relative to the manifest), and any of `modality`, `patient_id`, `text`, `labels` (joined by "|"),
`sex`, `view`. Unknown columns are ignored. Beside an archive's files it describes them: a file without a row is indexed
all the same, a row without a file is no matter. Given as the archive it lists them: what is absent is a failure.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from m3search.errors import UsageError
from m3search.modalities import MODALITIES

NAME = "manifest.csv"
SEX = {"f": "F", "female": "F", "m": "M", "male": "M", "o": "O", "other": "O"}


@dataclass(frozen=True, slots=True)
class Row:
    """What a manifest says of one file. Unknown is ""."""

    modality: str = ""
    patient_id: str = ""
    text: str = ""
    labels: tuple[str, ...] = ()
    sex: str = ""  # "F", "M", "O"
    view: str = ""

    @property
    def digest(self) -> str:
        """32 hexadecimal digits that change with any word of the row; "" where nothing is said."""
        return "" if self == Row() else blake3(repr(self).encode()).hexdigest(16)


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be used. `message` holds none of its words: a wrong column may hold names."""

    number: int  # from 1
    message: str
    path: Path | None = None  # the file it is about, where it names one of this folder

    def __str__(self) -> str:
        return f"line {self.number}: {self.message}"


def read(manifest: Path) -> Iterator[tuple[Path, Row]]:
    """(absolute path, row) in the order of the manifest.

    Raises:
        UsageError: the file is not CSV, has no `path` column, or one of its lines cannot be used.
    """
    for found in entries(manifest):
        if isinstance(found, BadLine):
            raise UsageError(f"{manifest}, {found}")
        yield found


def entries(manifest: Path) -> Iterator[tuple[Path, Row] | BadLine]:
    """As `read`, but what cannot be used comes as a value, and the rest all the same."""
    number = 1
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            if "path" not in (table.fieldnames or ()):
                yield BadLine(1, "it must name the columns, and there is no column 'path'")
                return
            for record in table:
                number = table.line_num
                if path := (record["path"] or "").strip():
                    yield _entry(manifest.parent, path, record, number)
    except (csv.Error, UnicodeDecodeError) as error:
        yield BadLine(
            number, f"here or soon after it stops being CSV in UTF-8 ({type(error).__name__}); export it again"
        )


def _entry(folder: Path, path: str, record: dict[str, str | None], number: int) -> tuple[Path, Row] | BadLine:
    absolute = Path(os.path.normpath(folder / path))
    if not absolute.is_relative_to(folder):
        return BadLine(number, "its path leads out of the manifest's folder; move the manifest up")
    value = {name: (text or "").strip() for name, text in record.items() if isinstance(text, str | None) and name}
    modality = value.get("modality", "").casefold()
    if modality and modality not in MODALITIES:
        known = ", ".join(MODALITIES)
        return BadLine(number, f"its modality is none of {known}; correct it, or leave it empty", absolute)
    return absolute, Row(
        modality=modality,
        patient_id=value.get("patient_id", ""),
        text=value.get("text", ""),
        labels=tuple(label for label in value.get("labels", "").split("|") if label),
        sex=SEX.get(value.get("sex", "").casefold(), ""),
        view=value.get("view", ""),
    )
