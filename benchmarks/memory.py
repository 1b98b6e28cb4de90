"""Memory and time as Linux counts them, of a process and all it started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Resident:
    """Of this process and all it started. proc(5), RssAnon, RssFile and RssShmem."""

    anonymous_mb: float
    mapped_mb: float  # the system may take it back, and processes that map the same file share it

    @classmethod
    def now(cls) -> Resident:
        """At this moment."""
        totals = {"RssAnon": 0, "RssFile": 0, "RssShmem": 0}
        for pid in _family(os.getpid()):
            for line in _lines(Path(f"/proc/{pid}/status")):
                name, _, value = line.partition(":")
                if name in totals:
                    totals[name] += int(value.split()[0])  # kB, which is 1,024 bytes
        return cls(1.024e-3 * totals["RssAnon"], 1.024e-3 * (totals["RssFile"] + totals["RssShmem"]))

    def beyond(self, before: Resident) -> Resident:
        """What came since."""
        return Resident(self.anonymous_mb - before.anonymous_mb, self.mapped_mb - before.mapped_mb)

    def plus(self, more: Resident) -> Resident:
        """Both together."""
        return Resident(self.anonymous_mb + more.anonymous_mb, self.mapped_mb + more.mapped_mb)


def cpu_seconds() -> float:
    """User and system time of this process and all it started that still run."""
    ticks = 0
    for pid in _family(os.getpid()):
        for line in _lines(Path(f"/proc/{pid}/stat")):
            user, system = line.rpartition(")")[2].split()[11:13]  # proc(5): fields 14 and 15; a name may hold spaces
            ticks += int(user) + int(system)
    return ticks / os.sysconf("SC_CLK_TCK")


def _family(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for line in _lines(children):
            for child in line.split():
                yield from _family(int(child))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:  # it just ended
        return []
