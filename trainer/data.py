"""Items of the training manifests: read, split by group, decoded once into arrays on disk, described by texts."""

from __future__ import annotations

import csv
import glob
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from m3search import formats, modalities
from m3search.encoders.bundle import PREPROCESSING
from m3search.errors import TrainingError, UnreadableFile
from m3search.types import InputSpec, Source

if TYPE_CHECKING:
    import numpy.typing as npt

COLUMNS = ("path", "modality", "text", "labels")  # the least a manifest must have
VALIDATION_SHARE = 0.2
CACHE_VERSION = 1  # raised when what `decode` gives changes


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a manifest."""

    path: Path  # absolute
    modality: str
    group: str  # items of one group are never on both sides of a split
    text: str
    caption: str
    labels: tuple[str, ...]
    source: str = ""
    license: str = ""
    use: str = ""
    series: tuple[Path, ...] = ()  # all files of the item where it has several, sorted: the slices of a CT series


def read_manifests(patterns: Iterable[str | Path]) -> list[Row]:
    """Rows of all manifests that match, in the order of the sorted paths and of their lines.

    Raises:
        TrainingError: no such manifest, or one that lacks a column.
    """
    rows: list[Row] = []
    for pattern in patterns:
        files = sorted(glob.glob(str(pattern)))  # noqa: PTH207  # the pattern is absolute, Path.glob refuses that
        if not files:
            raise TrainingError(f"no manifest matches {pattern}; check data.manifests (relative to the configuration)")
        for file in files:
            rows += _read_manifest(Path(file))
    return rows


def _read_manifest(file: Path) -> list[Row]:
    with file.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        lacking = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if lacking:
            raise TrainingError(f"{file} has no column {lacking[0]!r}; it needs {', '.join(COLUMNS)}")
        return [
            Row(
                path=(file.parent / line["path"]).absolute(),
                modality=line["modality"],
                group=line.get("group") or line.get("patient_id") or f"{file.parent.name}/{line['path']}",
                text=line["text"],
                caption=line.get("caption") or line["text"],
                labels=tuple(label for label in line["labels"].split("|") if label),
                source=line.get("source") or "",
                license=line.get("license") or "",
                use=line.get("use") or "",
            )
            for line in reader
        ]


def join_series(rows: Sequence[Row]) -> list[Row]:
    """Rows whose files form one item (the slices of a CT series), as one row; all others as they are."""
    joined: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        key = ""
        if formats.sniff(row.path) == "dicom":
            key = modalities.get(row.modality).series(formats.get("dicom").read_header(row.path))
        joined[row.modality, key or str(row.path)].append(row)
    return [
        replace(same[0], series=tuple(sorted(row.path for row in same))) if len(same) > 1 else same[0]
        for same in joined.values()
    ]


def split(rows: Sequence[Row], share: float = VALIDATION_SHARE) -> tuple[list[Row], list[Row]]:
    """(training, validation): `share` of each label's groups, rarest labels first, chosen by a hash of their names.

    Deterministic, independent of the order of rows; a group is never on both sides, also not across modalities. A label
    with at least two groups has items on both sides wherever the labels placed before it allow.
    """
    labels_of: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for row in rows:
        labels_of[row.group] |= {(row.modality, label) for label in row.labels or ("",)}
    members: dict[tuple[str, str], list[str]] = defaultdict(list)
    for group in sorted(labels_of, key=_hash):
        for label in labels_of[group]:
            members[label].append(group)
    side: dict[str, bool] = {}  # True is validation
    for _, groups in sorted(members.items(), key=lambda entry: (len(entry[1]), entry[0])):
        wanted = max(1, round(share * len(groups))) if len(groups) > 1 else 0
        wanted -= sum(side.get(group, False) for group in groups)
        for group in groups:
            if group not in side:
                side[group] = wanted > 0
                wanted -= 1
    return [row for row in rows if not side[row.group]], [row for row in rows if side[row.group]]


def _hash(group: str) -> tuple[str, str]:
    return hashlib.blake2b(group.encode(), digest_size=8).hexdigest(), group


def validation_key(held_out: Sequence[Row]) -> str:
    """Tells one held-out set from another: a hash of the names of its items."""
    names = sorted(f"{row.modality}/{row.path.name}" for row in held_out)
    return hashlib.blake2b("\n".join(names).encode(), digest_size=12).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """Decoded inputs of one modality: parts of all rows, one after the other."""

    rows: tuple[Row, ...]  # those that could be read
    parts: npt.NDArray[Any]  # (P, ...) as InputSpec describes, mapped from disk
    first: npt.NDArray[np.int64]  # (R + 1,): the parts of row r are first[r] to first[r + 1]

    def __len__(self) -> int:
        return len(self.rows)

    def spread(self, limit: int) -> Inputs:
        """At most `limit` items, evenly spread."""
        chosen = np.unique(np.linspace(0, len(self) - 1, min(limit, len(self))).astype(np.int64))
        parts = np.concatenate([self.parts[self.first[i] : self.first[i + 1]] for i in chosen])
        first = np.concatenate([[0], np.cumsum((self.first[1:] - self.first[:-1])[chosen])])
        return Inputs(tuple(self.rows[i] for i in chosen), parts, first)


def decode(row: Row, spec: InputSpec) -> npt.NDArray[Any] | str:
    """The inputs of one row, one per part, prepared as an index run would; a message where it cannot be read."""
    try:
        kind = formats.sniff(row.path)
        if kind is None:
            return f"{row.path.name}: no known format"
        modality = modalities.get(row.modality)
        source = Source(row.modality, kind, row.series or (row.path,), "manifest")
        return modality.prepare(modality.read(source, spec), spec)
    except (UnreadableFile, OSError) as error:
        return str(error)


def load_inputs(
    rows: Sequence[Row], spec: InputSpec, cache: Path, workers: int = 2, say: Callable[[str], None] = print
) -> Inputs:
    """Inputs of rows of one modality, decoded once and kept in `cache`; a changed file, spec or reader is decoded anew.

    Raises:
        TrainingError: not one row could be read.
    """
    stamps = [
        (str(row.path), row.path.stat().st_size, row.path.stat().st_mtime_ns) for row in rows if row.path.exists()
    ]
    content = json.dumps([CACHE_VERSION, PREPROCESSING, asdict(spec), stamps])
    key = hashlib.blake2b(content.encode(), digest_size=12).hexdigest()
    array, index = cache / f"{rows[0].modality}-{key}.npy", cache / f"{rows[0].modality}-{key}.json"
    if not index.exists():
        cache.mkdir(parents=True, exist_ok=True)
        _decode_all(rows, spec, array, index, workers, say)
    counts = json.loads(index.read_text())
    kept = tuple(row for row, count in zip(rows, counts, strict=True) if count)
    first = np.concatenate([[0], np.cumsum([count for count in counts if count])]).astype(np.int64)
    return Inputs(kept, np.load(array, mmap_mode="r"), first)


def _decode_all(
    rows: Sequence[Row], spec: InputSpec, array: Path, index: Path, workers: int, say: Callable[[str], None]
) -> None:
    """Writes parts and the number of parts of each row; the index last, so that a killed run starts over."""
    with ProcessPoolExecutor(workers) as pool:
        results = list(pool.map(partial(decode, spec=spec), rows, chunksize=8))
    problems = [result for result in results if isinstance(result, str)]
    for problem in problems[:5]:
        say(f"  left out: {problem}")
    if len(problems) > 5:
        say(f"  left out: {len(problems) - 5} more")
    decoded = [result for result in results if not isinstance(result, str)]
    if not decoded:
        raise TrainingError(f"none of {len(rows)} {rows[0].modality} items could be read; the first: {problems[0]}")
    np.save(array, np.concatenate(decoded))
    index.write_text(json.dumps([0 if isinstance(result, str) else len(result) for result in results]))
