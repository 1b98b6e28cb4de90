"""Items that lie in zip files, in buckets or on a PACS: copies of their files, for as long as somebody looks.

The copies lie in a folder of this server's own, which only its user may enter. Fetching has threads of its own: a PACS
that takes its time must not hold up searches.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from m3search.errors import ArchiveUnreachable, Reason, UnreadableFile, UsageError
from m3search.indexer.recall import Bounds, recall
from m3search.modalities.reading import unreadable
from m3search.web import archive, scratch
from m3search.web.errors import archive_away, archive_unreachable, file_changed, unrenderable

if TYPE_CHECKING:
    from m3search.stores.folder import IndexFolder
    from m3search.types import Source
    from m3search.web.settings import Limits

KEPT_S = 600.0  # after the last look
AT_A_TIME = 2


@dataclass(slots=True)
class _Copies:
    """Of one item's files."""

    folder: Path
    source: Source
    size: int  # bytes
    used: float


class Fetched:
    """Brings items, and forgets them."""

    def __init__(self, limits: Limits) -> None:
        self._bounds = Bounds(limits.fetch_bytes, limits.fetch_seconds, limits.fetch_patience_s)
        self._most = limits.fetched_bytes
        self._folder = scratch.new_folder()
        self._threads = ThreadPoolExecutor(AT_A_TIME, "fetch")
        self._lock = Lock()
        self._kept: OrderedDict[str, _Copies] = OrderedDict()
        self._coming: dict[str, Future[Source]] = {}

    async def source(self, index: IndexFolder, row: dict[str, Any]) -> Source:
        """What an item is read from, on this machine; fetched once however many ask.

        Args:
            row: `archive.COLUMNS` of the item.

        Raises:
            ApiError: no archive of the index has it, its archive is away, or it is larger than what is fetched.
        """
        if kept := self.touch(row["item_id"]):
            return kept
        with self._lock:
            coming = self._coming.get(row["item_id"])
            if coming is None:
                coming = self._threads.submit(self._bring, index, row)
                self._coming[row["item_id"]] = coming
        try:  # whoever goes away does not end what others wait for, and what is fetched is kept for the next look
            return await asyncio.shield(asyncio.wrap_future(coming))
        finally:
            asyncio.get_running_loop().call_later(KEPT_S + 1, self._expire)

    def touch(self, item_id: str) -> Source | None:
        """Note that an item is looked at; None where it is not kept."""
        with self._lock:
            kept = self._kept.get(item_id)
            if kept is None:
                return None
            kept.used = time.monotonic()
            self._kept.move_to_end(item_id)
            return kept.source

    def forget(self, item_id: str) -> None:
        """Of an item that was deleted, say."""
        with self._lock:
            if kept := self._kept.pop(item_id, None):
                shutil.rmtree(kept.folder, ignore_errors=True)

    def close(self) -> None:
        """Forget everything."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _bring(self, index: IndexFolder, row: dict[str, Any]) -> Source:
        item_id = row["item_id"]
        folder = self._folder / item_id
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(mode=0o700)
            source = self._from_archives(index, row, folder)
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            with self._lock:
                self._kept[item_id] = _Copies(folder, source, size, time.monotonic())
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            with self._lock:
                self._coming.pop(item_id, None)
        self._expire()
        return source

    def _from_archives(self, index: IndexFolder, row: dict[str, Any], folder: Path) -> Source:
        """From the first archive that gives the item whole."""
        problem = archive_away()
        if not self._bounds.bytes:
            raise problem
        for where, entries in archive.elsewhere(index, row):
            try:
                recalled = recall(where, entries, row["provenance"] or "", folder, self._bounds)
            except (ArchiveUnreachable, UsageError):
                problem = archive_unreachable()
                continue
            except (UnreadableFile, OSError) as error:
                failure = error if isinstance(error, UnreadableFile) else unreadable(folder, error)
                problem = archive_unreachable() if failure.reason is Reason.UNREACHABLE else unrenderable(failure)
                continue
            if len(recalled.files) == len(entries):
                return archive.source_from(row, recalled.files)
            problem = file_changed() if recalled.changed else archive_away()
        raise problem

    def _expire(self) -> None:
        """The oldest use comes first; the last one stays, whatever its size."""
        oldest = time.monotonic() - KEPT_S
        with self._lock:
            size = sum(kept.size for kept in self._kept.values())
            while self._kept:
                item_id, first = next(iter(self._kept.items()))
                if first.used >= oldest and (size <= self._most or len(self._kept) == 1):
                    return
                del self._kept[item_id]
                size -= first.size
                shutil.rmtree(first.folder, ignore_errors=True)
