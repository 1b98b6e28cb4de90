"""Fixtures every test may use."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from m3search.phantoms import Phantom, write_archive

if TYPE_CHECKING:
    from tests.cluster.s3 import Server

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
_prefixes = count()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real medical data that lies beside a developer's checkout; a user's clone has none."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real data set ../shared/data is not beside this checkout")
    return SHARED_DATA


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Phantom]]:
    """An archive of three synthetic patients with all five modalities, and what it holds. Only to be read."""
    folder = tmp_path_factory.mktemp("phantoms") / "archive"
    return folder, write_archive(folder, patients=3, seed=7)


@pytest.fixture(scope="session")
def indexed(phantoms: tuple[Path, list[Phantom]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantoms' index folder, made with the fake encoder. Only to be read."""
    from m3search.indexer import Options, index

    path = tmp_path_factory.mktemp("index") / ".m3search"
    index(phantoms[0], path, model="fake", options=Options(workers=0))
    return path


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete bundle of random linear towers for all five modalities. Do not change it, copy it."""
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    runpy.run_path(str(Path(__file__).parent / "encoders" / "tiny_bundle.py"))["write_tiny_bundle"](folder)
    return folder


@pytest.fixture(scope="session")
def milvus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real Milvus server, milvus://HOST:PORT; for tests marked `cluster`."""
    pytest.importorskip("pymilvus", reason="pymilvus is not installed")
    from tests.cluster import milvus

    with ExitStack() as stack:
        try:
            running = stack.enter_context(milvus.server(tmp_path_factory.mktemp("milvus")))
        except milvus.Unavailable as error:
            pytest.skip(str(error))
        yield running.address


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real S3 server on loopback; for tests marked `cluster`."""
    from tests.cluster import s3

    with ExitStack() as stack:
        try:
            running = stack.enter_context(s3.server(tmp_path_factory.mktemp("s3")))
        except s3.Unavailable as error:
            pytest.skip(str(error))
        yield running


@pytest.fixture
def on_s3(s3_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An address where nothing is yet, s3://BUCKET/PREFIX, which the environment reaches; the cache is empty."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("M3SEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("M3SEARCH_STATE", str(tmp_path / "state"))
    return f"s3://m3search/{tmp_path.name}-{next(_prefixes)}"
