"""Archives on a file system: all files below a folder, the members of a zip or tar file, or the files of a manifest."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from m3search.errors import Reason, UnreadableFile
from m3search.formats.storage import failure_of
from m3search.indexer.archives import manifest, reports
from m3search.indexer.archives.base import NOTHING, Access, FileStat, InReach, OnDisk, Vouched
from m3search.indexer.archives.containers import Unpacking
from m3search.indexer.archives.manifest import BadLine, Row
from m3search.stores.folder import is_index

Identity = tuple[int, int]  # device and inode
MOST_VISITS = 16
NO_FILE = "is no regular file, and opening it might never end; remove it from the list"


class FolderArchive(InReach):
    """Every file below `root`, hidden ones and indexes left out. Links are followed, loops cut.

    Folders that link to each other could be walked in endless ways: links lead into each MOST_VISITS times at most.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.location = str(root)
        self.rows: dict[Path, Row] = {}  # of every manifest that `scan` met
        self._refused: dict[Path, BadLine] = {}  # files whose line of a manifest cannot be right
        self._visits: Counter[Identity] = Counter()

    def access(self, scratch: Path) -> Access:
        """Files as they lie there, and members of zip and tar files."""
        return Unpacking(scratch)

    def scan(self, vouched: Vouched = NOTHING) -> Iterator[FileStat | UnreadableFile]:  # noqa: ARG002
        """As `Archive.scan`; manifests on the way fill `rows`."""
        self.rows.clear()
        self._refused.clear()
        self._visits.clear()
        open_folders = [self._walk(self.root, frozenset())]  # a stack: folders may be nested deeper than calls may
        while open_folders:
            found = next(open_folders[-1], None)
            if found is None:
                open_folders.pop()
            elif isinstance(found, tuple):
                open_folders.append(self._walk(*found))
            else:
                yield found

    def _walk(
        self, folder: Path, above: frozenset[Identity]
    ) -> Iterator[FileStat | UnreadableFile | tuple[Path, frozenset[Identity]]]:
        """What lies in a folder; the folders in it come as arguments for this function."""
        try:
            stat = folder.stat()
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            yield _unreachable(folder, error)
            return
        identity = (stat.st_dev, stat.st_ino)
        if identity in above or is_index(folder):  # a link to a folder above: its files are seen already
            return
        self._visits[identity] += folder.is_symlink()
        if folder.is_symlink() and self._visits[identity] > MOST_VISITS:
            return
        if any(entry.name == manifest.NAME for entry in entries):  # first: it speaks of files here and below
            yield from self._described(folder / manifest.NAME)
        beside = {entry.name for entry in entries if entry.name.endswith(reports.SUFFIX)}
        for entry in entries:
            if entry.name.startswith(".") or entry.name == manifest.NAME:
                continue
            path = folder / entry.name
            try:
                if entry.is_dir():
                    yield path, above | {identity}
                elif entry.is_file():  # no devices, no pipes: opening those can hang
                    self._take_report(path, beside)
                    yield self._file(path)
                elif entry.is_symlink() and not path.exists():
                    yield UnreadableFile(path, Reason.MISSING_FILE, "is a link to a file that does not exist")
            except OSError as error:
                yield _unreachable(path, error)

    def _take_report(self, path: Path, beside: Collection[str]) -> None:
        """The text of a report beside a file, where there is one and no manifest says more."""
        name = next((name for name in reports.names_for(path) if name in beside), None)
        row = self.rows.get(path, Row())
        if name and not row.text and (text := reports.text_of(path.with_name(name))):
            self.rows[path] = replace(row, text=text)

    def _file(self, path: Path) -> FileStat | UnreadableFile:
        if line := self._refused.get(path):
            return UnreadableFile(path, Reason.UNSUPPORTED, f"its {manifest.NAME}, {line}")
        return FileStat.of(path)

    def _described(self, path: Path) -> Iterator[UnreadableFile]:
        """Take in a manifest. What is wrong with it costs the lines concerned, never the run."""
        if not path.is_file():
            yield UnreadableFile(path, Reason.UNSUPPORTED, NO_FILE)
            return
        wrong = []
        try:
            for found in manifest.entries(path):
                if not isinstance(found, BadLine):
                    self.rows[found[0]] = found[1]
                elif found.path:
                    self._refused[found.path] = found
                else:
                    wrong.append(found)
        except OSError as error:
            yield _unreachable(path, error)
        if wrong:
            more = f" (and {len(wrong) - 1} more such lines)" if len(wrong) > 1 else ""
            yield UnreadableFile(path, Reason.CORRUPT, f"{wrong[0]}{more}")


class ContainerArchive(InReach):
    """The members of one zip or tar file."""

    def __init__(self, path: Path) -> None:
        self.root = path
        self.location = str(path)
        self.rows: dict[Path, Row] = {}

    def scan(self, vouched: Vouched = NOTHING) -> Iterator[FileStat | UnreadableFile]:  # noqa: ARG002
        """The file itself: the run lists its members."""
        yield FileStat.of(self.root)

    def access(self, scratch: Path) -> Access:
        """Members, one by one."""
        return Unpacking(scratch)


class ManifestArchive(InReach):
    """The files one manifest lists, wherever below or beside it they lie."""

    def __init__(self, path: Path) -> None:
        self.root = path.parent
        self.location = str(self.root)
        self._path = path

    @cached_property
    def rows(self) -> dict[Path, Row]:
        """Rows of the manifest by absolute path."""
        return dict(manifest.read(self._path))

    def access(self, scratch: Path) -> Access:  # noqa: ARG002
        """Files as they lie there."""
        return OnDisk()

    def scan(self, vouched: Vouched = NOTHING) -> Iterator[FileStat | UnreadableFile]:  # noqa: ARG002
        for path in self.rows:
            try:
                stat = FileStat.of(path)
                yield stat if path.is_file() else UnreadableFile(path, Reason.UNSUPPORTED, NO_FILE)
            except OSError as error:
                yield _unreachable(path, error)


def _unreachable(path: Path, error: OSError) -> UnreadableFile:
    if isinstance(error, PermissionError):
        return UnreadableFile(path, Reason.PERMISSION, "may not be read by this user; ask for read permission")
    if isinstance(error, FileNotFoundError):
        return UnreadableFile(path, Reason.MISSING_FILE, "does not exist, though it is listed")
    return failure_of(path, error) or UnreadableFile(
        path, Reason.VANISHED, f"cannot be looked at: {error.strerror or type(error).__name__}"
    )
