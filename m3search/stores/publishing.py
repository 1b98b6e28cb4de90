"""Making a segment: copied from the record at a version, built in steps that can be resumed, put in place at once.

The work lies in `segment/<name>.part/`. A step is done when its file has its name, and is not done again: a build that
was killed goes on where it stood. The last step renames the folder, so that a reader sees a whole segment or none. Of
an index on S3 the work lies on this machine, and the last step uploads it, the manifest last.

Readers and the writer go on meanwhile; what is committed during the build is younger than the segment (`view.py`).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from m3search.errors import IndexLocked
from m3search.stores import faiss, schema
from m3search.stores.coded import coded
from m3search.stores.copies import keep
from m3search.stores.folder import locked
from m3search.stores.place import ObjectPath, Place, beside, remove
from m3search.stores.segment import LEFT_OUT, Segment, begun, name_of, names, sha256, state_of
from m3search.stores.tuning import QUERIES, TARGET, Tuning, tune
from m3search.stores.view import View

if TYPE_CHECKING:
    from m3search.stores.lance import LanceStore

PART = ".part"
OLD = ".old"
LEARNABLE = 1000  # vectors from which centroids and codes can be learned
TEXTS = 1000  # text vectors looked at for tuning, at most


@dataclass(frozen=True, slots=True)
class Policy:
    """What a segment is made of, and when a stale one is made anew."""

    flat_from: int = 20_000  # items; below, a product in numpy is done before faiss is imported
    lists_from: int = 50_000  # items; below, comparing every vector takes a millisecond or two
    stale: float = 0.05  # share of rows that may have changed before a segment with lists is made anew
    target: float = TARGET  # recall
    queries: int = QUERIES  # of each kind, that the recall is tuned on

    def kind(self, count: int) -> str:
        """ "none", "flat" or "lists": what searches of so many items use."""
        if not faiss.usable() or count < max(self.flat_from, 1):
            return "none"
        return "lists" if count >= max(self.lists_from, LEARNABLE) else "flat"

    def suffices(self, view: View) -> bool:
        """Whether a stale segment still serves well: those without lists are made anew at once, it takes no time."""
        count = len(view.segment)
        return self.kind(count) == "lists" and view.changed <= self.stale * count


def publish(
    root: Place, tables: Place, record: LanceStore, policy: Policy | None = None, *, anew: bool = False
) -> Segment | None:
    """A segment that serves the record as it is now: the newest one, or a new one, after which the others go.

    Any process may call it; one builds at a time. Needs no lock of the index.

    Args:
        anew: also where a stale one would serve: after it nothing that was deleted is left in a segment's files.

    Returns:
        None where none could be made: another process builds or sweeps, or the record moves too fast.
    """
    policy = policy or Policy()
    if (serving := _serving(root, tables, record, policy, anew)) is not None:
        _retire_late(root, serving)
        return serving
    if isinstance(root, Path):
        root.mkdir(parents=True, exist_ok=True)
    try:
        with locked(root) as held:
            if (serving := _serving(root, tables, record, policy, anew)) is not None:  # made while this one waited
                return serving
            return _build(root, tables, record, policy, anew, held)
    except IndexLocked:
        return None


def _serving(root: Place, tables: Place, record: LanceStore, policy: Policy, anew: bool) -> Segment | None:
    segment = Segment.newest(root)
    if segment is None:
        return None
    if segment.state == state_of(tables):
        return segment
    if anew:
        return None
    view = View.of(segment, record)
    return segment if view is not None and policy.suffices(view) else None


def _build(
    root: Place, tables: Place, record: LanceStore, policy: Policy, anew: bool, held: Callable[[], None]
) -> Segment | None:
    here = beside(root)
    work = None if anew else _unfinished(here, record)
    if work is None:
        for path in here.glob(f"*{PART}"):
            shutil.rmtree(path, ignore_errors=True)
        work = _copy(here, tables, record)
        if work is None:
            return None
    try:
        _index(work, record, policy)
    except (OSError, RuntimeError):
        if work.exists():
            raise
        return None  # swept away by a compaction
    final = root / work.with_suffix("").name
    if isinstance(final, Path):
        shutil.rmtree(final, ignore_errors=True)  # a damaged one
        work.rename(final)
        _sync(here)
    else:
        held()
        _upload(work, final)
        keep(work, final)
    _retire(root, final.name)
    return Segment.newest(root)


def _upload(work: Path, final: ObjectPath) -> None:
    """Its manifest last: a segment without one is none."""
    (final / "manifest.json").unlink(missing_ok=True)  # of a damaged one
    for path in sorted(work.iterdir(), key=lambda path: (path.name == "manifest.json", path.name)):
        (final / path.name).upload(path)


def _retire(root: Place, kept: str) -> None:
    """Remove every other segment, out of sight first: one that a kill left half removed would be taken for damaged."""
    for name in _others(root, kept):
        place = root / name
        if isinstance(place, ObjectPath):
            (place / "manifest.json").unlink(missing_ok=True)
        elif not name.endswith(OLD):
            remove(old := place.with_name(f"{name}{OLD}"))
            place = place.rename(old)
        remove(place)  # a reader that has it mapped, or a copy of it, keeps it


def _retire_late(root: Place, serving: Segment) -> None:
    """Remove what a build left that was killed once its segment was in place."""
    if not _others(root, serving.path.name):
        return
    with suppress(IndexLocked), locked(root):
        if names(root)[-1:] == [serving.path.name]:
            _retire(root, serving.path.name)


def _others(root: Place, kept: str) -> list[str]:
    return [name for name in begun(root) if name != kept and not name.endswith(PART)]


def _unfinished(here: Path, record: LanceStore) -> Path | None:
    """The work of a killed build that is worth going on with: its copy is whole, and not older than the record."""
    for work in sorted(here.glob(f"*{PART}"), reverse=True):
        with suppress(OSError, ValueError, EOFError, pa.ArrowException):  # EOFError: an empty file
            row_ids = np.load(work / "row_ids.npy", mmap_mode="r")  # written last of the copy
            changes = record.changes(int(work.name.partition("-")[0]), row_ids, ["item_id"])
            if changes is not None and changes.rows.num_rows + np.count_nonzero(~changes.kept) <= len(row_ids) // 20:
                return work
    return None


def _copy(here: Path, tables: Place, record: LanceStore) -> Path | None:
    """The first step: rows in the order of their ids, the columns that filters ask about, and Lance's ids of the rows.

    None where commits came between, so that the copy has no one state.
    """
    state = state_of(tables)
    columns = [name for name in schema.items(record.dim).names if name not in LEFT_OUT]
    version, items, parts = record.everything(columns)
    if state is None or state_of(tables) != state:
        return None
    work = here / (name_of(version, state) + PART)
    work.mkdir()
    items = items.sort_by("item_id")
    _write(work / "items.arrow", items.drop_columns(["_rowid"]))
    _write(work / "parts.arrow", parts.sort_by([("item_id", "ascending"), ("index", "ascending")]))
    _write(work / "codes.arrow", coded(items))
    _save(work / "row_ids.npy", items["_rowid"].to_numpy())
    return work


def _index(work: Path, record: LanceStore, policy: Policy) -> None:
    """The other steps: FAISS indexes where there are many items, their tuning, the manifest."""
    items = pa.ipc.open_file(pa.memory_map(str(work / "items.arrow"))).read_all()
    kind = policy.kind(items.num_rows)
    tuning = None
    if kind != "none":
        vectors = schema.half(items["vector"])
        _step(work / "vectors.faiss", lambda path: faiss.FlatIndex.build(vectors).save(path))
    if kind == "lists":
        flat = faiss.FlatIndex.open(work / "vectors.faiss")
        lists = _lists(work, vectors, flat)
        _step(work / "tuning.json", lambda path: _tune(path, lists, vectors, record.text_vectors(TEXTS), policy))
        tuning = Tuning.from_json(json.loads((work / "tuning.json").read_text(encoding="utf-8")))
    manifest = {
        "dim": record.dim,
        "count": items.num_rows,
        "version": int(work.name.partition("-")[0]),
        "kind": kind,
        "tuning": None if tuning is None else tuning.to_json(),
        "sha256": {path.name: sha256(path) for path in sorted(work.iterdir()) if path.name != "manifest.json"},
    }
    (work / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    for path in (*work.iterdir(), work):
        _sync(path)


def _lists(work: Path, vectors: np.ndarray, flat: faiss.FlatIndex) -> faiss.InvertedFile:
    trained = work / "trained.faiss"

    def train(path: Path) -> None:
        faiss.save_trained(faiss.InvertedFile.train(vectors, lists_for(len(vectors))), path)

    def fill(path: Path) -> None:
        _step(trained, train)  # takes longest
        faiss.InvertedFile.build(faiss.read_trained(trained), vectors, flat).save(path)

    _step(work / "lists.faiss", fill)
    trained.unlink(missing_ok=True)
    lists = faiss.InvertedFile.open(work / "lists.faiss", flat)
    _step(work / "list_of_rows.npy", lambda path: _save(path, lists.list_of_rows()))
    return lists


def _tune(path: Path, lists: faiss.InvertedFile, vectors: np.ndarray, texts: np.ndarray, policy: Policy) -> None:
    tuning = tune(lists, vectors, texts, policy.target, policy.queries)
    path.write_text(json.dumps(tuning.to_json()) + "\n", encoding="utf-8")


def lists_for(count: int) -> int:
    """How many lists so many vectors are parted into: 4 square roots, as FAISS's guidelines have it."""
    return int(2 ** round(np.log2(4 * np.sqrt(count))))


def _step(path: Path, make: Callable[[Path], None]) -> None:
    """Have `make` write the file, unless an earlier build did."""
    if not path.exists():
        unfinished = path.with_name(f"{path.name}.tmp")
        make(unfinished)
        unfinished.replace(path)


def _write(path: Path, table: pa.Table) -> None:
    table = table.combine_chunks()  # one batch, so that a row is reached directly
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def _save(path: Path, values: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, values)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
