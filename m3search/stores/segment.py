"""A read-only copy of the record that opens in milliseconds: Arrow files and, from some size on, a FAISS index.

The record needs lancedb, whose import alone costs a second; a cold query that finds a fresh segment never imports it.
A segment lies in `segment/<state>/`, where `state` digests the commits of the tables it was copied from: after any
commit, by whatever process, the name no longer fits and the segment is not used. So it is never wrong, only absent.
Nor is pandas imported (0.3 s): pyarrow's conversions from Python or numpy do, so Arrow values are reached without them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from m3search.errors import MissingExtra
from m3search.filters import mask
from m3search.stores import faiss, schema
from m3search.stores.base import MARGIN, Capabilities, Neighbours, check_queries, rank, shortlist

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.filters import Filter
    from m3search.stores.lance import LanceStore
    from m3search.types import Float32

LEFT_OUT = ("text_vector", "thumbnail", "provenance", "described", "files")  # large, and not needed to search and list
FAISS_FROM = 20_000  # items; below, a product in numpy is done before faiss is imported
SPARE = 32  # neighbours FAISS is asked for beyond k, among which ties are settled


def state_of(tables: Path) -> str | None:
    """A digest of what is committed to `items` and `parts`, or None where that cannot be told.

    Lance commits by adding one manifest to `_versions` (https://lance.org/format/table), which names the data files.
    """
    digest = hashlib.sha256()
    for table in ("items", "parts"):
        try:
            manifests = sorted((tables / f"{table}.lance" / "_versions").glob("*.manifest"))
            if not manifests:
                return None
            digest.update("/".join([table, *(path.name for path in manifests)]).encode())
            for path in (manifests[0], manifests[-1]):  # the newest is first or last, by naming scheme
                digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError:
            return None
    return digest.hexdigest()[:32]


class Segment:
    """The copy of one state. `Segment.open` finds it; reading methods are those of `LanceStore`."""

    capabilities = Capabilities(writable=False)

    def __init__(self, path: Path) -> None:
        """Use `open`."""
        self.path = path
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        self.dim: int = manifest["dim"]
        # All files are opened now: they stay readable when a newer segment replaces this one.
        self._items = _read(path / "items.arrow")
        self._parts = _read(path / "parts.arrow")
        self._index = None
        if manifest["index"] is not None:
            with suppress(MissingExtra):  # made where faiss was installed, read where it is not
                self._index = faiss.FlatIndex.open(path / "vectors.faiss")

    @classmethod
    def open(cls, root: Path, state: str | None) -> Segment | None:
        """The segment of this state under `root`, or None."""
        if state is None:
            return None
        try:
            return cls(root / state)
        except (OSError, ValueError, KeyError, RuntimeError, pa.ArrowException):
            return None  # absent, just replaced, or damaged: the record answers

    @cached_property
    def _half(self) -> npt.NDArray[np.float16]:
        column = self._items["vector"]
        return schema.half(column.chunk(0) if column.num_chunks else column.combine_chunks())

    @cached_property
    def _matrix(self) -> Float32:
        return self._half.astype(np.float32)

    def search(self, queries: Float32, k: int, where: Filter | None = None) -> list[Neighbours]:
        """See `VectorStore`."""
        queries = check_queries(queries, k, self.dim)
        allowed = None if where is None else mask(where, self._items)
        if self._index is None:
            shortlists = self._by_numpy(queries, k, allowed)
        else:
            shortlists = _by_faiss(self._index, queries, k, allowed)
        return [
            rank(query, self._half[rows].astype(np.float32), [self._id(row) for row in rows.tolist()], k)
            for query, rows in zip(queries, shortlists, strict=True)
        ]

    def count(self, where: Filter | None = None) -> int:
        """See `VectorStore`."""
        return int(self._items.num_rows if where is None else mask(where, self._items).sum())

    def matching(self, where: Filter | None = None) -> list[str]:
        """See `LanceStore.matching`."""
        ids = self._items["item_id"].to_pylist()
        return ids if where is None else [ids[row] for row in np.flatnonzero(mask(where, self._items)).tolist()]

    def tally(self, column: str, where: Filter | None = None) -> dict[str, int]:
        """See `LanceStore.tally`."""
        values = self._items[column].to_pylist()
        if where is not None:
            values = [values[row] for row in np.flatnonzero(mask(where, self._items)).tolist()]
        return dict(sorted(Counter(str(value or "") for value in values).items()))

    def has(self, columns: Sequence[str] | None) -> bool:
        """Whether `rows` can give these columns."""
        return columns is not None and not set(columns) & set(LEFT_OUT)

    def rows(self, item_ids: Sequence[str], columns: Sequence[str]) -> pa.Table:
        """See `LanceStore.rows`; not for columns of LEFT_OUT."""
        found = [(bisect_left(self._rows, item_id, key=self._id), item_id) for item_id in item_ids]
        slices = [
            self._items[row : row + 1] for row, item_id in found if row in self._rows and self._id(row) == item_id
        ]
        return pa.concat_tables([self._items[:0], *slices]).select(list(columns))

    def parts_of(self, item_ids: Sequence[str]) -> pa.Table:
        """See `LanceStore.parts_of`."""
        owners, rows = self._parts["item_id"], range(self._parts.num_rows)

        def owner(row: int) -> str:
            return str(owners[row].as_py())

        slices = [
            self._parts[bisect_left(rows, item_id, key=owner) : bisect_right(rows, item_id, key=owner)]
            for item_id in item_ids
        ]
        return pa.concat_tables([self._parts[:0], *slices])

    @property
    def _rows(self) -> range:
        return range(self._items.num_rows)

    def _id(self, row: int) -> str:
        return str(self._items["item_id"][row].as_py())

    def _by_numpy(self, queries: Float32, k: int, allowed: npt.NDArray[np.bool_] | None) -> list[npt.NDArray[np.intp]]:
        rows = np.arange(self._items.num_rows) if allowed is None else np.flatnonzero(allowed)
        scores = queries @ (self._matrix if allowed is None else self._matrix[rows]).T
        return [rows[shortlist(one, k)] for one in scores]


def _by_faiss(
    index: faiss.FlatIndex, queries: Float32, k: int, allowed: npt.NDArray[np.bool_] | None
) -> list[npt.NDArray[np.intp]]:
    """Rows that may be among the k best, by query.

    Asks for more until the last one found is clearly worse than the k-th, so that no tie is cut in two.
    """
    matching = len(index) if allowed is None else int(allowed.sum())
    k = min(k, matching)
    wanted = min(k + SPARE, matching)
    if wanted == 0:
        return [np.zeros(0, dtype=np.intp) for _ in queries]
    while True:
        scores, rows = index.search(queries, wanted, allowed)
        worth = scores >= scores[:, k - 1 : k] - MARGIN
        if wanted == matching or not worth[:, -1].any():
            return [found[kept] for found, kept in zip(rows, worth, strict=True)]
        wanted = min(4 * wanted, matching)


def publish(root: Path, tables: Path, record: LanceStore, faiss_from: int = FAISS_FROM) -> Segment | None:
    """Copy the record into a new segment and drop the others. For the writer, after its last commit.

    Returns None where nothing could be published, as when another process commits meanwhile.
    """
    state = state_of(tables)
    if state is None:
        return None
    if (fresh := Segment.open(root, state)) is not None:
        return fresh
    columns = [name for name in schema.items(record.dim).names if name not in LEFT_OUT]
    items, parts = record.everything(columns)
    if state_of(tables) != state:
        return None
    new = root / f"{state}.{os.getpid()}.tmp"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    items = items.sort_by("item_id")
    _write(new / "items.arrow", items)
    _write(new / "parts.arrow", parts.sort_by([("item_id", "ascending"), ("index", "ascending")]))
    index = None
    if faiss.usable() and items.num_rows >= max(faiss_from, 1):
        faiss.FlatIndex.build(schema.matrix(items["vector"])).save(new / "vectors.faiss")
        index = "Flat"
    manifest = {
        "dim": record.dim,
        "count": items.num_rows,
        "version": record.version,
        "index": index,
        "sha256": {path.name: _sha256(path) for path in sorted(new.iterdir())},
    }
    (new / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    for path in (*new.iterdir(), new):
        _sync(path)
    shutil.rmtree(root / state, ignore_errors=True)  # a damaged one
    new.rename(root / state)
    for other in root.iterdir():
        if other.name != state:
            shutil.rmtree(other, ignore_errors=True)  # a reader that has it mapped keeps it
    return Segment.open(root, state)


def damaged_files(path: Path) -> list[str]:
    """Names of the files of a segment whose bytes are not those that were written."""
    manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    return [
        name
        for name, digest in manifest["sha256"].items()
        if not (path / name).is_file() or _sha256(path / name) != digest
    ]


def _read(path: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _write(path: Path, table: pa.Table) -> None:
    table = table.combine_chunks()  # one batch, so that a row is reached directly
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
