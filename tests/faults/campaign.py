"""Index runs, deletions and compactions that are killed, or meet a full disk, at each of their write points; then once
more, to finish the work.
"""

from __future__ import annotations

import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from m3search import filters
from m3search.indexer import Options, index
from m3search.stores.compact import compact
from m3search.stores.folder import IndexFolder
from m3search.stores.tombstones import Tombstones
from m3search.stores.verify import verify

from ..fuzz.seeds import KINDS
from .acts import ACTS

COUNT, KILL, FULL, MOMENT = 0, 1, 2, 3  # as shim.c has them; the last is the nursery's own
KINDS_OF_FAULT = {"kill": KILL, "disk full": FULL}
FILTERS = Path("/proc/sys/kernel/seccomp/actions_avail")  # of Linux, where processes may filter their own calls
MACHINES = ("x86_64", "aarch64")  # whose system calls shim.c can trap
UNTIL_COMPACTED = ("deleted items in table", "bytes of deleted items")  # checks that fail till then
AT_A_MOMENT = "kill at a random moment"
HOLDINGS = ("dicom explicit", "dicom ct series", "png", "wfdb")
NOT_COMPARED = ["run_id", "indexed_at", "patient_key", "study_key", "series_key", "locator"]


@dataclass(slots=True)
class Outcome:
    """What came of it, in one scenario."""

    scenario: str
    points: int = 0  # changes of the disk that an undisturbed run makes
    tried: dict[str, int] = field(default_factory=dict)  # by kind of fault
    survived: dict[str, int] = field(default_factory=dict)  # runs that ended as if nothing had been
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def lines(self) -> list[str]:
        """For a person."""
        tried = ", ".join(f"{kind} at {count} ({self.survived[kind]} went on)" for kind, count in self.tried.items())
        result = f"{self.points} write points; {tried}; {len(self.wrong)} wrong; {self.seconds:.0f} s"
        return [f"{self.scenario}: {result}", *self.wrong]


def compiled(work: Path) -> Path | None:
    """The shim, or None where there is no C compiler, or a system that it does not know."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or platform.machine() not in MACHINES or not FILTERS.exists():
        return None
    library = work / f"shim{sysconfig.get_config_var('SHLIB_SUFFIX')}"
    source = Path(__file__).with_name("shim.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
    return library


class Nursery:
    """Runs under the shim, one after the other."""

    def __init__(self, library: Path) -> None:
        root = Path(__file__).parents[2]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.nursery", library],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root,
        )  # fmt: skip

    def run(self, act: str, scenario: Path, at: int, what: int) -> tuple[int, int, str]:
        """Exit code (negative: the signal), changes counted, words of the error."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{act}\t{scenario}\t{at}\t{what}\n")
        self._process.stdin.flush()
        status, changes, words = self._process.stdout.readline().rstrip("\n").split("\t")
        return os.waitstatus_to_exitcode(int(status)), int(changes), words

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@contextmanager
def nursery(library: Path) -> Iterator[Nursery]:
    """A nursery that is closed."""
    one = Nursery(library)
    try:
        yield one
    finally:
        one.close()


def new(folder: Path) -> None:
    """Scenario: an archive and no index."""
    for kind in HOLDINGS:
        place = folder / "archive" / kind.replace(" ", "_") / KINDS[kind][0]
        place.mkdir(parents=True)
        KINDS[kind][1](place)
    film = next((folder / "archive").rglob("film.dcm"))
    film.with_name("cut.dcm").write_bytes(film.read_bytes()[:-100])


def indexed(folder: Path) -> None:
    """Scenario: an index."""
    new(folder)
    index(folder / "archive", folder / "index", model="fake", options=Options(workers=0))


def changed(folder: Path) -> None:
    """Scenario: an index, and an archive of which something was changed, moved, removed, mended and broken since."""
    indexed(folder)
    archive = folder / "archive"
    film, eye = next(archive.rglob("film.dcm")), next(archive.rglob("eye.png"))
    whole = film.read_bytes()
    film.with_name("cut.dcm").write_bytes(whole[:-2] + b"\x07\x00")  # mended
    film.write_bytes(whole[:-2] + b"\x08\x00")
    eye.rename(eye.with_name("moved.png"))
    shutil.rmtree(archive / "dicom_ct_series")
    samples = next(archive.rglob("ecg.dat"))
    samples.write_bytes(samples.read_bytes()[:-100])


def packed(folder: Path) -> None:
    """Scenario: an archive in a compressed tar file, which is inflated into the index, and no index."""
    new(folder)
    archive = folder / "archive"
    shutil.make_archive(str(folder / "all"), "gztar", archive)
    shutil.rmtree(archive)
    archive.mkdir()
    (folder / "all.tar.gz").rename(archive / "all.tar.gz")


def deleted(folder: Path) -> None:
    """Scenario: an index of which a patient is being deleted by a process that was killed, and a new film of theirs."""
    indexed(folder)
    one = IndexFolder.open(folder / "index")
    record = one.record()
    film = next((folder / "archive").rglob("film.dcm"))
    (patient,) = {row["patient_key"] for row in record.rows(record.matching()).to_pylist() if "film" in row["uri"]}
    gone = record.rows(record.matching(filters.one_of("patient_key", [patient])))
    replace(Tombstones.load(one).having(gone.to_pylist(), [patient]), pending=True).save(one)
    film.write_bytes(film.read_bytes()[:-2] + b"\x08\x00")


def with_gaps(folder: Path) -> None:
    """Scenario: an index from which items were deleted."""
    indexed(folder)
    ACTS["delete"](folder / "archive", folder / "index")


SCENARIOS: dict[str, tuple[Callable[[Path], None], str]] = {  # what is made, and what of ACTS is then broken off
    "new index": (new, "index"),
    "packed archive": (packed, "index"),
    "changed archive": (changed, "index"),
    "deleted patient": (deleted, "index"),
    "deletion": (indexed, "delete"),
    "compaction": (with_gaps, "compact"),
}


def rows(path: Path) -> list[dict[str, Any]]:
    """Every item without what differs between runs, every failure, part and deletion, in a stable order."""
    folder = IndexFolder.open(path)
    record = folder.record()
    items = record.rows(record.matching()).drop_columns(NOT_COMPARED).to_pylist()
    failures = record.failures().select(["uri", "reason", "message"]).to_pylist()
    parts = record.parts_of(record.matching()).to_pylist()
    return [*items, *failures, *parts, *map(asdict, Tombstones.load(folder).items.values())]


@dataclass(frozen=True, slots=True)
class Points:
    """Which write points are gone through."""

    sample: int = 0  # so many by chance for each kind of fault; 0: all
    seed: int = 1
    part: tuple[int, int] = (1, 1)  # (k, n): every n-th from the k-th on; n calls, each with another k, take all
    fault: str | None = None  # of KINDS_OF_FAULT; None: each

    def of(self, count: int, kind: str) -> list[int]:
        """Of so many points the ones that meet this kind of fault, from 1."""
        if self.fault not in (None, kind):
            return []
        points = list(range(1, count + 1))[self.part[0] - 1 :: self.part[1]]
        if not 0 < self.sample < len(points):
            return points
        return sorted(random.Random(f"{self.seed}/{kind}").sample(points, self.sample))


def run(scenario: str, work: Path, runs: Nursery, points: Points) -> Outcome:
    """Go through write points of one scenario."""
    began = time.monotonic()
    outcome = Outcome(scenario)
    whole = work / "whole"
    make, act = SCENARIOS[scenario]
    make(whole)
    undisturbed = Path(shutil.copytree(whole, work / "undisturbed"))
    code, outcome.points, words = runs.run(act, undisturbed, 0, COUNT)
    if code or words:
        outcome.wrong.append(f"the undisturbed run ended with {code}: {words}")
        return outcome
    expected = rows(undisturbed / "index")
    for kind in KINDS_OF_FAULT:
        for at in points.of(outcome.points, kind):
            folder = Path(shutil.copytree(whole, work / "disturbed"))
            code, _, words = runs.run(act, folder, at, KINDS_OF_FAULT[kind])
            outcome.tried[kind] = outcome.tried.get(kind, 0) + 1
            outcome.survived[kind] = outcome.survived.get(kind, 0) + (code == 0 and not words)
            wrong = _wrong(act, folder, expected, kind, code, words)
            outcome.wrong += [f"{scenario}, {kind} at change {at}: {one}" for one in wrong]
            shutil.rmtree(folder)
    outcome.seconds = time.monotonic() - began
    return outcome


def run_kills(scenario: str, work: Path, runs: Nursery, kills: int, seed: int = 1) -> Outcome:
    """Kill a run at random moments of the time that an undisturbed one takes, wherever in its code that is."""
    began = time.monotonic()
    outcome = Outcome(scenario, tried={AT_A_MOMENT: 0}, survived={AT_A_MOMENT: 0})
    whole = work / "whole"
    make, act = SCENARIOS[scenario]
    make(whole)
    takes_us = 0
    for undisturbed in (work / "cold", work / "warm"):  # the first run of all takes several times as long
        shutil.copytree(whole, undisturbed)
        started = time.monotonic()
        code, outcome.points, words = runs.run(act, undisturbed, 0, COUNT)
        takes_us = int((time.monotonic() - started) * 1e6)
        if code or words:
            outcome.wrong.append(f"the undisturbed run ended with {code}: {words}")
            return outcome
    expected = rows(work / "warm" / "index")
    moments = random.Random(f"{seed}/{scenario}")
    for _ in range(kills):
        folder = Path(shutil.copytree(whole, work / "disturbed"))
        at = moments.randint(1, takes_us)
        code, _, words = runs.run(act, folder, at, MOMENT)
        outcome.tried[AT_A_MOMENT] += 1
        outcome.survived[AT_A_MOMENT] += code == 0
        wrong = _wrong(act, folder, expected, "kill", code, words)
        outcome.wrong += [f"{scenario}, killed after {at / 1e6:.3f} s: {one}" for one in wrong]
        shutil.rmtree(folder)
    outcome.seconds = time.monotonic() - began
    return outcome


def _wrong(act: str, folder: Path, expected: list[dict[str, Any]], kind: str, code: int, words: str) -> Iterator[str]:
    """What is not as it should be after a fault and once it was done again."""
    if kind == "disk full" and code:
        yield f"ended with {code}: {words}"  # IndexUnwritable, with words, ends with 0
    if kind == "disk full" and words and not code and str(folder / "index") not in words:
        yield f"names no place: {words}"
    if kind == "kill" and code not in (0, -signal.SIGKILL):
        yield f"ended with {code}: {words}"
    try:
        if not code and not words and rows(folder / "index") != expected:
            yield "went on, with other rows"
        ACTS[act](folder / "archive", folder / "index")
        if rows(folder / "index") != expected:
            yield "other rows after the next run"
        yield from _unsound(IndexFolder.open(folder / "index"))
    except Exception as error:
        yield f"the next {act} ended with {type(error).__name__}: {error}"


def _unsound(folder: IndexFolder) -> Iterator[str]:
    """What `verify` finds; where something was deleted, before and after its bytes are removed."""
    pending = Tombstones.load(folder).pending
    checks = [check for check in verify(folder).checks if not (pending and check.what.startswith(UNTIL_COMPACTED))]
    if pending:
        compact(folder, grace_s=0)
        checks += verify(folder).checks
    yield from (f"{check.what}: {check.found}" for check in checks if not check.ok)
