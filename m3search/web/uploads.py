"""Files that somebody asks with: decoded in a limited process, kept as a vector in memory, never stored.

The bytes lie in a folder of this server's own, which only this user may enter, for as long as they are decoded.
"""

from __future__ import annotations

import re
import secrets
import shutil
import tempfile
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO

from m3search.encoders.base import pool_parts
from m3search.errors import BundleError, UnreadableFile, UsageError
from m3search.modalities.reading import raster_image
from m3search.privacy import Pseudonyms
from m3search.search.query import Encoded
from m3search.search.recognise import stored_item
from m3search.types import Batch
from m3search.web import decode, scratch
from m3search.web.errors import ApiError, invalid, no_such_upload, unreadable

if TYPE_CHECKING:
    from m3search.indexer.read import Reading
    from m3search.search import Engine
    from m3search.types import UInt8
    from m3search.web.live import Live
    from m3search.web.settings import Settings
    from m3search.web.workers import Workers

KEPT_S = 1800  # after the last use
MOST = 512  # vectors kept; the one that was not used for longest goes first
COPY = 1 << 20
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SUFFIX = re.compile(r"(\.nii)?\.[A-Za-z0-9]{1,8}$", re.IGNORECASE)
BY_NAME = (".hea", ".dat", ".mat")  # a record's header names its signal files


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """What is left of an upload."""

    encoded: Encoded
    fingerprint: str  # of the encoder whose vector it is
    modality: str
    modality_from: str
    parts: int
    notes: tuple[str, ...]
    thumbnail: bytes = field(repr=False)


class Uploads:
    """Takes files in, and keeps what can be searched with."""

    def __init__(self, live: Live, workers: Workers, settings: Settings) -> None:
        self._live = live
        self._workers = workers
        self._settings = settings
        self._kept: OrderedDict[str, tuple[float, Kept]] = OrderedDict()
        self._lock = Lock()
        self._folder = scratch.new_folder()

    def __len__(self) -> int:
        return len(self._kept)

    def close(self) -> None:
        """Forget everything."""
        self._kept.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def take(self, files: Sequence[tuple[str, BinaryIO]], modality: str) -> tuple[str, Kept]:
        """Decode and encode one examination. Returns what it can be asked with.

        Args:
            files: name and content of each.
            modality: what a picture shows; "" leaves it to the encoder.

        Raises:
            ApiError: no file, too many, or one that cannot be read.
        """
        if not 1 <= len(files) <= self._settings.limits.upload_files:
            raise invalid(f"send 1 to {self._settings.limits.upload_files} files as parts named file")
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        try:
            paths = await self._live.run(_write, folder, files)
            kept = await self._read(paths, modality)
        except UnreadableFile as error:
            raise unreadable(error) from None
        except UsageError as error:
            raise invalid(str(error)) from None
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return self._keep(kept), kept

    def get(self, upload_id: str) -> Kept:
        """Raises ApiError where it is not kept (any more)."""
        fingerprint = self._live.engine.index.manifest.fingerprint
        with self._lock:
            self._expire()
            _, kept = self._kept.pop(upload_id, (0.0, None))
            if kept is None or kept.fingerprint != fingerprint:
                raise no_such_upload()
            self._kept[upload_id] = time.monotonic(), kept
        return kept

    def forget(self, upload_id: str) -> None:
        """Raises ApiError where it is not kept (any more)."""
        self.get(upload_id)
        with self._lock:
            self._kept.pop(upload_id, None)

    async def _read(self, paths: Sequence[Path], modality: str) -> Kept:
        looked = await self._workers.run(decode.look, paths[0], tuple(paths), modality)
        source, engine = looked.source, self._live.engine
        if not source.modality:
            image = await self._workers.run(raster_image, paths[0], source.files[0])
            source = decode.with_modality(source, await self._live.run(_guess, engine, image))
        spec = engine.encoder.input_of(source.modality)
        reading = await self._workers.run(decode.read_upload, paths[0], source, spec, self._settings.burned_in)
        encoded = await self._live.run(_encode, engine, reading, looked, source.modality)
        notes = [str(reading.provenance[key]) for key in ("burned_in",) if key in reading.provenance]
        return Kept(
            encoded, engine.index.manifest.fingerprint, source.modality, source.modality_from, len(reading.locators),
            tuple(notes), reading.thumbnail,
        )  # fmt: skip

    def _keep(self, kept: Kept) -> str:
        upload_id = "u" + secrets.token_urlsafe(16)
        with self._lock:
            self._expire()
            self._kept[upload_id] = time.monotonic(), kept
            while len(self._kept) > MOST:
                self._kept.popitem(last=False)
        return upload_id

    def _expire(self) -> None:
        """The oldest use comes first."""
        oldest = time.monotonic() - KEPT_S
        while self._kept and next(iter(self._kept.values()))[0] < oldest:
            self._kept.popitem(last=False)


def _write(folder: Path, files: Sequence[tuple[str, BinaryIO]]) -> list[Path]:
    """The files under names of our own; a record's keep theirs, by which they find each other."""
    paths: list[Path] = []
    for number, (name, content) in enumerate(files):
        path = folder / _name_for(name, number)
        if path in paths:
            raise invalid("two files have the same name")
        with path.open("xb") as out:
            shutil.copyfileobj(content, out, COPY)
        paths.append(path)
    return paths


def _name_for(name: str, number: int) -> str:
    last = PurePosixPath(name.replace("\\", "/")).name
    if last.casefold().endswith(BY_NAME):
        if not _SAFE_NAME.fullmatch(last):
            raise invalid("the name of a record's file holds characters other than letters, digits, dots and hyphens")
        return last
    suffix = found.group() if (found := _SUFFIX.search(last)) else ""
    return f"file-{number:04}{suffix.casefold()}"


def _guess(engine: Engine, image: UInt8) -> str:
    try:
        return engine.encoder.guess_modality(image)[0]
    except BundleError:
        raise ApiError(
            422, "unreadable-file", "this index's encoder cannot tell what a picture shows", "state its modality",
            reason="unsupported",
        ) from None  # fmt: skip


def _encode(engine: Engine, reading: Reading, looked: decode.Looked, modality: str) -> Encoded:
    pseudonyms = Pseudonyms.load(engine.index.key_file)
    item_id = stored_item(looked.digests, looked.series, pseudonyms, engine.store) or ""
    vector = pool_parts(engine.encoder.encode(Batch(modality, reading.inputs)))
    return Encoded(f"uploaded {modality}", vector, item_id)
