"""The engine that all requests share. It follows the index: what is committed is seen by the next search.

`stores.Reader` notices commits by itself. What it cannot see is that the manifest changed (another archive, the audit
switched on) or that the whole folder was replaced: then there is a new engine, and running searches end on the old.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import TypeVar

from m3search.search import Engine
from m3search.stores.folder import IndexFolder
from m3search.stores.place import ObjectPath, Place
from m3search.stores.reader import LOOK_S

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class _Opened:
    stamp: tuple[int, ...]
    engine: Engine


class Live:
    """`engine` is the one for now; `run` calls what takes time in a thread."""

    def __init__(self, index: Place, threads: int, store: str | None = None) -> None:
        """`store` is the address of a published copy. Raises IndexNotFound, NoIndex, EncoderMismatch."""
        self._path = index
        self._store = store
        self._looked: tuple[float, tuple[int, ...]] | None = None
        self._lock = Lock()
        self._threads = ThreadPoolExecutor(threads, "search")
        self._opened = self._open(None)

    @property
    def engine(self) -> Engine:
        """The engine of the index as it is now.

        Raises:
            NoIndex: the index is gone, or was replaced by one of an encoder that is not here.
        """
        stamp = self._stamp()
        if self._opened.stamp != stamp:
            with self._lock:
                if self._opened.stamp != stamp:
                    self._opened = self._open(self._opened.engine)
        return self._opened.engine

    async def run(self, call: Callable[..., R], *arguments: object) -> R:
        """The call's result. Given up while it still waits for a thread, it is never made."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)

    def warm(self) -> None:
        """Load what the first search would wait for."""
        self.engine.warm()

    def close(self) -> None:
        """End the threads; what waits is not begun."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _open(self, before: Engine | None) -> _Opened:
        stamp = self._stamp()
        index = IndexFolder.open(self._path)
        same = before is not None and before.index.manifest.fingerprint == index.manifest.fingerprint
        return _Opened(stamp, Engine(index, before.encoder if before is not None and same else None, store=self._store))

    def _stamp(self) -> tuple[int, ...]:
        if isinstance(self._path, ObjectPath):
            return self._stamp_of_object(self._path)
        try:
            stat = os.stat(self._path / "manifest.json")  # noqa: PTH116 - asked by every request
        except OSError:
            return ()
        return stat.st_ino, stat.st_mtime_ns, stat.st_size

    def _stamp_of_object(self, index: ObjectPath) -> tuple[int, ...]:
        """As it was within the last LOOK_S: a look is a request."""
        if self._looked is None or time.monotonic() - self._looked[0] > LOOK_S:
            now = time.monotonic()
            self._looked = now, (index / "manifest.json").stamp() or ()
        return self._looked[1]
