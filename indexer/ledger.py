"""What the index already holds, file by file: how a run knows what it need not read again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from m3search.indexer.archives.folder import FileStat

if TYPE_CHECKING:
    from m3search.stores.lance import LanceStore


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of an item, as the `files` column keeps it."""

    path: str  # uri: relative to the archive, masked
    size: int  # bytes
    mtime_ns: int
    digest: str  # BLAKE3, hexadecimal

    def as_row(self) -> dict[str, str | int]:
        """The struct of the `files` column."""
        return {"path": self.path, "size": self.size, "mtime_ns": self.mtime_ns, "digest": self.digest}


class State(Enum):
    """What became of an item's files since it was stored."""

    UNCHANGED = auto()
    DIRTY = auto()  # a file changed in size or time, or one of several is missing
    GONE = auto()  # no file is left


@dataclass(frozen=True, slots=True)
class Stored:
    """An item of the index, seen from its files."""

    item_id: str
    series_key: str
    files: tuple[FileEntry, ...]

    def state(self, stats: Mapping[str, FileStat]) -> State:
        """Compare with `stats`: what lies in the archive now, by uri."""
        found = [stats.get(entry.path) for entry in self.files]
        if not any(found):
            return State.GONE
        same = all(
            stat is not None and (stat.size, stat.mtime_ns) == (entry.size, entry.mtime_ns)
            for stat, entry in zip(found, self.files, strict=True)
        )
        return State.UNCHANGED if same else State.DIRTY


class Ledger:
    """Every stored item by id."""

    def __init__(self, stored: Iterable[Stored]) -> None:
        self.items = {item.item_id: item for item in stored}

    @classmethod
    def of(cls, store: LanceStore) -> Ledger:
        """The ledger of an index: one projected scan, no vectors read."""
        return cls(
            Stored(row["item_id"], row["series_key"] or "", tuple(FileEntry(**file) for file in row["files"] or ()))
            for row in store.ledger().to_pylist()
        )

    def paths(self) -> Iterable[str]:
        """The uri of every file."""
        return (entry.path for item in self.items.values() for entry in item.files)
