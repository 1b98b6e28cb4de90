"""Giving back what an index no longer needs: old versions, deleted rows, small fragments, what killed writers left.

Every step is one atomic commit, or removes only what no commit refers to. Killed anywhere, the next open answers as
before, for compaction changes no answer; compacting again does what was left to do.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from lancedb.index import FTS, BTree

from m3search.stores.deletion import finish
from m3search.stores.lance import TABLES, connect
from m3search.stores.place import remove, sizes
from m3search.stores.segment import begun
from m3search.stores.tombstones import Tombstones

if TYPE_CHECKING:
    from m3search.stores.folder import IndexFolder

GRACE_S = 2.0  # how long reads that began on an older version may go on before its files are removed
BATCH = 1024  # rows rewritten at a time: some 10 MB with thumbnails
INDEX_KINDS = {"BTree": BTree, "FTS": FTS}  # those that are made here, with their defaults


@dataclass(frozen=True, slots=True)
class Size:
    """What an index takes."""

    bytes: int
    files: int
    versions: int  # of all tables

    @classmethod
    def of(cls, index: IndexFolder) -> Size:
        """Measure an index folder."""
        files = sizes(index.path)
        database = connect(index.tables)
        return cls(sum(files), len(files), sum(len(database.open_table(name).list_versions()) for name in TABLES))


@dataclass(frozen=True, slots=True)
class Compaction:
    """What a compaction did: the keys of `m3search compact --json`."""

    before: Size
    after: Size
    rewritten: bool  # whether tables were written anew, to be rid of the bytes of deleted items
    seconds: float


def compact(index: IndexFolder, *, grace_s: float = GRACE_S) -> Compaction:
    """Merge fragments, drop old versions, rewrite what holds deleted items, publish a fresh segment.

    Readers go on meanwhile: each read looks for the newest version first, a mapped segment stays mapped. Rewriting
    needs free space for one more copy of the tables.

    Args:
        grace_s: seconds between the last new version and the removal of the older ones, which reads that began on them
            still need.

    Raises:
        IndexLocked: another run is writing.
        NoIndex: the tombstones or the key they need are lost.
    """
    started = time.monotonic()
    with index.lock() as held:
        before = Size.of(index)
        tombstones = Tombstones.load(index)
        record = index.record()
        finish(record, tombstones)
        record.optimize()
        if tombstones.pending:
            for name in ("parts", "items"):
                held()
                rewrite(index, name)
        time.sleep(grace_s)
        for name in TABLES:
            held()
            forget(index, name)
        sweep(index)
        index.reader().publish(anew=True)
        if tombstones.pending:
            replace(tombstones, pending=False).save(index)
        return Compaction(before, Size.of(index), tombstones.pending, round(time.monotonic() - started, 3))


def rewrite(index: IndexFolder, name: str) -> None:
    """Write a table's rows into new files, in one commit, and make its indexes again.

    LanceDB's own merging leaves a fragment alone of which less than a tenth was deleted, and so the deleted bytes.
    A kill before the indexes are back costs time, not answers; the next index run makes them.
    """
    table = _table(index, name)
    indexes = [(one.columns[0], one.index_type) for one in table.list_indices()]
    rows = table.search().to_batches(BATCH)
    database = connect(index.tables)
    # "null": lancedb else refuses a null `text_vector`, as in `LanceStore.write`.
    fresh = database.create_table(name, rows, table.schema, mode="overwrite", on_bad_vectors="null")
    for column, kind in indexes:
        fresh.create_index(column, config=INDEX_KINDS[kind]())


def forget(index: IndexFolder, name: str) -> None:
    """Drop every version of a table but the newest, and files that none refers to. Only under the index's lock."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "optimize", UserWarning)  # of readers, which had their time
        _table(index, name).optimize(cleanup_older_than=timedelta(0), delete_unverified=True)


def sweep(index: IndexFolder) -> None:
    """Remove temporary files, which killed writers left, and every segment: a fresh one is copied from the tables."""
    for name in begun(index.segment):
        remove(index.segment / name)  # a reader that has it mapped keeps it
    for path in index.path.glob("*.tmp"):
        if path.is_dir():
            remove(path)
        else:
            path.unlink(missing_ok=True)


def _table(index: IndexFolder, name: str) -> Any:
    return connect(index.tables).open_table(name)
