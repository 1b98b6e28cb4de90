"""What does a warm text query cost beyond its two parts, embedding the text and searching the vectors?

    python -m benchmarks.warm [--count 1000000] [--queries 200] [--json]

An index of made vectors (see vectors.py) under the shipped encoder, asked through the Python API, one query at a time.
Times are medians over the queries, in one process; what counts is their ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks import vectors
from m3search.encoders import load_encoder
from m3search.search import Engine
from m3search.stores import schema
from m3search.stores.folder import IndexFolder, Manifest
from m3search.vocabulary import SYNONYMS

COMMIT = 100_000  # rows
WARM_UP = 10  # texts


def build(folder: Path, count: int) -> Engine:
    """An index of `count` items of all modalities."""
    encoder = load_encoder("m3bind-small")
    index = IndexFolder.create(folder, Manifest(encoder.name, encoder.fingerprint, encoder.dim))
    recipe, modalities = vectors.Recipe(count, encoder.dim), sorted(encoder.inputs)
    rows, clusters = np.empty((count, encoder.dim), np.float16), np.empty(count, np.int32)
    vectors.fill(recipe, rows, clusters)
    kinds, record = schema.items(encoder.dim), index.record()
    for start in range(0, count, COMMIT):
        some = slice(start, min(start + COMMIT, count))
        columns = {
            "item_id": [f"{row:032x}" for row in range(some.start, some.stop)],
            "modality": [modalities[cluster % len(modalities)] for cluster in clusters[some]],
            "uri": [f"{row}.dcm" for row in range(some.start, some.stop)],
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(rows[some].ravel()), encoder.dim),
        }
        record.upsert(pa.table({name: pa.array(values, kinds.field(name).type) for name, values in columns.items()}))
    record.optimize()
    index.reader().publish()
    return Engine(index, encoder)


def measure(engine: Engine, texts: Sequence[str]) -> dict[str, float]:
    """Median milliseconds of the whole, of its parts, and the ratio of the whole to their sum.

    They take turns: one text is embedded, its vector is searched, and a text half the list away is asked as a query.
    Measured in loops of their own, each part would have the processor's caches to itself, which a query's parts do not.
    """
    embed, search, vectors = engine.encoder.encode_text, engine.store.search, {}
    times: dict[str, list[float]] = {"query": [], "embedding": [], "search": []}
    for place, text in enumerate([*texts[:WARM_UP], *texts], start=-WARM_UP):
        other = texts[(place + len(texts) // 2) % len(texts)]
        taken = {
            "embedding": _seconds(lambda text=text: vectors.update({text: embed([text])})),
            "search": _seconds(lambda text=text: search(vectors[text], 10)),
            "query": _seconds(lambda other=other: engine.search(other)),
        }
        if place >= 0:
            for part, seconds in taken.items():
                times[part].append(seconds)
    found = {part: 1000 * float(np.median(seconds)) for part, seconds in times.items()}
    return found | {"ratio": found["query"] / (found["embedding"] + found["search"])}


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, build, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.warm", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=1_000_000, help="items in the index")
    parser.add_argument("--queries", type=int, default=200, help="texts that are asked")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    options = parser.parse_args(arguments)
    texts = [f"{name} {turn}" for turn in ("", "left", "severe") for name in sorted(SYNONYMS)][: options.queries]
    with tempfile.TemporaryDirectory() as folder:
        engine = build(Path(folder) / "index", options.count)
        print(f"{options.count} items, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
        mode = engine.search(texts[0]).mode
        result = measure(engine, texts)
    if options.json:
        print(json.dumps({"count": options.count, "mode": mode, **result}, indent=2))
    else:
        print("| items | mode | query, ms | embedding, ms | raw search, ms | query / (embedding + search) |")
        print("| --- | --- | --- | --- | --- | --- |")
        cells = " | ".join(f"{value:.2f}" for value in result.values())
        print(f"| {options.count} | {mode} | {cells} |")


if __name__ == "__main__":
    main()
