"""Failures of the storage a file lies on, told from damage of the file: a disk that errs, a share that is away for now,
no space for a copy.

Decoders raise OSError for both. Damage is a property of the bytes and stays; the storage may be back in a second.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

from m3search.errors import Reason, UnreadableFile

TRANSIENT = frozenset({
    errno.EIO, errno.EREMOTEIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EBUSY, errno.ENOLINK,
    errno.ENOTCONN, errno.ENETDOWN, errno.ENETUNREACH, errno.ENETRESET, errno.ECONNABORTED, errno.ECONNRESET,
    errno.ECONNREFUSED, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENFILE, errno.EMFILE,
})  # fmt: skip

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})  # met while something is copied out of an archive, never by reading


def failure_of(path: Path, error: BaseException) -> UnreadableFile | None:
    """What an exception, or one that led to it, says of the storage, not of the file.

    PERMISSION, VANISHED, UNREACHABLE, NO_SPACE or MEMORY; None where it says nothing: the file itself is then to blame.
    """
    for one in _chain(error):
        if isinstance(one, MemoryError):
            return UnreadableFile(
                path, Reason.MEMORY, "needs more memory than one file may take; raise --memory-limit, or scale it down"
            )
        if isinstance(one, PermissionError):
            return UnreadableFile(path, Reason.PERMISSION, "not permitted to read it; check its owner and mode")
        if isinstance(one, FileNotFoundError):
            return UnreadableFile(path, Reason.VANISHED, "it is not there (any more)")
        if isinstance(one, OSError) and one.errno in TRANSIENT:
            return UnreadableFile(
                path, Reason.UNREACHABLE, f"its storage failed ({one.strerror}); run again when that is mended"
            )
        if isinstance(one, OSError) and one.errno in FULL:
            return UnreadableFile(path, Reason.NO_SPACE, "no space is left for the copy that is read; free some")
    return None


def blame(error: BaseException, damaged: UnreadableFile) -> UnreadableFile:
    """The failure to raise for an exception of a decoder: of the storage, if that is what failed, else `damaged`."""
    return failure_of(damaged.path, error) or damaged


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen = 0
    while error is not None and seen < 10:
        yield error
        error, seen = error.__cause__ or error.__context__, seen + 1
