"""Indexing a real PACS: Orthanc, from Debian's packages. `make test-system` installs it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from m3search.indexer import Options, Report, index
from m3search.indexer import Pacs as Settings
from m3search.indexer.archives import dicomweb, pacs
from m3search.search import Engine
from m3search.stores.folder import IndexFolder
from m3search.stores.verify import verify

from . import orthanc
from .films import write_films, write_slices

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(bool(orthanc.missing()), reason=orthanc.missing() or "it is there"),
]

FILMS, SLICES = 480, 20  # instances


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[orthanc.Orthanc]:
    monkeypatch.setenv(dicomweb.USER, orthanc.USER)
    monkeypatch.setenv(dicomweb.PASSWORD, orthanc.PASSWORD)
    one = orthanc.Orthanc(tmp_path)
    one.start()
    yield one
    one.kill()


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """SOP instance UIDs in the order in which they arrived from the server."""
    arrived: list[str] = []
    uid_of = dicomweb.uid_of

    def note(content: bytes) -> str:
        arrived.append(uid_of(content))
        return arrived[-1]

    monkeypatch.setattr(dicomweb, "uid_of", note)
    return arrived


def run(server: orthanc.Orthanc, path: Path) -> Report:
    return index(server.url, path, model="fake", options=Options(workers=0, pacs=Settings(patience_s=120.0)))


def test_500_instances_then_10_more_and_a_server_that_dies_on_the_way(
    server: orthanc.Orthanc, fetched: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    films = write_films(tmp_path / "all" / "films", range(FILMS + 10))
    slices = write_slices(tmp_path / "all" / "ct", 1, SLICES)
    server.post([*films[:FILMS], *slices])
    assert server.get("/statistics")["CountInstances"] == FILMS + SLICES

    first = run(server, tmp_path / "index")
    assert (first.indexed, first.failed, first.by_modality) == (FILMS + 1, 0, {"xray": FILMS, "ct": 1})
    assert len(fetched) == len(set(fetched)) == FILMS + SLICES
    index(tmp_path / "all", tmp_path / "local", model="fake", options=Options(workers=0))
    remote, local = (set(Engine.open(tmp_path / name).store.record.tally("item_id")) for name in ("index", "local"))
    assert remote < local  # stored as they were posted, byte for byte: the same items as of the files

    fetched.clear()
    server.post(films[FILMS:])
    second = run(server, tmp_path / "index")
    assert (second.indexed, second.unchanged, second.failed) == (10, FILMS + 1, 0)
    assert len(fetched) == len(set(fetched)) == 10
    assert set(Engine.open(tmp_path / "index").store.record.tally("item_id")) == local

    fetched.clear()
    monkeypatch.setattr(pacs, "PORTION", 50)
    died = threading.Event()

    def kill_and_restart() -> None:
        while len(fetched) < 120:
            if died.wait(0.01):
                return
        server.kill()
        died.wait(1.0)
        server.start()
        died.set()

    thread = threading.Thread(target=kill_and_restart)
    thread.start()
    try:
        third = run(server, tmp_path / "anew")
    finally:
        if len(fetched) < 120:
            died.set()
        thread.join()
    assert died.is_set()
    assert (third.indexed, third.failed) == (FILMS + 11, 0)
    assert set(Engine.open(tmp_path / "anew").store.record.tally("item_id")) == local
    assert verify(IndexFolder.open(tmp_path / "anew")).ok
