"""A real Milvus server, of one process, in a network namespace of its own: it binds every address it finds.

`milvus==2.3.5` is the newest that PyPI has. It needs an environment of its own, made once under `.cache`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from m3search.errors import M3SearchError
from m3search.stores.milvus import Address, connect
from tests.cluster.namespaces import Namespace, Unavailable, namespaces

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".cache" / "milvus-server"
PACKAGES = ("milvus==2.3.5", "pymilvus<2.4", "setuptools<80")  # pymilvus<2.4 still imports pkg_resources
PORT = 19530
PATIENCE = 90  # seconds to start


@dataclass(slots=True)
class Server:
    """One that runs. `kill` and `start` keep its data."""

    address: str  # milvus://HOST:PORT
    machine: Namespace
    data: Path
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers."""
        command = self.machine.command(HOME / "bin" / "milvus-server", "--data", self.data)
        with (self.data / "server.txt").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        self._wait()

    def kill(self) -> None:
        """As a power cut would: the process and all it started."""
        self.machine.kill()
        if self._process is not None:
            self._process.wait()

    def _wait(self) -> None:
        from pymilvus.exceptions import MilvusException

        assert self._process is not None
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if self._process.poll() is not None:
                raise Unavailable(f"milvus-server ended with {self._process.returncode}")
            try:
                connect(Address.of(f"{self.address}/any")).list_collections()
                return
            except (M3SearchError, MilvusException):
                time.sleep(0.5)
        raise Unavailable(f"milvus-server did not answer within {PATIENCE} s")


@contextmanager
def server(data: Path) -> Iterator[Server]:
    """A server that keeps its data in this folder, reached through a pair of virtual interfaces.

    Raises:
        Unavailable: with the reason.
    """
    _install()
    with namespaces(1) as (machine,):
        data.mkdir(parents=True, exist_ok=True)
        running = Server(f"milvus://{machine.address}:{PORT}", machine, data)
        running.start()
        yield running


def _install() -> None:
    if (HOME / "bin" / "milvus-server").exists():
        return
    subprocess.run([sys.executable, "-m", "venv", HOME], check=False, capture_output=True)
    pip = [sys.executable, "-m", "pip", "--python", HOME / "bin" / "python", "install", "--quiet", *PACKAGES]
    done = subprocess.run(pip, check=False, capture_output=True)
    if done.returncode:
        shutil.rmtree(HOME, ignore_errors=True)
        raise Unavailable(f"{PACKAGES[0]} cannot be installed: {done.stderr.decode().strip()[-200:]}")
