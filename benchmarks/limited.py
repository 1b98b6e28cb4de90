"""A limit to the memory of a process, files it maps included, kept by Linux's control groups."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOTS = (  # of version 1, of version 2: folder of groups, file of the limit
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
    (Path("/sys/fs/cgroup"), "memory.max"),
)


@contextmanager
def group(megabytes: float) -> Iterator[Path]:
    """A group whose processes together may use so much: the file to write a process id to.

    Raises:
        RuntimeError: there are no control groups here, or they may not be made.
    """
    for root, limit in ROOTS:
        made = root / f"m3search-{os.getpid()}"
        try:
            made.mkdir()
            (made / limit).write_text(str(int(megabytes * 1e6)))
        except OSError:
            with suppress(OSError):
                made.rmdir()
            continue
        try:
            yield made / "cgroup.procs"
        finally:
            with suppress(OSError):  # a process that was killed may still be leaving
                made.rmdir()
        return
    raise RuntimeError("memory cannot be limited here: it takes root and control groups with a memory controller")


def forget(folder: Path) -> None:
    """Drop a folder's files from the system's cache, which else counts them to whoever read them first."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
