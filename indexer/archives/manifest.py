"""`manifest.csv`: what a curator knows about files, beside the files.

Columns: `path` (relative to the manifest), and any of `modality`, `patient_id`, `text`, `labels` (joined by "|"),
`sex`, `view`. Unknown columns are ignored. A file without a row is indexed all the same.
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


def read(manifest: Path) -> Iterator[tuple[Path, Row]]:
    """(absolute path, row) in the order of the manifest.

    Raises:
        UsageError: the file is not CSV, has no `path` column, or names an unknown modality.
    """
    folder = manifest.parent
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            if "path" not in (table.fieldnames or ()):
                raise UsageError(f"{manifest} has no column 'path'; its first line must name the columns")
            for number, record in enumerate(table, start=2):
                if path := (record["path"] or "").strip():
                    place = f"{manifest}, line {number}"
                    yield _below(folder, path, place), _row(record, place)
    except (csv.Error, UnicodeDecodeError) as error:
        raise UsageError(f"{manifest} cannot be read as UTF-8 CSV: {error}") from error


def _below(folder: Path, path: str, place: str) -> Path:
    absolute = Path(os.path.normpath(folder / path))
    if not absolute.is_relative_to(folder):
        raise UsageError(f"{place}: {path!r} leads out of the manifest's folder; move the manifest up")
    return absolute


def _row(record: dict[str, str | None], place: str) -> Row:
    value = {name: (text or "").strip() for name, text in record.items() if isinstance(text, str | None) and name}
    modality = value.get("modality", "").casefold()
    if modality and modality not in MODALITIES:
        raise UsageError(f"{place}: there is no modality {modality!r}; choose from {', '.join(MODALITIES)}")
    return Row(
        modality=modality,
        patient_id=value.get("patient_id", ""),
        text=value.get("text", ""),
        labels=tuple(label for label in value.get("labels", "").split("|") if label),
        sex=SEX.get(value.get("sex", "").casefold(), ""),
        view=value.get("view", ""),
    )
