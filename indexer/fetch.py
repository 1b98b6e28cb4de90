"""Files that lie elsewhere, brought to this machine for as long as one call takes. In worker processes.

Each function makes the call of its module on local copies and speaks of the archive's own paths again in what it
returns or raises. Files that are on disk already are read there.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from m3search.errors import Reason, UnreadableFile
from m3search.formats.slide import MIRAX
from m3search.indexer import inspect as inspecting
from m3search.indexer import read as reading
from m3search.indexer.inspect import Digest, Inspected, Word
from m3search.modalities import burned_in
from m3search.modalities.reading import raster_image as local_raster_image
from m3search.modalities.reading import unreadable

if TYPE_CHECKING:
    from m3search.indexer.archives.base import Access, FileStat
    from m3search.indexer.read import Reading
    from m3search.types import InputSpec, Source, UInt8

MOST_COMPANIONS = 10_000  # of one file: a header that names more is damaged


@dataclass(frozen=True, slots=True)
class Reach:
    """How a worker comes by files: the archive's access, and where copies may lie meanwhile."""

    access: Access
    root: Path  # of the archive
    scratch: Path


def inspect(reach: Reach, path: Path, word: Word) -> Inspected | None:
    """As `indexer.inspect.inspect`, of a file wherever it lies."""
    if reach.access.on_disk(path) == path:
        return inspecting.inspect(path, word)
    with _Copies.of(reach, path) as copies:
        copies.add([path])
        copies.add_companions(path)
        found = inspecting.inspect(copies.local(path), word)
        if found is None:
            return None
        stats = [reach.access.stat(copies.original(digest.stat.path)) for digest in found.digests]
        digests = tuple(Digest(stat, one.digest) for stat, one in zip(stats, found.digests, strict=True))
        return replace(found, path=path, digests=digests)


def read(
    reach: Reach, source: Source, spec: InputSpec, policy: burned_in.Policy, planned: Sequence[FileStat]
) -> Reading:
    """As `indexer.read.read`, of files wherever they lie. `planned` are all of them, companions too."""
    if all(reach.access.on_disk(path) == path for path in source.files):
        return reading.read(source, spec, policy, planned)
    with _Copies.of(reach, source.files[0]) as copies:
        try:
            copies.add([*source.files, *(stat.path for stat in planned if stat.path not in source.files)])
            found = reading.read(replace(source, files=tuple(map(copies.local, source.files))), spec, policy)
        except UnreadableFile:
            reading.check_unchanged(planned, reach.access.stat)
            raise
    reading.check_unchanged(planned, reach.access.stat)
    return found


def raster_image(reach: Reach, path: Path) -> UInt8:
    """As `modalities.reading.raster_image`, of a file wherever it lies."""
    if reach.access.on_disk(path) == path:
        return local_raster_image(path)
    with _Copies.of(reach, path) as copies:
        copies.add([path])
        return local_raster_image(copies.local(path))


@dataclass(slots=True)
class _Copies:
    """Local copies of some files, in folders as the archive has them: headers name the files beside them."""

    reach: Reach
    folder: Path
    _local: dict[Path, Path] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def of(cls, reach: Reach, path: Path) -> Iterator[_Copies]:
        """Copies that are gone afterwards; what is raised meanwhile names the archive's files, else `path`."""
        reach.scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=reach.scratch))
        copies = cls(reach, folder)
        try:
            yield copies
        except UnreadableFile as error:
            named = copies.original(error.path) if error.path in copies._local.values() else error.path
            known = named if named.is_relative_to(reach.root) else path
            raise UnreadableFile(known, error.reason, error.message) from error
        except OSError as error:
            raise unreadable(path, error) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def add(self, paths: Iterable[Path]) -> None:
        """Bring these."""
        for path in paths:
            if path in self._local:
                continue
            there = self.reach.access.on_disk(path)
            to = self.folder / path.relative_to(self.reach.root)
            to.parent.mkdir(parents=True, exist_ok=True)
            if there:
                to.symlink_to(there)
            else:
                self.reach.access.copy(path, to)
            self._local[path] = to

    def add_companions(self, path: Path) -> None:
        """Bring what a header names, as far as it is there; the format's reader says what is missing."""
        if path.suffix.casefold() == MIRAX:
            self.add(self.reach.access.below(path.with_suffix("")))
        elif path.suffix.casefold() == ".hea":
            from m3search.formats.wfdb import named_in

            waiting = [path]
            while waiting:
                for name in named_in(self.local(waiting.pop())):
                    companion = path.parent / name
                    if len(self._local) > MOST_COMPANIONS:
                        raise UnreadableFile(path, Reason.CORRUPT, f"names more than {MOST_COMPANIONS:,} other files")
                    if companion.parent == path.parent and companion not in self._local and self._is_there(companion):
                        self.add([companion])
                        if companion.suffix == ".hea":
                            waiting.append(companion)

    def local(self, path: Path) -> Path:
        """Of a file that was brought."""
        return self._local[path]

    def original(self, local: Path) -> Path:
        """The archive's path of a local copy."""
        return self.reach.root / local.relative_to(self.folder)

    def _is_there(self, path: Path) -> bool:
        try:
            self.reach.access.stat(path)
        except OSError:
            return False
        return True
