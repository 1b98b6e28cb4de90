"""Reading in processes of this machine, so that decoders use every core and a crash costs one file, not the run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from queue import SimpleQueue
from types import TracebackType
from typing import Self, TypeVar

from m3search.errors import UnreadableFile
from m3search.indexer.runners.allowance import Allowance
from m3search.indexer.runners.base import AHEAD, IndexRunner, Task
from m3search.indexer.runners.process import Usage, Worker
from m3search.indexer.runners.worker import guarded

T = TypeVar("T")
R = TypeVar("R")


class LocalRunner(IndexRunner):
    """A pool of `workers` processes; with 0 the calls are made right here, without limits: for small jobs and tests.

    Each process has one call at a time, so that whatever ends it, or does not end, is known by name.
    """

    def __init__(self, workers: int | None = None, allowance: Allowance | None = None) -> None:
        self._count = os.cpu_count() or 1 if workers is None else workers
        self._allowance = allowance or Allowance()
        self.usage = Usage()
        self._workers = [Worker(self.usage) for _ in range(self._count)]
        self._idle: SimpleQueue[Worker] = SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(max(self._count, 1), "worker")  # each waits for a process

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.close()
        self._threads.shutdown()

    def _answers(
        self, call: Callable[..., R], tasks: Iterable[Task[T]], *, alone: bool
    ) -> Iterator[tuple[Task[T], R | UnreadableFile]]:
        if self._count == 0:
            for one in tasks:
                yield one, guarded(call, one.path, one.arguments)
            return
        most = 1 if alone else self._count * AHEAD
        memory = self._allowance.whole() if alone else self._allowance.share(self._count)
        waiting = iter(tasks)
        flying: dict[Future[R | UnreadableFile], Task[T]] = {}
        exhausted = False
        while flying or not exhausted:
            while not exhausted and len(flying) < most:
                if (task := next(waiting, None)) is None:
                    exhausted = True
                else:
                    flying[self._threads.submit(self._ask, call, task, memory)] = task
            for future in wait(flying, return_when=FIRST_COMPLETED).done:
                yield flying.pop(future), future.result()

    def _ask(self, call: Callable[..., R], task: Task[T], memory: int) -> R | UnreadableFile:
        worker = self._idle.get()
        try:
            result: R | UnreadableFile = worker.ask(call, task.path, task.arguments, self._allowance.seconds, memory)
        finally:
            self._idle.put(worker)
        return result
