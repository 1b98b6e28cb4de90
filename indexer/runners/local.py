"""Reading in processes of this machine, so that decoders use every core and a crash costs one file, not the run."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from m3search.errors import Reason, UnreadableFile
from m3search.modalities.reading import unreadable

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 4  # tasks in flight per worker: enough that none waits, few enough that memory stays flat
PRELOAD = ["m3search.indexer.read", "m3search.indexer.inspect"]  # imported once, before workers are forked


class Task(Generic[T]):
    """A call to make. `path` names the file in case the call dies; `key` is the caller's own and comes back."""

    __slots__ = ("arguments", "key", "path")

    def __init__(self, key: T, path: Path, *arguments: Any) -> None:
        self.key = key
        self.path = path
        self.arguments = arguments


class LocalRunner:
    """A pool of `workers` processes; with 0 the calls are made right here, which is what small jobs and tests want."""

    def __init__(self, workers: int | None = None) -> None:
        self._workers = os.cpu_count() or 1 if workers is None else workers
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def map(self, call: Callable[..., R], tasks: Iterable[Task[T]]) -> Iterator[tuple[T, R | UnreadableFile]]:
        """(key, result) as the calls end, in any order. A call that raises gives an UnreadableFile for its path."""
        if self._workers == 0:
            for task in tasks:
                yield task.key, _guarded(call, task.path, task.arguments)
        else:
            yield from self._map_in_pool(call, tasks)

    def _map_in_pool(self, call: Callable[..., R], tasks: Iterable[Task[T]]) -> Iterator[tuple[T, R | UnreadableFile]]:
        waiting = iter(tasks)
        suspects: deque[Task[T]] = deque()  # were in flight when a worker died: run one at a time to find the culprit
        flying: dict[Future[R | UnreadableFile], Task[T]] = {}
        exhausted = False
        while flying or suspects or not exhausted:
            alone = bool(suspects)
            if alone:  # nothing is flying: every suspect landed here when the pool broke
                task = suspects.popleft()
                flying[self._submit(call, task)] = task
            while not alone and not exhausted and len(flying) < self._workers * AHEAD:
                if (following := next(waiting, None)) is None:
                    exhausted = True
                else:
                    flying[self._submit(call, following)] = following
            if not flying:
                break
            for future in self._ended(flying):
                task = flying.pop(future)
                try:
                    result = future.result()
                except BrokenProcessPool:
                    self._pool = None
                    if not alone:
                        suspects.append(task)
                        continue
                    result = UnreadableFile(
                        task.path, Reason.CRASHED, "takes its decoder down with it; the file is likely to be damaged"
                    )
                yield task.key, result

    @staticmethod
    def _ended(flying: Iterable[Future[R | UnreadableFile]]) -> Iterable[Future[R | UnreadableFile]]:
        """Futures that are done; all of them if the pool broke, since then none will end by itself."""
        done = wait(flying, return_when=FIRST_COMPLETED).done
        broke = any(isinstance(future.exception(), BrokenProcessPool) for future in done)
        return wait(flying).done if broke else done

    def _submit(self, call: Callable[..., R], task: Task[T]) -> Future[R | UnreadableFile]:
        try:
            return self._executor().submit(_guarded, call, task.path, task.arguments)
        except BrokenProcessPool:  # died since the last result was seen
            self._pool = None
            return self._executor().submit(_guarded, call, task.path, task.arguments)

    def _executor(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context("forkserver")  # never fork a process that runs OpenVINO's threads
            context.set_forkserver_preload(PRELOAD)
            self._pool = ProcessPoolExecutor(self._workers, mp_context=context, initializer=_end_with_parent)
        return self._pool


def _guarded(call: Callable[..., R], path: Path, arguments: tuple[Any, ...]) -> R | UnreadableFile:
    """The call's result, or what went wrong as a value: decoders may raise anything."""
    try:
        return call(*arguments)
    except UnreadableFile as error:
        return error
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of a decoder written in Rust is no Exception
        return unreadable(path, error)


def _end_with_parent() -> None:
    """Workers must not outlive a killed run: they would hold memory and, on some systems, its files."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
