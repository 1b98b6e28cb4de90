"""Archives on a file system: every file below a folder, or the files of one manifest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from m3search.errors import Reason, UnreadableFile, UsageError
from m3search.indexer.archives import manifest
from m3search.indexer.archives.manifest import Row


@dataclass(frozen=True, slots=True)
class FileStat:
    """A file as the plan sees it: enough to tell whether it changed, without opening it."""

    path: Path  # absolute
    size: int  # bytes
    mtime_ns: int  # nanoseconds since the epoch

    @classmethod
    def of(cls, path: Path) -> FileStat:
        """Raises OSError where the file cannot be looked at."""
        stat = path.stat()
        return cls(path, stat.st_size, stat.st_mtime_ns)


class Archive(Protocol):
    """A place with medical files."""

    @property
    def root(self) -> Path:
        """The folder that `uri`s are relative to, absolute."""
        ...

    @property
    def rows(self) -> dict[Path, Row]:
        """What manifests say, by absolute path."""
        ...

    def scan(self) -> Iterator[FileStat | UnreadableFile]:
        """Every file, in a stable order; a file or folder that cannot be looked at comes as an error instead."""
        ...


class FolderArchive:
    """Every file below `root`, hidden ones left out. Links are followed, loops cut."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rows: dict[Path, Row] = {}  # of every manifest that `scan` met

    def scan(self) -> Iterator[FileStat | UnreadableFile]:
        """As `Archive.scan`; manifests on the way fill `rows`."""
        self.rows.clear()
        yield from self._walk(self.root, frozenset())

    def _walk(self, folder: Path, above: frozenset[tuple[int, int]]) -> Iterator[FileStat | UnreadableFile]:
        try:
            stat = folder.stat()
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            yield _unreachable(folder, error)
            return
        identity = (stat.st_dev, stat.st_ino)
        if identity in above:  # a link to a folder above: its files are seen already
            return
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = folder / entry.name
            try:
                if entry.is_dir():
                    yield from self._walk(path, above | {identity})
                elif entry.name == manifest.NAME:
                    self.rows.update(manifest.read(path))
                elif entry.is_file():  # no devices, no pipes: opening those can hang
                    yield FileStat.of(path)
                elif entry.is_symlink():
                    yield UnreadableFile(path, Reason.MISSING_FILE, "is a link to a file that does not exist")
            except OSError as error:
                yield _unreachable(path, error)
            except UsageError as error:  # somebody else's manifest.csv must not stop the run
                yield UnreadableFile(path, Reason.CORRUPT, str(error))


class ManifestArchive:
    """The files one manifest lists, wherever below or beside it they lie."""

    def __init__(self, path: Path) -> None:
        self.root = path.parent
        self._path = path

    @cached_property
    def rows(self) -> dict[Path, Row]:
        """Rows of the manifest by absolute path."""
        return dict(manifest.read(self._path))

    def scan(self) -> Iterator[FileStat | UnreadableFile]:
        for path in self.rows:
            try:
                yield FileStat.of(path)
            except OSError as error:
                yield _unreachable(path, error)


def _unreachable(path: Path, error: OSError) -> UnreadableFile:
    if isinstance(error, PermissionError):
        return UnreadableFile(path, Reason.PERMISSION, "may not be read by this user; ask for read permission")
    if isinstance(error, FileNotFoundError):
        return UnreadableFile(path, Reason.MISSING_FILE, "does not exist, though it is listed")
    return UnreadableFile(path, Reason.VANISHED, f"cannot be looked at: {error.strerror or error}")
