"""A read-only copy of the record that opens in milliseconds: Arrow files and, from some size on, a FAISS index.

The record needs lancedb, whose import alone costs a second; a cold query that finds a fresh segment never imports it.
A segment lies in `segment/<version>-<state>/`: the version of `items` that it was copied from, and a digest of the
commits that made it. What was committed since is found by `view.py`; a segment itself never changes.
Nor is pandas imported (0.3 s): pyarrow's conversions from Python or numpy do, so Arrow values are reached without them.
"""

from __future__ import annotations

import hashlib
import json
import os
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from m3search.errors import MissingExtra
from m3search.stores import faiss, schema
from m3search.stores.base import MARGIN, shortlist
from m3search.stores.chosen import Chosen
from m3search.stores.copies import local
from m3search.stores.place import ObjectPath
from m3search.stores.selection import Selections
from m3search.stores.torch_flat import TorchFlat
from m3search.stores.tuning import Tuning

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from m3search.stores.place import Place
    from m3search.types import Float32

    Bool = npt.NDArray[np.bool_]
    Rows = npt.NDArray[np.intp]

LEFT_OUT = ("text_vector", "thumbnail", "provenance", "described", "files")  # large, and not needed to search and list
SPARE = 32  # neighbours FAISS is asked for beyond k, among which ties are settled
FEW = 2048  # matching rows that are scored one and all: about what a search of the lists takes
TOGETHER = 1024  # queries whose nearest lists are looked at together


def state_of(tables: Place) -> str | None:
    """A digest of what is committed to `items` and `parts`, or None where that cannot be told.

    Lance commits by adding one manifest to `_versions` (https://lance.org/format/table), which names the data files.
    """
    digest = hashlib.sha256()
    for table in ("items", "parts"):
        try:
            manifests: list[Any] = sorted((tables / f"{table}.lance" / "_versions").glob("*.manifest"))
            if not manifests:
                return None
            digest.update("/".join([table, *(path.name for path in manifests)]).encode())
            for path in (manifests[0], manifests[-1]):  # the newest is first or last, by naming scheme
                digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError:
            return None
    return digest.hexdigest()[:32]


def stamp_of(tables: Place) -> object:
    """What changes with every commit to `items` and `parts`, and costs microseconds: see `state_of`. On S3 it costs two
    requests.
    """
    if isinstance(tables, ObjectPath):
        return [(tables / f"{table}.lance" / "_versions").files() for table in ("items", "parts")]
    stamps: list[object] = []
    for table in ("items", "parts"):
        versions = f"{tables}/{table}.lance/_versions"  # text: paths as objects cost more than the system's calls
        with suppress(OSError):
            folder = os.stat(versions)  # noqa: PTH116
            stamps += [*sorted(os.listdir(versions)), folder.st_ino, folder.st_mtime_ns]  # noqa: PTH208
    return stamps


def name_of(version: int, state: str) -> str:
    """Of a segment's folder: newer ones sort later."""
    return f"{version:012}-{state}"


def names(root: Place) -> list[str]:
    """The finished segments under `root`, oldest first."""
    if isinstance(root, ObjectPath):  # a manifest is uploaded last
        return [name for name in root.folders() if "-" in name and (root / name / "manifest.json").is_file()]
    return [name for name in begun(root) if "." not in name]


def begun(root: Place) -> list[str]:
    """The folders of segments under `root`, finished or not, oldest first."""
    if isinstance(root, ObjectPath):  # some servers go on listing folders that are empty
        return [name for name in root.folders() if "-" in name and (root / name).files()]
    with suppress(OSError):
        return sorted(name for name in os.listdir(root) if "-" in name)  # noqa: PTH208 - as above
    return []


@dataclass(frozen=True, slots=True)
class Found:
    """Rows of a segment for one query, best first where `scores` is there; else in any order, more than asked for."""

    rows: Rows
    scores: Float32 | None = None


class Segment:
    """One copy. `Segment.newest` finds it."""

    def __init__(self, path: Path, device: str | None = None) -> None:
        """Opens all files, which stay readable when a newer segment replaces this one.

        Args:
            device: a torch device on which every vector is compared, whatever index there is.

        Raises:
            MissingExtra: torch, or the device, is not there.
            OSError, ValueError, KeyError, RuntimeError, pa.ArrowException: absent or damaged.
        """
        self.path = path
        self.manifest: dict[str, Any] = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        self.dim: int = self.manifest["dim"]
        self.version: int = self.manifest["version"]
        self.items = _read(path / "items.arrow")
        self._parts = _read(path / "parts.arrow")
        # (N,) Lance's id of each row, which it keeps for good. Opened at once: a newer segment may replace this one.
        self.row_ids: npt.NDArray[np.uint64] = np.load(path / "row_ids.npy", mmap_mode="r")
        columns = _columns(self.items) | _columns(_read(path / "codes.arrow"))
        asked = pa.Table.from_arrays(list(columns.values()), names=list(columns))
        self.selections = Selections(asked, len(self), self.id_of)
        self._flat: faiss.FlatIndex | TorchFlat | None = None
        self._lists: faiss.InvertedFile | None = None
        self._list_of_rows: npt.NDArray[np.int32] | None = None  # (N,), where there are lists
        self.tuning: Tuning | None = None
        if device is not None:
            self._flat = TorchFlat(self.half, device)
        elif self.manifest["kind"] != "none":
            with suppress(MissingExtra):  # made where faiss was installed, read where it is not
                self._flat = flat = faiss.FlatIndex.open(path / "vectors.faiss")
                if self.manifest["tuning"] is not None:
                    self._lists = faiss.InvertedFile.open(path / "lists.faiss", flat)
                    self._list_of_rows = np.load(path / "list_of_rows.npy", mmap_mode="r")
                    self.tuning = Tuning.from_json(self.manifest["tuning"])

    @classmethod
    def newest(cls, root: Place, device: str | None = None) -> Segment | None:
        """The newest segment under `root` that can be read, or None."""
        for name in reversed(names(root)):
            with suppress(OSError, ValueError, KeyError, TypeError, RuntimeError, pa.ArrowException):
                return cls(local(root / name), device)  # else just replaced, or damaged: an older one serves, or none
        return None

    def __len__(self) -> int:
        return int(self.items.num_rows)

    @property
    def state(self) -> str:
        """Digest of the commits it was copied from: `state_of` then."""
        return self.path.name.partition("-")[2]

    @property
    def kind(self) -> str:
        """Of the FAISS index: "Flat" or a factory string; "" for none."""
        if self._lists is not None and self.tuning is not None:
            return faiss.kind_of(self.tuning.lists, self.dim)
        return "" if self._flat is None else self._flat.kind

    @cached_property
    def half(self) -> npt.NDArray[np.float16]:
        """(N, D) the vectors, mapped."""
        return schema.half(self.items["vector"])

    @cached_property
    def _matrix(self) -> Float32:
        return self.half.astype(np.float32)

    @cached_property
    def _ids(self) -> pa.Array:
        return _whole(self.items["item_id"])

    @cached_property
    def _owners(self) -> pa.Array:
        return _whole(self._parts["item_id"])

    def id_of(self, row: int) -> str:
        """The item_id of a row."""
        return str(self._ids[row].as_py())

    def choose(self, mask: Bool) -> Chosen:
        """Rows for `nearest`, from (N,) flags."""
        return Chosen(mask, self._list_of_rows)

    def nearest(self, queries: Float32, k: int, allowed: Chosen | None) -> tuple[list[Found], bool]:
        """Rows among which the k best of each query are, of those allowed, and whether they surely are.

        Args:
            queries: float32 (Q, dim).
            allowed: made by `choose`; None is all.
        """
        matching = len(self) if allowed is None else len(allowed)
        if self._flat is None or (allowed is not None and matching <= FEW):
            return [Found(rows) for rows in self._by_numpy(queries, k, allowed)], True
        if self._lists is not None and self.tuning is not None:
            found = _by_lists(self._lists, self.tuning, queries, min(k, matching), allowed)
            if found is not None:
                return found, False
        return [Found(rows) for rows in _by_flat(self._flat, queries, k, allowed)], True

    @cached_property
    def batch(self) -> pa.RecordBatch:
        """`items` in one piece, whose rows are cut out in a fifth of the time that a table takes."""
        return pa.RecordBatch.from_arrays([_whole(column) for column in self.items.columns], schema=self.items.schema)

    def parts_of(self, item_ids: Sequence[str]) -> pa.Table:
        """`schema.parts` rows of these items: by item in the order asked, then by index."""
        owners, rows = self._owners, range(self._parts.num_rows)

        def owner(row: int) -> str:
            return str(owners[row].as_py())

        slices = [
            self._parts[bisect_left(rows, item_id, key=owner) : bisect_right(rows, item_id, key=owner)]
            for item_id in item_ids
        ]
        return pa.concat_tables([self._parts[:0], *slices])

    def _by_numpy(self, queries: Float32, k: int, allowed: Chosen | None) -> list[Rows]:
        if allowed is None:
            return [shortlist(one, k) for one in queries @ self._matrix.T]
        vectors = self.half[allowed.rows].astype(np.float32)
        return [allowed.rows[shortlist(one, k)] for one in queries @ vectors.T]


def _by_lists(
    lists: faiss.InvertedFile, tuning: Tuning, queries: Float32, k: int, allowed: Chosen | None
) -> list[Found] | None:
    """None where the lists cannot answer: asked for too many, or fewer found than there are."""
    if allowed is None:
        setting = tuning.setting(k)
    else:
        setting, wanted = tuning.filtered(k, len(allowed), len(lists))
    if k == 0 or setting.nprobe >= lists.lists // 2 or setting.candidates > len(lists) // 4:
        return None
    nprobe, holding = setting.nprobe, None
    if allowed is not None:
        holding = allowed.holding
        nprobe = min(max(nprobe, _reach(lists, queries, allowed, wanted)), len(holding))
    scores, rows = lists.search(queries, k, nprobe, setting.candidates, allowed, holding)
    if (rows < 0).any():
        return None
    if not (scores[:, :-1] > scores[:, 1:]).all():  # rows are in the order of ids, which settle ties
        order = np.lexsort((rows, -scores), axis=1)
        rows, scores = np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1)
    return [Found(found, values) for found, values in zip(rows, scores, strict=True)]


def _reach(lists: faiss.InvertedFile, queries: Float32, allowed: Chosen, wanted: float) -> int:
    """How many of the nearest lists hold so many allowed rows, for the query that needs the most."""
    most = 0
    for start in range(0, len(queries), TOGETHER):
        held = allowed.per_list[lists.nearest_lists(queries[start : start + TOGETHER], allowed.holding)]
        most = max(most, int((np.cumsum(held, axis=1) < wanted).sum(axis=1).max()) + 1)
    return most


def _by_flat(index: faiss.FlatIndex | TorchFlat, queries: Float32, k: int, allowed: Chosen | None) -> list[Rows]:
    """Rows that may be among the k best, by query.

    Asks for more until the last one found is clearly worse than the k-th, so that no tie is cut in two.
    """
    matching = len(index) if allowed is None else len(allowed)
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


def damaged_files(path: Place) -> list[str]:
    """Names of the files of a segment whose bytes are not those that were written."""
    manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    return [
        name
        for name, digest in manifest["sha256"].items()
        if not (path / name).is_file() or sha256(path / name) != digest
    ]


def sha256(path: Place) -> str:
    """Of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """The one chunk of a column, which is faster to ask than the column; none where the table is empty."""
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)


def _columns(table: pa.Table) -> dict[str, pa.ChunkedArray]:
    return dict(zip(table.column_names, table.columns, strict=True))
