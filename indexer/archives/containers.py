"""Zip and tar files as folders: their members are files of the archive, fetched one by one.

A member is never written under its own name: what a hostile name could overwrite does not matter, and a name that leads
out of the container is refused all the same. Compressed tar files cannot be entered in the middle: they are inflated
once, into the run's scratch folder.
"""

from __future__ import annotations

import bz2
import fcntl
import gzip
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO

from blake3 import blake3

from m3search.errors import Reason, UnreadableFile
from m3search.formats.storage import failure_of
from m3search.indexer.archives import manifest
from m3search.indexer.archives.base import FileStat
from m3search.indexer.archives.described import describe
from m3search.indexer.archives.manifest import Row

COMPRESSED_TARS = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
SUFFIXES = (".zip", ".tar", *COMPRESSED_TARS)

MOST_MEMBERS = 2_000_000
MOST_BYTES = 64 << 30  # of one member: no slide is larger
SUSPICIOUS_BYTES = 1 << 30  # what inflates to more than this ...
SUSPICIOUS_RATIO = 200  # ... and by more than this, is a bomb; films and slices shrink to a tenth at best
CHUNK = 1 << 20
KEPT_OPEN = 4  # containers per reading process
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError)
ENCRYPTED = 1  # bit of a zip member's flags (APPNOTE 4.4.4)


@dataclass(frozen=True, slots=True)
class Listing:
    """What a container holds."""

    members: tuple[FileStat, ...]
    rows: Mapping[Path, Row]  # what manifests and reports in it say
    failures: tuple[UnreadableFile, ...]  # of the container, for members that cannot be had; of manifests in it


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    size: int  # bytes
    offset: int = 0  # of its bytes, in a plain tar file
    raw_name: str = ""  # as the container spells it


def is_container(path: Path) -> bool:
    """By its name: whether to look inside is to be known without opening every file."""
    return path.name.casefold().endswith(SUFFIXES)


def container_of(path: Path) -> Path | None:
    """The zip or tar file that a path leads into, or None for any other."""
    return next((above for above in path.parents if is_container(above) and above.is_file()), None)


def is_packed(container: Path) -> bool:
    """Whether no member of it can be had without all that stand before it: it is a compressed tar file."""
    return container.name.casefold().endswith(COMPRESSED_TARS)


def member_names(container: Path) -> Set[str]:
    """Names of the members that `Unpacking` gives, as relative paths.

    Raises:
        UnreadableFile: it cannot be opened, or is made to do harm.
    """
    with _translated(container):
        return _index(container, FileStat.of(container)).keys()


def copy_members(container: Path, places: Mapping[str, Path], check: Callable[[int], None]) -> None:
    """Write members of a tar file to the places given by their names, in one pass.

    Args:
        check: called with the size of each before it is written, and with 0 for each that is passed by; may raise.

    Raises:
        UnreadableFile: it is damaged; one that was cut gives what is whole.
    """
    with (
        _translated(container),
        container.open("rb") as file,
        _tar_stream(container, file) as tar,
        suppress(tarfile.ReadError, EOFError),
    ):
        while info := tar.next():
            tar.members = []  # type: ignore[attr-defined]
            to = places.get(_clean(info.name) or "") if info.isreg() else None
            check(info.size if to else 0)
            if to and (source := tar.extractfile(info)):
                with to.open("wb") as target:
                    shutil.copyfileobj(source, target, CHUNK)


def list_members(container: Path, scratch: Path) -> Listing:
    """The members of a zip or tar file as files below it, what manifests in it say, and what is wrong with others.

    Members change when their container does: they have its time.

    Raises:
        UnreadableFile: it cannot be opened at all.
    """
    mtime = FileStat.of(container).mtime_ns
    found, problems = _listed(container)
    members: dict[str, FileStat] = {}
    for member in found:
        members[member.name] = FileStat(container / member.name, member.size, mtime)  # a later one replaces it
    told = describe(list(members.values()), Unpacking(scratch), scratch)
    failures = told.failures
    if problems:
        failures = [UnreadableFile(container, next(iter(problems.values())), "; ".join(problems)), *failures]
    left_out = {failure.path for failure in failures}
    kept = (one for one in members.values() if one.path not in left_out and one.path.name != manifest.NAME)
    return Listing(tuple(kept), told.rows, tuple(failures))


def _listed(container: Path) -> tuple[list[_Member], dict[str, Reason]]:
    with _translated(container):
        raw = _zip_members(container) if _is_zip(container) else _tar_members(container)
        kept: list[_Member] = []
        counts: dict[tuple[str, Reason], int] = {}
        for one in raw:
            if isinstance(one, _Member):
                clean = _clean(one.name)
                if clean is None:
                    counts[OUTSIDE] = counts.get(OUTSIDE, 0) + 1
                elif any(part.startswith(".") for part in PurePosixPath(clean).parts):
                    continue  # hidden, as in folders; "__MACOSX/._1.dcm" too
                elif is_container(Path(clean)):
                    counts[NESTED] = counts.get(NESTED, 0) + 1
                else:
                    kept.append(replace(one, name=clean, raw_name=one.name))
            else:
                counts[one] = counts.get(one, 0) + 1
            if len(kept) > MOST_MEMBERS:
                raise UnreadableFile(container, Reason.TOO_LARGE, f"has more than {MOST_MEMBERS:,} members; split it")
    return kept, {words.format(count=count): reason for (words, reason), count in counts.items()}


# What is said of members, without their names: those may name a person.
Problem = tuple[str, Reason]
OUTSIDE: Problem = (
    "{count} members have names that lead out of it and are left out; pack it again", Reason.UNSUPPORTED,
)  # fmt: skip
NESTED: Problem = ("{count} members are zip or tar files themselves; unpack it", Reason.UNSUPPORTED)
LOCKED: Problem = ("{count} members are encrypted; unpack it with its password", Reason.UNSUPPORTED)
BOMB: Problem = ("{count} members would inflate beyond all measure and are left out", Reason.TOO_LARGE)
CUT: Problem = ("it ends early: members are missing; copy it again from its source", Reason.TRUNCATED)


def _zip_members(container: Path) -> Iterator[_Member | Problem]:
    packed = 0
    for info in _zip(container, FileStat.of(container)).infolist():
        if info.is_dir():
            continue
        packed += info.compress_size
        if packed > container.stat().st_size:
            raise UnreadableFile(container, Reason.CORRUPT, "its members overlap: it is damaged, or made to do harm")
        if info.flag_bits & ENCRYPTED:
            yield LOCKED
        elif _is_bomb(info.compress_size, info.file_size):
            yield BOMB
        else:
            yield _Member(info.filename, info.file_size)


def _tar_members(container: Path) -> Iterator[_Member | Problem]:
    """Of a compressed one, without keeping what is inflated. A truncated one gives what is whole."""
    size = container.stat().st_size
    total = 0
    with container.open("rb") as file, _tar_stream(container, file) as tar:
        last: _Member | None = None
        try:
            while info := tar.next():
                if last:  # whole: another one follows
                    yield last
                last = None
                tar.members = []  # type: ignore[attr-defined]  # else it remembers every one
                total += info.size
                if is_packed(container) and _is_bomb(size, total):
                    raise UnreadableFile(container, Reason.TOO_LARGE, "inflates beyond all measure; unpack it yourself")
                if info.isreg():
                    last = _Member(info.name, info.size, info.offset_data)
        except (tarfile.ReadError, EOFError):
            yield CUT
            return
        if last:
            yield last


def _is_bomb(packed: int, size: int) -> bool:
    return size > MOST_BYTES or (size > SUSPICIOUS_BYTES and size > packed * SUSPICIOUS_RATIO)


def _clean(name: str) -> str | None:
    """The name as a relative path, or None where it leads elsewhere."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or parts[0] == "/" or ".." in parts or "\0" in name or parts[0].endswith(":"):
        return None
    return str(PurePosixPath(*parts))


@dataclass(frozen=True, slots=True)
class Unpacking:
    """Files of this machine, and members of the zip and tar files among them."""

    scratch: Path

    def on_disk(self, path: Path) -> Path | None:
        return None if container_of(path) else path

    def stat(self, path: Path) -> FileStat:
        container = container_of(path)
        if container is None:
            return FileStat.of(path)
        with _translated(path):
            return FileStat(path, self._member(container, path).size, FileStat.of(container).mtime_ns)

    def below(self, folder: Path) -> Sequence[Path]:
        container = container_of(folder)
        if container is None:
            return []
        with _translated(folder):
            return [path for name in self._members(container) if folder in (path := container / name).parents]

    def copy(self, path: Path, to: Path) -> None:
        container = container_of(path)
        if container is None:
            raise FileNotFoundError(2, "No such file", str(path))
        with _translated(path):
            member = self._member(container, path)
            with self._opened(container, member) as source, to.open("wb") as target:
                shutil.copyfileobj(source, target, CHUNK)
            if to.stat().st_size != member.size:
                raise UnreadableFile(path, Reason.TRUNCATED, "ends early in its zip or tar file; copy that again")

    def _member(self, container: Path, path: Path) -> _Member:
        try:
            return self._members(container)[path.relative_to(container).as_posix()]
        except KeyError:
            raise FileNotFoundError(2, "No such member", str(path)) from None

    def _members(self, container: Path) -> Mapping[str, _Member]:
        plain = self._plain(container)
        return _index(plain, FileStat.of(plain))

    @contextmanager
    def _opened(self, container: Path, member: _Member) -> Iterator[IO[bytes] | _Stretch]:
        plain = self._plain(container)
        if _is_zip(plain):
            with _zip(plain, FileStat.of(plain)).open(member.raw_name) as source:
                yield source
        else:
            with plain.open("rb") as file:
                file.seek(member.offset)
                yield _Stretch(file, member.size)

    def _plain(self, container: Path) -> Path:
        return self._inflated(container, FileStat.of(container)) if is_packed(container) else container

    def _inflated(self, container: Path, stat: FileStat) -> Path:
        """The plain tar file of a compressed one, made by whichever process needs it first while the others wait."""
        name = blake3(repr((str(container), stat.size, stat.mtime_ns)).encode()).hexdigest(8)
        plain = self.scratch / f"{name}.tar"
        if plain.exists():
            return plain
        self.scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.scratch / f"{name}.lock").open("w") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX)
            if not plain.exists():
                half = plain.with_suffix(".half")
                _inflate(container, half)
                half.rename(plain)
        return plain


def _inflate(container: Path, to: Path) -> None:
    with container.open("rb") as file, _decompressed(container, file) as source, to.open("wb") as target:
        size = 0
        try:
            while chunk := source.read1(CHUNK):  # what was inflated before it turns out to be cut is kept
                size += len(chunk)
                if size > SUSPICIOUS_BYTES and size > SUSPICIOUS_RATIO * max(file.tell(), 1):
                    raise UnreadableFile(container, Reason.TOO_LARGE, "inflates beyond all measure; unpack it yourself")
                target.write(chunk)
        except EOFError:
            pass


class _Stretch:
    """A stretch of a file that is open, to be read once."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._left = size

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes more."""
        chunk = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(chunk)
        return chunk


def _is_zip(container: Path) -> bool:
    return container.name.casefold().endswith(".zip")


@lru_cache(KEPT_OPEN)
def _zip(container: Path, stat: FileStat) -> zipfile.ZipFile:  # noqa: ARG001 - `stat` tells a changed file
    return zipfile.ZipFile(container)


@lru_cache(KEPT_OPEN)
def _index(container: Path, stat: FileStat) -> dict[str, _Member]:  # noqa: ARG001
    return {member.name: member for member in _listed(container)[0]}


def _decompressed(container: Path, file: IO[bytes]) -> gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile:
    """The bytes of a compressed tar file."""
    name = container.name.casefold()
    if name.endswith((".gz", ".tgz")):
        return gzip.GzipFile(fileobj=file)
    return bz2.BZ2File(file) if name.endswith("bz2") else lzma.LZMAFile(file)


@contextmanager
def _tar_stream(container: Path, file: IO[bytes]) -> Iterator[tarfile.TarFile]:
    if is_packed(container):
        with _decompressed(container, file) as plain, tarfile.open(fileobj=plain, mode="r:") as tar:
            yield tar
    else:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            yield tar


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """What zipfile, tarfile and their codecs raise on bad files, as an UnreadableFile; their words are left out."""
    try:
        yield
    except DAMAGE as error:
        if failure := failure_of(path, error):
            raise failure from error
        reason = Reason.TRUNCATED if isinstance(error, EOFError) else Reason.CORRUPT
        message = f"its zip or tar file is damaged ({type(error).__name__}); copy that again from its source"
        raise UnreadableFile(path, reason, message) from error
    except RuntimeError as error:  # zipfile's for what is encrypted after all
        message = f"its zip file cannot be read ({type(error).__name__}); unpack it"
        raise UnreadableFile(path, Reason.UNSUPPORTED, message) from error
