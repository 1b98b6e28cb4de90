"""Reading in processes of this machine, so that decoders use every core and a crash costs one file, not the run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from m3search.errors import Reason, UnreadableFile
from m3search.indexer.runners.allowance import Allowance
from m3search.indexer.runners.process import Usage, Worker
from m3search.indexer.runners.worker import guarded

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 4  # tasks in flight per worker: enough that none waits, few enough that memory stays flat
SECOND_TRY = (Reason.CRASHED, Reason.MEMORY)  # alone, and with all the memory there is


class Task(Generic[T]):
    """A call to make. `path` names the file in case the call dies; `key` is the caller's own and comes back."""

    __slots__ = ("arguments", "key", "path")

    def __init__(self, key: T, path: Path, *arguments: Any) -> None:
        self.key = key
        self.path = path
        self.arguments = arguments


class LocalRunner:
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

    def map(self, call: Callable[..., R], tasks: Iterable[Task[T]]) -> Iterator[tuple[T, R | UnreadableFile]]:
        """(key, result) as the calls end, in any order. A call that raises gives an UnreadableFile for its path.

        A call that crashes its process or runs out of memory is made once more when all others have ended: its
        process may have been damaged or crowded by another file.
        """
        if self._count == 0:
            for task in tasks:
                yield task.key, guarded(call, task.path, task.arguments)
            return
        again: list[Task[T]] = []
        for task, result in self._answers(call, tasks, self._count * AHEAD, self._allowance.share(self._count)):
            if isinstance(result, UnreadableFile) and result.reason in SECOND_TRY:
                again.append(task)
            else:
                yield task.key, result
        for task, result in self._answers(call, again, 1, self._allowance.whole()):
            yield task.key, result

    def _answers(
        self, call: Callable[..., R], tasks: Iterable[Task[T]], most: int, memory: int
    ) -> Iterator[tuple[Task[T], R | UnreadableFile]]:
        """Answers as they come, with at most so many tasks in flight."""
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
