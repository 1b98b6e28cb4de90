"""Archives of `benchmarks.ingest`: every file its own, each readable; and the ratios that are printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import ingest_files
from benchmarks.ingest import Cores, Speed, _by_pydicom, table
from benchmarks.ingest_files import KINDS, write_archive, write_small
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
    speed = Speed("raw", "shared", items=100, parts=1.0, read=30.0, embed=60.0, index=18.0)
    assert speed.of_slower == pytest.approx(0.6)
    assert speed.of_possible == pytest.approx(0.9)
    assert table([speed]).endswith("| 18.0 | 0.60 | 0.90 |")


def test_halves_of_the_cores_do_not_overlap() -> None:
    own, shared = Cores.of("own"), Cores.of("shared")
    assert set(own.readers) | set(own.main) == set(shared.readers) == set(shared.main)
    assert not set(own.readers) & set(own.main) or len(shared.main) == 1
