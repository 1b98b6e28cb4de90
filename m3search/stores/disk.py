"""The disk under an index: what it says when it cannot be written, in words and with a remedy."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from m3search.errors import IndexUnwritable
from m3search.stores.place import AWAY, ObjectPath, unreachable

if TYPE_CHECKING:
    from m3search.stores.place import Place

REMEDIES = {
    errno.ENOSPC: "no space is left there: free some and run again",
    errno.EDQUOT: "your quota there is used up: free some space and run again",
    errno.EROFS: "its file system is read-only: choose another folder with --index",
    errno.EACCES: "this user may not write there: change its owner or mode, or choose another folder with --index",
    errno.EPERM: "this user may not write there: change its owner or mode, or choose another folder with --index",
    errno.EIO: "its disk fails: check it, and run again",
    errno.ESTALE: "its network share is away: mount it again, and run again",
}
NATIVE = re.compile(r"\(os error (\d+)\)")  # as Rust words an error of the system, inside whatever lancedb raises


@contextmanager
def writing(index: Place) -> Iterator[None]:
    """Around what writes an index.

    Raises:
        IndexUnwritable: for whatever says that its disk is full, read-only or away.
        StoreUnreachable: for what says so of object storage.
    """
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(index, ObjectPath) and AWAY in str(error):
            raise unreachable(index) from error
        remedy = REMEDIES.get(_number(error))
        if remedy is None:
            raise
        raise IndexUnwritable(f"index {index} cannot be written, {remedy}; what was stored stays") from error


def _number(error: BaseException) -> int:
    """The system's error number; 0 where there is none."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    found = NATIVE.search(str(error))
    return int(found[1]) if found else 0
