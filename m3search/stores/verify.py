"""Proof that an index is whole: counts, vectors, copies, and that nothing deleted can be reached.

Each check says what it looked at and what it found; a failed one also what to do. Reading is streamed: memory stays
bounded by the ids.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from m3search.errors import NoIndex
from m3search.stores import schema
from m3search.stores.lance import connect
from m3search.stores.place import ObjectPath
from m3search.stores.segment import begun, damaged_files, names
from m3search.stores.tombstones import NAME, Tombstones

if TYPE_CHECKING:
    from m3search.stores.folder import IndexFolder
    from m3search.stores.place import Place
    from m3search.stores.reader import Reader

BATCH = 8192  # rows looked at together
TOLERANCE = 2e-3  # of a vector's length: half precision rounds each component by up to 1 in 2048
ANEW = "index the archive into a new folder with --index"
RENEW = '"m3search delete" these items, "m3search undelete" them, and run "m3search index" again'
COMPACT = 'run "m3search compact"'
SHOWN = 3  # ids named in a finding
VECTOR = ["item_id", "vector"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    what: str
    found: str
    ok: bool = True
    remedy: str = ""  # where not ok


@dataclass(frozen=True, slots=True)
class Verification:
    """What was checked: the keys of `m3search verify --json`."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return all(check.ok for check in self.checks)


def verify(index: IndexFolder) -> Verification:
    """Check an index against itself. Holds the lock, so that nothing changes meanwhile; changes nothing.

    Raises:
        IndexLocked: another run is writing.
    """
    with index.lock():
        return Verification(tuple(_Verifier(index).checks()))


class _Verifier:
    def __init__(self, index: IndexFolder) -> None:
        self._index = index
        self._tables = connect(index.tables)
        self._parts_of: dict[str, int] = {}  # by item_id: how many parts the item says it has

    def checks(self) -> Iterator[Check]:
        """Every check, in the order in which they build on each other."""
        yield self._key()
        yield from self._manifest()
        yield from self._items()
        yield from self._parts()
        yield from self._segment()
        yield from self._texts()
        yield from self._deleted()
        yield self._leftovers()

    def _key(self) -> Check:
        file = self._index.key_file
        if not file.exists():
            return _check(
                "pseudonym key", "missing", "restore pseudonym.key: without it no patient is recognised again"
            )
        if isinstance(file, ObjectPath):
            return Check("pseudonym key", "there; who may read it is for the bucket's policy to say")
        if file.stat().st_mode & 0o077:
            return _check("pseudonym key", "others may read it", "chmod 600 pseudonym.key in the index folder")
        return Check("pseudonym key", "there, readable by its owner alone")

    def _manifest(self) -> Iterator[Check]:
        manifest = self._index.manifest
        sizes = {name: self._table(name).schema.field("vector").type.list_size for name in ("items", "parts")}
        wrong = [f"{name} have {size}" for name, size in sizes.items() if size != manifest.dim]
        yield _check(
            "manifest", f"{manifest.dim} dimensions" + "".join(f", {one}" for one in wrong), ANEW if wrong else ""
        )
        others = {
            row["encoder"]
            for row in self._table("runs").search().select(["encoder"]).to_arrow().to_pylist()
            if row["encoder"] and row["encoder"] != manifest.fingerprint
        }
        found = f"every run embedded with {manifest.encoder}@{manifest.fingerprint[:8]}"
        if others:
            found = f"runs embedded with {_named({one[:8] for one in others})}, not {manifest.fingerprint[:8]}"
        yield _check("encoder of the rows", found, ANEW if others else "")

    def _items(self) -> Iterator[Check]:
        ids: Counter[str] = Counter()
        bad: list[str] = []
        for batch in self._batches("items", ["item_id", "parts", "vector"]):
            names = batch["item_id"].to_pylist()
            ids.update(names)
            self._parts_of.update(zip(names, (count or 0 for count in batch["parts"].to_pylist()), strict=True))
            bad += _not_unit(names, batch["vector"])
        yield from _rows("items", ids, bad)

    def _parts(self) -> Iterator[Check]:
        ids: Counter[str] = Counter()
        owned: dict[str, set[int]] = {}
        bad: list[str] = []
        for batch in self._batches("parts", ["part_id", "item_id", "index", "vector"]):
            names = batch["part_id"].to_pylist()
            ids.update(names)
            for owner, place in zip(batch["item_id"].to_pylist(), batch["index"].to_pylist(), strict=True):
                owned.setdefault(owner, set()).add(place)
            bad += _not_unit(names, batch["vector"])
        yield from _rows("parts", ids, bad)
        strays = owned.keys() - self._parts_of.keys()
        yield _check("parts without an item", _named(strays) or "none", COMPACT if strays else "")
        short = [
            item
            for item, count in self._parts_of.items()
            if owned.get(item, set()) != set(range(count if count > 1 else 0))
        ]
        yield _check(
            "parts of each item", f"incomplete in {_named(short)}" if short else "complete", RENEW if short else ""
        )

    def _segment(self) -> Iterator[Check]:
        reader = self._index.reader()
        folders = [self._index.segment / name for name in names(self._index.segment)]
        damaged = [f"{folder.name}/{name}" for folder in folders for name in _damaged(folder)]
        if not folders:
            yield Check("segment", "none: searches read the tables")
            return
        yield _check(
            "segment's files",
            f"damaged: {_named(damaged)}" if damaged else "as written (SHA-256)",
            COMPACT if damaged else "",
        )
        missing, surplus = self._parts_of.keys() - (there := set(reader.matching())), there - self._parts_of.keys()
        found = f"{len(there)} items" + _and(missing, "missing") + _and(surplus, "too many")
        wrong = bool(missing or surplus)
        if not wrong:
            differing = set(self._differing(reader))
            found, wrong = found + _and(differing, "with other vectors"), bool(differing)
        yield _check("what searches read", found, COMPACT if wrong else "")

    def _differing(self, reader: Reader) -> Iterator[str]:
        """Ids whose vector, or those of whose parts, are not in what searches read as they are in the tables."""
        record, ids = self._index.record(), sorted(self._parts_of)
        for some in (ids[start : start + BATCH] for start in range(0, len(ids), BATCH)):
            yield from _unlike(reader.rows(some, VECTOR), record.rows(some, VECTOR))
            yield from _unlike(reader.parts_of(some).select(VECTOR), record.parts_of(some).select(VECTOR))

    def _texts(self) -> Iterator[Check]:
        table = self._table("items")
        for one in table.list_indices():
            stats = table.index_stats(one.name)
            count = stats.num_indexed_rows + stats.num_unindexed_rows
            found = f"{stats.num_indexed_rows} rows, {stats.num_unindexed_rows} newer ones are scanned"
            wrong = count != len(self._parts_of)
            yield _check(f"index of {', '.join(one.columns)}", found, COMPACT if wrong else "")

    def _deleted(self) -> Iterator[Check]:
        what = "deleted items"
        try:
            tombstones = Tombstones.load(self._index) if (self._index.path / NAME).exists() else None
        except NoIndex as error:
            yield _check(what, str(error), "restore the file from a backup: deleted items would come back")
            return
        if tombstones is None or not len(tombstones):
            yield Check(what, "none")
            return
        yield Check(what, f"{len(tombstones.items)} items and {len(tombstones.patients)} patients stay out")
        verdicts: dict[str, bool] = {}  # by item_id: whether it was deleted
        for name in ("items", "parts"):
            yield self._versions(name, tombstones, verdicts)
        reader = self._index.reader()
        _judge(reader.matching(), tombstones, verdicts)
        deleted = [item_id for item_id, gone in verdicts.items() if gone]
        reached = {*reader.rows(deleted, ["item_id"])["item_id"].to_pylist()}
        reached.update(reader.parts_of(deleted)["item_id"].to_pylist())
        yield _check("deleted items in what searches read", _named(reached) or "none", COMPACT if reached else "")
        pending = COMPACT if tombstones.pending else ""
        found = "may still lie in data files" if pending else "removed by the last compaction"
        yield _check("bytes of deleted items", found, pending)

    def _versions(self, name: str, tombstones: Tombstones, verdicts: dict[str, bool]) -> Check:
        """Whether a table has a deleted item in any version that is still there."""
        table = self._table(name)
        versions = [one["version"] for one in table.list_versions()]
        holding = 0
        for version in versions:
            table.checkout(version)
            batches = table.search().select(["item_id"]).to_batches(BATCH)
            holding += sum(_judge(batch["item_id"].to_pylist(), tombstones, verdicts) for batch in batches) > 0
        found = f"still in {holding} of {len(versions)} versions" if holding else f"in none of {len(versions)} versions"
        return _check(f"deleted items in table {name}", found, COMPACT if holding else "")

    def _leftovers(self) -> Check:
        parts = {*begun(root := self._index.segment)} - {*names(root)}
        found = [*(path.name for path in self._index.path.glob("*.tmp")), *parts]
        return _check("leftovers of killed runs", _named(found) or "none", COMPACT if found else "")

    def _table(self, name: str) -> Any:
        return self._tables.open_table(name)

    def _batches(self, name: str, columns: list[str]) -> Iterable[Any]:
        batches: Iterable[Any] = self._table(name).search().select(columns).to_batches(BATCH)
        return batches


def _rows(what: str, ids: Mapping[str, int], bad: Sequence[str]) -> Iterator[Check]:
    """Of a table: every id stands once, every vector is finite and of unit length; `bad` names those that are not."""
    twice = [name for name, count in ids.items() if count > 1]
    yield _check(what, f"{sum(ids.values())}" + _and(twice, "twice"), RENEW if twice else "")
    found = f"wrong in {_named(bad)}" if bad else "finite, of unit length"
    yield _check(f"vectors of {what}", found, RENEW if bad else "")


def _check(what: str, found: str, remedy: str) -> Check:
    """A check that fails where there is a remedy."""
    return Check(what, found, not remedy, remedy)


def _named(ids: Collection[str]) -> str:
    """The first few of some ids; "" for none."""
    first = ", ".join(sorted(ids)[:SHOWN])
    return f"{first} and {len(ids) - SHOWN} more" if len(ids) > SHOWN else first


def _and(ids: Collection[str], what: str) -> str:
    return f"; {what}: {_named(ids)}" if ids else ""


def _not_unit(names: list[str], column: Any) -> list[str]:
    """Names whose vector is not finite and of unit length."""
    lengths = np.linalg.norm(schema.matrix(column), axis=1)
    return [names[row] for row in np.flatnonzero(~(np.abs(lengths - 1) <= TOLERANCE)).tolist()]


def _unlike(copy: Any, original: Any) -> set[str]:
    """Item ids of the rows that are in one table and not in the other."""
    if copy.equals(original):
        return set()
    rows = [{repr(row): str(row["item_id"]) for row in table.to_pylist()} for table in (copy, original)]
    return {(rows[0] | rows[1])[key] for key in rows[0].keys() ^ rows[1].keys()}


def _damaged(folder: Place) -> list[str]:
    try:
        return damaged_files(folder)
    except (OSError, ValueError, KeyError):
        return ["manifest.json"]


def _judge(ids: Iterable[str], tombstones: Tombstones, verdicts: dict[str, bool]) -> bool:
    """Add to `verdicts` which of these were deleted; whether any was."""
    found = False
    for item_id in ids:
        if item_id not in verdicts:
            verdicts[item_id] = tombstones.has(item_id)
        found |= verdicts[item_id]
    return found
