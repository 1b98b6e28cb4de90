"""What the index already holds, file by file: how a run knows what it need not read again."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from m3search.indexer.archives.base import FileStat
from m3search.privacy import OTHER_ARCHIVE

if TYPE_CHECKING:
    from m3search.stores.lance import LanceStore


REPORT = "report:"


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of an item, as the `files` column keeps it."""

    path: str  # uri: relative to the archive, masked
    size: int  # bytes
    mtime_ns: int
    digest: str  # BLAKE3, hexadecimal; with REPORT before it where the file only describes the item

    @classmethod
    def of_report(cls, path: str, size: int, mtime_ns: int, digest: str) -> FileEntry:
        """A report on an item: it brings the item back when it changes, and has no part in its id."""
        return cls(path, size, mtime_ns, cls.report_digest(digest))

    @staticmethod
    def report_digest(digest: str) -> str:
        return REPORT + digest

    @property
    def is_report(self) -> bool:
        return self.digest.startswith(REPORT)

    def as_row(self) -> dict[str, str | int]:
        """The struct of the `files` column."""
        return {"path": self.path, "size": self.size, "mtime_ns": self.mtime_ns, "digest": self.digest}


class State(Enum):
    """What became of an item's files since it was stored."""

    UNCHANGED = auto()
    DIRTY = auto()  # a file changed in size or time, one of several is missing, or the manifest says something else
    GONE = auto()  # no file is left


@dataclass(frozen=True, slots=True)
class Stored:
    """An item of the index, seen from its files."""

    item_id: str
    uri: str
    series_key: str
    described: str  # digest of the manifest's words on it when it was read
    files: tuple[FileEntry, ...]  # in the archive of this run
    elsewhere: tuple[FileEntry, ...] = ()  # copies in other archives of the same index
    study_key: str = ""

    def state(self, stats: Mapping[str, FileStat], described: str) -> State:
        """Compare with what lies in the archive now, by uri, and with the digest of what the manifest says now."""
        found = [stats.get(entry.path) for entry in self.files]
        if not any(stat for stat, entry in zip(found, self.files, strict=True) if not entry.is_report):
            return State.GONE
        same = all(
            stat is not None and (stat.size, stat.mtime_ns) == (entry.size, entry.mtime_ns)
            for stat, entry in zip(found, self.files, strict=True)
        )
        return State.UNCHANGED if same and self.is_described_by(described) else State.DIRTY

    @property
    def report_digests(self) -> frozenset[str]:
        """Of the reports that it was stored with, `report_digest` of each."""
        return frozenset(entry.digest for entry in self.files if entry.is_report)

    @property
    def uri_elsewhere(self) -> str:
        """The uri of a copy in another archive: of the file that gave `uri`, or of the folder its files share there."""
        if any(entry.path == self.uri or entry.path.startswith(f"{self.uri}/") for entry in self.elsewhere):
            return self.uri
        if named := next((entry for entry in self.files if entry.path == self.uri), None):
            return next(
                (entry.path for entry in self.elsewhere if entry.digest == named.digest), self.elsewhere[0].path
            )
        prefix = _prefix(self.elsewhere[0].path)
        paths = [entry.path.removeprefix(prefix) for entry in self.elsewhere if is_of(entry.path, prefix)]
        shared = posixpath.commonpath([posixpath.dirname(path) for path in paths]) if len(paths) > 1 else paths[0]
        return prefix + (shared or ".")

    def is_described_by(self, digest: str) -> bool:
        """Whether a manifest still says the same. Of several archives the first one's manifest counts."""
        return bool(self.elsewhere) or digest == self.described


class Ledger:
    """Every stored item by id."""

    def __init__(self, stored: Iterable[Stored]) -> None:
        self.items = {item.item_id: item for item in stored}

    @classmethod
    def of(cls, store: LanceStore, prefix: str = "") -> Ledger:
        """The ledger of an index, seen from the archive whose uris begin with `prefix`. No vectors are read."""
        items = []
        for row in store.ledger().to_pylist():
            files = [FileEntry(**file) for file in row["files"] or ()]
            own = tuple(entry for entry in files if is_of(entry.path, prefix))
            rest = tuple(entry for entry in files if not is_of(entry.path, prefix))
            keys = row["series_key"] or "", row["described"] or ""
            items.append(Stored(row["item_id"], row["uri"], *keys, own, rest, row["study_key"] or ""))
        return cls(items)

    def paths(self) -> Iterable[str]:
        """The uri of every file in this archive."""
        return (entry.path for item in self.items.values() for entry in item.files)

    def by_folder(self) -> Mapping[str, Sequence[FileEntry]]:
        """The files of this archive, by the uri of the folder they lie in."""
        found: dict[str, list[FileEntry]] = defaultdict(list)
        for item in self.items.values():
            for entry in item.files:
                found[posixpath.dirname(entry.path)].append(entry)
        return found


def is_of(uri: str, prefix: str) -> bool:
    """True where `uri` belongs to the archive with that prefix."""
    return _prefix(uri) == prefix


def _prefix(uri: str) -> str:
    found = OTHER_ARCHIVE.match(uri)
    return found.group() if found else ""
