"""Archives of `benchmarks.ingest`: every file its own, each readable; and the ratios that are printed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import ingest_files
from benchmarks.ingest import Cores, Cost, Speed, _by_pydicom, table
from benchmarks.ingest_files import KINDS, write_archive, write_small
from benchmarks.memory import cpu_seconds
from m3search.encoders.fake import FakeEncoder
from m3search.indexer.inspect import Inspected, Word, inspect
from m3search.indexer.read import read
from m3search.types import Source


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_is_another_and_can_be_read(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_files, "FILM", 256)
    monkeypatch.setattr(ingest_files, "SLIDE", 512)
    write_archive(tmp_path / "a", kind, 3)
    files = sorted(path for path in (tmp_path / "a").iterdir() if path.suffix != ".dat")
    assert len(files) == 3
    modality = KINDS[kind].modality
    digests = set()
    for path in files:
        found = inspect(path, Word(hint=modality))
        assert isinstance(found, Inspected)
        digests.add(found.digests[0].digest)
        reading = read(Source(modality, found.format, (path,)), FakeEncoder().inputs[modality])
        assert len(reading.inputs) >= 1
    assert len(digests) == 3
    if kind == "raw":
        assert _by_pydicom(files[0]).shape == (1, 3, 224, 224)  # type: ignore[attr-defined]


def test_small_pictures_differ(tmp_path: Path) -> None:
    write_small(tmp_path, 12)
    assert len({path.read_bytes() for path in tmp_path.rglob("*.png")}) == 12


def test_ratios() -> None:
    speed = Speed("raw", "shared", 100, 1.0, Cost(0.03, 0.06), Cost(0.01, 0.02), index=Cost(0.05, 0.1), fixed_s=1.0)
    assert speed.of_slower == pytest.approx(0.6)
    assert speed.of_possible == pytest.approx(0.8)
    assert speed.of_cpu == pytest.approx(0.8)
    assert "| 33.3 | 100.0 | 20.0 | 0.60 | 0.80 | 60.0 + 20.0 | 100.0 | 0.80 | 1.0 |" in table([speed])


def test_cpu_time_counts_what_was_started() -> None:
    before = cpu_seconds()
    code = "import time\nwhile time.process_time() < 0.4: pass\ninput()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as child:
        while (found := cpu_seconds() - before) < 0.3 and child.poll() is None:
            pass
        child.communicate(b"\n")
    assert found >= 0.3


def test_halves_of_the_cores_do_not_overlap() -> None:
    own, shared = Cores.of("own"), Cores.of("shared")
    assert set(own.readers) | set(own.main) == set(shared.readers) == set(shared.main)
    assert not set(own.readers) & set(own.main) or len(shared.main) == 1
