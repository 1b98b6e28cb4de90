"""Queries against an index of phantoms: what is found first, and what a query may be."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from m3search.errors import UnreadableFile, UsageError
from m3search.indexer import Options, index
from m3search.phantoms import Phantom
from m3search.search import Engine

Phantoms = tuple[Path, list[Phantom]]


@pytest.fixture
def engine(indexed: Path) -> Engine:
    return Engine.open(indexed)


def files_of(phantom: Phantom, archive: Path) -> list[Path]:
    path = archive / phantom.path
    return sorted(path.iterdir()) if path.is_dir() else [path]


def test_a_file_of_the_index_finds_itself_first_whatever_its_format(engine: Engine, phantoms: Phantoms) -> None:
    for phantom in phantoms[1]:
        for path in files_of(phantom, phantoms[0])[:2]:  # of a series, its slices
            hits = engine.search(image=path, k=3)
            assert hits[0].uri == phantom.path
            assert hits[0].score >= 0.999
            assert hits.query == path.name


def test_a_stored_vector_is_the_one_a_query_file_would_have(engine: Engine, phantoms: Phantoms) -> None:
    for phantom in phantoms[1]:
        path = phantoms[0] / phantom.path
        if path.is_dir():
            continue
        stored = engine.search(image=path, k=1)[0].item_id
        row = engine.store.rows([stored], ["item_id", "vector"])["vector"].to_pylist()[0]
        vector = engine.encoder.encode_files([path], modality=phantom.modality)[0]
        assert np.dot(vector, row) >= 0.999


def test_a_renamed_copy_is_recognised_and_other_bytes_are_not(
    engine: Engine, phantoms: Phantoms, tmp_path: Path
) -> None:
    phantom = next(phantom for phantom in phantoms[1] if phantom.path.endswith(".png") and phantom.modality == "xray")
    copy = tmp_path / "fundus.png"  # a name that says something else
    shutil.copy(phantoms[0] / phantom.path, copy)
    assert engine.search(image=copy, k=1)[0].uri == phantom.path
    copy.write_bytes(copy.read_bytes() + b"\0")
    hits = engine.search(image=copy, k=3)
    assert len(hits) == 3


def test_an_item_comes_before_others_with_its_very_vector(phantoms: Phantoms, tmp_path: Path) -> None:
    source = next(phantoms[0] / phantom.path for phantom in phantoms[1] if phantom.path.endswith(".png"))
    archive = tmp_path / "xray"
    archive.mkdir()
    for number in range(6):  # the same pixels in other bytes
        (archive / f"{number}.png").write_bytes(source.read_bytes() + bytes(number))
    index(archive, tmp_path / "i", model="fake", options=Options(workers=0))
    engine = Engine.open(tmp_path / "i")
    for number in range(6):
        for k in (1, 3, 6):
            hits = engine.search(image=archive / f"{number}.png", k=k)
            assert hits[0].uri == f"{number}.png"
            assert len({hit.item_id for hit in hits}) == len(hits) == k
            assert engine.search(item=hits[0].item_id, k=k)[0].uri == f"{number}.png"


def test_the_best_slice_is_the_one_that_looks_like_the_query(engine: Engine, phantoms: Phantoms) -> None:
    from pydicom import dcmread

    phantom = next(phantom for phantom in phantoms[1] if phantom.modality == "ct" and phantom.format == "dicom")
    slices = sorted(files_of(phantom, phantoms[0]), key=lambda path: float(dcmread(path).ImagePositionPatient[2]))
    vectors = engine.encoder.encode_files(slices[::4])
    found = engine.search_many(vectors, k=1, where=f"uri = '{phantom.path}'")
    places = [int(hits[0].best_part.removeprefix("slice=")) for hits in found]
    wanted = range(0, len(slices), 4)
    assert max(abs(place - true) for place, true in zip(places, wanted, strict=True)) <= 1  # not every slice is a part


def test_a_filter_may_leave_the_query_itself_out(engine: Engine, phantoms: Phantoms) -> None:
    phantom = next(phantom for phantom in phantoms[1] if phantom.modality == "ecg")
    hits = engine.search(image=phantoms[0] / phantom.path, modality=["xray", "ct"])
    assert {hit.modality for hit in hits} == {"xray", "ct"}
    assert engine.search(image=phantoms[0] / phantom.path, where="sex = 'F' and sex = 'M'").hits == ()


def test_what_cannot_be_queried_with_says_what_can(engine: Engine, phantoms: Phantoms) -> None:
    record = next(phantoms[0] / phantom.path for phantom in phantoms[1] if phantom.path.endswith(".hea"))
    with pytest.raises(UnreadableFile, match=f"name its record: {record.name}"):
        engine.search(image=record.with_suffix(".dat"))
    with pytest.raises(UsageError, match="is a folder: query with one of its files"):
        engine.search(image=record.parent)
    with pytest.raises(UnreadableFile, match="no format that is read here"):
        engine.search(image=record.parent / "manifest.csv")
