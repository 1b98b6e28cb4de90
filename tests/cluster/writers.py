"""Do two writers and four readers of one index on S3 stay out of each other's way?

    python -m tests.cluster.writers [--seconds 60] [--seed 0]

A real S3 server on loopback. Each writer, a process, merges batches of new items and of items that it wrote before into
the tables, without the lease that index runs hold, and notes what was acknowledged. One deletes; the other publishes a
segment now and then, for which the first makes way. Each reader, a process with a cache of its own, counts and searches
all the time. In the end each acknowledged row must be there once, as it was written last, each deleted one be gone, and
no reader may have seen a count of additions go down. Prints what was done, and exits with 1 where anything was wrong.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from m3search.stores.folder import IndexFolder, Manifest
from m3search.stores.place import ObjectPath, place_of
from m3search.stores.reader import Reader
from tests.cluster import s3

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier, Event

DIM = 64
BATCH = 200  # rows of one commit, at most
WRITERS, READERS = 2, 4
PUBLISH_S = 7.0


@dataclass(frozen=True)
class Job:
    """What one process is to do."""

    seed: int  # its last digit tells writers, and readers, apart
    folder: Path  # its own
    place: ObjectPath
    ready: Barrier
    publishing: Event
    seconds: float

    @contextmanager
    def begun(self) -> Iterator[tuple[Reader, float]]:
        """A reader with a cache of its own, and when to end; every process begins at once."""
        self.folder.mkdir()
        os.environ |= {"M3SEARCH_CACHE": str(self.folder / "cache"), "M3SEARCH_STATE": str(self.folder / "state")}
        reader = IndexFolder.open(self.place).reader()
        self.ready.wait()
        yield reader, time.time() + self.seconds

    def tell(self, done: Mapping[str, Any]) -> None:
        """What was done, to the process that started this one."""
        (self.folder / "told.json").write_text(json.dumps(done), encoding="utf-8")

    def told(self) -> dict[str, Any]:
        """What `tell` was given."""
        told: dict[str, Any] = json.loads((self.folder / "told.json").read_text(encoding="utf-8"))
        return told


def main() -> None:
    """Parse, run, compare, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name, s3.server(Path(name, "s3")) as server, s3.reached(server):
        place = place_of("s3://m3search/shared")
        IndexFolder.create(place, Manifest("none", "0" * 64, DIM))
        ready = context.Barrier(WRITERS + READERS)
        each = (place, ready, context.Event(), options.seconds)
        jobs = [(write, Job(options.seed * 10 + n, Path(name, f"writer{n}"), *each)) for n in range(WRITERS)]
        jobs += [(read, Job(options.seed * 10 + n, Path(name, f"reader{n}"), *each)) for n in range(READERS)]
        processes = [context.Process(target=what, args=(job,)) for what, job in jobs]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        told = [job.told() for _, job in jobs]
        found = check(place, told[:WRITERS], told[WRITERS:])
    found["ended badly"] = sum(process.exitcode != 0 for process in processes)
    json.dump(found | {"load": os.getloadavg()[0]}, sys.stdout, indent=2)
    wrong = ("ended badly", "errors", "lost", "twice", "not as written last", "deleted and back", "went backwards")
    sys.exit(any(found[name] for name in wrong))


def write(job: Job) -> None:
    """Items "N-…" of writer N: new ones, newer states of old ones, and deletions by writer 0."""
    number, chance = job.seed % 10, random.Random(job.seed)
    states: dict[str, int] = {}
    deleted: set[str] = set()
    done: dict[str, Any] = {"commits": 0, "published": 0, "errors": []}
    with job.begun() as (reader, until):
        published = time.time()
        while time.time() < until:
            if number == 0 and job.publishing.is_set():
                time.sleep(0.1)
                continue
            try:
                if number == 0 and states and chance.random() < 0.1:
                    gone = chance.sample(sorted(states), k=min(5, len(states)))
                    reader.delete(gone)
                    deleted.update(gone)
                    for item_id in gone:
                        del states[item_id]
                else:
                    new = [f"{number}-{len(states) + len(deleted) + n:06}" for n in range(chance.randrange(1, BATCH))]
                    old = chance.sample(sorted(states), k=min(20, len(states)))
                    batch = {item_id: states.get(item_id, 0) + 1 for item_id in (*new, *old)}
                    reader.upsert([_row(item_id, state) for item_id, state in batch.items()])
                    states |= batch
                done["commits"] += 1
                if number == 1 and time.time() - published > PUBLISH_S:
                    job.publishing.set()
                    done["published"] += any(reader.publish(anew=True) is not None for _ in range(3))
                    job.publishing.clear()
                    published = time.time()
            except Exception as error:
                done["errors"].append(repr(error)[:300])
    job.tell(done | {"states": states, "deleted": sorted(deleted)})


def read(job: Job) -> None:
    """Count what writer 1, which never deletes, has added, and search."""
    queries = np.random.default_rng(job.seed).normal(size=(4, DIM)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    done: dict[str, Any] = {"reads": 0, "by a segment": 0, "went backwards": 0, "last": 0, "errors": []}
    with job.begun() as (reader, until):
        while time.time() < until:
            try:
                ids = reader.matching()
                here = sum(item_id.startswith("1-") for item_id in ids)
                done["went backwards"] += here < done["last"] or len(set(ids)) != len(ids)
                done["last"] = here
                found = reader.search(queries, 10)
                done["went backwards"] += any(len(set(one.ids)) != len(one.ids) for one in found)
                done["by a segment"] += reader.view is not None
                done["reads"] += 1
            except Exception as error:
                done["errors"].append(repr(error)[:300])
    job.tell(done)


def check(place: ObjectPath, writers: list[dict[str, Any]], readers: list[dict[str, Any]]) -> dict[str, Any]:
    """What is in the tables in the end, against what the writers were told."""
    record = IndexFolder.open(place).record()
    ids = [row["item_id"] for batch in record.stream(["item_id"], 4096) for row in batch.to_pylist()]
    years = {row["item_id"]: row["year"] for row in record.rows(sorted(set(ids)), ["item_id", "year"]).to_pylist()}
    states: Mapping[str, int] = {item: state for one in writers for item, state in one["states"].items()}
    everyone = [*writers, *readers]
    return {
        "rows": len(ids),
        "commits": [one["commits"] for one in writers],
        "segments published": sum(one["published"] for one in writers),
        "reads": [one["reads"] for one in readers],
        "of these by a segment": [one["by a segment"] for one in readers],
        "errors": sum(len(one["errors"]) for one in everyone),
        "the first": next((error for one in everyone for error in one["errors"]), ""),
        "lost": len(states.keys() - years.keys()),
        "twice": len(ids) - len(set(ids)),
        "not as written last": sum(years.get(item, state) != state for item, state in states.items()),
        "deleted and back": sum(item in years for one in writers for item in one["deleted"]),
        "went backwards": sum(one["went backwards"] for one in readers),
    }


def _row(item_id: str, state: int) -> dict[str, Any]:
    vector = np.random.default_rng(abs(hash((item_id, state)))).normal(size=DIM)
    return {"item_id": item_id, "modality": "ct", "year": state, "vector": vector / np.linalg.norm(vector)}


if __name__ == "__main__":
    main()
