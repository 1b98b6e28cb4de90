"""Storage that fsspec reaches: in memory, by address, and an S3 server where one is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from m3search.errors import ArchiveUnreachable, MissingExtra, UsageError
from m3search.indexer import Options, index, retry_failures
from m3search.indexer.archives import open_archive, remote
from m3search.phantoms import write_archive
from m3search.search import Engine

fsspec = pytest.importorskip("fsspec", reason="needs the remote extra")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("remote") / "files"
    write_archive(folder, patients=2, seed=3, modalities=["xray", "ecg"])
    (folder / "xray" / "xray-3-00000.txt").write_text("Not this: the manifest says more.")
    (folder / "loose").mkdir()
    (folder / "xray" / "xray-3-00001.dcm").rename(folder / "loose" / "film.dcm")
    (folder / "loose" / "film.txt").write_text("Clear lungs.")
    return folder


@pytest.fixture
def bucket(files: Path) -> Iterator[Any]:
    """The same files in memory."""
    storage = fsspec.filesystem("memory")
    for path in files.rglob("*"):
        if path.is_file():
            storage.pipe(f"/bucket/scans/{path.relative_to(files).as_posix()}", path.read_bytes())
    yield storage
    storage.rm("/bucket", recursive=True)


def stored(path: Path) -> list[tuple[str, str, str]]:
    record = Engine.open(path).store.record
    rows = record.rows(record.matching()).to_pylist()
    return sorted((row["uri"], row["item_id"], row["text"]) for row in rows)


def test_files_elsewhere_are_the_items_of_the_same_files_here(bucket: Any, files: Path, tmp_path: Path) -> None:
    local, away = tmp_path / "local", tmp_path / "away"
    index(files, local, model="fake", options=Options(workers=0))
    first = index("memory://bucket/scans/", away, model="fake", options=Options(workers=0))
    assert (first.indexed, first.failed) == (4, 0)
    assert stored(away) == stored(local)
    assert ("loose/film.dcm", "Clear lungs.") in {(uri, text) for uri, _, text in stored(away)}
    again = index("memory://bucket/scans", away, model="fake", options=Options(workers=0))
    assert (again.indexed, again.unchanged) == (0, 4)
    assert Engine.open(away).status().archives == ("memory://bucket/scans",)
    assert not list(away.glob("*.tmp"))

    for suffix in (".dcm", ".txt"):  # with its report
        bucket.mv(f"/bucket/scans/loose/film{suffix}", f"/bucket/scans/moved{suffix}")
    assert index("memory://bucket/scans", away, model="fake", options=Options(workers=0)).indexed == 0
    bucket.rm("/bucket/scans/moved.dcm")
    gone = index("memory://bucket/scans", away, model="fake", options=Options(workers=0, prune=True))
    assert (gone.removed, gone.unchanged) == (1, 3)


def test_worker_processes_connect_by_themselves(files: Path, tmp_path: Path) -> None:
    report = index(f"file://{files}", tmp_path / "index", model="fake", options=Options(workers=1))
    assert (report.indexed, report.failed) == (4, 0)


def test_storage_that_fails_costs_files_and_says_nothing_of_keys(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = type(bucket).open

    def fail(self: Any, path: str, *rest: Any, **named: Any) -> Any:
        if path.endswith(".dcm"):
            raise RuntimeError("SecretAccessKey=sesame for Jane Doe")
        return opened(self, path, *rest, **named)

    monkeypatch.setattr("m3search.indexer.runners.worker.PAUSES", ())
    monkeypatch.setattr(type(bucket), "open", fail)
    report = index("memory://bucket/scans", tmp_path / "index", model="fake", options=Options(workers=0))
    failures = Engine.open(tmp_path / "index").failures()
    assert (report.indexed, report.failed) == (4 - len(failures), len(failures))
    assert {row["reason"] for row in failures} == {"unreachable"}
    assert not any("sesame" in row["message"] or "Jane" in row["message"] for row in failures)
    monkeypatch.undo()
    assert [one.failed for one in retry_failures(tmp_path / "index", options=Options(workers=0))] == [0]
    assert len(stored(tmp_path / "index")) == 4


def test_storage_that_cannot_be_listed_ends_the_run(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise PermissionError("AccessDenied for key sesame")

    monkeypatch.setattr(type(bucket), "find", fail)
    with pytest.raises(ArchiveUnreachable, match="credentials in the environment") as caught:
        index("memory://bucket/scans", tmp_path / "index", model="fake")
    assert "sesame" not in str(caught.value)


def test_zip_files_on_other_storage_are_named(bucket: Any, tmp_path: Path) -> None:
    bucket.pipe("/bucket/scans/more.zip", b"PK")
    report = index("memory://bucket/scans", tmp_path / "index", model="fake", options=Options(workers=0))
    assert (report.indexed, report.failed) == (4, 1)
    assert "copy it here" in Engine.open(tmp_path / "index").failures()[0]["message"]


def test_addresses_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("s3://key:sesame@bucket/scans", "s3://bucket/scans?secret=sesame"):
        with pytest.raises(UsageError, match="history") as caught:
            open_archive(address)
        assert "sesame" not in str(caught.value)
    with pytest.raises(UsageError, match="nothing at memory://nowhere"):
        list(open_archive("memory://nowhere").scan())
    with pytest.raises(UsageError, match="knows no storage"):
        list(open_archive("nonsense://bucket").scan())
    monkeypatch.setattr(
        "fsspec.core.url_to_fs", lambda _: (_ for _ in ()).throw(ImportError("Install gcsfs to access GCS"))
    )
    with pytest.raises(MissingExtra, match=r"m3search\[remote\]"):
        list(open_archive("gs://bucket").scan())


@pytest.mark.parametrize(
    ("stated", "nanoseconds"),
    [(1.5, 1_500_000_000), ("1970-01-01T00:00:02+00:00", 2_000_000_000)],
)
def test_times_of_files_as_drivers_state_them(stated: object, nanoseconds: int) -> None:
    assert remote._nanoseconds(stated) == nanoseconds
    assert remote._nanoseconds('"etag-1"') != remote._nanoseconds('"etag-2"')
