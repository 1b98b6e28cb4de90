"""What an index stores of persons, and what is not guaranteed: `m3search privacy-report`."""

from __future__ import annotations

import json
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m3search.privacy import findings
from m3search.stores import audit
from m3search.stores.place import ObjectPath
from m3search.stores.tombstones import NAME as TOMBSTONES
from m3search.stores.tombstones import Tombstones

if TYPE_CHECKING:
    import pyarrow as pa

    from m3search.stores.folder import IndexFolder

QUASI = ("sex", "age_band", "year", "body_part")  # together they may single out a person that somebody knows of
FEW = 5  # persons alike, below which a combination counts as telling
WHAT = {  # columns that say something of a person, and what
    "patient_key": "keyed pseudonym of the patient",
    "study_key": "keyed pseudonym of the study's UID",
    "series_key": "keyed pseudonym of the series' UID",
    "sex": "tag",
    "age_band": "decade of the age; one band from 90 on",
    "year": "year of the examination",
    "body_part": "tag",
    "view": "tag",
    "laterality": "tag",
    "text": "free text, scrubbed",
    "labels": "findings",
    "uri": "file names, masked where an identifier is known",
    "files": "file names, sizes, times of change, digests of the bytes",
    "thumbnail": "a small picture",
    "vector": "embedding of the pixels or the signal: treat it as the picture",
    "text_vector": "embedding of the text",
    "provenance": "how the bytes became a vector",
    "described": "keyed digest of what the manifest said",
}
NOT_GUARANTEED = (
    "This is pseudonymisation, not anonymisation: who has the archive, or knows a patient well, may recognise an item.",
    "Pictures can identify: a face in a head CT, an implant, a rare finding. Embeddings carry part of that.",
    "A name in the middle of a sentence is removed only where the file's header or the manifest states it.",
    "Text in pixels is found by its shape: handwriting, slanted and faint text are missed; slides are not looked at.",
    "Names of folders and files are masked only where a header or a manifest states what they hold.",
    "The path of each archive is stored as given, and so are times of change and sizes of files.",
    "Who can read the index folder can read all of it, and who can write it can change the audit log.",
    "Copies made elsewhere are out of reach: exports, contact sheets, backups, snapshots of the file system. Of an "
    "index on S3 a machine that searches keeps a copy of the newest segment, until it finds a newer one.",
)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the items table."""

    name: str
    what: str
    filled: int  # rows with a value
    distinct: int | None  # different values; None where they are not counted
    leads: dict[str, int]  # what still looks like an identifier, by kind: to be looked at by a person


@dataclass(frozen=True, slots=True)
class Alike:
    """How many persons share sex, age band, year and body part."""

    persons: int  # patients, and items without a patient, each as one
    combinations: int
    smallest: int  # k of k-anonymity: persons in the rarest combination
    alone: int  # persons nobody is like
    few: int  # persons in combinations of fewer than FEW


@dataclass(frozen=True, slots=True)
class State:
    """One fact of the index folder."""

    what: str
    found: str
    ok: bool = True


@dataclass(frozen=True, slots=True)
class PrivacyReport:
    """The keys of `m3search privacy-report --json`."""

    items: int
    columns: tuple[Column, ...]
    alike: Alike
    states: tuple[State, ...]
    not_guaranteed: tuple[str, ...] = NOT_GUARANTEED


def report(index: IndexFolder) -> PrivacyReport:
    """Look at every row and at the folder. Changes nothing; quotes no value."""
    record = index.record()
    _, rows, _ = record.everything([name for name in WHAT if name not in ("vector", "text_vector", "thumbnail")])
    _, pictures, _ = record.everything(["vector", "text_vector", "thumbnail"])
    columns = tuple(_column(name, (pictures if name in pictures.column_names else rows)[name]) for name in WHAT)
    failures = record.failures()
    messages = Column(
        "failures", "files that failed, and why", failures.num_rows, None, _leads(failures["uri"].to_pylist())
    )
    return PrivacyReport(
        rows.num_rows, (*columns, messages), _alike(rows), tuple(_states(index, rows["provenance"].to_pylist()))
    )


def _column(name: str, values: pa.ChunkedArray) -> Column:
    filled = len(values) - values.null_count
    if name in ("vector", "text_vector", "thumbnail", "files"):
        return Column(name, WHAT[name], filled, None, {})
    listed = values.to_pylist()
    words = [word for one in listed if one is not None for word in (one if isinstance(one, list) else [str(one)])]
    leads = _leads(words) if name in ("text", "labels", "uri", "view", "provenance") else {}
    return Column(name, WHAT[name], filled, len(set(words)), leads)


def _leads(texts: list[str]) -> dict[str, int]:
    return dict(sorted(sum((findings(text) for text in texts), Counter[str]()).items()))


def _alike(rows: pa.Table) -> Alike:
    """A patient of several examinations counts in each combination they show."""
    keys = rows["patient_key"].to_pylist()
    combinations: dict[tuple[Any, ...], set[str]] = {}
    for place, row in enumerate(rows.select(list(QUASI)).to_pylist()):
        combinations.setdefault(tuple(row.values()), set()).add(keys[place] or f"item {place}")
    persons = {person for group in combinations.values() for person in group}
    alone = {person for group in combinations.values() if len(group) == 1 for person in group}
    few = {person for group in combinations.values() if len(group) < FEW for person in group}
    smallest = min(map(len, combinations.values()), default=0)
    return Alike(len(persons), len(combinations), smallest, len(alone), len(few))


def _states(index: IndexFolder, provenance: list[str | None]) -> Iterator[State]:
    if isinstance(index.path, ObjectPath):
        yield State("index", "on S3: who may read it is for the bucket's policy to say; its log is this machine's own")
    else:
        yield _mode("index folder", index.path, 0o077)
    if isinstance(index.key_file, Path) and index.key_file.exists():
        yield _mode("pseudonym key", index.key_file, 0o077)
    elif not index.key_file.exists():
        yield State("pseudonym key", "missing: restore it, or pseudonyms cannot be made again", ok=False)
    log = audit.file_of(index)
    yield State("audit", "on" if index.manifest.audit else 'off: "m3search audit --on"', ok=index.manifest.audit)
    if log.exists():
        yield _mode("audit log", log, 0o077)
    painted = sum("burned_in" in json.loads(one or "{}") for one in provenance)
    reasons = Counter(index.record().failures()["reason"].to_pylist())
    yield State("text in pixels", f"painted over in {painted} items; {reasons['burned-in-text']} files left out for it")
    if (index.path / TOMBSTONES).exists() and Tombstones.load(index).pending:
        yield State("deleted items", 'bytes may still lie in data files: "m3search compact"', ok=False)
    yield State("archives", f"{len(index.manifest.archives)} paths, stored as given")


def _mode(what: str, path: Path, forbidden: int) -> State:
    mode = stat.S_IMODE(path.stat().st_mode)
    return State(what, f"mode {mode:o}" + (": others may reach it" if mode & forbidden else ""), not mode & forbidden)
