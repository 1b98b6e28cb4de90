"""An index published to a real Milvus server: recall against the exact answer, filters, a kill after acknowledgement.

    python -m tests.cluster.published [--count 200000] [--dim 256]

Made vectors (`benchmarks.vectors`) in an index folder, published to the standalone server of `tests.cluster.milvus`.
The recall is that of `Replica.search` against the record, which compares everything. Then the server is killed with
SIGKILL right after a last upsert was acknowledged, and started again.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks import vectors
from m3search import filters
from m3search.stores import open_remote, schema
from m3search.stores.folder import IndexFolder, Manifest
from m3search.stores.replica import open_replica, publish
from tests.cluster import milvus

COMMIT = 50_000  # rows
QUERIES = 100  # of each kind
LATE = 500  # rows written just before the kill


def build(folder: Path, count: int, dim: int) -> IndexFolder:
    """An index of `count` items; every hundredth is of year 1."""
    index = IndexFolder.create(folder, Manifest("made", "f" * 64, dim))
    recipe = vectors.Recipe(count, dim)
    rows, clusters = np.empty((count, dim), np.float16), np.empty(count, np.int32)
    vectors.fill(recipe, rows, clusters)
    year = np.random.default_rng(1).permutation(count) % 100 + 1
    record = index.record()
    for start in range(0, count, COMMIT):
        record.upsert(items(rows[start : start + COMMIT], year[start : start + COMMIT], start))
    record.optimize()
    return index


def items(vectors: np.ndarray, years: np.ndarray, first: int) -> pa.Table:
    """Rows of the items table."""
    count, dim = vectors.shape
    return schema.conform(
        pa.table(
            {
                "item_id": [f"{row:032x}" for row in range(first, first + count)],
                "modality": ["xray"] * count,
                "year": pa.array(years.astype(np.int16)),
                "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), dim),
            }
        ),
        schema.items(dim),
    )


def main() -> None:
    """Parse, publish, measure, kill, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=200_000, help="items")
    parser.add_argument("--dim", type=int, default=256, help="length of the vectors")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, milvus.server(Path(name) / "milvus") as server:
        index = build(Path(name) / "index", options.count, options.dim)
        print(f"{options.count} items, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
        address = f"{server.address}/chest"
        started = time.perf_counter()
        done = publish(index, address, progress=lambda rows, _: print(f"{rows} copied", file=sys.stderr))
        print(f"published {done.items} in {time.perf_counter() - started:.0f} s; in place: {done.in_place}")
        record, replica = index.record(), open_replica(index, address)
        recipe = vectors.Recipe(options.count, options.dim)
        print("| queries | filter | recall@10 | exact |\n| --- | --- | --- | --- |")
        for kind in vectors.KINDS:
            asked = vectors.queries(recipe, kind, QUERIES)
            for where in (None, filters.equals("year", 1)):
                exact, found = record.search(asked, 10, where), replica.search(asked, 10, where)
                recall = np.mean([len(set(a.ids) & set(b.ids)) / len(a) for a, b in zip(exact, found, strict=True)])
                print(f"| {kind} | {'1%' if where else 'none'} | {recall:.4f} | {found[0].exact} |")
        store = open_remote(address, options.dim)
        late = vectors.queries(recipe, "item", LATE, 99).astype(np.float16)
        store.upsert(items(late, np.full(LATE, 7), options.count))
        server.kill()
        server.start()
        store = open_remote(address, options.dim)
        store.ensure()
        there = store.search(late[:50].astype(np.float32), 1)
        found = sum(one.ids == (f"{options.count + row:032x}",) for row, one in enumerate(there))
        print(f"after kill -9 and restart: {store.count()} of {options.count + LATE} there, {found} of 50 late found")


if __name__ == "__main__":
    main()
