"""Is an index run on three Ray nodes the run of one machine, and what does a killed part of it cost?

    python -m tests.cluster.indexed [--files 5000] [--model m3bind-small] [--seed 0]

Phantom files, indexed by the local runner, by one node of one CPU, by three, and by three of which an encoder, a
reader, a node and at last the driver are killed with SIGKILL at random moments, whereupon the run is started again.
Rows are compared with those of the local run. All nodes share this machine's cores, so that wall times say nothing of
more CPUs: what is told is the CPU time of an item, of everything that runs on the nodes and the driver.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from m3search.indexer import index
from m3search.phantoms import write_archive
from m3search.stores import schema
from m3search.stores.folder import IndexFolder
from tests.cluster.nodes import RayCluster, ray_cluster, wait_for

FILES = 5  # of a patient
PORTIONS = 8  # folders that phantoms are written into side by side
OF_THE_RUN = ("run_id", "indexed_at", "vector", "text_vector", "thumbnail")
KEYED = ("patient_key", "study_key", "series_key", "described", "locator")  # with another key in each index
VICTIMS = ("ray::_Towers", "ray::_ask", "node", "driver")


def main() -> None:
    """Parse, make, index, kill, compare, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--files", type=int, default=5000, help="phantom files")
    parser.add_argument("--model", default="m3bind-small", help="encoder")
    parser.add_argument("--seed", type=int, default=0, help="of the moments at which something is killed")
    options = parser.parse_args()
    random.seed(options.seed)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        archive = root / "archive"
        patients = max(options.files // FILES // PORTIONS, 1)
        with ProcessPoolExecutor(2) as pool:
            list(
                pool.map(
                    write_archive, [archive / str(n) for n in range(PORTIONS)], [patients] * PORTIONS, range(PORTIONS)
                )
            )
        _say(f"phantoms written, load {os.getloadavg()[0]:.1f}")
        done = index(archive, root / "local", model=options.model)
        expected = contents(root / "local")
        _say(f"local run: {done.indexed} items, {done.failed} failed, load {os.getloadavg()[0]:.1f}")
        print("| run | items | missing | twice | other | least cosine | CPU, ms an item | fixed CPU, s |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        for nodes in (1, 3):
            with ray_cluster(nodes) as cluster:
                path = root / f"nodes{nodes}"
                spent = cpu_of(cluster, archive, path, options.model)
                fixed = cpu_of(cluster, archive, path, options.model)  # again: nothing is left to do
                row = compared(expected, contents(path))
                per_item = 1000 * (spent - fixed) / max(done.indexed, 1)
                print(f"| nodes of one CPU: {nodes} | {row} | {per_item:.0f} | {fixed:.1f} |", flush=True)
        with ray_cluster(3) as cluster:
            killed(cluster, archive, root / "killed", options.model, done.indexed)
        print(f"| nodes of one CPU: 3, {len(VICTIMS)} kills | {compared(expected, contents(root / 'killed'))} | | |")


def cpu_of(cluster: RayCluster, archive: Path, path: Path, model: str) -> float:
    """Seconds of CPU time of one run, of all nodes and the driver."""
    before = cluster.cpu_seconds()
    process = cluster.index(archive, path, model)
    _, err = process.communicate()
    if process.returncode:
        raise SystemExit(err[-1000:])
    return cluster.cpu_seconds() - before


def killed(cluster: RayCluster, archive: Path, path: Path, model: str, items: int) -> None:
    """One run, in which every victim dies at a moment of its own."""
    moments = sorted(random.uniform(0.05, 0.7) * items for _ in VICTIMS)
    process = cluster.index(archive, path, model, "--shard-size", "64")
    for victim, moment in zip(VICTIMS, moments, strict=True):
        if not wait_for(int(moment), path, process, 3600):
            raise SystemExit(f"the run ended before {victim} was killed")
        time.sleep(random.random())
        if victim == "node":
            cluster.machines[2].kill()
        elif victim == "driver":
            process.send_signal(signal.SIGKILL)
            process.wait()
            process = cluster.index(archive, path, model)
        else:
            cluster.kill_one(victim)
        _say(f"killed {victim} after {int(moment)} items")
    _, err = process.communicate()
    if process.returncode:
        raise SystemExit(err[-1000:])


def contents(path: Path) -> Mapping[str, Any]:
    """Rows by id, vectors apart; how many there are of all."""
    record = IndexFolder.open(path).record()
    ids = record.matching()
    names = [name for name in schema.items(record.dim).names if name not in (*OF_THE_RUN, *KEYED)]
    return {
        "count": record.count(),
        "rows": {row["item_id"]: row for row in record.rows(ids, names).to_pylist()},
        "vectors": dict(zip(ids, schema.matrix(record.rows(ids, ["vector"])["vector"]), strict=True)),
        "parts": record.parts_of(ids)["part_id"].to_pylist(),
        "failures": record.failures()["uri"].to_pylist(),
    }


def compared(expected: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Cells: items, missing, twice, rows that differ otherwise, least cosine of two vectors of an item."""
    there = expected["rows"].keys() & found["rows"].keys()
    missing = len(expected["rows"]) - len(there)
    twice = found["count"] - len(found["rows"])
    other = sum(expected["rows"][one] != found["rows"][one] for one in there) + len(found["rows"].keys() - there)
    other += expected["parts"] != found["parts"] or expected["failures"] != found["failures"]
    cosines = [_cosine(expected["vectors"][one], found["vectors"][one]) for one in there]
    return f"{found['count']} | {missing} | {twice} | {other} | {min(cosines, default=0):.5f}"


def _cosine(one: Any, other: Any) -> float:
    return float(np.dot(one, other) / (np.linalg.norm(one) * np.linalg.norm(other)))


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
