"""A server of the phantoms' index, in process."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from m3search.web.app import Application, create_app
from m3search.web.settings import Limits, Settings

HOST = "http://127.0.0.1"


@pytest.fixture(scope="session")
def served(indexed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the phantoms' index that a server may write its token and its log into."""
    folder = tmp_path_factory.mktemp("served") / ".m3search"
    shutil.copytree(indexed, folder)
    return folder


@pytest.fixture(scope="session")
def app(served: Path) -> Iterator[Application]:
    """The application of `served`."""
    made = create_app(Settings(served, workers=1, limits=Limits(upload_bytes=8 << 20)))
    yield made
    made.close()


@pytest.fixture(scope="session")
def api(app: Application) -> Iterator[TestClient]:
    """A client that has the token. What it is answered is checked in no way."""
    with TestClient(app, base_url=HOST, headers={"authorization": f"Bearer {app.token}"}) as client:
        yield client


@pytest.fixture
def stranger(api: TestClient, app: Application) -> TestClient:
    """A client without a token."""
    return TestClient(app, base_url=HOST)


@pytest.fixture(scope="session")
def items(api: TestClient) -> dict[str, list[dict[str, Any]]]:
    """Every item as a hit, by modality."""
    found: dict[str, list[dict[str, Any]]] = {}
    for hit in api.post("/v1/search", json={"text": "anything", "limit": 100}).json()["hits"]:
        found.setdefault(hit["modality"], []).append(hit)
    return found


def error_of(response: Any) -> str:
    """The code of an error, whose shape is checked."""
    body = response.json()
    assert set(body) == {"error"}
    assert {"code", "message", "remedy"} <= set(body["error"])
    assert response.status_code >= 400
    return str(body["error"]["code"])
