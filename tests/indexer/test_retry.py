"""`m3search failures --retry`: what failed is read again, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from m3search.cli.commands import app
from m3search.errors import IndexNotFound, Reason, UnreadableFile
from m3search.formats import raster
from m3search.indexer import Options, index, retry_failures
from m3search.phantoms import Phantom
from m3search.search import Engine

OPTIONS = Options(workers=0)


@pytest.fixture
def archive(phantoms: tuple[Path, list[Phantom]], tmp_path: Path) -> Path:
    """An X-ray, a fundus photograph, a CT series and an ECG."""
    folder = tmp_path / "archive"
    film = next(path for path in sorted(phantoms[0].glob("xray/*.dcm")))
    eye = next(path for path in sorted(phantoms[0].glob("retina/*.png")))
    series = next(path for path in sorted(phantoms[0].glob("ct/*")) if path.is_dir())
    folder.mkdir()
    shutil.copy(film, folder / "film.dcm")
    (folder / "eye").mkdir()
    shutil.copy(eye, folder / "eye" / "eye.png")
    shutil.copytree(series, folder / "series")
    return folder


def reasons(path: Path) -> dict[str, str]:
    return {row["uri"]: row["reason"] for row in Engine.open(path).failures()}


def uris(path: Path) -> dict[str, Any]:
    record = Engine.open(path).store.record
    return {row["uri"]: row for row in record.rows(record.matching()).to_pylist()}


def test_a_mended_file_is_read_and_nothing_new_changed_or_gone_is_looked_at(archive: Path, tmp_path: Path) -> None:
    film = archive / "film.dcm"
    whole = film.read_bytes()
    film.write_bytes(whole[:-100])
    path = tmp_path / "i"
    index(archive, path, model="fake", options=OPTIONS)
    assert reasons(path) == {"film.dcm": "truncated"}
    before = set(uris(path))
    [report] = retry_failures(path, options=OPTIONS)
    assert (report.indexed, report.failed) == (0, 1)
    assert [row["attempts"] for row in Engine.open(path).failures()] == [2]
    film.write_bytes(whole)
    (archive / "new.dcm").write_bytes(whole[:-2] + b"\x07\x00")
    (archive / "eye" / "eye.png").unlink()
    for slice_ in (archive / "series").iterdir():
        slice_.write_bytes(slice_.read_bytes()[:-2] + b"\x09\x00")
    [report] = retry_failures(path, options=Options(workers=0, prune=True))
    assert (report.indexed, report.failed, report.gone, report.removed) == (1, 0, 0, 0)
    assert set(uris(path)) == before | {"film.dcm"}
    assert reasons(path) == {}
    assert retry_failures(path, options=OPTIONS) == []
    assert index(archive, path, model="fake", options=OPTIONS).indexed == 2  # the new film, the changed series


def test_a_series_that_failed_is_read_whole_and_a_mended_slice_joins_the_others(archive: Path, tmp_path: Path) -> None:
    path = tmp_path / "i"
    slices = sorted((archive / "series").iterdir())
    whole = slices[2].read_bytes()
    slices[2].write_bytes(whole[:-100])
    index(archive, path, model="fake", options=OPTIONS)
    assert reasons(path) == {f"series/{slices[2].name}": "truncated"}
    slices[2].write_bytes(whole)
    [report] = retry_failures(path, options=OPTIONS)
    assert (report.indexed, report.failed) == (1, 0)
    assert len(uris(path)["series"]["files"]) == len(slices)
    assert len(uris(path)) == 3


def test_storage_that_is_back_is_read_as_a_series_again(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from m3search.modalities import ct

    path = tmp_path / "i"

    def away(source: Any, spec: Any) -> Any:
        raise UnreadableFile(source.files[0], Reason.UNREACHABLE, "its storage failed")

    with monkeypatch.context() as patch:
        patch.setattr(ct, "_read_series", away)
        patch.setattr("m3search.indexer.runners.worker.PAUSES", ())
        index(archive, path, model="fake", options=OPTIONS)
    assert list(reasons(path).values()) == ["unreachable"]
    [report] = retry_failures(path, options=OPTIONS)
    assert (report.indexed, report.failed) == (1, 0)
    assert len(uris(path)["series"]["files"]) == len(list((archive / "series").iterdir()))


def test_a_failed_file_that_is_gone_stays_a_failure_until_the_next_index_run(archive: Path, tmp_path: Path) -> None:
    path = tmp_path / "i"
    (archive / "film.dcm").write_bytes(b"")
    index(archive, path, model="fake", options=OPTIONS)
    (archive / "film.dcm").unlink()
    retry_failures(path, options=OPTIONS)
    assert reasons(path) == {"film.dcm": "vanished"}
    index(archive, path, model="fake", options=OPTIONS)
    assert reasons(path) == {}


def test_the_command_says_what_came_of_it(archive: Path, tmp_path: Path) -> None:
    path = tmp_path / "i"
    film = archive / "film.dcm"
    whole = film.read_bytes()
    film.write_bytes(whole[:-100])
    index(archive, path, model="fake", options=OPTIONS)
    film.write_bytes(whole)
    shown = CliRunner().invoke(app, ["failures", "--retry", "--workers", "0", "--index", str(path)])
    assert shown.exit_code == 0
    assert "1 items indexed, 0 files still fail" in shown.output
    assert "every file could be read" in shown.output


def test_without_an_index_there_is_nothing_to_retry(tmp_path: Path) -> None:
    with pytest.raises(IndexNotFound):
        retry_failures(tmp_path / "nothing")


def test_a_file_that_changes_while_it_is_read_is_named_and_read_by_the_next_run(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = raster.read

    def read_and_change(path: Path) -> Any:
        image = reading(path)
        path.write_bytes(path.read_bytes() + b"\0")
        return image

    with monkeypatch.context() as patch:
        patch.setattr(raster, "read", read_and_change)
        index(archive, tmp_path / "i", model="fake", options=Options(workers=0, modality="retina"))
    assert reasons(tmp_path / "i") == {"eye/eye.png": "vanished"}
    assert "changed while it was being read" in Engine.open(tmp_path / "i").failures()[0]["message"]
    [report] = retry_failures(tmp_path / "i", options=Options(workers=0, modality="retina"))
    assert (report.indexed, report.failed) == (1, 0)
