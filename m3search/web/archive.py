"""The files of a stored item, found again in its archive. No path comes from a client: only the index names files.

Those of folders are read where they lie. What lies in a zip file, a bucket or a PACS is for `fetched` to bring.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m3search.indexer.archives import is_address
from m3search.indexer.ledger import FileEntry
from m3search.indexer.recall import Where, can_recall
from m3search.privacy import OTHER_ARCHIVE, PathMask, Pseudonyms
from m3search.types import Source
from m3search.web.errors import archive_away, file_changed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from m3search.stores.folder import IndexFolder

COLUMNS = ("item_id", "uri", "locator", "modality", "modality_from", "format", "files", "run_id", "provenance")
ALONE = {"wfdb": ".hea"}  # of an item of several files, the one that its reader is given


class Finder:
    """Finds files of one index."""

    def __init__(self, index: IndexFolder) -> None:
        self._archives = index.manifest.archives
        self._key_file = index.key_file
        self._pseudonyms = Pseudonyms.load(index.key_file) if index.key_file.exists() else None
        self._masks: dict[str, PathMask] = {}  # by prefix: masked names cost a digest of every name beside them, once

    def archive_of(self, entry: FileEntry) -> Where | None:
        """Where an entry lies; None where the index does not know its archive, or has lost its key."""
        prefix = found.group() if (found := OTHER_ARCHIVE.match(entry.path)) else ""
        place = int(prefix[1:-1]) if prefix else 0
        if place >= len(self._archives) or self._pseudonyms is None:
            return None
        mask = self._masks.setdefault(prefix, PathMask(self._pseudonyms, prefix=prefix))
        return Where(self._archives[place], mask, self._key_file)

    def find(self, entry: FileEntry) -> Path | None:
        """The real path of an entry inside its archive; None where it is not there, or a link leads elsewhere."""
        where = self.archive_of(entry)
        if where is None or is_address(where.location):
            return None
        try:
            root = Path(where.location).resolve(strict=True)
            path = where.mask.resolve(root, entry.path).resolve(strict=True)
        except (OSError, RuntimeError):  # gone, not permitted, links in a circle
            return None
        return path if path.is_relative_to(root) and path.is_file() and os.access(path, os.R_OK) else None

    def first_whole(self, copies: Sequence[FileEntry]) -> tuple[FileEntry, Path]:
        """The first of equal files that is there as it was indexed.

        Raises:
            ApiError: none is.
        """
        changed = False
        for entry in copies:
            path = self.find(entry)
            if path is not None and is_as_indexed(entry, path):
                return entry, path
            changed = changed or path is not None
        raise file_changed() if changed else archive_away()


def is_as_indexed(entry: FileEntry, path: Path) -> bool:
    """By size and time, as index runs tell it."""
    stat = path.stat()
    return (stat.st_size, stat.st_mtime_ns) == (entry.size, entry.mtime_ns)


def source_of(index: IndexFolder, row: dict[str, Any]) -> Source:
    """What an item is read from.

    Args:
        row: COLUMNS of the item.

    Raises:
        ApiError: the archive is away, a file is gone or has changed, or a link leads out of the archive.
    """
    entries = _entries(row)
    finder = Finder(index)
    return _source(row, _series(finder, entries) if _is_series(row) else (_single(finder, row, entries),))


def is_there(index: IndexFolder, row: dict[str, Any]) -> bool:
    """Whether the first file of an item is there, or can be asked for; the others are looked at when they are read."""
    finder = Finder(index)
    return any(
        finder.find(entry) is not None or ((where := finder.archive_of(entry)) is not None and can_recall(where, entry))
        for entry in _entries(row)[:1]
    )


def elsewhere(index: IndexFolder, row: dict[str, Any]) -> Iterator[tuple[Where, list[FileEntry]]]:
    """Each archive that an item can be fetched from, and the files that are needed of it: one of each content."""
    finder = Finder(index)
    places: dict[str, tuple[Where, list[FileEntry]]] = {}
    for entry in _entries(row):
        where = finder.archive_of(entry)
        if where is not None and can_recall(where, entry):
            places.setdefault(where.mask.prefix, (where, []))[1].append(entry)
    for where, entries in places.values():
        if _is_series(row):
            yield where, list({entry.digest: entry for entry in reversed(entries)}.values())
        elif chosen := next(iter(_named(row, entries)), None):
            yield where, [chosen, *_beside(chosen, entries)]


def source_from(row: dict[str, Any], files: Mapping[str, Path]) -> Source:
    """What an item is read from, of copies of the files that `elsewhere` asked for, by their stored names."""
    entries = [entry for entry in _entries(row) if entry.path in files]
    chosen = entries if _is_series(row) else _named(row, entries)[:1]
    return _source(row, tuple(sorted(files[entry.path] for entry in chosen)))


def files_of(row: dict[str, Any]) -> int:
    """How many files an item was read from, copies included."""
    return len(_entries(row))


def _entries(row: dict[str, Any]) -> list[FileEntry]:
    """The item's own files, without reports on its study."""
    entries = (FileEntry(**file) for file in row["files"] or ())
    return [entry for entry in entries if not entry.is_report]


def _source(row: dict[str, Any], files: tuple[Path, ...]) -> Source:
    return Source(row["modality"], row["format"], files, row["modality_from"] or "header")


def _is_series(row: dict[str, Any]) -> bool:
    return str(row["locator"] or "").startswith("series=")


def _named(row: dict[str, Any], entries: Sequence[FileEntry]) -> list[FileEntry]:
    """The file that names an item, and copies of it."""
    named = [entry for entry in entries if entry.path == row["uri"]]
    suffix, digests = ALONE.get(row["format"], ""), {entry.digest for entry in named}
    copies = (entry for entry in entries if entry not in named)
    return named + [entry for entry in copies if (entry.digest in digests if named else entry.path.endswith(suffix))]


def _beside(chosen: FileEntry, entries: Sequence[FileEntry]) -> list[FileEntry]:
    """Its companions: they lie with it, or below."""
    folder = chosen.path.rpartition("/")[0]
    near = f"{folder}/" if folder else ""
    return [entry for entry in entries if entry.digest != chosen.digest and entry.path.startswith(near)]


def _single(finder: Finder, row: dict[str, Any], entries: Sequence[FileEntry]) -> Path:
    """The file that names an item, or a copy of it. Its companions must be whole too."""
    chosen, path = finder.first_whole(_named(row, entries))
    for entry in _beside(chosen, entries):
        finder.first_whole([entry])
    return path


def _series(finder: Finder, entries: Sequence[FileEntry]) -> tuple[Path, ...]:
    """Every slice once, from whichever copy is whole."""
    copies: dict[str, list[FileEntry]] = {}
    for entry in entries:
        copies.setdefault(entry.digest, []).append(entry)
    return tuple(sorted(finder.first_whole(same)[1] for same in copies.values()))
