"""What does an archive of so many items need: memory, disk, machines, time to build, time to answer?

    python -m benchmarks.sizing                       # the tables of SIZING.md, which a test compares with it
    python -m benchmarks.sizing --items 30000000 --dim 512
    python -m benchmarks.sizing --pictures INDEX      # bytes of the thumbnails of an index

Arithmetic on figures that were measured on small machines, on what engines document, and on assumptions; FACTS says
which is which. Nothing of this size was run. Times of many machines are simulated: they are not equally fast, and fail.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import NormalDist, median, quantiles
from typing import Literal

from m3search.stores.milvus import MOST_LISTS, PROBED, lists_for

Basis = Literal["measured", "documented", "assumed"]
SIZES = (10_000_000, 100_000_000, 1_000_000_000, 10_000_000_000)
MEASURED_DIM = 256  # of the figures in RESULTS.md that depend on it
GB, HOUR = 1e9, 3600.0
SEED, TRIALS, RUNS = 7, 20_000, 200


@dataclass(frozen=True, slots=True)
class Fact:
    """A figure that the tables rest on."""

    value: float
    unit: str
    basis: Basis
    about: str


FACTS = {
    # one machine, 256 dimensions: RESULTS.md, "A million" and "A hundred thousand"
    "own_fixed": Fact(28e6, "B", "measured", "memory of a reader that does not grow with the index"),
    "own_row": Fact(100, "B/item", "measured", "memory of a reader's own: 128 MB at 1 M items, 38 MB at 100 k"),
    "mapped_row": Fact(539, "B/item", "measured", "pages mapped from disk that searches touch: 539 MB at 1 M items"),
    "disk_row": Fact(2362, "B/item", "measured", "tables and segment without thumbnails: 2,362 MB at 1 M items"),
    "lists_s": Fact(526, "core s", "measured", "lists of 1 M items built and tuned, at most: 263 s on 2 quiet cores"),
    "search_s": Fact(
        0.00112, "s", "measured", "one search of 1 M items, 2 cores; assumed to grow as the root of the items"
    ),
    # every item: RESULTS.md, "An index run", and ../shared/data/archive by --pictures
    "thumbnail": Fact(10_128, "B/item", "measured", "thumbnail, mean of the 141 items of ../shared/data/archive"),
    "xray_s": Fact(0.230, "core s", "measured", "radiograph indexed: mean of raw (.117) and JPEG 2000 (.343)"),
    "retina_s": Fact(0.087, "core s", "measured", "fundus photograph indexed, as a JPEG radiograph is"),
    "ecg_s": Fact(0.092, "core s", "measured", "ECG indexed"),
    "slide_s": Fact(0.722, "core s", "measured", "slide of 16 tiles indexed"),
    "ct_s": Fact(0.722, "core s", "assumed", "CT series of 16 slices indexed, as a slide of 16 tiles"),
    "parts": Fact(4, "an item", "assumed", "parts (slices, tiles) whose vectors are kept beside the item's"),
    "part_row": Fact(60, "B/part", "assumed", "of a part beside its vector of 2 B a dimension"),
    "efficiency": Fact(0.85, "", "assumed", "share of the cores' time that an index run on many machines uses"),
    # Milvus
    "fields": Fact(200, "B/item", "assumed", "key and filter columns in a query node's memory"),
    "usable": Fact(0.9, "", "documented", "share of the query nodes' memory that data may take"),
    "probed": Fact(
        1 / PROBED, "", "measured", "share of the lists that a search looks into (m3search/stores/milvus.py)"
    ),
    "most_lists": Fact(MOST_LISTS, "", "documented", "lists of an IVF index at most"),
    "diskann_memory": Fact(0.225, "", "documented", "of float32 vectors in memory: codes .125, cached nodes .1"),
    "diskann_edges": Fact(56, "an item", "documented", "edges of the graph on disk, 4 B each"),
    "flops": Fact(20e9, "/s", "assumed", "operations of one core while lists are built"),
    "copies": Fact(3, "", "assumed", "copies of every byte on object storage or replicated disks"),
    # machines
    "cores": Fact(16, "", "assumed", "cores of a machine"),
    "memory": Fact(64e9, "B", "assumed", "memory of a machine; one large machine has eight times as much"),
    "scan": Fact(30e9, "B/s", "assumed", "half-precision vectors compared by all cores of a machine"),
    "spread": Fact(0.3, "", "assumed", "spread of the machines' times for equal shares: of the logarithm"),
    "between_failures": Fact(2000, "h", "assumed", "a machine runs between two failures"),
    "repair": Fact(0.2, "h", "assumed", "another machine takes to load the data of one that failed"),
    "redone": Fact(0.1, "h", "assumed", "work of a machine that is done again when it fails: its open shards"),
}
SHARES = {"xray": 0.50, "ct": 0.15, "ecg": 0.15, "retina": 0.10, "slide": 0.10}
MIX_S = sum(share * FACTS[f"{kind}_s"].value for kind, share in SHARES.items())  # core seconds of an item
LARGE = 8  # times the memory of a machine


def fact(name: str) -> float:
    """Its value."""
    return FACTS[name].value


@dataclass(frozen=True, slots=True)
class Need:
    """What one way of keeping so many items takes. Bytes, and seconds of one core."""

    items: int
    way: str
    index: str  # kind of index
    memory: float  # of all machines that answer, one copy
    machines: int  # that answer, one copy
    disk: float  # that these machines need for searching
    lists: float  # core seconds to build the index of vectors
    answer: float  # seconds of one search alone, were all machines equally fast
    fits: bool


def record_bytes(items: int, dim: int) -> float:
    """Of the record of truth: tables, thumbnails, parts; one copy."""
    rows = fact("disk_row") * dim / MEASURED_DIM
    return items * (rows + fact("thumbnail") + fact("parts") * (2 * dim + fact("part_row")))


def index_seconds(items: int) -> float:
    """Core seconds to read and embed."""
    return items * MIX_S


def one_machine(items: int, dim: int) -> Need:
    """The index folder alone. Building lists takes items times lists, which are as the root of the items."""
    scale = dim / MEASURED_DIM
    memory = fact("own_fixed") + items * (fact("own_row") + fact("mapped_row")) * scale
    lists = fact("lists_s") * (items / 1e6) ** 1.5 * scale
    answer = fact("search_s") * (items / 1e6) ** 0.5 * scale
    fits = memory <= LARGE * fact("memory") * fact("usable")
    return Need(
        items, "index folder", "lists, codes, refined", memory, 1, items * fact("disk_row") * scale, lists, answer, fits
    )


def milvus_lists(items: int, dim: int) -> Need:
    """What `m3search publish` makes: IVF_FLAT of half-precision vectors."""
    memory = items * (2 * dim + fact("fields"))
    seconds = items * lists_for(items) * 2 * dim / fact("flops")
    machines = _machines(memory)
    answer = items * 2 * dim * fact("probed") / machines / fact("scan")
    return Need(items, "Milvus", "IVF_FLAT, float16", memory, machines, memory, seconds, answer, fits=True)


def milvus_disk(items: int, dim: int) -> Need:
    """DISKANN, which `m3search publish` does not make; of its recall for texts nothing is known here."""
    memory = items * (4 * dim * fact("diskann_memory") + fact("fields"))
    disk = items * (4 * dim + 4 * (fact("diskann_edges") + 1))
    return Need(items, "Milvus, not offered", "DISKANN", memory, _machines(memory), disk, math.nan, math.nan, fits=True)


WAYS: tuple[Callable[[int, int], Need], ...] = (one_machine, milvus_lists, milvus_disk)


def _machines(memory: float) -> int:
    return math.ceil(memory / (fact("memory") * fact("usable")))


# Simulation -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Answering:
    """Searches, one at a time, on machines that are not equally fast. Seconds; shares of the time."""

    equal: float  # were they
    median: float
    slow: float  # 99th percentile
    down: float  # some part of the index is missing, with one copy of it
    down_twice: float  # with two


def answering(need: Need, random: Random) -> Answering:
    """A search ends when the slowest machine has looked through its share."""
    normal = NormalDist(0.0, fact("spread"))
    slowest = [random.random() ** (1 / need.machines) for _ in range(TRIALS)]  # as the largest of so many draws is
    times = [need.answer * math.exp(normal.inv_cdf(min(max(one, 1e-12), 1 - 1e-12))) for one in slowest]
    away = fact("repair") / (fact("between_failures") + fact("repair"))
    return Answering(
        need.answer, median(times), quantiles(times, n=100)[-1], 1 - (1 - away) ** need.machines,
        1 - (1 - away**2) ** need.machines,
    )  # fmt: skip


def building_hours(seconds: float, machines: int, random: Random) -> float:
    """Median of simulated index runs: machines fail, and what they had open is done again."""
    work = seconds / (fact("cores") * fact("efficiency")) / HOUR  # of one machine
    lost = fact("redone") + fact("repair")
    return median((work + _failures(work, random) * lost) / machines for _ in range(RUNS))


def _failures(hours: float, random: Random) -> int:
    """How many happen in so many hours of use."""
    count, passed = 0, random.expovariate(1 / fact("between_failures"))
    while passed < hours:
        count += 1
        passed += random.expovariate(1 / fact("between_failures"))
    return count


# Tables ---------------------------------------------------------------------------------------------------------------
def tables(sizes: Sequence[int] = SIZES, dim: int = MEASURED_DIM) -> str:
    """All of them, as Markdown."""
    return "\n".join([*_facts(), "", *_record(sizes, dim), "", *_needs(sizes, dim), "", *_answers(sizes, dim)])


def _facts() -> list[str]:
    mix = Fact(
        MIX_S, "core s", "assumed", f"item of an archive: {', '.join(f'{v:.0%} {k}' for k, v in SHARES.items())}"
    )
    rows = [f"| {one.about} | {_figure(one)} | {one.basis} |" for one in (*FACTS.values(), mix)]
    return ["### What it rests on", "", "| what | figure | basis |", "| --- | --- | --- |", *rows]


def _record(sizes: Sequence[int], dim: int) -> list[str]:
    random = Random(SEED)
    lines = [
        f"### The record of truth, {dim} dimensions",
        "",
        "| items | one copy | stored | core hours to index | machines that index | days |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for items in sizes:
        size, seconds = record_bytes(items, dim), index_seconds(items)
        machines = max(1, round(math.sqrt(items / 1e7) * 2))
        days = building_hours(seconds, machines, random) / 24
        lines.append(
            f"| {_count(items)} | {_size(size)} | {_size(size * fact('copies'))} | {_plain(seconds / HOUR)} | "
            f"{machines} | {days:.1f} |"
        )
    return lines


def _needs(sizes: Sequence[int], dim: int) -> list[str]:
    lines = [
        f"### Searching, {dim} dimensions, one copy",
        "",
        "| items | where | index | memory | machines | disk | core hours to build |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for items in sizes:
        for way in WAYS:
            need = way(items, dim)
            machines = _machines_of(need) if need.fits else "does not fit"
            built = "not known" if math.isnan(need.lists) else _plain(need.lists / HOUR)
            lines.append(
                f"| {_count(items)} | {need.way} | {need.index} | {_size(need.memory)} | {machines} | "
                f"{_size(need.disk)} | {built} |"
            )
    return lines


def _machines_of(need: Need) -> str:
    if need.way != "index folder" or need.memory <= fact("memory") * fact("usable"):
        return f"{need.machines:,}"
    return "1 large"


def _answers(sizes: Sequence[int], dim: int) -> list[str]:
    random = Random(SEED)
    lines = [
        "### One search at a time, simulated",
        "",
        "| items | where | machines | ms, were they equal | median | 99% | searches/s | "
        "minutes a year without some part, one copy | two copies |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for items in sizes:
        for way in WAYS:
            need = way(items, dim)
            if math.isnan(need.answer) or not need.fits:
                continue
            found = answering(need, random)
            times = " | ".join(f"{1e3 * one:.1f}" for one in (found.equal, found.median, found.slow))
            away = " | ".join(_plain(share * 365 * 24 * 60) for share in (found.down, found.down_twice))
            lines.append(
                f"| {_count(items)} | {need.way} | {need.machines} | {times} | {_plain(1 / found.median)} | {away} |"
            )
    return lines


def _count(items: int) -> str:
    for unit, name in ((10**9, "billion"), (10**6, "million")):
        if items >= unit:
            return f"{items / unit:g} {name}"
    return f"{items:,}"


def _size(size: float) -> str:
    for unit, name in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}" if size < 999.5 * unit else f"{size / unit:,.0f} {name}"
    return f"{size:,.0f} B"


def _figure(one: Fact) -> str:
    if one.unit.startswith("B") and one.value >= 1e6:
        return _size(one.value) + one.unit[1:]
    value = f"{one.value:,.0f}" if one.value == int(one.value) else f"{one.value:.3g}"
    return f"{_count(int(one.value)) if one.value >= 1e9 else value} {one.unit}".strip()


def _plain(value: float) -> str:
    """Three digits, without an exponent."""
    if value == 0 or abs(value) >= 100:
        digits = max(0, math.floor(math.log10(abs(value))) - 2) if value else 0
        return f"{round(value, -digits) if digits else value:,.0f}"
    return f"{value:.3g}"


def pictures(index: Path) -> str:
    """Mean bytes of the thumbnails of an index, by modality and over all."""
    from m3search.stores.folder import IndexFolder

    record = IndexFolder.open(index).record()
    rows = record.rows(record.matching(), ["modality", "thumbnail"]).to_pylist()
    sizes: dict[str, list[int]] = {}
    for row in rows:
        sizes.setdefault(row["modality"], []).append(len(row["thumbnail"] or b""))
    lines = [f"{name}: {sum(found) / len(found):,.0f} B, {len(found)} items" for name, found in sorted(sizes.items())]
    return "\n".join([*lines, f"all: {sum(map(sum, sizes.values())) / len(rows):,.0f} B, {len(rows)} items"])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--items", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--dim", type=int, default=MEASURED_DIM)
    parser.add_argument("--pictures", type=Path, metavar="INDEX")
    options = parser.parse_args()
    print(pictures(options.pictures) if options.pictures else tables(options.items, options.dim))


if __name__ == "__main__":
    main()
