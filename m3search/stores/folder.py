"""The index folder, `.m3search`, or its like on S3: where it is, what it was built with, and who may write it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from m3search.errors import EncoderMismatch, IndexLocked, IndexNotFound, IndexUnwritable, NoIndex
from m3search.privacy import Pseudonyms
from m3search.stores.place import ObjectPath, Place, beside, place_of, remove

if TYPE_CHECKING:
    from m3search.stores.lance import LanceStore
    from m3search.stores.reader import Reader

NAME = ".m3search"
VARIABLE = "M3SEARCH_INDEX"
FORMAT_VERSION = 1  # of the folder and its tables; raised when an older reader would misread them

UNFINISHED = ("manifest.json.*.tmp", "deleted.json.*.tmp", "pseudonym.key.*.tmp")  # what writers write to first
HELD = (errno.EACCES, errno.EAGAIN)  # what fcntl(2) says of a lock that another process holds

_locked_here: set[Path] = set()  # POSIX locks do not keep out the process that already holds them


@dataclass(frozen=True, slots=True)
class Manifest:
    """What binds the tables to one encoder: `manifest.json`."""

    encoder: str  # name of the bundle
    fingerprint: str  # of the bundle: vectors of another one cannot be compared with these
    dim: int
    inputs_version: int = 1  # of the preparation of inputs: another one gives other vectors
    archives: tuple[str, ...] = ()  # what was indexed into this folder: absolute paths and addresses
    metric: str = "cosine"
    format_version: int = FORMAT_VERSION
    audit: bool = True  # whether who searches, sees and deletes is logged: see `stores.audit`
    created: str = ""  # ISO 8601, UTC; filled in by `IndexFolder.create`


def locate(explicit: Place | str | None = None) -> Place:
    """The index to use, existing or not: a folder, or s3://BUCKET/PREFIX.

    In this order: `explicit`, $M3SEARCH_INDEX, the nearest `.m3search` from here upwards (as git does), ./.m3search.
    """
    if explicit is not None:
        return place_of(explicit)
    if value := os.environ.get(VARIABLE):
        return place_of(value)
    here = Path.cwd()
    return next((folder / NAME for folder in (here, *here.parents) if (folder / NAME).is_dir()), here / NAME)


def is_index(folder: Place) -> bool:
    """Whether a folder holds an index, under whatever name, complete or not."""
    return (folder / "tables" / "items.lance").is_dir()


@dataclass(frozen=True, slots=True)
class IndexFolder:
    """An index on disk or on S3: `manifest.json`, `tables/` (LanceDB), `segment/` (a fast copy), `lock` or lease, and
    what `stores` and `privacy` keep beside them: `pseudonym.key`, `deleted.json`, `audit.jsonl`.
    """

    path: Place
    manifest: Manifest

    @classmethod
    def create(cls, path: Place, manifest: Manifest) -> IndexFolder:
        """A new index with empty tables. The manifest is written last: a folder without one is no index yet.

        Raises:
            NoIndex: there already is one here: `open` it; or one with items that lost its manifest.
            IndexLocked: another run is making one here.
        """
        if path.exists() and not path.is_dir():
            raise NoIndex(f"{path} is a file; choose a folder with --index")
        if isinstance(path, Path):
            path.mkdir(parents=True, exist_ok=True)
        with locked(path):
            return cls._create(path, manifest)

    @classmethod
    def _create(cls, path: Place, manifest: Manifest) -> IndexFolder:
        from m3search.stores.lance import LanceStore

        if (path / "manifest.json").exists():
            raise NoIndex(f"{path} already is an index")
        tables = path / "tables"
        if is_index(path):  # left by a killed `create`, unless there is something in it
            committed = list((tables / "items.lance" / "_versions").glob("*.manifest"))  # else killed while making it
            if committed and LanceStore.open(tables).count():
                raise NoIndex(f"{path} holds an index without manifest.json; restore that, or choose another folder")
            remove(tables)
        remove(path / "segment")
        if isinstance(path, Path):
            path.chmod(0o700)  # embeddings are treated as patient data
        LanceStore.create(tables, manifest.dim)
        created = manifest.created or datetime.now(UTC).isoformat(timespec="seconds")
        folder = cls(path, replace(manifest, created=created))
        if isinstance(folder.key_file, ObjectPath) and not folder.key_file.exists():
            folder.key_file.write_bytes(Pseudonyms.new_key())  # no two make one: this one holds the lease
        folder._write_manifest()
        return folder

    @classmethod
    def open(cls, path: Place) -> IndexFolder:
        """An existing index. Reads only the manifest.

        Raises:
            IndexNotFound: no index here.
            NoIndex: its manifest is damaged, or written by a later m3search.
            StoreUnreachable: it lies on S3, which is away or refuses.
        """
        try:
            content = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
            if content["format_version"] > FORMAT_VERSION:
                raise NoIndex(f"index {path} was written by a later m3search; upgrade with pip install -U m3search")
            content["archives"] = tuple(content["archives"])
            return cls(path, Manifest(**content))
        except (FileNotFoundError, NotADirectoryError):
            raise IndexNotFound(f'no index at {path}; make one with "m3search index ARCHIVE --index {path}"') from None
        except (ValueError, KeyError, TypeError) as error:
            raise NoIndex(f"index {path}: manifest.json is damaged ({type(error).__name__}); index again") from error

    @property
    def tables(self) -> Place:
        """Where the LanceDB tables are."""
        return self.path / "tables"

    @property
    def segment(self) -> Place:
        """Where the segments are, which may be absent."""
        return self.path / "segment"

    @property
    def scratch(self) -> Path:
        """Where an index run may copy files to while it reads them, on this machine. What a killed run leaves, the
        next removes.
        """
        return beside(self.path) / "scratch.tmp"

    @property
    def key_file(self) -> Place:
        """The secret that pseudonyms are keyed with; made and read by `privacy`."""
        return self.path / "pseudonym.key"

    def record(self) -> LanceStore:
        """The tables, opened. This imports lancedb."""
        from m3search.stores.lance import LanceStore

        return LanceStore.open(self.tables)

    def reader(self, device: str | None = None, store: str | None = None) -> Reader:
        """What a search reads: the segment and what was committed since, else the tables. Imports lancedb if it must.

        Args:
            device: a torch device such as "cuda", on which every vector is compared.
            store: address of a copy that was published from this index, which finds the nearest vectors instead.

        Raises:
            UsageError, MissingExtra, StoreUnreachable, EncoderMismatch: of `store`: see `replica.open_replica`.
        """
        from m3search.stores.reader import Reader

        if store is None:
            return Reader(self.tables, self.segment, device=device)
        from m3search.stores.replica import open_replica

        return open_replica(self, store)

    def check_encoder(self, name: str, fingerprint: str, inputs_version: int = 1) -> None:
        """Refuse an encoder whose vectors do not belong in this index.

        Raises:
            EncoderMismatch: naming both encoders and what to do.
        """
        built = self.manifest
        if (built.fingerprint, built.inputs_version) == (fingerprint, inputs_version):
            return
        other = f"@{fingerprint[:8]}" if name == built.encoder else f"{name}@{fingerprint[:8]}"
        if fingerprint == built.fingerprint:
            other = f"inputs version {inputs_version}, the index has {built.inputs_version}"
        raise EncoderMismatch(
            f"index {self.path} was built with {built.encoder}@{built.fingerprint[:8]}, not {other}; "
            f"use --model with the encoder it was built with, or index again into another folder with --index"
        )

    def add_archive(self, location: str) -> IndexFolder:
        """Remember one more archive. Returns the folder with its new manifest.

        For the holder of the lock: what another run remembered since this manifest was read is kept.
        """
        now = IndexFolder.open(self.path).manifest
        if location in now.archives:
            return replace(self, manifest=now)
        folder = replace(self, manifest=replace(now, archives=(*now.archives, location)))
        folder._write_manifest()
        return folder

    def lock(self) -> AbstractContextManager[Callable[[], None]]:
        """Be the only writer while the context lasts. Released by the system when the process dies, however it dies;
        on S3 it expires then: see `lease`.

        Yields what raises IndexLocked where it was lost, which on a disk it cannot be.

        Raises:
            IndexLocked: another run holds it; names its process id.
        """
        return locked(self.path)

    def forget_unfinished(self) -> None:
        """Remove what writers left that were killed. For the holder of the lock, before it writes."""
        for path in (path for pattern in UNFINISHED for path in self.path.glob(pattern)):
            path.unlink(missing_ok=True)

    def save(self) -> None:
        """Make this manifest the index's own. For the holder of the lock."""
        self._write_manifest()

    def _write_manifest(self) -> None:
        write_atomically(self.path / "manifest.json", json.dumps(asdict(self.manifest), indent=2) + "\n")


@contextmanager
def locked(folder: Place) -> Iterator[Callable[[], None]]:
    """Holds the file `lock` of a folder, or the lease of a place on S3. Yields what `IndexFolder.lock` yields.

    A POSIX record lock, not flock: flock is inherited by forked workers, so a worker that outlives a killed run would
    go on holding the index.
    """
    if isinstance(folder, ObjectPath):
        from m3search.stores.lease import leased

        with leased(folder) as check:
            yield check
        return
    path = (folder / "lock").resolve()
    if path in _locked_here:  # must not open the file: closing it again would release the lock that is held
        raise IndexLocked(f"index {folder} is being written by this very process ({os.getpid()})")
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in HELD:
                raise IndexUnwritable(
                    f"index {folder} cannot be locked ({error.strerror}): its file system has no locks; choose another"
                ) from error
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise IndexLocked(f"index {folder} is being written by process {holder}; wait for it to end") from None
        _locked_here.add(path)
        try:
            file.truncate(0)
            file.write(f"{os.getpid()} of {platform.node()}, since {datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
            file.flush()
            yield _held
        finally:
            _locked_here.discard(path)


def _held() -> None:
    """A lock of the system is not lost."""


def write_atomically(path: Place, content: str) -> None:
    """Replace a text file so that a reader, or a crash, sees the old or the new content and nothing between."""
    if isinstance(path, ObjectPath):
        path.write_bytes(content.encode())
        return
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
