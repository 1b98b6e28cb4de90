"""Items that are not files of this machine: shown as if they were, from a zip file, a bucket or a PACS."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from m3search import upkeep
from m3search.indexer import Options, index
from m3search.indexer import Pacs as PacsOptions
from m3search.indexer.archives import dicomweb
from m3search.phantoms import write_archive
from m3search.phantoms.phi import Phi
from m3search.web import fetched
from m3search.web.app import Application, create_app
from m3search.web.settings import Limits, Settings
from tests.indexer.pacs.films import write_films, write_slices
from tests.indexer.pacs.server import Pacs, serving
from tests.web.conftest import HOST, error_of

Pictures = dict[str, list[bytes]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Items of one file, of a series and of files that name each other; identifiers stand in the names."""
    folder = tmp_path_factory.mktemp("away") / "files"
    write_archive(folder, patients=2, seed=3, modalities=["xray", "ct", "ecg", "pathology"], phi=Phi(in_paths=True))
    return folder


@pytest.fixture(scope="module")
def here(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    """What is shown of the same files in a folder."""
    path = tmp_path_factory.mktemp("here") / "i"
    _index(files, path)
    with _Serving(path) as (client, _):
        assert any("~" in hit["uri"] for hit in _hits(client))
        return _pictures(client)


def _index(archive: Path | str, path: Path) -> None:
    options = Options(workers=0, pacs=PacsOptions(patience_s=5.0))
    report = index(archive, path, model="fake", options=options)
    assert report.failed == 0


class _Serving:
    """A server of an index, in process."""

    def __init__(self, path: Path, **limits: Any) -> None:
        limits = {"fetch_patience_s": 0.2} | limits
        self._app = create_app(Settings(path, workers=1, limits=Limits(**limits)))

    def __enter__(self) -> tuple[TestClient, Application]:
        headers = {"authorization": f"Bearer {self._app.token}"}
        self._client = TestClient(self._app, base_url=HOST, headers=headers)
        self._client.__enter__()
        return self._client, self._app

    def __exit__(self, *_: object) -> None:
        self._client.__exit__(None, None, None)
        self._app.close()
        assert not _folder(self._app).exists()


def _folder(app: Application) -> Path:
    return app.context.fetched._folder


def _copies(app: Application) -> list[str]:
    return sorted(path.name for path in _folder(app).iterdir())


def _hits(client: TestClient) -> list[dict[str, Any]]:
    hits: list[dict[str, Any]] = client.post("/v1/search", json={"text": "x", "limit": 100}).json()["hits"]
    return hits


def _pictures(client: TestClient) -> Pictures:
    """Every kind of picture of every item."""
    found = {}
    for hit in _hits(client):
        base = f"/v1/items/{hit['item_id']}"
        assert client.get(base).json()["archive"]
        view = client.get(f"{base}/view")
        assert view.status_code == 200, view.text
        routes = {
            "ct": ["/image", "/image?slice=0"],
            "ecg": ["/ecg"],
            "slide": ["/image", "/region?x=0&y=0&w=64&h=64"],
            "picture": ["/image"],
        }[view.json()["kind"]]
        answers = [client.get(base + route) for route in routes]
        assert [answer.status_code for answer in answers] == [200] * len(routes)
        found[hit["item_id"]] = [view.content, *(answer.content for answer in answers)]
    assert found
    return found


# Zip and tar files ----------------------------------------------------------------------------------------------------
def _zip(files: Path, folder: Path) -> Path:
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(files.rglob("*")):
            packed.write(path, path.relative_to(files))
    return folder / "a.zip"


def _tar(name: str) -> Callable[[Path, Path], Path]:
    def pack(files: Path, folder: Path) -> Path:
        folder.mkdir(parents=True)
        with tarfile.open(folder / name, "w:gz" if name.endswith("gz") else "w") as packed:
            packed.add(files, "inner")
        return folder / name

    return pack


@pytest.mark.parametrize(
    ("pack", "within_a_folder"),
    [(_zip, True), (_zip, False), (_tar("a.tar"), True), (_tar("a.tar.gz"), False)],
    ids=["zip in a folder", "zip", "tar in a folder", "tar.gz"],
)
def test_members_are_shown_as_the_unpacked_files_are(
    pack: Callable[[Path, Path], Path], within_a_folder: bool, files: Path, here: Pictures, tmp_path: Path
) -> None:
    packed = pack(files, tmp_path / "packed")
    _index(packed.parent if within_a_folder else packed, tmp_path / "i")
    with _Serving(tmp_path / "i") as (client, app):
        assert _pictures(client) == here
        assert _copies(app) == sorted(here)


def test_what_is_no_longer_the_same_is_not_shown(files: Path, tmp_path: Path) -> None:
    packed = _zip(files, tmp_path / "packed")
    _index(packed.parent, tmp_path / "i")
    with _Serving(tmp_path / "i") as (client, app):
        film = next(hit for hit in _hits(client) if hit["modality"] == "xray")
        url = f"/v1/items/{film['item_id']}/image"
        away = packed.rename(tmp_path / "a.zip")
        assert error_of(client.get(url)) == "archive-away"
        with zipfile.ZipFile(away) as old, zipfile.ZipFile(packed, "w") as new:
            for name in old.namelist():
                content = bytearray(old.read(name))
                if content:
                    content[-1] ^= 1
                new.writestr(name, bytes(content))
        assert error_of(client.get(url)) == "file-changed"
        shutil.copy(away, packed)  # another time of another file, and the same bytes in it
        assert client.get(url).status_code == 200
        packed.unlink()
        packed.symlink_to(away)
        assert client.get(url).status_code == 200  # a copy is kept
        app.context.fetched.forget(film["item_id"])
        assert error_of(client.get(url)) == "archive-away"  # a link out of the archive
        assert _copies(app) == []


def test_copies_are_few_and_go_in_time(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _index(_zip(files, tmp_path / "packed"), tmp_path / "i")
    with _Serving(tmp_path / "i", fetched_bytes=1) as (client, app):
        first, second = (hit["item_id"] for hit in _hits(client)[:2])
        for item in (first, second, first):
            assert client.get(f"/v1/items/{item}/view").status_code == 200
            assert _copies(app) == [item]
        with monkeypatch.context() as patch:
            patch.setattr(fetched, "KEPT_S", -1.0)
            app.context.fetched._expire()
        assert _copies(app) == []
        assert client.get(f"/v1/items/{first}/view").status_code == 200
        upkeep.delete(tmp_path / "i", items=[first])
        assert error_of(client.get(f"/v1/items/{first}/view")) == "no-such-item"
        assert _copies(app) == []


@pytest.mark.parametrize(
    ("limits", "code"), [({"fetch_bytes": 1000}, "no-rendering"), ({"fetch_bytes": 0}, "archive-away")]
)
def test_items_larger_than_may_be_fetched(limits: dict[str, int], code: str, files: Path, tmp_path: Path) -> None:
    _index(_zip(files, tmp_path / "packed"), tmp_path / "i")
    with _Serving(tmp_path / "i", **limits) as (client, app):
        answers = [client.get(f"/v1/items/{hit['item_id']}/view") for hit in _hits(client)]
        assert {error_of(answer) for answer in answers} == {code}
        assert _copies(app) == []


# Object storage -------------------------------------------------------------------------------------------------------
def test_objects_are_shown_as_files_are(files: Path, here: Pictures, tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec", reason="needs the remote extra")
    storage = fsspec.filesystem("memory")
    for path in files.rglob("*"):
        if path.is_file():
            storage.pipe(f"/shown/scans/{path.relative_to(files).as_posix()}", path.read_bytes())
    _index("memory://shown/scans", tmp_path / "i")
    with _Serving(tmp_path / "i") as (client, app):
        assert _pictures(client) == here
        for item in here:
            app.context.fetched.forget(item)
        storage.rm("/shown", recursive=True)
        assert {error_of(client.get(f"/v1/items/{item}/view")) for item in here} == {"archive-away"}


# A PACS ---------------------------------------------------------------------------------------------------------------
@pytest.fixture
def pacs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pacs]:
    pytest.importorskip("dicomweb_client", reason="needs the pacs extra")
    for name in (dicomweb.TOKEN, dicomweb.TOKEN_FILE, dicomweb.USER, dicomweb.PASSWORD, dicomweb.CA_FILE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(dicomweb, "FIRST_PAUSE_S", 0.01)
    with serving(Pacs()) as server:
        yield server


def test_instances_are_shown_as_files_are(pacs: Pacs, tmp_path: Path) -> None:
    for path in [*write_films(tmp_path / "all", range(3)), *write_slices(tmp_path / "all" / "ct", 1, 5)]:
        pacs.add(path)
    _index(tmp_path / "all", tmp_path / "local")
    with _Serving(tmp_path / "local") as (client, _):
        expected = _pictures(client)
    _index(pacs.url, tmp_path / "i")
    pacs.sent.clear()
    pacs.asked.clear()
    with _Serving(tmp_path / "i") as (client, _):
        assert _pictures(client) == expected
    assert sorted(pacs.sent) == sorted(pacs.instances)  # each once, however often it is looked at
    assert not [path for path in pacs.asked if path.partition("?")[0].endswith("/dicom-web/series")]  # no whole listing


def test_a_pacs_that_is_away_refuses_or_gives_something_else(pacs: Pacs, tmp_path: Path) -> None:
    films = write_films(tmp_path / "films", range(2))
    one = pacs.add(films[0])
    _index(pacs.url, tmp_path / "i")
    with _Serving(tmp_path / "i") as (client, app):
        url = f"/v1/items/{_hits(client)[0]['item_id']}/image"
        for before in ((503, {}, b""), (403, {}, b""), "hang up", (200, {}, b"no JSON")):
            pacs.before = lambda _, before=before: before  # type: ignore[misc]
            answer = client.get(url)
            assert (answer.status_code, error_of(answer)) == (502, "archive-unreachable"), before
            assert one.uid not in answer.text
        pacs.before = lambda _: None
        content = bytearray(one.content)
        content[-1] ^= 1
        pacs.instances[one.uid] = type(one)(one.study, one.series, one.uid, one.modality, bytes(content))
        assert error_of(client.get(url)) == "file-changed"
        del pacs.instances[one.uid]
        assert error_of(client.get(url)) == "archive-away"
        assert _copies(app) == []
        pacs.instances[one.uid] = one
        assert client.get(url).status_code == 200
