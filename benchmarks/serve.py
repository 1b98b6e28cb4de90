"""What does HTTP cost, and what happens to those who ask when a new version of the index lands?

    python -m benchmarks.serve [--count 1000000] [--clients 32] [--seconds 60] [--index FOLDER] [--json]

An index of made vectors (see vectors.py) under the shipped encoder. First as many threads as there are clients ask the
engine in process; then `m3search serve` is started, and this process asks it over loopback with as many connections,
with one processor count for both. In the middle, rows are committed to the index, one of which is what a text asks
for: the time until it is found is told, too. With --index, the index is made there once and found by later runs.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import vectors, warm
from m3search.search import Engine
from m3search.stores.folder import IndexFolder, is_index
from m3search.vocabulary import SYNONYMS

K = 10
LANDED = 1000  # rows of the new version
ODD = "a text that nothing in this index is about"
PROBE_S = 0.02  # between two looks for the new version
SERVE = "from m3search.cli import main; main()"


@dataclass
class Load:
    """What clients went through."""

    seconds: float = 0.0
    times: list[float] = field(default_factory=list)  # seconds, of each answer
    errors: list[str] = field(default_factory=list)

    def as_row(self) -> dict[str, float]:
        """Queries per second and percentiles in milliseconds."""
        times = np.array(self.times) * 1000
        return {
            "queries_per_s": len(times) / self.seconds,
            "p50_ms": float(np.percentile(times, 50)),
            "p99_ms": float(np.percentile(times, 99)),
            "answers": len(times),
            "errors": len(self.errors),
        }


def texts() -> Iterator[str]:
    """Findings, again and again."""
    return itertools.cycle([f"{name} {turn}" for turn in ("", "left", "severe") for name in sorted(SYNONYMS)])


def in_process(engine: Engine, clients: int, seconds: float) -> Load:
    """Threads that ask the engine."""
    load, asked, lock = Load(), texts(), threading.Lock()
    engine.search("warm", k=K)
    began = time.perf_counter()

    def ask() -> None:
        while time.perf_counter() - began < seconds:
            with lock:
                text = next(asked)
            started = time.perf_counter()
            engine.search(text, k=K)
            load.times.append(time.perf_counter() - started)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    load.seconds = time.perf_counter() - began
    return load


@contextmanager
def served(index: Path) -> Iterator[tuple[int, str]]:
    """Port and token of a server in a process of its own."""
    command = [sys.executable, "-c", SERVE, "serve", "--index", str(index), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r":(\d+);", line)
        if found is None:
            raise RuntimeError(f"the server did not start: {line}")
        yield int(found[1]), (index / "serve.token").read_text(encoding="ascii").strip()
    finally:
        process.terminate()
        process.wait()


class Connection:
    """One client of HTTP/1.1, no more than this benchmark needs: a library's would take a third of the processor."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._head = f"POST /v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n".encode()

    async def open(self) -> Connection:
        """Connect."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)
        return self

    async def search(self, text: str) -> tuple[int, bytes]:
        """Status and body."""
        body = json.dumps({"text": text, "limit": K}).encode()
        kind = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        self._writer.write(self._head + kind + body)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", head)[1])  # type: ignore[index]
        return int(head[9:12]), await self._reader.readexactly(length)

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


async def over_http(port: int, token: str, clients: int, seconds: float, middle: Callable[[], None]) -> Load:
    """Connections that ask the server; `middle` is called in a thread when half of the time is over."""
    load, asked = Load(), texts()
    connections = [await Connection(port, token).open() for _ in range(clients)]
    await connections[0].search("warm")
    began = time.perf_counter()

    async def ask(connection: Connection) -> None:
        while time.perf_counter() - began < seconds:
            started = time.perf_counter()
            try:
                status, body = await connection.search(next(asked))
            except (OSError, EOFError, asyncio.IncompleteReadError) as error:
                load.errors.append(type(error).__name__)
                await connection.open()
                continue
            load.times.append(time.perf_counter() - started)
            if status != 200 or body.count(b'"rank"') != K:
                load.errors.append(f"status {status}")

    async def land() -> None:
        await asyncio.sleep(seconds / 2)
        await asyncio.to_thread(middle)

    await asyncio.gather(land(), *map(ask, connections))
    load.seconds = time.perf_counter() - began
    for connection in connections:
        connection.close()
    return load


@dataclass
class Landing:
    """The new version: written, then looked for."""

    engine: Engine
    port: int
    token: str
    commit_s: float = 0.0
    seen_s: float | None = None  # from the end of the commit to the first answer that holds it

    def __call__(self) -> None:
        """Commit rows, and ask for one of them until it is found."""
        name = f"{time.time_ns():032x}"
        started = time.perf_counter()
        self.engine.index.record().upsert(rows(self.engine, name))
        committed = time.perf_counter()
        self.commit_s = committed - started
        asyncio.run(self._look(name, committed))

    async def _look(self, name: str, committed: float) -> None:
        connection = await Connection(self.port, self.token).open()
        while time.perf_counter() - committed < 30:
            _, body = await connection.search(ODD)
            if name.encode() in body:
                self.seen_s = time.perf_counter() - committed
                break
            await asyncio.sleep(PROBE_S)
        connection.close()


def rows(engine: Engine, name: str) -> list[dict[str, Any]]:
    """Rows of a new version, the first of which is what ODD asks for."""
    odd = engine.encoder.encode_text([ODD])[0]
    made = vectors.unit(np.random.default_rng(0).standard_normal((LANDED - 1, engine.encoder.dim)))
    first = {"item_id": name, "modality": "ct", "uri": "landed.dcm", "vector": odd}
    rest = [
        {"item_id": f"{name[:-6]}{number:06x}", "modality": "ct", "uri": "landed.dcm", "vector": vector}
        for number, vector in enumerate(made)
    ]
    return [first, *rest]


def measure(folder: Path, clients: int, seconds: float) -> dict[str, Any]:
    """Both loads, and the landing."""
    engine = Engine.open(folder)
    found: dict[str, Any] = {"items": engine.store.count(), "mode": engine.search("warm").mode, "clients": clients}
    found["in_process"] = in_process(engine, clients, seconds).as_row()
    with served(folder) as (port, token):
        landing = Landing(engine, port, token)
        load = asyncio.run(over_http(port, token, clients, seconds, landing))
    found["http"] = load.as_row()
    found["ratio"] = found["http"]["queries_per_s"] / found["in_process"]["queries_per_s"]
    found["commit_s"], found["seen_s"], found["kinds_of_errors"] = (
        landing.commit_s,
        landing.seen_s,
        sorted({*load.errors}),
    )
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, build, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=1_000_000, help="items in the index")
    parser.add_argument("--clients", type=int, default=32, help="that ask at once")
    parser.add_argument("--seconds", type=float, default=60, help="of each load")
    parser.add_argument("--index", type=Path, help="where the index is kept for later runs")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.index or Path(temporary) / "index"
        if not (is_index(folder) and IndexFolder.open(folder).reader().view):
            warm.build(folder, options.count)
        print(f"load {os.getloadavg()[0]:.1f}", file=sys.stderr)
        result = measure(folder, options.clients, options.seconds)
    if options.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{result['items']} items, {result['mode']} search, {result['clients']} clients")
    print("| | queries/s | p50, ms | p99, ms | answers | errors |\n| --- | --- | --- | --- | --- | --- |")
    for name in ("in_process", "http"):
        row = result[name]
        times = f"{row['queries_per_s']:.0f} | {row['p50_ms']:.1f} | {row['p99_ms']:.1f}"
        figures = f"{times} | {row['answers']} | {row['errors']}"
        print(f"| {name.replace('_', ' ')} | {figures} |")
    seen = "never" if result["seen_s"] is None else f"{result['seen_s']:.2f} s after it was committed"
    print(f"HTTP / in process: {result['ratio']:.2f}; the new version was found {seen}")


if __name__ == "__main__":
    main()
