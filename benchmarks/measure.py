"""One build of one engine in processes of its own, so that no engine sees another's memory or threads.

`measure` runs this module twice: to build the index, then to open and ask it. Times are those of the engine's calls,
its import left out; files just written are in the operating system's cache, so an open is cold of the process only.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.exact import found_of, short_pages
from benchmarks.limited import forget, group
from benchmarks.memory import Resident
from benchmarks.peers import load_peer
from benchmarks.vectors import KINDS
from benchmarks.workload import Gallery, Task, Workload, filter_names

if TYPE_CHECKING:
    import numpy.typing as npt

    from benchmarks.peers import Peer
    from m3search.types import Float32

    Ask = Callable[[Float32], npt.NDArray[np.int64]]

ROOT = Path(__file__).resolve().parents[1]
PILOT = 8  # queries that tell how many there is time for
SINGLES = 100  # queries asked one by one
REPEATS = 3  # of a batch, at least; the fastest counts, being least disturbed by what else runs
STEADY = 0.5  # seconds for which short batches are repeated
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "TOKIO_WORKER_THREADS",
    "LANCE_CPU_THREADS",
)
PATIENT = {"OMP_WAIT_POLICY": "passive"}  # threads that spin while they wait, on a busy machine, wait for each other


@dataclass(frozen=True, slots=True)
class Plan:
    """How to measure, the same for every engine."""

    workload: Workload
    target: float  # recall of either kind from which a setting counts
    threads: int
    filters: bool
    seconds: float  # for a batch: a slow engine is asked fewer queries
    limit: float  # seconds after which a process is stopped
    memory_mb: float | None = None  # what a process that answers may use, Python and mapped files and all


@dataclass(frozen=True, slots=True)
class Point:
    """One setting. Dicts are by kind of query."""

    setting: str
    asked: int  # queries of each kind
    recall: Mapping[str, float]
    per_second: Mapping[str, float]  # queries, asked in one batch
    single_ms: Mapping[str, float]  # median of queries asked one by one
    anonymous_mb: float  # resident from before the engine was imported until after this setting
    mapped_mb: float  # the same, of mapped files: the system may take it back

    @property
    def least_recall(self) -> float:
        """Of the two kinds."""
        return min(self.recall.values())

    @property
    def batched_ms(self) -> float:
        """Per query of either kind, in batches."""
        return statistics.mean(1000 / rate for rate in self.per_second.values())

    @property
    def one_ms(self) -> float:
        """A query of either kind by itself."""
        return statistics.mean(self.single_ms.values())


@dataclass(frozen=True, slots=True)
class Filtered:
    """One filter, at one setting."""

    name: str
    asked: int
    recall: float
    batched: float  # time over that of the same queries without the filter
    single: float
    short: int  # pages with fewer than min(k, matching) rows


@dataclass(frozen=True, slots=True)
class Outcome:
    """One build."""

    peer: str
    build: str
    failure: str = ""  # why there are no points
    build_s: float = 0
    disk_mb: float = 0
    import_ms: float = 0
    open_ms: float = 0
    first_ms: float = 0  # from before it was opened until after the first answer
    points: tuple[Point, ...] = ()
    filters_at: str = ""  # the setting
    filtered: tuple[Filtered, ...] = ()
    no_filters: str = ""  # why there are none

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Outcome:
        """The inverse of `dataclasses.asdict`."""
        points = tuple(Point(**one) for one in value.get("points", ()))
        filtered = tuple(Filtered(**one) for one in value.get("filtered", ()))
        return cls(**{**value, "points": points, "filtered": filtered})


def measure(plan: Plan, peer: str, build: str) -> Outcome:
    """Everything about one build; a failure is an outcome too."""
    with tempfile.TemporaryDirectory(dir=plan.workload.folder, prefix="index-") as folder:
        found: dict[str, Any] = {}
        for verb in ("fit", "serve"):
            with _memory(plan, verb, Path(folder)) as procs:
                told = _in_a_process(plan, {"verb": verb, "peer": peer, "build": build, "folder": folder}, procs)
            found |= told
            if "failure" in told:
                break
    return Outcome.from_json({"peer": peer, "build": build, **found})


def _memory(plan: Plan, verb: str, folder: Path) -> AbstractContextManager[Path | None]:
    """Where a process enters its memory limit, if it has one."""
    if verb == "fit" or plan.memory_mb is None:
        return nullcontext()
    forget(folder)
    return group(plan.memory_mb)


def _in_a_process(plan: Plan, job: Mapping[str, Any], procs: Path | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="m3search-") as folder:
        told, errors = Path(folder) / "told.json", Path(folder) / "errors.txt"
        words = asdict(plan) | {"workload": plan.workload.as_json()} | dict(job) | {"told": str(told)}
        with errors.open("w", encoding="utf-8") as file:  # not a pipe: a server that is left would hold it open
            process = subprocess.Popen(
                [*_entering(procs), sys.executable, "-m", "benchmarks.measure", json.dumps(words)],
                cwd=ROOT,
                env=os.environ | dict.fromkeys(THREADS, str(plan.threads)) | PATIENT,
                stdout=subprocess.DEVNULL,
                stderr=file,
                start_new_session=True,
            )
        try:
            process.wait(plan.limit)
        except subprocess.TimeoutExpired:
            return _told(told) | {"failure": f"{job['verb']} did not finish in {plan.limit:g} s"}
        finally:
            _end(process)
        if process.returncode == 0:
            return _told(told)
        lines = [line.strip() for line in errors.read_text(encoding="utf-8", errors="replace").splitlines()]
        last = next((line for line in reversed(lines) if line), "")
        return _told(told) | {"failure": f"{job['verb']} ended with {process.returncode}: {last[:300]}"}


def _entering(procs: Path | None) -> list[str]:
    """What stands before a command that enters a control group: in time for all of its memory to be counted."""
    return [] if procs is None else ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(procs)]


def _told(path: Path) -> dict[str, Any]:
    """What a process told before it ended, in whatever way."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def _end(process: subprocess.Popen[bytes]) -> None:
    """With the servers that it may have started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


# In the process -----------------------------------------------------------------------------------------------------
def main(words: str) -> None:
    """Do one job, and tell what is known as soon as it is: the process may be stopped."""
    job = json.loads(words)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: job["threads"]])
    peer, workload = load_peer(job["peer"]), Workload.from_json(job["workload"])
    told = Path(job["told"])
    for found in (fit if job["verb"] == "fit" else serve)(peer, workload, job):
        told.with_suffix(".new").write_text(json.dumps(found), encoding="utf-8")
        told.with_suffix(".new").replace(told)


def fit(peer: type[Peer], workload: Workload, job: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Build the index."""
    _import(peer)
    folder, started = Path(job["folder"]), time.perf_counter()
    peer.fit(workload.gallery(), job["build"], folder)
    seconds = time.perf_counter() - started
    yield {"build_s": seconds, "disk_mb": sum(path.stat().st_blocks * 512 for path in folder.rglob("*")) / 1e6}


def serve(peer: type[Peer], workload: Workload, job: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Open the index, ask everything."""
    gallery, tasks = workload.gallery(), [workload.task(kind) for kind in KINDS]
    before, started = Resident.now(), time.perf_counter()
    _import(peer)
    imported = time.perf_counter()
    settings = peer.settings(job["build"])
    opened = peer(Path(job["folder"]), job["build"])
    ready = time.perf_counter()
    opened.query(tasks[0].queries[:1], workload.k, settings[0], None)
    answered = time.perf_counter()
    found: dict[str, Any] = {
        "import_ms": 1e3 * (imported - started),
        "open_ms": 1e3 * (ready - imported),
        "first_ms": 1e3 * (answered - imported),
        "points": [],
    }
    for setting in settings:
        ask = partial(_ask, opened, workload.k, setting, None)
        timed = [_timed(ask, task.queries, job["seconds"]) for task in tasks]
        asked = Resident.now()
        found["points"].append(_point(gallery, tasks, timed, asked.beyond(before), setting))
        before = before.plus(Resident.now().beyond(asked))  # counting recall reads vectors, which is not the engine's
        yield found
    if job["filters"]:
        chosen = _for_filters([Point(**one) for one in found["points"]], job["target"])
        found["filters_at"] = found["points"][chosen]["setting"]
        for more in _filtered(peer, opened, workload, settings[chosen], job["seconds"]):
            yield found | more


def _import(peer: type[Peer]) -> None:
    for package in peer.packages:
        import_module(package)


def _ask(opened: Peer, k: int, setting: Mapping[str, int], where: Any, queries: Float32) -> npt.NDArray[np.int64]:
    return opened.query(queries, k, setting, where)


def _timed(ask: Ask, queries: Float32, seconds: float) -> tuple[npt.NDArray[np.int64], float, float]:
    """Answers to as many queries as there is time for, seconds per query in a batch, and of one by itself."""
    ask(queries[:PILOT])
    pilot = min(_clocked(ask, queries[:PILOT])[0] for _ in range(2))
    asked = max(PILOT, min(len(queries), int(seconds / REPEATS / max(pilot / PILOT, 1e-9))))
    batches = [_clocked(ask, queries[:asked])]
    while len(batches) < REPEATS or sum(taken for taken, _ in batches) < min(STEADY, seconds):
        batches.append(_clocked(ask, queries[:asked]))
    singles: list[float] = []
    for number in range(min(SINGLES, len(queries))):
        singles.append(_clocked(ask, queries[number : number + 1])[0])
        if sum(singles) > seconds:
            break
    return batches[0][1], min(taken for taken, _ in batches) / asked, statistics.median(singles)


def _clocked(ask: Ask, queries: Float32) -> tuple[float, npt.NDArray[np.int64]]:
    started = time.perf_counter()
    answers = ask(queries)
    return time.perf_counter() - started, answers


def _point(
    gallery: Gallery, tasks: Sequence[Task], timed: Sequence[Any], memory: Resident, setting: Mapping[str, int]
) -> dict[str, Any]:
    answered = [(task, answers) for task, (answers, _, _) in zip(tasks, timed, strict=True)]
    return asdict(
        Point(
            setting=" ".join(f"{name}={value}" for name, value in setting.items()),
            asked=min(len(answers) for _, answers in answered),
            recall={
                task.name: float(np.mean(found_of(gallery.vectors, task.queries, task.truth, answers)))
                for task, answers in answered
            },
            per_second={task.name: 1 / batched for task, (_, batched, _) in zip(tasks, timed, strict=True)},
            single_ms={task.name: 1e3 * single for task, (_, _, single) in zip(tasks, timed, strict=True)},
            anonymous_mb=memory.anonymous_mb,
            mapped_mb=memory.mapped_mb,
        )
    )


def _for_filters(points: Sequence[Point], target: float) -> int:
    """The fastest that reaches the target, else the one with most recall."""
    reached = [number for number, point in enumerate(points) if point.least_recall >= target]
    if reached:
        return min(reached, key=lambda number: points[number].batched_ms)
    return max(range(len(points)), key=lambda number: points[number].least_recall)


def _filtered(
    peer: type[Peer], opened: Peer, workload: Workload, setting: Mapping[str, int], seconds: float
) -> Iterator[dict[str, Any]]:
    if not peer.filters:
        yield {"no_filters": "takes no filter"}
        return
    found: list[dict[str, Any]] = []
    for name in filter_names():
        try:
            found.append(asdict(_one_filter(opened, workload, workload.task(name), setting, seconds)))
        except Exception as error:  # of whatever kind an engine raises: it is the outcome
            yield {"no_filters": f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:200]}"}
            return
        yield {"filtered": found}


def _one_filter(opened: Peer, workload: Workload, task: Task, setting: Mapping[str, int], seconds: float) -> Filtered:
    gallery = workload.gallery()
    _, plain, plain_single = _timed(partial(_ask, opened, workload.k, setting, None), task.queries, seconds)
    answers, batched, single = _timed(partial(_ask, opened, workload.k, setting, task.where), task.queries, seconds)
    recalls = found_of(gallery.vectors, task.queries, task.truth, answers, gallery.allowed(task.where))
    return Filtered(
        name=task.name,
        asked=len(answers),
        recall=float(recalls.mean()),
        batched=batched / plain,
        single=single / plain_single,
        short=short_pages(task.truth, answers),
    )


if __name__ == "__main__":
    main(sys.argv[1])
