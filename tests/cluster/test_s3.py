"""An index on S3: used like one on disk, by several machines, of which one at a time writes."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import m3search
from m3search.cli.commands import app
from m3search.encoders import load_encoder
from m3search.errors import IndexLocked, NoIndex, StoreUnreachable
from m3search.indexer import Options
from m3search.phantoms import write_archive
from m3search.privacy import Pseudonyms
from m3search.stores import audit, copies, lease
from m3search.stores.disk import writing
from m3search.stores.folder import IndexFolder, Manifest
from m3search.stores.place import ObjectPath, place_of
from m3search.stores.reader import LOOK_S, Reader
from m3search.stores.segment import names
from tests.cluster.nodes import wait_for
from tests.cluster.s3 import Server

pytestmark = pytest.mark.cluster

OF_THE_RUN = ("run_id", "indexed_at", "files")
KEYED = ("patient_key", "study_key", "series_key", "described", "locator")  # with another key in each index


@pytest.fixture
def index(on_s3: str) -> IndexFolder:
    """100 items, published."""
    encoder = load_encoder("fake")
    made = IndexFolder.create(place_of(on_s3), Manifest(encoder.name, encoder.fingerprint, encoder.dim))
    add(made, range(100))
    made.reader().publish()
    return made


def add(index: IndexFolder, numbers: range) -> None:
    vectors = np.random.default_rng(numbers.start).normal(size=(len(numbers), index.manifest.dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index.record().upsert([
        {"item_id": f"{number:04}", "modality": "ct", "vector": vector}
        for number, vector in zip(numbers, vectors, strict=True)
    ])  # fmt: skip


def contents(path: Path | ObjectPath) -> object:
    """Every row of items, parts and failures that two runs have in common."""
    record = IndexFolder.open(path).record()
    ids = record.matching()
    rows = [
        {name: value for name, value in row.items() if name not in (*OF_THE_RUN, *KEYED)}
        for row in record.rows(ids).to_pylist()
    ]
    return rows, record.parts_of(ids).to_pylist(), [row["reason"] for row in record.failures().to_pylist()]


def test_an_archive_there_and_an_index_there_are_as_here(on_s3: str, tmp_path: Path) -> None:
    write_archive(tmp_path / "archive", patients=2, seed=3)
    (tmp_path / "archive" / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 40)
    for file in sorted(path for path in (tmp_path / "archive").rglob("*") if path.is_file()):
        (place_of(f"{on_s3}/archive") / str(file.relative_to(tmp_path / "archive"))).upload(file)
    options = Options(workers=1)
    m3search.index(tmp_path / "archive", tmp_path / "here", model="fake", options=options)
    done = m3search.index(f"{on_s3}/archive", f"{on_s3}/index", model="fake", options=options)
    assert (done.indexed, done.failed) == (10, 1)
    assert contents(place_of(f"{on_s3}/index")) == contents(tmp_path / "here")
    again = m3search.index(f"{on_s3}/archive", f"{on_s3}/index", options=options)
    assert (again.indexed, again.unchanged) == (0, 10)
    here, there = (m3search.open(place) for place in (tmp_path / "here", f"{on_s3}/index"))
    for query in ("pleural effusion", "atrial fibrillation"):
        assert [hit.item_id for hit in there.search(query)] == [hit.item_id for hit in here.search(query)]


def test_commands(on_s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_archive(tmp_path / "archive", patients=1)
    monkeypatch.setenv("M3SEARCH_INDEX", on_s3)
    said = {}
    for words in (
        f"index {tmp_path / 'archive'} --model fake --workers 1",
        f"query effusion --index {on_s3}",
        "status",
        "delete --where modality=ct --yes",
        "compact",
        "verify",
        "privacy-report",
        "audit",
    ):
        done = CliRunner().invoke(app, words.split(), catch_exceptions=False)
        assert done.exit_code == 0, (words, done.output)
        said[words.split()[0]] = done.output
    assert on_s3 in said["status"].replace("\n", "")
    assert "search" in said["audit"]
    assert "delete" in said["audit"]
    assert "mode 600" in said["privacy-report"]
    assert not list((tmp_path / "state").rglob("*.part"))


def test_the_page_is_served_from_it_and_waits_for_it(index: IndexFolder, s3_server: Server) -> None:
    testclient = pytest.importorskip("fastapi.testclient", reason="the serve extra is not installed")
    from m3search.web.app import create_app
    from m3search.web.settings import Settings

    made = create_app(Settings(index.path, workers=1))
    headers = {"authorization": f"Bearer {made.token}"}
    try:
        with testclient.TestClient(made, base_url="http://localhost", headers=headers) as client:
            assert client.get("/v1/status").json()["items"] == 100
            assert len(client.post("/v1/search", json={"text": "effusion"}).json()["hits"]) > 0
            s3_server.kill()
            try:
                time.sleep(LOOK_S)
                away = client.post("/v1/search", json={"text": "effusion"})
                assert (away.status_code, away.json()["error"]["code"]) == (503, "store-unreachable")
                assert "s3://" not in away.text
            finally:
                s3_server.start()
            time.sleep(LOOK_S)
            assert client.post("/v1/search", json={"text": "effusion"}).status_code == 200
    finally:
        made.close()


# Readers --------------------------------------------------------------------------------------------------------------
def on_another_machine(index: IndexFolder, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Reader:
    """A reader whose cache is empty."""
    monkeypatch.setenv("M3SEARCH_CACHE", str(folder))
    return index.reader()


def test_readers_follow_and_fetch_a_segment_once(
    index: IndexFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []
    download = ObjectPath.download
    monkeypatch.setattr(ObjectPath, "download", lambda self, to: (fetched.append(self.name), download(self, to))[1])
    reader = on_another_machine(index, monkeypatch, tmp_path / "other")
    assert reader.view is not None
    assert reader.count() == 100
    assert "items.arrow" in fetched
    add(index, range(100, 110))
    until = time.monotonic() + LOOK_S + 20
    while reader.count() != 110 and time.monotonic() < until:
        time.sleep(0.05)
    assert reader.count() == 110
    fetched.clear()
    second = index.reader()
    assert second.count() == 110
    assert fetched == []
    (before,) = (tmp_path / "other" / "segments").glob("*/*/*")
    index.reader().publish(anew=True)
    time.sleep(LOOK_S)
    assert reader.count() == 110
    (now,) = (tmp_path / "other" / "segments").glob("*/*/*")  # the older copy has gone
    assert before != now
    assert now.name == names(index.segment)[-1]


def test_a_copy_is_what_was_written_or_is_not_used(
    index: IndexFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert on_another_machine(index, monkeypatch, tmp_path / "other").view is not None
    (copy,) = (tmp_path / "other" / "segments").glob("*/*/*/items.arrow")
    whole = copy.read_bytes()
    copy.write_bytes(whole[:-1])
    assert index.reader().view is not None
    assert copy.read_bytes() == whole
    damaged = index.segment / names(index.segment)[0] / "items.arrow"
    damaged.write_bytes(whole[:-1] + b"?")
    reader = on_another_machine(index, monkeypatch, tmp_path / "third")
    assert reader.view is None  # the record answers
    assert reader.count() == 100


def test_copies_of_other_indexes_make_room(index: IndexFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(copies.VARIABLE, "0.000001")
    monkeypatch.setattr(copies, "SETTLED_S", 0.0)
    other = IndexFolder.create(index.path / "other", index.manifest)
    add(other, range(5))
    assert on_another_machine(index, monkeypatch, tmp_path / "other").view is not None
    other.reader().publish()
    assert len(list((tmp_path / "other" / "segments").glob("*/*/*"))) == 1


def test_a_full_cache_costs_speed_not_answers(index: IndexFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    shutil.rmtree(os.environ["M3SEARCH_CACHE"])
    monkeypatch.setattr(ObjectPath, "download", full)
    reader = index.reader()
    assert reader.view is None
    assert reader.count() == 100


# Writers --------------------------------------------------------------------------------------------------------------
@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_S", 0.3)
    monkeypatch.setattr(lease, "EXPIRES_S", 3.0)
    monkeypatch.setattr(lease, "SURE_S", 2.0)


def hold(place: ObjectPath, begun: object, impatiently: bool) -> None:
    """Hold the lease until killed. In a process of its own."""
    if impatiently:
        lease.BEAT_S, lease.EXPIRES_S, lease.SURE_S = 0.3, 3.0, 2.0
    with lease.leased(place):
        begun.set()  # type: ignore[attr-defined]
        time.sleep(600)


def test_one_writes_and_a_killed_one_is_followed(index: IndexFolder, impatient: None) -> None:
    assert isinstance(index.path, ObjectPath)
    context = multiprocessing.get_context("spawn")
    begun = context.Event()
    writer = context.Process(target=hold, args=(index.path, begun, True))
    writer.start()
    assert begun.wait(60)
    with pytest.raises(IndexLocked, match=f"being written by process {writer.pid} of"), index.lock():
        pass
    os.kill(writer.pid or 0, signal.SIGKILL)
    writer.join()
    with index.lock() as held:
        held()
    with index.lock():  # let go at once
        pass


def test_a_killed_run_is_gone_on_with(on_s3: str, tmp_path: Path) -> None:
    write_archive(tmp_path / "archive", patients=8, seed=4)
    m3search.index(tmp_path / "archive", tmp_path / "here", model="fake", options=Options(workers=1))
    command = ["index", str(tmp_path / "archive"), "--index", on_s3, "--model", "fake", "--shard-size", "4"]
    program = [sys.executable, "-c", "from m3search.cli import main; main()", *command]
    process = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)
    assert wait_for(1, place_of(on_s3), process)
    process.kill()
    process.wait()
    assert 0 < IndexFolder.open(place_of(on_s3)).record().count() < 40
    subprocess.run(program, check=True, capture_output=True)
    assert contents(place_of(on_s3)) == contents(tmp_path / "here")
    assert m3search.verify(on_s3).ok


def test_of_many_that_begin_at_once_one_writes(index: IndexFolder) -> None:
    got, refused, ready = [], [], threading.Barrier(4)

    def write() -> None:
        ready.wait()
        try:
            with index.lock():
                got.append(1)
                time.sleep(10)
        except IndexLocked:
            refused.append(1)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(refused)) == (1, 3)


def test_who_was_away_for_long_stops_before_it_writes(
    index: IndexFolder, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with index.lock() as held:
        held()
        monkeypatch.setattr(lease._Lease, "_beat", lambda _: None)  # as if suspended
        time.sleep(2.5)
        with pytest.raises(IndexLocked, match="away from the storage for too long"):
            held()


def test_two_writers_and_four_readers_of_the_tables() -> None:
    """For longer by the command itself."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.cluster.writers", "--seconds", "10"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]


# What goes wrong ------------------------------------------------------------------------------------------------------
def test_storage_that_goes_away_is_said_and_comes_back(index: IndexFolder, s3_server: Server) -> None:
    reader = index.reader()
    assert reader.count() == 100
    s3_server.kill()
    try:
        time.sleep(LOOK_S)
        with pytest.raises(StoreUnreachable, match="cannot be reached"):
            reader.count()
        with pytest.raises(StoreUnreachable, match="AWS_ENDPOINT_URL"):
            IndexFolder.open(index.path)
        with pytest.raises(StoreUnreachable, match="AWS_ENDPOINT_URL"), writing(index.path):
            add(index, range(100, 110))
    finally:
        s3_server.start()
    time.sleep(LOOK_S)
    assert reader.count() == index.record().count() == 100


def test_a_lost_key_is_not_replaced(index: IndexFolder) -> None:
    index.key_file.unlink()
    with pytest.raises(NoIndex, match=r"pseudonym\.key is missing; restore it"):
        Pseudonyms.load(index.key_file)
    audit.record(index, "search", ("effusion", ["0001"]))  # a search is still logged, without digests
