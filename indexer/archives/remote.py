"""Object storage and whatever else fsspec knows: s3://bucket/prefix, gs://…, az://…, sftp://…

S3 is reached as indexes there are, by pyarrow and the same environment; the others by fsspec's drivers.
Who may read is for fsspec and its drivers to know, from the environment or their own configuration: an address with a
password in it would end in a shell's history and in the index.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from blake3 import blake3

from m3search.errors import ArchiveUnreachable, MissingExtra, Reason, UnreadableFile, UsageError
from m3search.formats.storage import failure_of
from m3search.indexer.archives.base import NOTHING, Access, FileStat, InReach, Vouched
from m3search.indexer.archives.containers import is_container
from m3search.indexer.archives.described import describe
from m3search.stores.place import S3, file_system

if TYPE_CHECKING:
    from m3search.indexer.archives.manifest import Row

SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
WHEN = ("LastModified", "last_modified", "mtime", "updated", "created")  # how file systems call it
NEVER_ITEMS = {".txt", ".csv", ".json", ".md", ".html"}  # would be fetched in every run, to be left out
CHUNK = 1 << 20


def has_scheme(location: str) -> bool:
    """Whether it is an address and not a path."""
    return bool(SCHEME.match(location))


def without_secrets(location: str) -> str:
    """The address without a trailing slash.

    Raises:
        UsageError: it holds a user's name, a password or a token.
    """
    parts = urlsplit(location)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UsageError(
            f"the address at {parts.hostname} holds a user, a password or parameters, which would end in the shell's "
            "history and in the index; leave them out, and give secrets by environment variables or files"
        )
    return location.rstrip("/")


class RemoteArchive(InReach):
    """Every file below an address. Each is fetched when it is looked at and again when it is read, and then removed."""

    def __init__(self, location: str) -> None:
        self.location = without_secrets(location)
        self.root = Path("/", self.location)  # of no machine: it only names
        self.rows: dict[Path, Row] = {}
        self._access = Fetching(self.location, self.root)

    def scan(self, vouched: Vouched = NOTHING) -> Iterator[FileStat | UnreadableFile]:  # noqa: ARG002
        """As `Archive.scan`.

        Raises:
            ArchiveUnreachable: it cannot be listed.
        """
        found = self._access.list_all()
        if not found:
            raise UsageError(f"there is nothing at {self.location}")
        with TemporaryDirectory(prefix="m3search-") as scratch:
            told = describe(found, self._access, Path(scratch))
        self.rows = told.rows
        yield from told.failures
        left_out = {failure.path for failure in told.failures}
        for stat in found:
            if stat.path in left_out:
                continue
            relative = stat.path.relative_to(self.root)
            if any(part.startswith(".") for part in relative.parts) or stat.path.suffix.casefold() in NEVER_ITEMS:
                continue
            if is_container(stat.path):
                yield UnreadableFile(
                    stat.path, Reason.UNSUPPORTED, "is a zip or tar file on other storage; copy it here and index it"
                )
            else:
                yield stat

    def access(self, scratch: Path) -> Access:  # noqa: ARG002
        """By fsspec."""
        return self._access


@dataclass(frozen=True, slots=True)
class Fetching:
    """Files of an fsspec file system. Each process makes its own connection."""

    location: str
    root: Path

    def on_disk(self, path: Path) -> Path | None:  # noqa: ARG002
        return None

    def stat(self, path: Path) -> FileStat:
        with self._translated(path):
            system, base = self._open()
            return _stat(path, system.info(self._name(base, path)))

    def below(self, folder: Path) -> Sequence[Path]:
        with self._translated(folder):
            system, base = self._open()
            return [self._path(base, name) for name in system.find(self._name(base, folder))]

    def names(self, folder: Path) -> Sequence[str]:
        """Of the files and folders right below a folder, as it is now; none where it is gone."""
        with self._translated(folder):
            system, base = self._open()
            name = self._name(base, folder)
            system.invalidate_cache(name)
            try:
                return [Path(one).name for one in system.ls(name, detail=False)]
            except FileNotFoundError:
                return []

    def copy(self, path: Path, to: Path) -> None:
        with self._translated(path):
            system, base = self._open()
            with system.open(self._name(base, path), "rb") as source, to.open("wb") as target:
                shutil.copyfileobj(source, target, CHUNK)

    def list_all(self) -> list[FileStat]:
        """Every file below the address, by name.

        Raises:
            ArchiveUnreachable: it cannot be reached, or refuses.
            MissingExtra: fsspec, or its driver for this scheme, is not installed.
        """
        system, base = self._open()
        try:
            system.invalidate_cache()
            found: Mapping[str, Mapping[str, Any]] = system.find(base, detail=True)
        except FileNotFoundError:
            return []
        except Exception as error:  # each driver has errors of its own, and their words may hold keys
            raise ArchiveUnreachable(
                f"{self.location} cannot be listed ({type(error).__name__}); check the address, the network and the "
                "credentials in the environment"
            ) from None
        stats = [_stat(self._path(base, name), info) for name, info in found.items() if info.get("type") != "directory"]
        return sorted(stats, key=lambda stat: stat.path)

    def _open(self) -> tuple[Any, str]:
        try:
            from fsspec.core import url_to_fs
            from fsspec.implementations.arrow import ArrowFSWrapper
        except ModuleNotFoundError:
            raise MissingExtra(f"{self.location} needs fsspec: pip install 'm3search[remote]'") from None
        if self.location.startswith(S3):
            return ArrowFSWrapper(file_system()), self.location.removeprefix(S3)
        try:
            system, base = url_to_fs(self.location)
        except ImportError:
            scheme = urlsplit(self.location).scheme
            raise MissingExtra(
                f"{scheme}:// needs its driver for fsspec: pip install 'm3search[remote]' gcsfs (or adlfs, …)"
            ) from None
        except ValueError:
            raise UsageError(f"fsspec knows no storage by the address {self.location}") from None
        except Exception as error:  # of its driver, which wants credentials or a configuration
            raise ArchiveUnreachable(
                f"{self.location} cannot be opened ({type(error).__name__}); check the credentials in the environment"
            ) from None
        return system, base

    def _name(self, base: str, path: Path) -> str:
        return f"{base.rstrip('/')}/{path.relative_to(self.root).as_posix()}"

    def _path(self, base: str, name: str) -> Path:
        return self.root / name[len(base.rstrip("/")) :].lstrip("/")

    @contextmanager
    def _translated(self, path: Path) -> Iterator[None]:
        """What drivers raise, as an UnreadableFile; their words may hold keys and are left out."""
        try:
            yield
        except (UnreadableFile, MissingExtra, FileNotFoundError):
            raise
        except Exception as error:
            raise failure_of(path, error) or UnreadableFile(
                path, Reason.UNREACHABLE, f"its storage failed ({type(error).__name__}); run again when that is mended"
            ) from None


def _stat(path: Path, info: Mapping[str, Any]) -> FileStat:
    when = next((info[key] for key in WHEN if info.get(key) is not None), info.get("ETag"))
    return FileStat(path, int(info.get("size") or 0), _nanoseconds(when))


def _nanoseconds(when: object) -> int:
    """A time as drivers state it; of what is none (an ETag) a number that changes with it."""
    if isinstance(when, datetime):
        return int(when.timestamp() * 1e9)
    if isinstance(when, int | float):
        return int(when * 1e9)
    try:
        return int(datetime.fromisoformat(str(when)).timestamp() * 1e9)
    except ValueError:
        return int.from_bytes(blake3(str(when).encode()).digest(7))
