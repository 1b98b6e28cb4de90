"""Decoding in processes that may take so much time and memory and no more: a hostile file costs itself only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import TypeVar

from m3search.errors import UnreadableFile
from m3search.indexer.runners.process import Usage, Worker
from m3search.web.metrics import Metrics
from m3search.web.settings import Limits

R = TypeVar("R")


class Workers:
    """A pool of decoding processes, as index runs use them."""

    def __init__(self, count: int, limits: Limits, metrics: Metrics) -> None:
        self.usage = Usage()
        self._limits = limits
        self._metrics = metrics
        self._all = [Worker(self.usage) for _ in range(count)]
        self._idle: SimpleQueue[Worker] = SimpleQueue()
        for worker in self._all:
            self._idle.put(worker)
        self._changing = Lock()
        self._threads = ThreadPoolExecutor(count, "decode")  # each waits for a process

    async def run(self, call: Callable[..., R], path: Path, *arguments: object) -> R:
        """The call's result. Where nobody waits for it any more, its process is ended and replaced.

        Args:
            path: the file that is decoded, for the error.

        Raises:
            UnreadableFile: whatever went wrong, TIMEOUT, MEMORY and CRASHED among it.
        """
        asked = _Asked()
        future = asyncio.get_running_loop().run_in_executor(self._threads, self._ask, asked, call, path, arguments)
        try:
            result = await future
        except asyncio.CancelledError:
            self._metrics.decoded.labels("cancelled").inc()
            asked.cancel()
            raise
        if isinstance(result, UnreadableFile):
            self._metrics.decoded.labels(result.reason.value).inc()
            raise result
        self._metrics.decoded.labels("done").inc()
        return result

    def close(self) -> None:
        """End all processes, whatever they do."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._changing:
            for worker in self._all:
                worker.close()

    def _ask(self, asked: _Asked, call: Callable[..., R], path: Path, arguments: tuple[object, ...]) -> R:
        worker = self._idle.get()
        try:
            asked.begin(worker)
            limits = self._limits
            result: R = worker.ask(call, path, arguments, limits.decode_seconds, limits.decode_bytes)
            return result
        finally:
            self._idle.put(self._replaced(worker) if asked.end() else worker)

    def _replaced(self, worker: Worker) -> Worker:
        """A new worker in place of one that was closed, which starts no process again."""
        new = Worker(self.usage)
        with self._changing:
            self._all[self._all.index(worker)] = new
        return new


class _Asked:
    """One call, which may be cancelled from another thread while it runs, and then costs its process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._worker: Worker | None = None
        self._closed = False

    def begin(self, worker: Worker) -> None:
        with self._lock:
            self._worker = worker

    def cancel(self) -> None:
        with self._lock:
            if self._worker is not None:
                self._closed = True  # before all else: a closed worker must never be used again
                self._worker.close()

    def end(self) -> bool:
        """Whether the worker was closed."""
        with self._lock:
            self._worker = None
            return self._closed
