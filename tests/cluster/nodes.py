"""A Ray cluster of one-CPU nodes, each in a network namespace of its own; index runs on it; how they are killed."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster.namespaces import Namespace, Unavailable, namespaces

if TYPE_CHECKING:
    from m3search.stores.place import Place

PROGRAMS = Path(sys.executable).parent
PORT = 6379
PATIENCE = 90  # seconds for a node to come up


@dataclass(frozen=True, slots=True)
class RayCluster:
    """The first node is the head; index runs start on it."""

    machines: Sequence[Namespace]
    environment: dict[str, str]
    group: Path | None  # control group of all their processes, which counts their CPU time

    @property
    def address(self) -> str:
        """Of the head."""
        return f"{self.machines[0].address}:{PORT}"

    def command(self, number: int, *words: str | Path) -> list[str]:
        """Words that run a program on a node, in the group from its start: a parent is not told the times of children
        whose end it ignores, as Ray does.
        """
        enter = (
            [] if self.group is None else ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.group / "cgroup.procs")]
        )
        return [*enter, *self.machines[number].command(*words)]

    def index(self, archive: Path, index: Path, model: str, *more: str) -> subprocess.Popen[str]:
        """An index run on the cluster, begun."""
        words = ("index", archive, "--index", index, "--model", model, "--runner", "ray", "--ray-address", self.address)
        command = self.command(0, PROGRAMS / "m3search", *words, "--json", *more)
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self.environment, stdout=pipe, stderr=pipe, text=True)

    def kill_one(self, title: str) -> bool:
        """Kill a process of Ray by what it is called, such as "ray::_Towers". False where there is none."""
        for machine in self.machines:
            for process in machine.processes():
                with suppress(OSError):
                    if Path(f"/proc/{process}/cmdline").read_text(encoding="utf-8").startswith(title):
                        os.kill(process, signal.SIGKILL)
                        return True
        return False

    def cpu_seconds(self) -> float:
        """User and system time of all that ever ran on the nodes, ended or not.

        Raises:
            Unavailable: the system does not count it.
        """
        if self.group is None:
            raise Unavailable("CPU time is not counted here: it takes control groups")
        for name, first, unit in (("cpuacct.usage", 0, 1e9), ("cpu.stat", 1, 1e6)):  # of version 1, of version 2
            with suppress(OSError):
                return int((self.group / name).read_text(encoding="utf-8").split()[first]) / unit
        raise Unavailable(f"{self.group} tells no CPU time")


@contextmanager
def ray_cluster(nodes: int) -> Iterator[RayCluster]:
    """So many nodes of one CPU each.

    Raises:
        Unavailable: with the reason.
    """
    ray = PROGRAMS / "ray"
    if not ray.exists():
        raise Unavailable('Ray is not installed: pip install -c .ci/constraints.txt -e ".[cluster]"')
    scratch = Path(tempfile.mkdtemp(prefix="m3ray"))  # short: Ray keeps its sockets there
    environment = os.environ | {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
    }
    try:
        with _group() as group, namespaces(nodes) as machines:
            cluster = RayCluster(machines, environment, group)
            for number, machine in enumerate(machines):
                role = (
                    ["--head", f"--port={PORT}", "--include-dashboard=false", f"--temp-dir={scratch}"]
                    if number == 0
                    else [f"--address={cluster.address}"]
                )
                words = ["start", *role, f"--node-ip-address={machine.address}", "--num-cpus=1"]
                words += ["--object-store-memory=200000000", "--disable-usage-stats"]
                done = subprocess.run(
                    cluster.command(number, ray, *words),
                    env=environment,
                    check=False,
                    capture_output=True,
                    text=True,
                    timeout=PATIENCE,
                )
                if done.returncode:
                    raise Unavailable(f"a Ray node does not start: {(done.stdout + done.stderr).strip()[-300:]}")
            yield cluster
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _group() -> Iterator[Path | None]:
    """A control group of its own, None where none can be made."""
    for root in (Path("/sys/fs/cgroup/cpuacct"), Path("/sys/fs/cgroup")):
        made = root / f"m3search-{os.getpid()}-{secrets.token_hex(4)}"
        with suppress(OSError):
            made.mkdir()
            if (made / "cgroup.procs").exists():
                break
            made.rmdir()
    else:
        yield None
        return
    try:
        yield made
    finally:
        with suppress(OSError):  # a process that was killed may still be leaving
            made.rmdir()


def wait_for(count: int, index: Place, process: subprocess.Popen[str], seconds: float = 120) -> bool:
    """Wait until so many items are stored; False where the run ended before, or the time did."""
    from m3search.errors import M3SearchError
    from m3search.stores.folder import IndexFolder

    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        with suppress(M3SearchError, OSError, RuntimeError, ValueError):
            if IndexFolder.open(index).record().count() >= count:
                return True
        time.sleep(0.05)
    return False
