"""The worker process: makes one call after the other within its limits, and never outlives the run.

What a decoder does to it costs one file: an exception comes back as a value, and memory beyond the limit as a
MemoryError. A crash, or a call that does not end, is for the run to see (`process.Worker`).
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, TypeVar

from m3search.errors import Reason, UnreadableFile
from m3search.modalities.reading import unreadable

R = TypeVar("R")

PAUSES = (0.2, 1.0)  # seconds before a file is tried again whose storage failed
PR_SET_PDEATHSIG = 1  # prctl(2)
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
LARGEST_KEPT, MOST_KEPT = 32 << 20, 128 << 20  # bytes: of one block, which glibc allows at most, and at the heap's end
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes: getrusage(2) counts in kilobytes on Linux


def serve(pipe: Connection) -> None:
    """Answer every (call, path, arguments, memory) with (result, peak memory), both in bytes, until the pipe closes."""
    _prepare()
    while True:
        try:
            call, path, arguments, memory = pipe.recv()
        except (EOFError, OSError):  # the run is over
            return
        _limit(resource.RLIMIT_DATA, memory)
        reply = _packed(guarded(call, path, arguments), path)
        try:
            pipe.send_bytes(reply)
        except OSError:
            return


def guarded(call: Callable[..., R], path: Path, arguments: tuple[Any, ...]) -> R | UnreadableFile:
    """The call's result, or what went wrong as a value. Where the storage failed, the call is made again."""
    result = _attempt(call, path, arguments)
    for pause in PAUSES:
        if not (isinstance(result, UnreadableFile) and result.reason is Reason.UNREACHABLE):
            break
        time.sleep(pause)
        result = _attempt(call, path, arguments)
    return result


def _attempt(call: Callable[..., R], path: Path, arguments: tuple[Any, ...]) -> R | UnreadableFile:
    try:
        return call(*arguments)
    except UnreadableFile as error:
        return error
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of a decoder written in Rust is no Exception
        return unreadable(path, error)


def _packed(result: object, path: Path) -> bytes:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_UNIT
    try:
        return bytes(ForkingPickler.dumps((result, peak)))
    except Exception as error:  # no memory for the copy, or nothing that can be sent
        return bytes(ForkingPickler.dumps((unreadable(path, error), peak)))


def _prepare() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which ends its workers
    _limit(resource.RLIMIT_CORE, 0)  # a core file would hold a patient's pixels
    keep_freed_memory()
    with suppress(AttributeError, OSError, TypeError):
        # The server that forks workers ends when nobody holds this pipe any more. multiprocessing gives every worker
        # an end of it, for children of its own, which none has: a worker that hangs would keep the server alive.
        os.close(forkserver._forkserver._forkserver_alive_fd)  # type: ignore[attr-defined]
    if sys.platform == "linux":
        # Even in a decoder that hangs: the server ends with a run that is killed, and we with the server.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def keep_freed_memory() -> None:
    """Use the blocks of one image again for the next, instead of giving them back to the system in between.

    glibc maps every large block anew, and the system clears each of its pages: a third of the time that a radiograph of
    2048 x 2048 takes. Only so much is kept, since every worker keeps it. Other C libraries are left as they are.
    """
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(M_TRIM_THRESHOLD, MOST_KEPT)


def _watch(run: Any) -> None:
    run.join()
    os._exit(1)


def _limit(kind: int, value: int) -> None:
    """RLIMIT_DATA counts memory of the process's own: not the files that it maps, as RLIMIT_AS would."""
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
