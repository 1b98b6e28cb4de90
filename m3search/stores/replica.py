"""A copy of an index's vectors in a store of another machine: filled, verified, put in place, searched.

The record stays the truth. Each publication copies one version of it into a collection of its own,
`NAME_FINGERPRINT_vVERSION`; when count and recall hold, NAME becomes its alias, so that searches change over from one
to the next. Killed at any moment, it goes on where it stood: what was acknowledged is noted in `replicas.json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from m3search.errors import EncoderMismatch, IndexNotFound, UsageError
from m3search.stores import open_remote, schema
from m3search.stores.folder import write_atomically
from m3search.stores.reader import Reader
from m3search.stores.tuning import TARGET

if TYPE_CHECKING:
    from m3search.filters import Filter
    from m3search.stores.base import Neighbours, RemoteStore
    from m3search.stores.folder import IndexFolder
    from m3search.stores.lance import LanceStore
    from m3search.stores.place import Place
    from m3search.types import Float32

NOTES = "replicas.json"
ROWS = 10_000  # between two notes
SAMPLE = 100  # queries of each kind that the recall is measured with
K = 10

Progress = Callable[[int, int], None]
"""Told rows copied and rows in all."""


@dataclass(frozen=True, slots=True)
class Publication:
    """What was published: the keys of `m3search publish --json`."""

    address: str
    collection: str
    version: int  # of the record
    items: int
    copied: int  # by this call; fewer where another was killed
    recall_items: float  # recall@10 against the record, of items asking for their neighbours
    recall_texts: float  # of texts
    in_place: bool  # whether searches go there now: count and recall hold
    dropped: tuple[str, ...]  # collections of earlier publications


@dataclass(frozen=True, slots=True)
class _Note:
    """How far a publication is."""

    version: int
    rows: int = 0  # of the version's, in their order, that the store has acknowledged


def publish(
    index: IndexFolder, address: str, *, drop_old: bool = False, progress: Progress = lambda *_: None
) -> Publication:
    """Copy the index's vectors to a store, verify them, and let searches go there.

    Args:
        address: such as "milvus://host:19530/chest"; see `stores.REMOTE`.
        drop_old: remove what earlier publications left, once the new one is in place.

    Raises:
        UsageError: no such kind of store; its name belongs to something else; the index is empty.
        MissingExtra: the store's client is not installed.
        StoreUnreachable: it cannot be reached. What was acknowledged stays, the next call continues.
    """
    serving = open_remote(address, index.manifest.dim)
    note, source = _source(index, address)
    target = serving.named(f"{_prefix(serving.name, index)}{note.version}")
    if target.behind() is None:
        note = replace(note, rows=0)
    total = source.count()
    if not total:
        raise UsageError(f"index {index.path} is empty; there is nothing to publish")
    target.ensure()
    copied = _copy(index, address, note, source, target, progress)
    target.publish()
    of_items, of_texts = (_recall(source, target, queries) for queries in _queries(source))
    holds = target.count() == total and min(of_items, of_texts) >= TARGET
    dropped: list[str] = []
    if holds:
        serving.point_to(target.name)
        _forget(index, address)
        dropped = [name for name in serving.collections() if _is_old(name, serving, target)] if drop_old else []
        for name in dropped:
            serving.named(name).drop()
    return Publication(address, target.name, note.version, total, copied, of_items, of_texts, holds, tuple(dropped))


def open_replica(index: IndexFolder, address: str) -> Replica:
    """The copy at an address, to be searched.

    Raises:
        IndexNotFound: nothing was published there.
        EncoderMismatch: what is there was published from an index of another encoder.
        UsageError, MissingExtra, StoreUnreachable: see `stores.open_remote`.
    """
    store = open_remote(address, index.manifest.dim)
    behind = store.behind()
    if behind is None:
        raise IndexNotFound(f'nothing was published at {address}; run "m3search publish --to {address}"')
    if not behind.startswith(_prefix(store.name, index)):
        raise EncoderMismatch(
            f'{address} was not published from an index of this encoder; run "m3search publish --to {address}"'
        )
    store.ensure()
    return Replica(index.tables, index.segment, store)


class Replica(Reader):
    """A reader whose nearest vectors come from a published copy; all else comes from the index.

    Items that were written since are not found, and those deleted since are left out.
    """

    def __init__(self, tables: Place, segments: Place, store: RemoteStore) -> None:
        super().__init__(tables, segments)
        self._store = store
        self.capabilities = store.capabilities

    def search(self, queries: Float32, k: int, where: Filter | None = None) -> list[Neighbours]:
        """See `VectorStore`. Fewer than k where items were deleted since."""
        found = self._store.search(queries, k, where)
        ids = list(dict.fromkeys(item_id for one in found for item_id in one.ids))
        there = set(self.rows(ids, ["item_id"])["item_id"].to_pylist())
        return [_only(one, there) for one in found]


def _only(found: Neighbours, there: set[str]) -> Neighbours:
    kept = [row for row, item_id in enumerate(found.ids) if item_id in there]
    if len(kept) == len(found):
        return found
    return replace(found, ids=tuple(found.ids[row] for row in kept), scores=found.scores[kept], exact=False)


def _prefix(name: str, index: IndexFolder) -> str:
    return f"{name}_{index.manifest.fingerprint[:8]}_v"


def _is_old(name: str, serving: RemoteStore, target: RemoteStore) -> bool:
    return name != target.name and re.fullmatch(rf"{re.escape(serving.name)}_[0-9a-f]{{8}}_v\d+", name) is not None


def _source(index: IndexFolder, address: str) -> tuple[_Note, LanceStore]:
    """The version to copy: the one begun, where it is still kept, else the newest."""
    record = index.record()
    if (note := _notes(index).get(address)) is not None:
        with suppress(IndexNotFound):
            return note, record.at(note.version)
    return _Note(record.version), record.at(record.version)


def _copy(
    index: IndexFolder, address: str, note: _Note, source: LanceStore, target: RemoteStore, progress: Progress
) -> int:
    """Write what is not there yet. Returns how many rows."""
    columns = ["item_id", "vector", *(name for name in target.capabilities.columns if name != "item_id")]
    done, total = 0, source.count()
    for rows in source.stream(columns, ROWS):
        if done >= note.rows or done + rows.num_rows > note.rows:
            target.upsert(rows)
            _remember(index, address, _Note(note.version, done + rows.num_rows))
            progress(done + rows.num_rows, total)
        done += rows.num_rows
    return total - min(note.rows, total)


def _queries(source: LanceStore) -> tuple[Float32, Float32]:
    """Vectors of items, and of texts; mixtures of items where there are no texts."""
    ids = source.spread(SAMPLE)
    items = schema.matrix(source.rows(ids, ["vector"])["vector"])
    texts = source.text_vectors(SAMPLE).astype(np.float32)
    if not len(texts):
        texts = items + np.roll(items, 1, axis=0) + np.roll(items, 2, axis=0)
    return _unit(items), _unit(texts)


def _unit(vectors: Float32) -> Float32:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9), dtype=np.float32)


def _recall(source: LanceStore, target: RemoteStore, queries: Float32) -> float:
    """recall@K; of items with equal scores any will do."""
    shares = []
    for exact, found in zip(source.search(queries, K), target.search(queries, K), strict=True):
        worst = exact.scores[-1] if len(exact) else 0.0
        shares.append(min(int((found.scores >= worst).sum()), len(exact)) / max(len(exact), 1))
    return float(np.mean(shares))


def _notes(index: IndexFolder) -> dict[str, _Note]:
    try:
        content = json.loads((index.path / NOTES).read_text(encoding="utf-8"))
        return {address: _Note(**note) for address, note in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # a lost note costs a copy, no more


def _remember(index: IndexFolder, address: str, note: _Note) -> None:
    _write(index, _notes(index) | {address: note})


def _forget(index: IndexFolder, address: str) -> None:
    _write(index, {other: note for other, note in _notes(index).items() if other != address})


def _write(index: IndexFolder, notes: dict[str, _Note]) -> None:
    content = {address: {"version": note.version, "rows": note.rows} for address, note in notes.items()}
    write_atomically(index.path / NOTES, json.dumps(content, indent=2) + "\n")
