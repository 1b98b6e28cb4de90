"""Keeping freed memory: a training step asks for the same large blocks again and again."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """From now on this process keeps what it frees, up to its peak, instead of giving it back to the system.

    Otherwise glibc maps every large block anew, and the system clears each of its pages: on 2 CPU cores that was half
    of the time of a training step. Nothing happens, and False is returned, where the C library is another one.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, NEVER))
