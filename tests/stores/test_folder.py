"""The index folder: where it is found, what it refuses, and one writer at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from m3search.encoders import load_encoder
from m3search.errors import EncoderMismatch, IndexLocked, IndexNotFound, NoIndex
from m3search.indexer import index
from m3search.privacy import Pseudonyms
from m3search.stores import audit
from m3search.stores.deletion import Selection, delete, undelete
from m3search.stores.folder import IndexFolder, Manifest, locate, write_atomically

MANIFEST = Manifest(encoder="m3bind-small", fingerprint="3f9a" * 16, dim=4)


@pytest.fixture
def folder(tmp_path):
    return IndexFolder.create(tmp_path / "chest", MANIFEST)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.delenv("M3SEARCH_INDEX", raising=False)
    place = tmp_path / "archive" / "deep"
    place.mkdir(parents=True)
    monkeypatch.chdir(place)
    return place


def test_locate_looks_upwards_as_git_does(here):
    assert locate() == here / ".m3search"
    (here.parent / ".m3search").mkdir()
    assert locate() == here.parent / ".m3search"
    (here / ".m3search").mkdir()
    assert locate() == here / ".m3search"


def test_locate_prefers_what_is_said(here, monkeypatch):
    (here / ".m3search").mkdir()
    monkeypatch.setenv("M3SEARCH_INDEX", "elsewhere")
    assert locate() == Path("elsewhere")
    assert locate(Path("given")) == Path("given")


def test_create_then_open(folder):
    again = IndexFolder.open(folder.path)
    assert again == folder
    assert again.manifest.created.endswith("+00:00")
    assert again.record().dim == again.reader().dim == 4
    assert folder.path.stat().st_mode & 0o077 == 0


def test_create_refuses_an_index_and_finishes_half_of_one(folder):
    with pytest.raises(NoIndex, match="already is an index"):
        IndexFolder.create(folder.path, MANIFEST)
    (folder.path / "manifest.json").unlink()
    with pytest.raises(IndexNotFound):
        IndexFolder.open(folder.path)
    again = IndexFolder.create(folder.path, replace(MANIFEST, dim=2))
    again.record().upsert([{"item_id": "a", "vector": [1, 0]}])
    (folder.path / "manifest.json").unlink()
    with pytest.raises(NoIndex, match=r"without manifest\.json"):
        IndexFolder.create(folder.path, MANIFEST)
    assert again.record().count() == 1


def test_open_nothing(tmp_path):
    with pytest.raises(IndexNotFound, match=r'no index at .*absent; make one with "m3search index'):
        IndexFolder.open(tmp_path / "absent")
    (tmp_path / "file").write_text("")
    with pytest.raises(IndexNotFound):
        IndexFolder.open(tmp_path / "file")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format_version": 1}', '{"format_version": "x"}'])
def test_open_a_damaged_manifest(folder, content):
    (folder.path / "manifest.json").write_text(content)
    with pytest.raises(NoIndex, match=r"manifest\.json is damaged"):
        IndexFolder.open(folder.path)


def test_open_an_index_of_a_later_version(folder):
    path = folder.path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 99, "new": 1}))
    with pytest.raises(NoIndex, match="later m3search; upgrade"):
        IndexFolder.open(folder.path)


def test_another_encoder_is_refused(folder):
    folder.check_encoder("m3bind-small", MANIFEST.fingerprint)
    folder.check_encoder("the same under another name", MANIFEST.fingerprint)
    with pytest.raises(
        EncoderMismatch, match=r"chest was built with m3bind-small@3f9a3f9a, not @81c281c2; use --model"
    ):
        folder.check_encoder("m3bind-small", "81c2" * 16)
    with pytest.raises(EncoderMismatch, match="not other@81c281c2"):
        folder.check_encoder("other", "81c2" * 16)
    with pytest.raises(EncoderMismatch, match="inputs version 2, the index has 1"):
        folder.check_encoder("m3bind-small", MANIFEST.fingerprint, inputs_version=2)


def test_archives_are_remembered_once(folder, tmp_path):
    once = folder.add_archive("/a").add_archive("/b").add_archive("/a")
    assert once.manifest.archives == ("/a", "/b")
    assert IndexFolder.open(folder.path) == once


def test_what_another_run_remembered_is_kept(folder, tmp_path):
    stale = IndexFolder.open(folder.path)
    folder.add_archive("/a")
    assert stale.add_archive("/b").manifest.archives == ("/a", "/b")


def test_an_index_is_not_made_where_a_file_is_or_while_another_run_makes_it(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NoIndex, match="is a file"):
        IndexFolder.create(tmp_path / "file", MANIFEST)
    (folder.path / "manifest.json").unlink()
    with folder.lock(), pytest.raises(IndexLocked):
        IndexFolder.create(folder.path, MANIFEST)


def test_a_failed_write_leaves_the_old_manifest(tmp_path):
    path = tmp_path / "manifest.json"
    write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\ud800")
    assert path.read_text() == "old"


# Locking --------------------------------------------------------------------------------------------------------------
HOLDER = """
import os, sys, time
from pathlib import Path
from m3search.stores.folder import IndexFolder

with IndexFolder.open(Path(sys.argv[1])).lock():
    if sys.argv[2] == "fork" and os.fork() == 0:
        os.close(1)
        time.sleep(30)  # a worker that outlives its parent
        os._exit(0)
    print(os.getpid(), flush=True)
    time.sleep(30)
"""


@pytest.mark.parametrize("how", ["alone", "fork"])
def test_one_writer_even_after_kill(folder, how):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder.path), how], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    pid = holder.stdout.readline().strip()
    with pytest.raises(IndexLocked, match=f"being written by process {pid}"), folder.lock():
        pass
    holder.kill()
    holder.communicate()
    with folder.lock():
        pass


def test_one_writer_within_a_process(folder):
    with folder.lock():
        for _ in range(2):
            with pytest.raises(IndexLocked, match="this very process"), IndexFolder.open(folder.path).lock():
                pass
        run = subprocess.run(
            [sys.executable, "-c", HOLDER, str(folder.path), "alone"], capture_output=True, text=True, check=False
        )
        assert "IndexLocked" in run.stderr  # refusing others in this process has not released it
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: folder.lock().__enter__()).result()


def test_a_table_whose_making_was_killed_is_made_again(folder):
    (folder.path / "manifest.json").unlink()
    for version in (folder.tables / "items.lance" / "_versions").iterdir():
        version.unlink()  # nothing was committed
    again = IndexFolder.create(folder.path, MANIFEST)
    assert again.record().count() == 0


def test_a_manifest_that_could_not_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by `python -m tests.faults`: what a full disk left of it was a leftover to `verify` ever after."""

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(tmp_path / "manifest.json", "new")
    assert list(tmp_path.iterdir()) == []


LEFT = ["manifest.json.1.tmp", "deleted.json.1.tmp", "pseudonym.key.1.tmp"]


def _index_nothing(folder: IndexFolder) -> None:
    (empty := folder.path.with_name("empty")).mkdir()
    index(empty, folder.path)


@pytest.mark.parametrize(
    "write",
    [
        _index_nothing,
        lambda folder: audit.switch(folder, on=False),
        lambda folder: undelete(folder, everything=True),
        lambda folder: delete(folder, Selection(where="modality = ct")),
    ],
    ids=["index", "audit", "undelete", "delete"],
)
def test_the_next_writer_sweeps_what_a_killed_one_left(write: Callable[[IndexFolder], object], tmp_path: Path) -> None:
    encoder = load_encoder("fake")
    folder = IndexFolder.create(tmp_path / "chest", Manifest("fake", encoder.fingerprint, encoder.dim))
    for name in LEFT:
        (folder.path / name).write_text("half")
    write(folder)
    assert list(folder.path.glob("*.tmp")) == []


def test_a_key_that_could_not_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        Pseudonyms.load(tmp_path / "pseudonym.key")
    assert list(tmp_path.iterdir()) == []
