"""The engine follows the index while it is asked."""

from __future__ import annotations

import json
import shutil
import threading
import time
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from m3search import upkeep
from m3search.errors import NoIndex
from m3search.indexer import Options, index
from m3search.search import Engine
from m3search.stores import audit
from m3search.stores.folder import IndexFolder
from m3search.web.app import create_app
from m3search.web.live import Live
from m3search.web.settings import Settings
from tests.web.conftest import HOST, error_of


@pytest.fixture
def archive(tmp_path: Path, phantoms) -> Path:
    """Two of the phantoms' folders; the others may be added."""
    folder = tmp_path / "archive"
    for name in ("xray", "retina"):
        shutil.copytree(phantoms[0] / name, folder / name)
    shutil.copy(phantoms[0] / "manifest.csv", folder) if (phantoms[0] / "manifest.csv").exists() else None
    index(folder, tmp_path / "i", model="fake", options=Options(workers=0))
    return folder


@pytest.fixture
def client(archive: Path, tmp_path: Path):
    app = create_app(Settings(tmp_path / "i", workers=1))
    with TestClient(app, base_url=HOST, headers={"authorization": f"Bearer {app.token}"}) as client:
        yield client
    app.close()


def _found(client, **body):
    return client.post("/v1/search", json={"text": "x", "limit": 100} | body).json()


def test_what_is_indexed_is_found_by_the_next_search(client, archive, phantoms, tmp_path):
    assert _found(client)["items"] == 6
    version = client.get("/v1/status").json()["index_version"]
    shutil.copytree(phantoms[0] / "ecg", archive / "ecg")
    index(archive, tmp_path / "i", options=Options(workers=0))
    found = _found(client)
    assert found["items"] == 9
    assert sum(hit["modality"] == "ecg" for hit in found["hits"]) == 3
    assert client.get("/v1/status").json()["index_version"] != version
    upkeep.delete(tmp_path / "i", where="modality = 'xray'")
    assert {hit["modality"] for hit in _found(client)["hits"]} == {"ecg", "retina"}
    upkeep.compact(tmp_path / "i")
    assert _found(client)["items"] == 6


def test_the_audit_is_switched_while_it_runs(client, tmp_path):
    upkeep.switch_audit(tmp_path / "i", on=False)
    _found(client, text="not logged")
    upkeep.switch_audit(tmp_path / "i", on=True)
    _found(client, text="logged again")
    entries = audit.read(IndexFolder.open(tmp_path / "i"))
    assert [entry.action for entry in entries if entry.action != "show"] == ["audit-off", "audit-on", "search"]


def test_another_archive_is_shown_from(client, phantoms, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(phantoms[0] / "ct", other / "ct")
    index(other, tmp_path / "i", options=Options(workers=0))
    hit = next(hit for hit in _found(client)["hits"] if hit["modality"] == "ct" and hit["format"] == "dicom")
    assert hit["uri"].startswith("@1/")
    assert client.get(f"/v1/items/{hit['item_id']}/image").status_code == 200


def test_an_index_that_went_and_came(client, tmp_path):
    (tmp_path / "i").rename(tmp_path / "away")
    answer = client.post("/v1/search", json={"text": "x"})
    assert (answer.status_code, error_of(answer)) == (503, "index-unavailable")
    assert str(tmp_path) not in answer.text
    assert client.get("/healthz").status_code == 503
    (tmp_path / "away").rename(tmp_path / "i")
    assert _found(client)["items"] == 6


def test_an_index_that_was_made_anew(client, archive, tmp_path):
    shutil.rmtree(tmp_path / "i")
    index(archive / "xray", tmp_path / "i", model="fake", options=Options(workers=0, modality="xray"))
    assert _found(client)["items"] == 3


def test_no_index_is_no_server(tmp_path):
    with pytest.raises(NoIndex):
        Live(tmp_path / "nothing", 1)


def test_many_ask_while_it_grows(archive, phantoms, tmp_path):
    """Filters are remembered and forgotten, commits are noticed, by several threads at once."""
    engine = Engine.open(tmp_path / "i")
    errors: list[BaseException] = []
    over = threading.Event()

    def asking(number: int) -> None:
        try:
            for turn in range(10_000):
                if over.is_set():
                    return
                where = f"year >= {1900 + (turn * 7 + number) % 60}" if turn % 2 else None
                engine.search("x", k=20, where=where, standing=True)
                time.sleep(0.005)  # let the index run have the processor
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=asking, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for name in ("ecg", "ct"):
        shutil.copytree(phantoms[0] / name, archive / name)
        index(archive, tmp_path / "i", options=Options(workers=0))
    over.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(engine.search("x", k=100)) == 12


def test_manifest_is_read_anew_only_when_it_changed(archive, tmp_path):
    live = Live(tmp_path / "i", 1)
    first = live.engine
    assert live.engine is first
    file = tmp_path / "i" / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"audit": False}))
    second = live.engine
    assert second is not first
    assert second.encoder is first.encoder
    assert not second.index.manifest.audit
    live.close()
