"""How near to the speed of its memory does exact search on a GPU come, and how far ahead of the CPU is it?

    python -m benchmarks.gpu [--counts 1000000 10000000] [--dim 256] [--batches 1 32 1000] [--cpu-up-to 1000000]

`m3search.open(path, device="cuda")` compares every vector by torch (`m3search/stores/torch_flat.py`). Random unit
vectors in half precision: what is compared costs the same wherever it lies. Each search is set against its floor, the
bytes of the vectors over the bandwidth of a copy within the card's memory, measured in the same run; against the same
search on the CPU of the same machine; and its answers are compared with those of single precision on the CPU.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from statistics import median

import numpy as np
import torch

from m3search.stores.torch_flat import TorchFlat

K = 10
REPEATS, REPEATS_ON_CPU = 20, 3
COPIED = 4 << 30  # bytes of the copy that stands for the memory's bandwidth
BLOCK = 1 << 18  # rows made at a time


def vectors(count: int, dim: int) -> np.ndarray:
    """float16 (count, dim), unit length before rounding."""
    rng, made = np.random.default_rng(0), np.empty((count, dim), np.float16)
    for start in range(0, count, BLOCK):
        block = rng.standard_normal((min(BLOCK, count - start), dim), dtype=np.float32)
        made[start : start + BLOCK] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return made


def seconds(call: Callable[[], object], repeats: int) -> float:
    """Median time of a call whose result arrives on the CPU, after one to warm up."""
    call()
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return median(taken)


def bandwidth() -> float:
    """Bytes per second read and written by a copy within the card's memory."""
    source = torch.empty(COPIED, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)

    def copy() -> None:
        target.copy_(source)
        torch.cuda.synchronize()

    return 2 * COPIED / seconds(copy, REPEATS)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[1_000_000, 10_000_000], help="vectors")
    parser.add_argument("--dim", type=int, default=256, help="their length")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32, 1000], help="queries asked together")
    parser.add_argument("--cpu-up-to", type=int, default=1_000_000, help="vectors also searched on the CPU")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        parser.error("torch finds no GPU here; this benchmark is about one")
    rate = bandwidth()
    cores = len(os.sched_getaffinity(0))
    card = f"{torch.cuda.get_device_name()}, a copy moves {rate / 1e12:.2f} TB/s"
    print(f"{card}; CPU: {cores} cores; torch {torch.__version__}\n")
    print("| vectors | queries | search, ms | floor, ms | floor / search | CPU / GPU | recall@10 | to the card, s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for count in options.counts:
        rows = vectors(count, options.dim)
        for line in lines(rows, options.batches, rows.nbytes / rate, on_cpu=count <= options.cpu_up_to):
            print(line, flush=True)


def lines(rows: np.ndarray, batches: Sequence[int], floor: float, on_cpu: bool) -> Iterator[str]:
    """A line of the table for each size of batch.

    Args:
        rows: float16 (N, D).
        floor: seconds in which the card can read them.
    """
    started = time.perf_counter()
    gpu = TorchFlat(rows)
    moved = time.perf_counter() - started
    cpu = TorchFlat(rows, "cpu") if on_cpu else None
    count, dim = rows.shape
    for batch in batches:
        queries = np.random.default_rng(1).standard_normal((batch, dim), dtype=np.float32)
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
        taken = seconds(partial(gpu.search, queries, K), REPEATS)
        beside = recall = ""
        if cpu is not None:
            beside = f"{seconds(partial(cpu.search, queries, K), REPEATS_ON_CPU) / taken:.0f}"
            recall = f"{agreement(gpu.search(queries, K)[1], cpu.search(queries, K)[1]):.4f}"
        ours = f"{1e3 * taken:.2f} | {1e3 * floor:.2f} | {floor / taken:.2f}"
        yield f"| {count:,} x {dim} | {batch} | {ours} | {beside} | {recall} | {moved:.2f} |"


def agreement(found: np.ndarray, wanted: np.ndarray) -> float:
    """Share of the wanted rows (Q, K) that were found."""
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found.tolist(), wanted.tolist(), strict=True)]))


if __name__ == "__main__":
    main()
