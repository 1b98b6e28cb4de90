"""Where an index may lie: a folder, which is a `Path`, or s3://bucket/prefix, which is an `ObjectPath`.

An `ObjectPath` answers to the few names of `Path` that an index asks for, by pyarrow's S3 file system. An object is
there whole or not at all, so that each write is atomic; none can be added to, locked or mapped into memory.

Who may read is for the environment to say, as other programs have it: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_REGION, AWS_ENDPOINT_URL for storage that is not Amazon's. Copies of its segments lie in `cache_folder()` of each
machine; what a machine keeps for itself (a run's scratch, a server's token, its audit log) in the folder `beside` it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast
from urllib.parse import urlsplit

from m3search.errors import StoreUnreachable, UsageError

if TYPE_CHECKING:
    from io import BufferedReader

S3 = "s3://"
AWAY = "Generic S3 error"  # in whatever Lance raises where storage does not do as asked
CHUNK = 1 << 20  # bytes copied at a time
CONNECT_S = 5.0  # for a connection to storage, each of three times


@dataclass(frozen=True, slots=True, order=True)
class ObjectPath:
    """One object, or all that begin with its name and a slash. Opens no connection; each process makes its own."""

    key: str  # "bucket/prefix/name"

    @classmethod
    def of(cls, address: str) -> ObjectPath:
        """From "s3://bucket/prefix".

        Raises:
            UsageError: another scheme, no bucket, or a password in the address.
        """
        parts = urlsplit(address)
        if parts.scheme != "s3" or not parts.netloc:
            raise UsageError(f"an index lies in a folder or at s3://BUCKET/PREFIX, not at {parts.scheme}://…")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise UsageError(
                "the address of an index holds no key or parameters: they would end in the shell's history; put them "
                "into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        return cls(f"{parts.netloc}{parts.path}".strip("/"))

    def __truediv__(self, name: str) -> ObjectPath:
        return ObjectPath(f"{self.key}/{name}")

    def __str__(self) -> str:
        return f"{S3}{self.key}"

    @property
    def name(self) -> str:
        """What follows the last slash."""
        return self.key.rpartition("/")[2]

    @property
    def parent(self) -> ObjectPath:
        """What precedes the last slash."""
        return ObjectPath(self.key.rpartition("/")[0])

    def exists(self) -> bool:
        """Whether it is an object, or anything begins with it."""
        return str(self._info().type.name) != "NotFound"

    def is_dir(self) -> bool:
        """Whether anything begins with it and a slash."""
        return str(self._info().type.name) == "Directory"

    def is_file(self) -> bool:
        """Whether there is such an object."""
        return self.stamp() is not None

    def stamp(self) -> tuple[int, int] | None:
        """Time of its last change, ns, and bytes; None where there is no such object."""
        info = self._info()
        return (int(info.mtime_ns or 0), int(info.size)) if info.is_file else None

    def read_bytes(self) -> bytes:
        """Raises FileNotFoundError."""
        with self.open() as file:
            return file.read()

    def read_text(self, encoding: str = "utf-8") -> str:
        """Raises FileNotFoundError."""
        return self.read_bytes().decode(encoding)

    @contextmanager
    def open(self, mode: Literal["rb"] = "rb") -> Iterator[BufferedReader]:  # noqa: ARG002
        """Its bytes, from the first to the last. Raises FileNotFoundError."""
        with self._translated(), file_system().open_input_stream(self.key, compression=None) as file:
            yield cast("BufferedReader", file)

    def write_bytes(self, content: bytes) -> None:
        """Put the object in place of the one before, in one step."""
        with self._output() as target:
            target.write(content)

    def upload(self, file: Path) -> None:
        """Put a file's bytes there."""
        with file.open("rb") as source, self._output() as target:
            shutil.copyfileobj(source, target, CHUNK)

    def download(self, file: Path) -> None:
        """Its bytes into a new file."""
        with self.open() as source, file.open("wb") as target:
            shutil.copyfileobj(source, target, CHUNK)

    def files(self) -> list[tuple[str, int, int]]:
        """All objects below: names as seen from here, bytes, times of the last change in ns; by name."""
        from pyarrow.fs import FileSelector

        with self._translated():
            found = file_system().get_file_info(FileSelector(self.key, allow_not_found=True, recursive=True))
        below = len(self.key) + 1
        return sorted((one.path[below:], int(one.size), int(one.mtime_ns or 0)) for one in found if one.is_file)

    def folders(self) -> list[str]:
        """Names right below under which there are objects."""
        from pyarrow.fs import FileSelector, FileType

        with self._translated():
            found = file_system().get_file_info(FileSelector(self.key, allow_not_found=True))
        return sorted(one.base_name for one in found if one.type == FileType.Directory)

    def glob(self, pattern: str) -> list[ObjectPath]:
        """Objects right below whose names are of a pattern without slashes, by name."""
        return [self / name for name, _, _ in self.files() if "/" not in name and fnmatch(name, pattern)]

    def remove_below(self) -> None:
        """All objects below, if any."""
        with suppress(FileNotFoundError), self._translated():
            file_system().delete_dir(self.key)

    def unlink(self, missing_ok: bool = False) -> None:
        """Raises FileNotFoundError unless `missing_ok`."""
        try:
            with self._translated():
                file_system().delete_file(self.key)
        except FileNotFoundError:
            if not missing_ok:
                raise

    @contextmanager
    def _output(self) -> Iterator[Any]:
        with self._translated(), file_system().open_output_stream(self.key, compression=None) as target:
            yield target

    def _info(self) -> Any:
        with self._translated():
            return file_system().get_file_info(self.key)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:  # the SDK's words name hosts and requests: none is needed to mend it
            if error.errno is not None:
                raise  # of a file of this machine
            raise unreachable(self) from error


def unreachable(place: ObjectPath) -> StoreUnreachable:
    """The error of storage that is away."""
    return StoreUnreachable(
        f"{place} cannot be reached, or refuses; check the address, the network, and in the environment "
        "AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    )


Place: TypeAlias = Path | ObjectPath


def place_of(location: Path | str | ObjectPath) -> Place:
    """A folder or an address.

    Raises:
        UsageError: an address that is none of an index.
    """
    if isinstance(location, ObjectPath | Path):
        return location
    return ObjectPath.of(location) if "://" in location else Path(location)


def remove(place: Place) -> None:
    """A folder with all it holds, or all objects below; nothing where nothing is."""
    if isinstance(place, Path):
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.remove_below()


def sizes(place: Place) -> list[int]:
    """Bytes of each file below."""
    if isinstance(place, ObjectPath):
        return [size for _, size, _ in place.files()]
    return [file.stat().st_size for file in place.rglob("*") if file.is_file()]


def cache_folder() -> Path:
    """$M3SEARCH_CACHE, else `m3search` in this user's cache."""
    if chosen := os.environ.get("M3SEARCH_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "m3search"


def beside(place: Place) -> Path:
    """The folder of this machine for what belongs to an index and needs files: itself, or one for its address below
    $M3SEARCH_STATE, else $XDG_STATE_HOME/m3search, else ~/.local/state/m3search. Only its owner may read it.
    """
    if isinstance(place, Path):
        return place
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    root = Path(os.environ.get("M3SEARCH_STATE") or Path(state, "m3search"))
    folder = root / folder_name(place)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def folder_name(place: ObjectPath) -> str:
    """What folders of this machine that belong to an address are called."""
    return sha256(f"{_endpoint() or ''} {place.key}".encode()).hexdigest()[:16]


def storage_options(place: Place) -> dict[str, str]:
    """How LanceDB is to reach a place; it reads the environment itself.

    Raises:
        UsageError: $AWS_ENDPOINT_URL would send patient data in clear.
    """
    if isinstance(place, Path):
        return {}
    endpoint = _endpoint()
    return {"allow_http": "true"} if endpoint and endpoint.startswith("http://") else {}


def _endpoint() -> str | None:
    """Of storage that is not Amazon's.

    Raises:
        UsageError: it is reached without TLS, and not on this machine.
    """
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    if not endpoint:
        return None
    parts = urlsplit(endpoint)
    if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
        return endpoint.rstrip("/")
    raise UsageError("AWS_ENDPOINT_URL must begin with https://: what an index holds is not sent in clear")


def _is_loopback(host: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def file_system() -> Any:
    """pyarrow's `S3FileSystem`, as the environment says.

    Raises:
        UsageError: $AWS_ENDPOINT_URL would send patient data in clear.
    """
    return _connected(_endpoint(), os.environ.get("AWS_REGION"), os.environ.get("AWS_ACCESS_KEY_ID"), os.getpid())


@lru_cache(4)
def _connected(endpoint: str | None, region: str | None, access_key: str | None, process: int) -> Any:  # noqa: ARG001
    """One for each process and environment: the last two arguments only tell them apart."""
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

    scheme, _, host = (endpoint or "https://").partition("://")
    return S3FileSystem(
        region=region or ("us-east-1" if endpoint else None),
        scheme=scheme,
        endpoint_override=host or None,
        connect_timeout=CONNECT_S,
        allow_delayed_open=True,  # a small object is one request
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=3),
    )
