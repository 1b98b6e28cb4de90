"""The sizing guide holds what its calculation prints, and the calculation what was measured."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import sizing
from m3search.stores.milvus import lists_for

BENCHMARKS = Path(sizing.__file__).parent


def test_the_guide_holds_the_tables_that_are_printed() -> None:
    guide = (BENCHMARKS / "SIZING.md").read_text()
    printed = subprocess.run([sys.executable, "-m", "benchmarks.sizing"], capture_output=True, text=True, check=True)
    held = re.search(r"<!-- begin: python -m benchmarks.sizing -->\n(.*)<!-- end -->", guide, re.DOTALL)
    assert held
    assert held[1] == printed.stdout


def test_what_is_called_measured_stands_in_the_results() -> None:
    results = (BENCHMARKS / "RESULTS.md").read_text()
    row = next(line for line in results.splitlines() if line.startswith("| m3search | its own | .999"))
    _, _, _, _, _, _, single, _, memory, _, disk, build, _ = (cell.strip() for cell in row.split("|")[:13])
    own, mapped = (float(one) for one in memory.split("+"))
    assert own == (sizing.fact("own_fixed") + sizing.fact("own_row") * 1e6) / 1e6
    assert mapped == sizing.fact("mapped_row")
    assert float(disk) == sizing.fact("disk_row")
    assert 2 * float(build) == sizing.fact("lists_s")
    assert float(single) == pytest.approx(1e3 * sizing.fact("search_s"), abs=0.005)
    seconds = dict(re.findall(r"^\| ([^|]+) \| [\d.]+ \| [\d.]+ \| (\d+) \|$", results, re.MULTILINE))
    expected = (int(seconds["raw DICOM, 2048 x 2048"]) + int(seconds["JPEG 2000 DICOM"])) / 2000
    assert sizing.fact("xray_s") == pytest.approx(expected, abs=0.001)
    for name, row in (("retina_s", "JPEG radiographs"), ("ecg_s", "ECG"), ("slide_s", "slide of 16 tiles")):
        assert sizing.fact(name) == int(seconds[row]) / 1000, row


def test_needs_grow_as_they_should() -> None:
    assert sum(sizing.SHARES.values()) == pytest.approx(1)
    for way in sizing.WAYS:
        small, large = way(10**7, 256), way(10**8, 256)
        assert large.memory == pytest.approx(10 * small.memory, rel=0.01)
        assert large.disk == pytest.approx(10 * small.disk)
        assert way(10**8, 512).memory > 1.4 * large.memory
    assert sizing.one_machine(10**8, 256).fits
    assert not sizing.one_machine(10**9, 256).fits
    assert sizing.milvus_lists(10**9, 256).machines == math.ceil(712 / (64 * 0.9))


def test_milvus_is_asked_for_no_more_lists_than_it_takes() -> None:
    assert [lists_for(count) for count in (50_000, 200_000, 10**9, 10**10)] == [1024, 2048, 65_536, 65_536]


def test_the_slowest_of_many_machines_decides() -> None:
    from random import Random

    one, many = (sizing.Need(1, "", "", 1, machines, 1, 1, 1.0, True) for machines in (1, 100))
    alone, together = sizing.answering(one, Random(1)), sizing.answering(many, Random(1))
    assert alone.median == pytest.approx(1.0, rel=0.02)
    assert together.median == pytest.approx(math.exp(0.3 * 2.462), rel=0.02)  # the median of the largest of 100 normals
    assert alone.slow == pytest.approx(math.exp(0.3 * 2.326), rel=0.05)
    assert together.down == pytest.approx(100 * alone.down, rel=0.01)
    assert together.down_twice < together.down / 1000


def test_failures_cost_what_was_open() -> None:
    from random import Random

    hours = 16 * 0.85 * 3600  # core seconds of a machine's hour
    assert sizing.building_hours(hours, 1, Random(1)) == pytest.approx(1.0)
    assert sizing.building_hours(20_000 * hours, 10, Random(1)) == pytest.approx(2000 + 10 * 0.3 / 10, rel=0.001)


def test_thumbnails_of_an_index_are_weighed(indexed: Path) -> None:
    lines = sizing.pictures(indexed).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["ct", "ecg", "pathology", "retina", "xray", "all"]
    assert all(re.fullmatch(r"\w+: [\d,]+ B, \d+ items", line) for line in lines)
