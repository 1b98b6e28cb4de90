"""Index runs over damaged files: none may end the run, hang it or fill the memory, and each must be accounted for."""

from __future__ import annotations

import random
import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from m3search.encoders import load_encoder
from m3search.errors import Reason
from m3search.indexer import Allowance, Options
from m3search.indexer.archives import open_archive
from m3search.indexer.pipeline import Run
from m3search.stores.folder import IndexFolder, Manifest
from m3search.stores.verify import verify

from .mutate import mutate
from .seeds import Seed, seeds

# Each costs one file only, and each is to be mended.
DEFECTS = (Reason.INTERNAL, Reason.CRASHED, Reason.TIMEOUT, Reason.MEMORY)
UID = re.compile(rb"2\.25\.\d{20,40}|1\.2\.826\.0\.1\.3680043\.8\.498\.\d{20,45}")  # as pydicom generates them


@dataclass(frozen=True, slots=True)
class Campaign:
    """What is done."""

    files: int
    seed: int = 1
    batch: int = 500  # files of one index run
    seconds: float = 60.0  # one file may take
    memory_bytes: int = 3 << 30  # one worker may take
    workers: int = 2
    keep: Path | None = None  # where files that showed a defect are copied to


@dataclass(slots=True)
class Outcome:
    """What came of it."""

    files: int = 0
    items: int = 0
    ignored: int = 0  # no longer like any medical file
    failures: Counter[str] = field(default_factory=Counter)  # by reason
    run_crashes: list[str] = field(default_factory=list)  # index runs that ended with an exception
    verified: int = 0  # index runs after which the index was whole
    runs: int = 0
    crashes: int = 0  # of workers, second tries included
    timeouts: int = 0
    out_of_memory: int = 0
    peak_bytes: int = 0
    longest_s: float = 0.0
    seconds: float = 0.0
    defects: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """For a person."""
        by_reason = ", ".join(f"{count} {reason}" for reason, count in self.failures.most_common())
        return [
            f"files {self.files}: {self.items} items, {sum(self.failures.values())} failures, {self.ignored} ignored",
            f"failures by reason: {by_reason or 'none'}",
            f"index runs {self.runs}: {len(self.run_crashes)} crashed, {self.verified} verified",
            f"workers: {self.crashes} crashes, {self.timeouts} over the time limit, {self.out_of_memory} over the "
            f"memory limit, peak {self.peak_bytes / 2**20:.0f} MiB, slowest call {self.longest_s:.1f} s",
            f"{self.seconds:.0f} s, {self.files / max(self.seconds, 1e-9):.0f} files/s",
            *self.run_crashes,
            *self.defects,
        ]


def write_case(folder: Path, sources: Sequence[Seed], number: int, seed: int) -> Path:
    """Damage one file of one seed. The folder is named after number, seed kind, damage and the hint of the modality."""
    chance = random.Random(f"{seed}/{number}")
    source = sources[number % len(sources)]
    victim = chance.choice(list(source.files))
    others = [content for other in sources for content in other.files.values()]
    name, damaged = mutate(_unique(source.files[victim], number), others, f"{seed}/{number}")
    words = f"{number:06} {source.kind} {name}".replace(" ", "_").replace("ct_", "c_t_")
    case = folder / f"{words}" / source.folder
    case.mkdir(parents=True)
    for file, content in source.files.items():
        (case / file).write_bytes(damaged if file == victim else _unique(content, number))
    return case


def _unique(content: bytes, number: int) -> bytes:
    """Other UIDs for each case: the slices of all cases would else be one series."""
    return UID.sub(lambda match: match[0][:-8] + f"{number % 10**8:08}".encode(), content)


def run(campaign: Campaign, say: Callable[[str], object] = lambda _: None) -> Outcome:
    """Write, index and count, batch by batch."""
    began = time.monotonic()
    outcome = Outcome()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        work = Path(name)
        sources = seeds(work / "seeds")
        for start in range(0, campaign.files, campaign.batch):
            numbers = range(start, min(start + campaign.batch, campaign.files))
            archive = work / "archive"
            cases = [write_case(archive, sources, number, campaign.seed) for number in numbers]
            _index(archive, work / "index", campaign, outcome, len(cases))
            shutil.rmtree(archive)
            shutil.rmtree(work / "index", ignore_errors=True)
            outcome.seconds = time.monotonic() - began
            found = f"{outcome.crashes} crashes, {len(outcome.defects)} defects"
            say(f"{numbers.stop} files, {outcome.seconds:.0f} s, {found}")
    return outcome


def _index(archive: Path, path: Path, campaign: Campaign, outcome: Outcome, cases: int) -> None:
    encoder = load_encoder("fake")
    index = IndexFolder.create(path, Manifest(encoder="fake", fingerprint=encoder.fingerprint, dim=encoder.dim))
    allowance = Allowance(campaign.seconds, campaign.memory_bytes)
    one = Run(index, encoder, open_archive(archive), Options(workers=campaign.workers, allowance=allowance))
    outcome.runs += 1
    outcome.files += cases
    try:
        one.run()
    except Exception as error:
        outcome.run_crashes.append(f"index run ended: {type(error).__name__}: {error}")
        return
    finally:
        usage = one.usage
        outcome.crashes += usage.crashes
        outcome.timeouts += usage.timeouts
        outcome.out_of_memory += usage.out_of_memory
        outcome.peak_bytes = max(outcome.peak_bytes, usage.peak_bytes)
        outcome.longest_s = max(outcome.longest_s, usage.longest_s)
    record = index.record()
    failures = record.failures().to_pylist()
    touched = {uri.split("/")[0] for uri in record.tally("uri")} | {row["uri"].split("/")[0] for row in failures}
    outcome.items += record.count()
    outcome.ignored += cases - len(touched)
    for row in failures:
        outcome.failures[row["reason"]] += 1
        if row["reason"] in DEFECTS:
            outcome.defects.append(f"{row['uri']}: {row['reason']}: {row['message']}")
            if campaign.keep and (file := archive / row["uri"]).is_file():
                shutil.copytree(file.parent, campaign.keep / row["uri"].split("/")[0], dirs_exist_ok=True)
    outcome.verified += verify(index).ok
