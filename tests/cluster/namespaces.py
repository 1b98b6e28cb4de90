"""Machines on this one: network namespaces that see each other through a bridge, and nothing else."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path


class Unavailable(Exception):
    """Why there are no namespaces, or not what should run in them."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """One machine."""

    name: str
    address: str

    def command(self, *words: str | Path) -> list[str]:
        """Words that run a program in it."""
        return ["ip", "netns", "exec", self.name, *map(str, words)]

    def processes(self) -> list[int]:
        """Ids of all that run in it."""
        return [int(word) for word in _ip("netns", "pids", self.name).split()]

    def kill(self) -> None:
        """As a power cut would: every process at once, until none is left."""
        for _ in range(50):
            if not (left := self.processes()):
                return
            for process in left:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.1)


@contextmanager
def namespaces(count: int) -> Iterator[Sequence[Namespace]]:
    """So many machines on one network. All that runs in them is killed in the end.

    Raises:
        Unavailable: with the reason.
    """
    own = os.getpid()
    bridge, made = f"m3b{own}", []
    try:
        _ip("link", "add", bridge, "type", "bridge")
        _ip("addr", "add", f"10.214.{own % 250}.1/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        for number in range(count):
            machine = Namespace(f"m3n{own}x{number}", f"10.214.{own % 250}.{number + 2}")
            _ip("netns", "add", machine.name)
            made.append(machine)
            here, there = f"m3v{own}x{number}", f"m3w{own}x{number}"
            _ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", machine.name)
            _ip("link", "set", here, "master", bridge, "up")
            _ip("-n", machine.name, "addr", "add", f"{machine.address}/24", "dev", there)
            _ip("-n", machine.name, "link", "set", there, "up")
            _ip("-n", machine.name, "link", "set", "lo", "up")
        yield made
    finally:
        for machine in made:
            machine.kill()
            with suppress(Unavailable):
                _ip("netns", "delete", machine.name)
        with suppress(Unavailable):
            _ip("link", "delete", bridge)


def _ip(*words: str) -> str:
    if shutil.which("ip") is None:
        raise Unavailable("ip (iproute2) is not installed")
    done = subprocess.run(["ip", *words], check=False, capture_output=True, text=True)
    if done.returncode:
        raise Unavailable(f"network namespaces cannot be made here: {done.stderr.strip()}")
    return done.stdout
