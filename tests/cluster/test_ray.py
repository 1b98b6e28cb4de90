"""Index runs on three Ray nodes: the rows of a local run, whatever is killed."""

from __future__ import annotations

import json
import random
import signal
import time

import pytest

from m3search.indexer import Options, index
from m3search.phantoms import write_archive
from m3search.stores.folder import IndexFolder
from tests.cluster.namespaces import Unavailable
from tests.cluster.nodes import ray_cluster, wait_for

pytestmark = pytest.mark.cluster

OF_THE_RUN = ("run_id", "indexed_at")
KEYED = ("patient_key", "study_key", "series_key", "described", "locator")  # with another key in each index
PATIENTS = 12


@pytest.fixture(scope="module")
def cluster():
    pytest.importorskip("ray", reason="Ray is not installed")
    running = ray_cluster(3)
    try:
        entered = running.__enter__()
    except Unavailable as error:
        pytest.skip(str(error))
    try:
        yield entered
    finally:
        running.__exit__(None, None, None)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster") / "archive"
    write_archive(folder, patients=PATIENTS, seed=5)
    (folder / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 40)
    return folder


@pytest.fixture(scope="module")
def expected(archive, tmp_path_factory):
    path = tmp_path_factory.mktemp("cluster") / "local"
    index(archive, path, model="fake", options=Options(workers=0))
    return contents(path)


def contents(path):
    """Every row of items, parts and failures that two runs have in common."""
    record = IndexFolder.open(path).record()
    ids = record.matching()
    rows = [
        {name: value for name, value in row.items() if name not in (*OF_THE_RUN, *KEYED)}
        for row in record.rows(ids).to_pylist()
    ]
    failures = [(row["uri"], row["reason"]) for row in record.failures().to_pylist()]
    return rows, record.parts_of(ids).to_pylist(), failures


def finished(process):
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err[-2000:]
    return json.loads(out)


def test_rows_are_those_of_a_local_run(cluster, archive, expected, tmp_path):
    report = finished(cluster.index(archive, tmp_path / "i", "fake"))
    assert report["failed"] == 1
    assert contents(tmp_path / "i") == expected


@pytest.mark.parametrize("victim", ["ray::_Towers", "ray::_ask", "node", "driver"])
def test_what_is_killed_costs_nothing(cluster, archive, expected, tmp_path, victim):
    process = cluster.index(archive, tmp_path / "i", "fake", "--shard-size", "8")
    assert wait_for(8, tmp_path / "i", process)
    time.sleep(random.random() / 2)
    if victim == "driver":
        process.send_signal(signal.SIGKILL)
        process.wait()
        process = cluster.index(archive, tmp_path / "i", "fake")
    elif victim == "node":
        cluster.machines[2].kill()  # for good: the tests after this one have two nodes
    else:
        assert cluster.kill_one(victim)
    finished(process)
    assert contents(tmp_path / "i") == expected


def test_a_second_run_is_refused_while_one_writes(cluster, archive, tmp_path):
    first = cluster.index(archive, tmp_path / "i", "fake", "--shard-size", "8")
    assert wait_for(1, tmp_path / "i", first)
    second = cluster.index(archive, tmp_path / "i", "fake")
    _, err = second.communicate(timeout=120)
    assert second.returncode == 1
    assert "is being written by process" in err
    finished(first)


def test_a_run_that_takes_too_long_ends_and_says_so(cluster, archive, tmp_path):
    process = cluster.index(archive, tmp_path / "i", "fake", "--job-limit", "1")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "was given 1 seconds" in err
