"""How fast is an index run, beside reading alone and embedding alone? And does it stay within its memory?

    python -m benchmarks.ingest [--kinds jpeg raw jpeg2000 ecg tiles] [--items 200] [--json]
    python -m benchmarks.ingest --pydicom
    python -m benchmarks.ingest --flat 100000

Reading is all that worker processes do: look, hash, decode, prepare, draw. Each measurement has a process of its own.
Half of the cores read and the others embed and write, so that "the slower of the two" is the same hardware alone and
together; then all cores do both, where the most that can be had is 1 / (1 / reading + 1 / embedding). CPU time is told
beside: it stays the same on a machine that others use.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ingest_files import KINDS, write_archive, write_small
from benchmarks.memory import Resident, cpu_seconds

WARM = 8  # files that are read before the clock starts: processes start, libraries are loaded
EMBED_SECONDS = 8.0
STEPS = 20  # lines of --flat


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one item, once everything is running."""

    seconds: float
    cpu: float  # seconds of all cores, workers included

    @property
    def rate(self) -> float:
        """Items per second."""
        return 1 / self.seconds


@dataclass(frozen=True, slots=True)
class Speed:
    """One kind of file on some cores."""

    kind: str
    cores: str  # "own" for reading and embedding each, or "shared"
    items: int
    parts: float  # of an item, on average: what is embedded
    read: Cost
    embed: Cost
    index: Cost
    fixed_s: float  # of the index run beside its items: to start, to load the encoder, to publish

    @property
    def of_slower(self) -> float:
        """The index run over the slower of its two halves alone."""
        return max(self.read.seconds, self.embed.seconds) / self.index.seconds

    @property
    def of_possible(self) -> float:
        """The index run over the most that cores can do that are shared by both."""
        return (self.read.seconds + self.embed.seconds) / self.index.seconds

    @property
    def of_cpu(self) -> float:
        """How much of the CPU time of an index run is reading and embedding."""
        return (self.read.cpu + self.embed.cpu) / self.index.cpu


@dataclass(slots=True)
class Clock:
    """Wall and CPU seconds of this process and all it started, at some moments."""

    moments: dict[str, tuple[float, float]] = field(default_factory=dict)

    def mark(self, name: str) -> None:
        """Now is that moment."""
        self.moments[name] = (time.perf_counter(), cpu_seconds())

    def cost(self, start: str, end: str, items: float) -> Cost:
        """Between two moments, of each of so many items."""
        (began, used), (ended, used_then) = self.moments[start], self.moments[end]
        return Cost((ended - began) / items, (used_then - used) / items)


@dataclass(frozen=True, slots=True)
class Cores:
    """Who computes where."""

    readers: tuple[int, ...]
    main: tuple[int, ...]

    @classmethod
    def of(cls, way: str) -> Cores:
        """Of this machine: "own" halves, or all "shared"."""
        cores = tuple(sorted(os.sched_getaffinity(0)))
        half = max(1, len(cores) // 2)
        return cls(cores[:half], cores[half:] or cores) if way == "own" else cls(cores, cores)

    def take(self) -> None:
        """Confine this process to `main`, and the readers it will start to theirs: they are forked by a server."""
        from m3search.indexer.runners.process import PRELOAD

        os.sched_setaffinity(0, self.readers)
        multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOAD)
        forkserver.ensure_running()
        os.sched_setaffinity(0, self.main)


def read_alone(folder: Path, kind: str, cores: Cores) -> Cost:
    """Through the worker processes, nothing embedded or written."""
    from m3search.encoders import load_encoder
    from m3search.indexer.archives.folder import FileStat
    from m3search.indexer.inspect import Inspected, Word, inspect
    from m3search.indexer.read import read
    from m3search.indexer.runners.base import Task
    from m3search.indexer.runners.local import LocalRunner
    from m3search.types import Source

    cores.take()
    modality = KINDS[kind].modality
    spec = load_encoder("m3bind-small").inputs[modality]
    files, clock = _files(folder), Clock()
    with LocalRunner(len(cores.readers)) as runner:

        def go(some: Sequence[Path]) -> None:
            found = [
                done
                for _, done in runner.map(inspect, (Task(path, path, path, Word(hint=modality)) for path in some))
                if isinstance(done, Inspected)
            ]
            sources = [(one.path, Source(modality, one.format, (one.path,))) for one in found]
            stats = {path: (FileStat.of(path),) for path, _ in sources}
            tasks = (Task(path, path, source, spec, "mask", stats[path]) for path, source in sources)
            for path, done in runner.map(read, tasks):
                if isinstance(done, Exception):
                    raise RuntimeError(f"{path.name}: {done}")

        go(files[:WARM])
        clock.mark("start")
        go(files)
        clock.mark("end")
    return clock.cost("start", "end", len(files))


def embed_alone(folder: Path, kind: str, cores: Cores) -> tuple[Cost, float]:
    """In full batches of prepared inputs; and how many parts an item has."""
    from m3search import formats
    from m3search.encoders import load_encoder
    from m3search.indexer.embed import BATCH_PARTS
    from m3search.indexer.read import read
    from m3search.types import Batch, Source

    os.sched_setaffinity(0, cores.main)
    encoder, modality = load_encoder("m3bind-small"), KINDS[kind].modality
    inputs = [
        read(Source(modality, formats.sniff(path) or "", (path,)), encoder.inputs[modality]).inputs
        for path in _files(folder)[:WARM]
    ]
    parts = sum(map(len, inputs)) / len(inputs)
    batch = Batch(modality, np.resize(np.concatenate(inputs), (BATCH_PARTS, *inputs[0].shape[1:])))
    encoder.encode(batch)
    clock, done = Clock(), 0
    clock.mark("start")
    while time.perf_counter() - clock.moments["start"][0] < EMBED_SECONDS:
        encoder.encode(batch)
        done += BATCH_PARTS
    clock.mark("end")
    return clock.cost("start", "end", done / parts), parts


def index_run(folder: Path, kind: str, cores: Cores) -> tuple[Cost, float]:
    """Of `m3search index`: the looks at all files, and the second half of reading, embedding and writing them.

    Also the seconds of the run that are not its items': until workers and encoder are loaded, and to publish.
    """
    from m3search.indexer import Options, Progress, index

    cores.take()
    count, clock = len(_files(folder)), Clock()
    moments = {("inspect", WARM): "look", ("inspect", count): "looked", ("index", count // 2): "half"}

    def note(progress: Progress) -> None:
        name = moments.get((progress.stage, progress.done))
        if name or (progress.stage, progress.done) == ("index", count):
            clock.mark(name or "end")

    with tempfile.TemporaryDirectory() as place:
        options = Options(modality=KINDS[kind].modality, workers=len(cores.readers))
        report = index(folder, Path(place) / "index", model="m3bind-small", options=options, progress=note)
    if report.failed:
        raise RuntimeError(f"{report.failed} of {report.seen} files failed")
    look = clock.cost("look", "looked", count - WARM)
    rest = clock.cost("half", "end", count - count // 2)
    cost = Cost(look.seconds + rest.seconds, look.cpu + rest.cpu)
    return cost, report.seconds - count * cost.seconds


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix != ".dat")


def measure(folder: Path, kind: str, way: str) -> Speed:
    """One kind on one sharing of the cores."""
    cores = Cores.of(way)
    read = _apart(read_alone, folder, kind, cores)
    embed, parts = _apart(embed_alone, folder, kind, cores)
    index, fixed = _apart(index_run, folder, kind, cores)
    return Speed(kind, way, len(_files(folder)), parts, read, embed, index, fixed)


def _apart(call: Callable[..., Any], *arguments: Any) -> Any:
    """In a fresh process, so that nothing is warm, confined or kept from before."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(call, *arguments).result()


def against_pydicom(folder: Path, rounds: int = 5) -> tuple[float, float]:
    """Median milliseconds of CPU for one raw radiograph: by pydicom's own steps, and here.

    Here in a process that is prepared as workers are, pydicom's in one like any other. Both end in the input of a
    tower. Alternating, so that both meet the same machine.
    """
    from m3search.indexer.runners.worker import keep_freed_memory

    context = multiprocessing.get_context("spawn")
    times: dict[Callable[[Path], object], list[float]] = {_by_pydicom: [], _here: []}
    with (
        ProcessPoolExecutor(1, mp_context=context) as plain,
        ProcessPoolExecutor(1, mp_context=context, initializer=keep_freed_memory) as worker,
    ):
        pools = {_by_pydicom: plain, _here: worker}
        for turn in range(rounds + 1):
            for path in sorted(folder.glob("*.dcm")):
                for call, pool in pools.items():
                    taken = pool.submit(_cpu_of, call, path).result()
                    if turn:  # the first round loads libraries
                        times[call].append(1000 * taken)
    return statistics.median(times[_by_pydicom]), statistics.median(times[_here])


def _cpu_of(call: Callable[[Path], object], path: Path) -> float:
    started = time.process_time()
    call(path)
    return time.process_time() - started


def _here(path: Path) -> object:
    from m3search.modalities.xray import XRay
    from m3search.types import InputSpec, Source

    spec, xray = InputSpec("image", max_parts=1), XRay()
    return xray.prepare(xray.read(Source("xray", "dicom", (path,)), spec), spec)


def _by_pydicom(path: Path) -> object:
    """As its documentation does it: Modality LUT, VOI LUT, scaled to 8 bits, resized."""
    from PIL import Image
    from pydicom import dcmread
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    dataset = dcmread(path)
    values = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)
    low, high = values.min(), values.max()
    grey = ((values - low) / (high - low) * 255).astype(np.uint8)
    small = Image.fromarray(grey).resize((224, 224), Image.Resampling.LANCZOS).convert("RGB")
    return np.asarray(small).transpose(2, 0, 1)[None]


def flat(count: int, folder: Path | None) -> list[tuple[int, Resident]]:
    """Resident memory of an index run over `count` small pictures, workers included, at steps of its index stage."""
    from m3search.indexer import Options, Progress, index

    steps: list[tuple[int, Resident]] = []

    def note(progress: Progress) -> None:
        if progress.stage == "index" and progress.done >= len(steps) * count / STEPS:
            steps.append((progress.done, Resident.now()))
            _print_step(*steps[-1])

    place: AbstractContextManager[str] = tempfile.TemporaryDirectory() if folder is None else nullcontext(str(folder))
    with place as home:
        archive = Path(home) / "archive"
        if not archive.exists():
            write_small(archive, count)
        with tempfile.TemporaryDirectory(dir=home) as made:
            report = index(archive, Path(made) / "index", model="fake", options=Options("xray"), progress=note)
        steps.append((report.indexed, Resident.now()))
    print(f"{report.indexed} items, {report.failed} failures, {report.indexed / report.seconds:.0f} items/s")
    return steps


def _print_step(done: int, memory: Resident) -> None:
    print(f"{done:>8} items: {memory.anonymous_mb:.0f} MB own, {memory.mapped_mb:.0f} MB mapped", flush=True)


def table(speeds: Sequence[Speed]) -> str:
    """Markdown."""
    heads = (
        "kind", "cores", "parts", "reading/s", "embedding/s", "index/s", "of the slower", "of the possible",
        "CPU: reading + embedding, ms", "index, ms", "of its CPU", "fixed, s",
    )  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    for one in speeds:
        cells = [
            one.kind, one.cores, f"{one.parts:.0f}", *(f"{cost.rate:.1f}" for cost in (one.read, one.embed, one.index)),
            f"{one.of_slower:.2f}", f"{one.of_possible:.2f}" if one.cores == "shared" else "",
            f"{1e3 * one.read.cpu:.1f} + {1e3 * one.embed.cpu:.1f}", f"{1e3 * one.index.cpu:.1f}",
            f"{one.of_cpu:.2f}", f"{one.fixed_s:.1f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, write the archives, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kinds", nargs="+", choices=sorted(KINDS), default=list(KINDS), help="of file")
    parser.add_argument("--ways", nargs="+", choices=("own", "shared"), default=["own", "shared"], help="sharing cores")
    parser.add_argument("--items", type=int, default=200, help="files of each kind")
    parser.add_argument("--folder", type=Path, help="where archives are made and kept; default: a temporary one")
    parser.add_argument("--pydicom", action="store_true", help="only: one raw radiograph beside pydicom's own steps")
    parser.add_argument("--flat", type=int, metavar="COUNT", help="only: memory over so many small pictures")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    options = parser.parse_args(arguments)
    if options.flat:
        flat(options.flat, options.folder)
        return
    place: AbstractContextManager[str] = (
        tempfile.TemporaryDirectory() if options.folder is None else nullcontext(str(options.folder))
    )
    with place as home:
        print(f"load {os.getloadavg()[0]:.1f}", file=sys.stderr)
        if options.pydicom:
            folder = _archive(Path(home), "raw", 8)
            theirs, ours = against_pydicom(folder)
            print(f"raw {KINDS['raw'].about}: pydicom {theirs:.1f} ms, here {ours:.1f} ms, {theirs / ours:.1f} times")
            return
        speeds = []
        for kind in options.kinds:
            folder = _archive(Path(home), kind, options.items)
            for way in options.ways:
                speeds.append(measure(folder, kind, way))
                print(table(speeds[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
    print(json.dumps([asdict(one) for one in speeds], indent=2) if options.json else table(speeds))


def _archive(home: Path, kind: str, count: int) -> Path:
    folder = home / f"{kind}-{count}"
    if not folder.exists():
        write_archive(folder, kind, count)
    return folder


if __name__ == "__main__":
    main()
