"""One worker process as the run sees it: asked, watched, and replaced when it dies or takes too long."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m3search.errors import Reason, UnreadableFile
from m3search.indexer.runners.worker import serve

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import ForkServerProcess

# Imported once by the process that workers are forked from, so that a worker that died is replaced in no time.
PRELOAD = [
    "m3search.indexer.read", "m3search.indexer.inspect", "m3search.indexer.runners.worker", "m3search.modalities.xray",
    "m3search.modalities.pathology", "m3search.formats.dicom_pixels", "m3search.formats.raster", "pydicom.pixels",
    "PIL.Image", "openslide", "tifffile",
]  # fmt: skip
GOODBYE_S = 5.0  # how long an ended process may take to be gone; one that waits for a dead share is left to the system

_starting = threading.Lock()  # multiprocessing keeps its children in a set without a lock


@dataclass(slots=True)
class Usage:
    """What the workers of a run went through."""

    calls: int = 0
    crashes: int = 0  # calls that ended their process, second tries included
    timeouts: int = 0
    out_of_memory: int = 0
    peak_bytes: int = 0  # resident, of the largest worker
    longest_s: float = 0.0  # one call
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def note(self, result: object, seconds: float, peak_bytes: int) -> None:
        """Take in one answer."""
        reason = result.reason if isinstance(result, UnreadableFile) else None
        with self._lock:
            self.calls += 1
            self.crashes += reason is Reason.CRASHED
            self.timeouts += reason is Reason.TIMEOUT
            self.out_of_memory += reason is Reason.MEMORY
            self.peak_bytes = max(self.peak_bytes, peak_bytes)
            self.longest_s = max(self.longest_s, seconds)


class Worker:
    """A process that is started when it is first asked. `ask` is for one thread at a time, `close` for any."""

    def __init__(self, usage: Usage) -> None:
        self.usage = usage
        self._process: ForkServerProcess | None = None
        self._pipe: Connection
        self._closed = False

    def ask(self, call: Callable[..., Any], path: Path, arguments: tuple[Any, ...], seconds: float, memory: int) -> Any:
        """The result, or an UnreadableFile: also for a call that crashed (CRASHED) or did not end in time (TIMEOUT)."""
        began = time.monotonic()
        result, peak = self._answer(call, path, arguments, seconds, memory)
        if isinstance(result, UnreadableFile) and result.reason is Reason.MEMORY:
            self._end()  # what fragments or leaks fill it must not cost the next file
        self.usage.note(result, time.monotonic() - began, peak)
        return result

    def close(self) -> None:
        """End the process, whatever it does."""
        self._closed = True
        if (process := self._process) and process.pid is not None:  # one that is being started is ended by `_start`
            process.kill()

    def _answer(
        self, call: Callable[..., Any], path: Path, arguments: tuple[Any, ...], seconds: float, memory: int
    ) -> tuple[Any, int]:
        if self._process is None:
            self._start()
        try:
            self._pipe.send((call, path, arguments, memory))
            if self._pipe.poll(seconds):
                result, peak = self._pipe.recv()
                return result, int(peak)
        except (EOFError, OSError):
            return UnreadableFile(path, Reason.CRASHED, _obituary(self._end())), 0
        self._end()
        return UnreadableFile(
            path, Reason.TIMEOUT, f"was not read within {seconds:g} seconds; raise --time-limit, or copy it again"
        ), 0

    def _start(self) -> None:
        context = multiprocessing.get_context("forkserver")  # never fork a process that runs OpenVINO's threads
        context.set_forkserver_preload(PRELOAD)
        with _starting:
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(target=serve, args=(theirs,), daemon=True)
            self._process.start()
            theirs.close()  # so that the pipe closes when the process ends
            if self._closed:
                self._process.kill()

    def _end(self) -> int | None:
        """Make sure the process is gone; its exit code, or None where the system keeps it."""
        process, self._process = self._process, None
        if process is None:
            return None
        self._pipe.close()
        process.join(GOODBYE_S / 10)  # it is gone, or about to be, where it closed the pipe
        with _starting:
            process.kill()
            process.join(GOODBYE_S)
        return process.exitcode


def _obituary(code: int | None) -> str:
    if code == -signal.SIGKILL:
        return "was ended by the system while it was read, most likely for want of memory; free some and run again"
    name = f" ({signal.Signals(-code).name})" if code is not None and code < 0 else ""
    return f"takes its decoder down with it{name}; the file is likely to be damaged"
