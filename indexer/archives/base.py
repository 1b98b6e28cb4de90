"""What every kind of archive offers: a list of its files, and a way to the bytes of each.

A file of an archive has a path below the archive's root by which it is planned, masked and stored. Where its bytes lie
is the business of the archive's `Access` alone: on this machine, in a zip file, in a bucket or on a PACS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from m3search.errors import UnreadableFile

if TYPE_CHECKING:
    from m3search.indexer.archives.manifest import Row

UNKNOWN = -1  # size of a file that its archive does not tell before it is fetched


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


@dataclass(frozen=True, slots=True)
class Vouched:
    """What the index knows of an archive, for archives that are dear to list."""

    files: Callable[[Path], Sequence[FileStat]]  # of a folder, as they were when they were read, by their stored names
    name: Callable[[Path], str]  # a file's stored name, which is masked


NOTHING = Vouched(lambda _: (), lambda path: path.name)


class Access(Protocol):
    """How reading processes come by the bytes of an archive's files. It travels to them, so it holds no connection."""

    def on_disk(self, path: Path) -> Path | None:
        """Where on this machine the bytes lie already; None where `copy` must bring them."""
        ...

    def stat(self, path: Path) -> FileStat:
        """The file as it is now, `path` as given. Raises OSError or UnreadableFile where it cannot be looked at."""
        ...

    def below(self, folder: Path) -> Sequence[Path]:
        """Files in a folder and in the folders in it. For files that must be fetched."""
        ...

    def copy(self, path: Path, to: Path) -> None:
        """Write the bytes of a file that is not on disk to `to`. Raises OSError or UnreadableFile."""
        ...


class Archive(Protocol):
    """A place with medical files."""

    @property
    def root(self) -> Path:
        """The folder that `uri`s are relative to, absolute."""
        ...

    @property
    def location(self) -> str:
        """By which the index remembers the archive and `open_archive` finds it again. Holds no secret."""
        ...

    @property
    def rows(self) -> dict[Path, Row]:
        """What manifests say, by absolute path."""
        ...

    @property
    def private_names(self) -> bool:
        """Whether every name below the root identifies (UIDs of a PACS), so that uris must not show any."""
        ...

    def scan(self, vouched: Vouched = NOTHING) -> Iterator[FileStat | UnreadableFile]:
        """Every file, in a stable order; a file or folder that cannot be looked at comes as an error instead.

        Args:
            vouched: for archives that know without listing a folder that nothing was added to it: its files may then
                come by their stored names.
        """
        ...

    def portions(self, wanted: Sequence[FileStat]) -> Iterator[Sequence[FileStat | UnreadableFile]]:
        """The files to be looked at, in portions that are within reach while the iterator stands at them.

        No item is spread over two portions. A folder is one portion.
        """
        ...

    def bring(self, more: Sequence[FileStat]) -> Sequence[FileStat | UnreadableFile]:
        """Files within reach that turn out to be needed with those of the portion the iterator stands at."""
        ...

    def access(self, scratch: Path) -> Access:
        """How to come by bytes; may keep temporary files below `scratch`, which the run makes and removes."""
        ...


@dataclass(frozen=True, slots=True)
class OnDisk:
    """Files of this machine."""

    def on_disk(self, path: Path) -> Path | None:
        return path

    def stat(self, path: Path) -> FileStat:
        return FileStat.of(path)

    def below(self, folder: Path) -> Sequence[Path]:
        return [path for path in folder.rglob("*") if path.is_file()]

    def copy(self, path: Path, to: Path) -> None:
        raise NotImplementedError(f"{path.name} is on disk, to be read there and not copied to {to.name}")


class InReach:
    """What archives have in common whose files are always within reach, under names of their own."""

    private_names = False

    def portions(self, wanted: Sequence[FileStat]) -> Iterator[Sequence[FileStat | UnreadableFile]]:
        """All at once."""
        yield wanted

    def bring(self, more: Sequence[FileStat]) -> Sequence[FileStat | UnreadableFile]:
        """They are."""
        return more
