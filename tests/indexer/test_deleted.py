"""Index runs after a deletion: what was deleted stays out, whatever becomes of its files, until that is lifted."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest

import m3search
from m3search import filters
from m3search.indexer import Options, Report
from m3search.phantoms import Phantom
from m3search.privacy import Pseudonyms
from m3search.stores.folder import IndexFolder
from m3search.stores.lance import LanceStore
from m3search.stores.tombstones import Tombstones

Phantoms = tuple[Path, list[Phantom]]


@pytest.fixture
def archive(phantoms: Phantoms, tmp_path: Path) -> Path:
    """X-rays, CT and retina of the phantoms: they may be changed."""
    for modality in ("xray", "ct", "retina"):
        shutil.copytree(phantoms[0] / modality, tmp_path / "archive" / modality)
    return tmp_path / "archive"


def run(archive: Path, path: Path, **options: Any) -> Report:
    return m3search.index(archive, path, model="fake", options=Options(workers=0, **options))


def record(path: Path) -> LanceStore:
    return IndexFolder.open(path).record()


def test_a_deleted_patient_stays_out_also_with_new_files_until_that_is_lifted(
    archive: Path, phantoms: Phantoms, tmp_path: Path
) -> None:
    path = tmp_path / "i"
    whole = run(archive, path)
    patient = next(phantom.patient_id for phantom in phantoms[1] if phantom.modality == "retina")
    key = Pseudonyms.load(path / "pseudonym.key").of(patient)
    ids = record(path).matching(filters.equals("patient_key", key))
    assert m3search.delete(path, patient=patient).item_ids == tuple(ids)
    report = run(archive, path, prune=True)
    assert (report.deleted, report.indexed, report.unchanged) == (len(ids), 0, whole.indexed - len(ids))
    # A picture of the same patient that nobody has seen yet.
    new = archive / "retina" / "new.png"
    new.write_bytes(next(archive.glob("retina/*.png")).read_bytes() + b"\0")
    with (archive / "retina" / "manifest.csv").open(newline="") as file:
        columns = next(csv.reader(file))
    with (archive / "retina" / "manifest.csv").open("a", newline="") as file:
        csv.DictWriter(file, columns).writerow({"path": "new.png", "modality": "retina", "patient_id": patient})
    report = run(archive, path)
    assert (report.deleted, report.indexed) == (len(ids) + 1, 0)
    assert len(Tombstones.load(IndexFolder.open(path)).items) == len(ids) + 1  # known before it is read, next time
    assert m3search.undelete(path, patient=patient) == len(ids) + 2
    report = run(archive, path)
    assert (report.deleted, report.indexed) == (0, len(ids) + 1)
    assert set(ids) < set(record(path).matching())


def test_a_deleted_series_stays_out_when_its_slices_change_and_an_item_when_its_file_moves(
    archive: Path, tmp_path: Path
) -> None:
    path = tmp_path / "i"
    run(archive, path)
    series = next(folder for folder in sorted(archive.glob("ct/*")) if folder.is_dir())
    picture = next(archive.glob("retina/*.png"))
    places = [str(one.relative_to(archive)) for one in (series, picture)]
    ids = record(path).matching(filters.one_of("uri", places))
    assert len(ids) == 2
    m3search.delete(path, items=ids)
    sorted(series.iterdir())[0].unlink()
    picture.rename(archive / "retina" / "moved.png")
    report = run(archive, path)
    assert (report.deleted, report.indexed) == (2, 0)


def test_a_run_finishes_a_killed_deletion(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "i"
    run(archive, path)
    gone = record(path).matching()[0]
    with monkeypatch.context() as patch:
        patch.setattr(LanceStore, "delete", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            m3search.delete(path, items=[gone])
    assert gone in record(path).matching()
    assert run(archive, path).deleted == 1
    assert gone not in record(path).matching()
