"""What one file may take before it is given up: time and memory, from what the machine has."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # version 2, version 1
SHARE = 0.75  # of the machine's memory that all workers together may take
LEAST_BYTES = 2 << 30  # what a worker gets on any machine: a film of 400 million pixels needs most of it


@dataclass(frozen=True, slots=True)
class Allowance:
    """Limits of one call in a worker. The defaults are far beyond any whole file on a slow share."""

    seconds: float = 300.0
    memory_bytes: int | None = None  # of one worker's own memory; None: an equal share of what the machine has

    def share(self, workers: int) -> int:
        """Bytes of each of so many workers."""
        return self.memory_bytes or max(int(memory_of_machine() * SHARE) // max(workers, 1), LEAST_BYTES)

    def whole(self) -> int:
        """Bytes of a worker that works alone."""
        return self.memory_bytes or max(int(memory_of_machine() * SHARE), LEAST_BYTES)


def memory_of_machine() -> int:
    """Bytes of memory that this process may see: of the machine or, if less, of its container."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for place in CGROUPS:
        with suppress(OSError, ValueError):  # no such file, or "max"
            found.append(int(Path(place).read_text(encoding="ascii")))
    return min(size for size in found if size > 0)
