"""Lines of manifests as rows: where an item lies, what is known about it, and whom it belongs to."""

from __future__ import annotations

import csv
import glob
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from m3search import formats, modalities
from m3search.errors import DataError, UnreadableFile

COLUMNS = ("path", "modality", "text", "labels")  # the least a manifest must have


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a manifest."""

    path: Path  # absolute
    modality: str
    group: str  # items of one group, or of one patient, are never on both sides of a split
    text: str
    caption: str
    labels: tuple[str, ...]
    source: str = ""
    license: str = ""
    use: str = ""
    series: tuple[Path, ...] = ()  # all files of the item where it has several, sorted: the slices of a CT series
    name: str = ""  # "<folder of the manifest>/<path in it>": the same on every machine


def read_manifests(patterns: Iterable[str | Path]) -> list[Row]:
    """Rows of all manifests that match, in the order of the sorted paths and of their lines.

    Groups that share a patient become one group, so that no patient is on both sides of a split or in the gallery of
    their own item.

    Raises:
        DataError: no such manifest, one that lacks a column, or a line with an unknown modality.
    """
    found: list[tuple[Row, str]] = []
    for pattern in patterns:
        files = sorted(glob.glob(str(pattern)))  # noqa: PTH207  # the pattern is absolute, Path.glob refuses that
        if not files:
            raise DataError(f"no manifest matches {pattern}; check the path")
        for file in files:
            found += _read_manifest(Path(file))
    return _join_patients(found)


def _read_manifest(file: Path) -> Iterator[tuple[Row, str]]:
    """Each line's row and patient_id."""
    with file.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        lacking = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if lacking:
            raise DataError(f"{file} has no column {lacking[0]!r}; it needs {', '.join(COLUMNS)}")
        for number, line in enumerate(reader, start=2):
            if line["modality"] not in modalities.MODALITIES:
                known = ", ".join(modalities.MODALITIES)
                raise DataError(f"{file}, line {number}: no modality {line['modality']!r}; choose from {known}")
            name = f"{file.parent.name}/{line['path']}"
            row = Row(
                path=(file.parent / line["path"]).absolute(),
                modality=line["modality"],
                group=line.get("group") or line.get("patient_id") or name,
                text=line["text"],
                caption=line.get("caption") or line["text"],
                labels=tuple(label for label in line["labels"].split("|") if label),
                source=line.get("source") or "",
                license=line.get("license") or "",
                use=line.get("use") or "",
                name=name,
            )
            yield row, line.get("patient_id") or ""


def _join_patients(found: Sequence[tuple[Row, str]]) -> list[Row]:
    """Rows whose groups are linked by a patient, under the first of their groups' names."""
    parent = {row.group: row.group for row, _ in found}

    def root(group: str) -> str:
        while parent[group] != group:
            group = parent[group]
        return group

    group_of: dict[str, str] = {}
    for row, patient in found:
        if patient:
            one, other = sorted((root(row.group), root(group_of.setdefault(patient, row.group))))
            parent[other] = one
    return [row if (group := root(row.group)) == row.group else replace(row, group=group) for row, _ in found]


def join_series(rows: Sequence[Row]) -> list[Row]:
    """Rows whose files form one item (the slices of a CT series), as one row; all others as they are."""
    joined: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        joined[row.modality, _series_of(row) or str(row.path)].append(row)
    return [
        replace(same[0], series=tuple(sorted(row.path for row in same))) if len(same) > 1 else same[0]
        for same in joined.values()
    ]


def _series_of(row: Row) -> str:
    try:
        if formats.sniff(row.path) != "dicom":
            return ""
        return modalities.get(row.modality).series(formats.get("dicom").read_header(row.path))
    except (UnreadableFile, OSError):
        return ""  # decoding will say what is wrong with it
