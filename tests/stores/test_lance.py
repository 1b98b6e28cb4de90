"""The record: shards, ledger, failures, runs, and what is left when a writer is killed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import textwrap
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from m3search import filters
from m3search.errors import IndexNotFound
from m3search.stores import lance, schema
from m3search.stores.lance import LanceStore

DIM = 4
FILE = {"path": "a.dcm", "size": 7, "mtime_ns": 10**18 + 1, "digest": "ab"}


@pytest.fixture
def store(tmp_path):
    return LanceStore.create(tmp_path / "tables", DIM)


def item(item_id, **columns):
    defaults = {"modality": "ct", "vector": np.eye(DIM)[0], "uri": f"{item_id}.dcm", "files": [FILE], "series_key": "s"}
    return {"item_id": item_id} | defaults | columns


def part(item_id, index, **columns):
    return {"part_id": f"{item_id}/{index}", "item_id": item_id, "index": index, "locator": f"slice={index}",
            "vector": np.eye(DIM)[index % DIM]} | columns  # fmt: skip


def test_tables_have_the_stated_columns(store, tmp_path):
    everything = store.rows([])
    assert everything.schema.equals(schema.items(DIM))
    assert store.parts_of([]).schema.equals(schema.parts(DIM))
    assert store.failures().schema.equals(schema.failures())
    assert store.runs().schema.equals(schema.runs())


def test_opening_finds_what_was_written(store, tmp_path):
    store.upsert([item("a", text="effusion", text_vector=np.ones(DIM), thumbnail=b"\0\xff", year=2020), item("b")])
    again = LanceStore.open(tmp_path / "tables")
    row = again.rows(["a"]).to_pylist()[0]
    assert (row["text"], row["thumbnail"], row["year"], row["files"]) == ("effusion", b"\0\xff", 2020, [FILE])
    assert again.dim == DIM
    assert again.rows(["b"], ["text_vector"]).to_pylist() == [{"text_vector": None}]


def test_no_tables(tmp_path):
    with pytest.raises(IndexNotFound, match="m3search index"):
        LanceStore.open(tmp_path)


def test_creating_over_an_index_is_refused_and_over_half_of_one_is_not(store, tmp_path):
    with pytest.raises(FileExistsError):
        LanceStore.create(tmp_path / "tables", DIM)
    (tmp_path / "tables" / "items.lance").rename(tmp_path / "aside")  # as if killed before the last table
    assert LanceStore.create(tmp_path / "tables", DIM + 1).dim == DIM + 1


def test_another_process_sees_each_commit(store, tmp_path):
    reader = LanceStore.open(tmp_path / "tables")
    assert reader.count() == 0
    store.upsert([item("a")])
    assert reader.count() == 1
    assert reader.matching() == ["a"]


def test_rows_come_in_the_order_asked(store):
    store.upsert([item(name) for name in "abcde"])
    assert store.rows(["d", "zz", "a", "d"], ["item_id"])["item_id"].to_pylist() == ["d", "a", "d"]
    assert store.rows(["b"], ["uri", "modality"]).to_pylist() == [{"uri": "b.dcm", "modality": "ct"}]


def test_many_ids_are_more_than_one_statement(store, monkeypatch):
    monkeypatch.setattr(lance, "IDS_PER_STATEMENT", 3)
    ids = [f"{n:02}" for n in range(20)]
    store.write([item(i) for i in ids], [part(i, n) for i in ids for n in range(2)])
    assert store.rows(ids[::-1], ["item_id"])["item_id"].to_pylist() == ids[::-1]
    assert store.parts_of(ids[::-1])["part_id"].to_pylist() == [f"{i}/{n}" for i in ids[::-1] for n in range(2)]
    assert store.delete(ids[:10]) == 10
    assert store.matching() == ids[10:]


def test_tally_and_matching(store):
    store.upsert([item("a"), item("b", modality="xray"), item("c"), item("d", modality=None)])
    assert store.tally("modality") == {"": 1, "ct": 2, "xray": 1}
    assert store.tally("modality", filters.parse("item_id in (a, b)")) == {"ct": 1, "xray": 1}
    assert store.matching(filters.starts_with("item_id", "c")) == ["c"]


def test_a_shard_replaces_the_parts_of_its_items_only(store):
    store.write([item("a"), item("b")], [part("a", 2), part("a", 0), part("a", 1), part("b", 0)])
    assert store.parts_of(["b", "a"])["part_id"].to_pylist() == ["b/0", "a/0", "a/1", "a/2"]
    store.write([item("a")], [part("a", 0, locator="new")])
    assert store.parts_of(["a", "b"])["locator"].to_pylist() == ["new", "slice=0"]
    store.write([item("a")])
    assert store.parts_of(["a", "b"])["part_id"].to_pylist() == ["b/0"]


def test_a_shard_without_parts_is_one_commit(store):
    before = len(list(store._parts.list_versions()))
    version = store.version
    store.write([item("a"), item("b")])
    assert store.version > version
    assert len(list(store._parts.list_versions())) == before


def test_parts_need_their_item(store):
    with pytest.raises(ValueError, match="not in the shard: zz"):
        store.write([item("a")], [part("zz", 0)])


def test_deleting_items_deletes_parts(store):
    store.write([item("a"), item("b")], [part("a", 0), part("b", 0)])
    assert store.delete(["a"]) == 1
    assert store.parts_of(["a", "b"])["part_id"].to_pylist() == ["b/0"]


def test_the_ledger(store):
    store.upsert([item("a", text="long"), item("b", files=[FILE, FILE | {"path": "copy.dcm"}])])
    ledger = store.ledger()
    assert ledger.column_names == ["item_id", "uri", "series_key", "study_key", "described", "files"]
    paths = {row["item_id"]: [file["path"] for file in row["files"]] for row in ledger.to_pylist()}
    assert paths == {"a": ["a.dcm"], "b": ["a.dcm", "copy.dcm"]}


def test_moved_files_keep_everything_else(store):
    store.upsert([item(name, text=f"text {name}", thumbnail=b"x") for name in "abc"])
    before = store.rows(["a", "b", "c"]).to_pylist()
    store.update_files({"a": [FILE | {"mtime_ns": 5}], "c": [FILE], "zz": [FILE]}, {"a": "moved/a.dcm"})
    after = store.rows(["a", "b", "c"]).to_pylist()
    assert store.count() == 3
    assert after[0] == before[0] | {"files": [FILE | {"mtime_ns": 5}], "uri": "moved/a.dcm"}
    assert after[1:] == before[1:]
    assert store.search(np.eye(DIM, dtype=np.float32)[:1], 3)[0].ids == ("a", "b", "c")
    version = store.version
    store.update_files({})
    store.update_files({"zz": [FILE]})
    assert store.version == version


def test_failures_count_their_attempts(store):
    failure = {
        "uri": "bad.dcm",
        "reason": "truncated",
        "message": "ends early",
        "size": 3,
        "mtime_ns": 9,
        "run_id": "r",
    }
    store.record_failures([failure, {"uri": "also's.png", "reason": "empty"}])
    store.record_failures([failure | {"reason": "corrupt", "attempts": 2}])
    store.record_failures([])
    rows = store.failures().to_pylist()
    assert [(row["uri"], row["reason"], row["attempts"]) for row in rows] == [
        ("also's.png", "empty", 1),
        ("bad.dcm", "corrupt", 3),
    ]
    store.clear_failures(["also's.png", "unknown"])
    assert store.failures()["uri"].to_pylist() == ["bad.dcm"]
    store.clear_failures([])


def test_a_run_is_one_row_from_start_to_end(store):
    start = datetime(2024, 1, 1, tzinfo=UTC)
    store.record_run({"run_id": "two", "started_at": start + timedelta(hours=1)})
    store.record_run({"run_id": "one", "started_at": start, "encoder": "f00"})
    store.record_run({"run_id": "one", "finished_at": start + timedelta(minutes=1), "seen": 3, "indexed": 2})
    one, two = store.runs().to_pylist()
    assert (one["run_id"], one["started_at"], one["encoder"], one["seen"]) == ("one", start, "f00", 3)
    assert two["finished_at"] is None


@pytest.mark.filterwarnings("ignore:optimize")  # keeping no old version is on purpose
def test_optimize_compacts_and_changes_no_answer(store, monkeypatch):
    monkeypatch.setattr(lance, "SCALAR_INDEX_FROM", 10)
    generator = np.random.default_rng(0)
    for shard in range(12):
        ids = [f"{shard:02}-{n}" for n in range(3)]
        store.write([item(i, vector=generator.normal(size=DIM)) for i in ids], [part(i, 0) for i in ids])
    store.delete(["03-0", "07-1"])
    queries = np.eye(DIM, dtype=np.float32)
    before = [found.ids for found in store.search(queries, 50)]
    store.optimize(timedelta(0))
    assert [found.ids for found in store.search(queries, 50)] == before
    assert store._items.stats()["fragment_stats"]["num_fragments"] == 1
    assert len(list(store._items.list_versions())) == 1
    store.write([item("99-0")], [part("99-0", 0)])  # with a scalar index, and a row that it does not hold yet
    assert store.rows(["99-0", "00-0"], ["item_id"]).num_rows == 2
    store.write([item("00-0", text="again")], [part("00-0", 1)])
    assert store.parts_of(["00-0"])["part_id"].to_pylist() == ["00-0/1"]
    assert store.count() == 35
    store.optimize()
    assert store.count() == 35


# kill -9 --------------------------------------------------------------------------------------------------------------
WRITER = """
    import os, signal, sys
    from pathlib import Path
    import numpy as np
    from m3search.stores.lance import LanceStore

    store = LanceStore.open(Path(sys.argv[1]))
    if sys.argv[2] == "between":
        LanceStore.upsert = lambda self, rows: os.kill(os.getpid(), signal.SIGKILL)
    for shard in range(int(sys.argv[3]), 10_000):
        ids = [f"{shard:05}-{n}" for n in range(4)]
        items = [{"item_id": i, "modality": "ct", "vector": np.ones(4)} for i in ids]
        parts = [{"part_id": f"{i}/{n}", "item_id": i, "index": n, "vector": np.ones(4)} for i in ids for n in range(3)]
        store.write(items, parts)
        print(shard, flush=True)
"""


def start_writer(path, when: str, first: int) -> subprocess.Popen:
    arguments = [sys.executable, "-c", textwrap.dedent(WRITER), str(path), when, str(first)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def assert_whole(store) -> None:
    """Every item has all its parts, and whole shards only."""
    ids = store.matching()
    assert len(ids) % 4 == 0
    assert store.parts_of(ids).num_rows == 3 * len(ids)


def test_killed_between_parts_and_items(store, tmp_path):
    store.write([item("kept")], [part("kept", 0)])
    assert start_writer(tmp_path / "tables", "between", 0).wait() == -signal.SIGKILL
    assert store.matching() == ["kept"]
    assert store.parts_of(["kept"]).num_rows == 1
    assert store.parts_of(["00000-0"]).num_rows == 3  # written, but nothing refers to them ...
    store.optimize()
    assert store.parts_of(["00000-0"]).num_rows == 0  # ... so they go
    assert store.parts_of(["kept"]).num_rows == 1


def test_killed_at_any_moment(store, tmp_path):
    writer = start_writer(tmp_path / "tables", "any", 0)
    assert writer.stdout is not None
    writer.stdout.readline()
    time.sleep(random.uniform(0, 0.2))  # another moment each time this runs
    writer.kill()
    done = [0, *map(int, writer.communicate()[0].split())]
    assert_whole(store)
    assert f"{done[-1]:05}-3" in store.matching()  # what was reported is there
    store.write([item("next")], [part("next", 0)])
    assert store.matching()[-1] == "next"
