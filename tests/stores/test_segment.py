"""The segment: as the record in every answer, gone as soon as the record changes, and light to open."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from m3search import filters
from m3search.errors import IndexNotFound, MissingExtra
from m3search.stores import faiss, schema, segment
from m3search.stores.lance import LanceStore
from m3search.stores.reader import Reader
from m3search.stores.segment import Segment, damaged_files, publish, state_of

DIM = 4
IDS = [f"id{n}" for n in (3, 1, 4, 0, 2)]
QUERY = np.eye(DIM, dtype=np.float32)[:1]


@pytest.fixture
def record(tmp_path):
    store = LanceStore.create(tmp_path / "tables", DIM)
    vectors = np.random.default_rng(0).normal(size=(5, DIM))
    items = [
        {"item_id": i, "modality": "ct" if n % 2 else "ecg", "vector": v, "text": f"text {i}", "labels": ["A", i],
         "thumbnail": b"image", "parts": 2, "study_key": f"s{n}"}
        for n, (i, v) in enumerate(zip(IDS, vectors, strict=True))
    ]  # fmt: skip
    parts = [{"part_id": f"{i}/{n}", "item_id": i, "index": n, "locator": f"s={n}", "vector": np.eye(DIM)[n]}
             for i in IDS[:4] for n in (2, 0, 10, 1) if n < DIM]  # fmt: skip
    store.write(items, parts)
    return store


@pytest.fixture
def reader(record, tmp_path):
    reader = Reader(tmp_path / "tables", tmp_path / "segment")
    reader.publish()
    return reader


def test_answers_as_the_record_does(record, reader):
    copy = reader.segment
    assert copy is not None
    for where in (None, filters.parse("modality = ct"), filters.parse("labels contains id4"), filters.parse("sex = F")):
        assert copy.matching(where) == record.matching(where)
        assert copy.tally("modality", where) == record.tally("modality", where)
        assert copy.tally("sex", where) == record.tally("sex", where)
        assert copy.count(where) == record.count(where)
    columns = ["text", "item_id", "labels", "vector", "study_key", "year"]
    for asked in (["id2", "zz", "id0", "id2"], [], ["", "zzz"], IDS):
        assert copy.rows(asked, columns).to_pylist() == record.rows(asked, columns).to_pylist()
        distinct = list(dict.fromkeys(asked))
        assert copy.parts_of(distinct).equals(record.parts_of(distinct))


def test_columns_left_out_come_from_the_record(reader):
    assert reader.rows(["id1"], ["item_id", "thumbnail"]).to_pylist() == [{"item_id": "id1", "thumbnail": b"image"}]
    assert reader.rows(["id1"]).column_names == schema.items(reader.dim).names


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.upsert([{"item_id": "new", "modality": "ct", "vector": np.eye(DIM)[0]}]),
        lambda record: record.delete(["id0"]),
        lambda record: record.write([{"item_id": "id0", "modality": "ct", "vector": np.eye(DIM)[0]}]),
        lambda record: record.update_files({"id0": []}, {"id0": "elsewhere"}),
    ],
)
def test_any_change_of_the_record_is_seen_at_once(record, reader, change):
    assert reader.segment is not None
    change(record)
    assert reader.segment is None
    assert reader.matching() == record.matching()
    assert reader.search(QUERY, 9)[0].ids == record.search(QUERY, 9)[0].ids
    assert reader.rows(["id0"], ["uri"]).equals(record.rows(["id0"], ["uri"]))
    reader.publish()
    assert reader.segment is not None
    assert reader.search(QUERY, 9)[0].ids == record.search(QUERY, 9)[0].ids


def test_failures_and_runs_leave_the_segment_fresh(record, reader):
    record.record_failures([{"uri": "a"}])
    record.record_run({"run_id": "r"})
    assert reader.segment is not None


def test_only_the_fresh_segment_is_kept(record, reader, tmp_path):
    record.delete(["id0"])
    reader.publish()
    reader.publish()
    assert [path.name for path in (tmp_path / "segment").iterdir()] == [state_of(tmp_path / "tables")]


def test_another_index_in_the_same_place_is_another_state(record, tmp_path):
    states = {state_of(tmp_path / "tables")}
    for name in ("one", "two"):
        LanceStore.create(tmp_path / name, DIM).write([{"item_id": "a", "vector": np.eye(DIM)[0]}])
        states.add(state_of(tmp_path / name))
    assert len(states) == 3
    assert state_of(tmp_path / "absent") is None


def test_a_reader_goes_on_with_a_segment_that_is_replaced(record, reader):
    old = reader.segment
    assert old is not None
    record.delete(["id0"])
    reader.publish()
    assert len(old.parts_of(["id3"])) == 3
    assert len(old.search(QUERY, 9)[0]) == 5


@pytest.mark.parametrize("name", ["manifest.json", "items.arrow"])
def test_a_damaged_segment_is_not_used(record, reader, tmp_path, name):
    path = tmp_path / "segment" / str(state_of(tmp_path / "tables"))
    assert damaged_files(path) == []
    (path / name).write_bytes(b"{}")
    assert Segment.open(tmp_path / "segment", path.name) is None
    again = Reader(tmp_path / "tables", tmp_path / "segment")
    assert again.matching() == record.matching()
    again.publish()
    assert again.segment is not None
    (again.segment.path / "parts.arrow").write_bytes(b"other")
    assert damaged_files(again.segment.path) == ["parts.arrow"]


def test_nothing_is_published_while_another_process_commits(record, tmp_path):
    class Busy:
        dim, version = DIM, 1

        def everything(self, columns):
            copied = record.everything(columns)
            record.delete(["id0"])
            return copied

    assert publish(tmp_path / "segment", tmp_path / "tables", Busy()) is None
    assert not (tmp_path / "segment").exists()


def test_an_empty_record_has_a_segment(tmp_path):
    LanceStore.create(tmp_path / "tables", DIM)
    reader = Reader(tmp_path / "tables", tmp_path / "segment", faiss_from=0)
    reader.publish()
    assert reader.segment is not None
    assert reader.search(QUERY, 3)[0].ids == ()
    assert reader.parts_of(["a"]).num_rows == 0


def test_no_tables(tmp_path):
    with pytest.raises(IndexNotFound):
        Reader(tmp_path / "tables", tmp_path / "segment")


def test_a_fresh_segment_needs_neither_lancedb_nor_pandas(reader, tmp_path):
    program = """
import sys
from pathlib import Path
import numpy as np
from m3search import filters
from m3search.stores import schema
from m3search.stores.reader import Reader

reader = Reader(Path(sys.argv[1]) / "tables", Path(sys.argv[1]) / "segment")
found = reader.search(np.eye(4, dtype=np.float32), 3, filters.parse("modality in (ct, ecg) and labels contains a"))[0]
rows = reader.rows(found.ids, ["item_id", "text", "labels", "vector"])
rows.to_pylist(), schema.matrix(rows["vector"]), schema.matrix(reader.parts_of(found.ids)["vector"])
reader.matching(filters.starts_with("item_id", "id")), reader.tally("modality"), reader.count()
print(len(found), *sorted({"lancedb", "pandas", "faiss", "pyarrow.compute"} & set(sys.modules)))
"""
    run = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["3"]


# FAISS ----------------------------------------------------------------------------------------------------------------
def test_faiss_is_used_from_some_size_on(record, tmp_path):
    small = publish(tmp_path / "small", tmp_path / "tables", record, faiss_from=6)
    large = publish(tmp_path / "large", tmp_path / "tables", record, faiss_from=5)
    assert small is not None
    assert large is not None
    assert not (small.path / "vectors.faiss").exists()
    assert (large.path / "vectors.faiss").exists()
    assert large.search(QUERY, 3)[0].ids == small.search(QUERY, 3)[0].ids


def test_without_faiss_answers_are_the_same(record, tmp_path, monkeypatch):
    with_it = publish(tmp_path / "segment", tmp_path / "tables", record, faiss_from=1)
    assert with_it is not None
    expected = with_it.search(QUERY, 3)[0]
    monkeypatch.setitem(sys.modules, "faiss", None)  # importing it now fails
    without = Segment.open(tmp_path / "segment", with_it.path.name)
    assert without is not None
    assert without.search(QUERY, 3)[0].ids == expected.ids
    with pytest.raises(MissingExtra, match=r'pip install "m3search\[cpu\]"'):
        faiss.FlatIndex.build(QUERY)


def test_a_damaged_faiss_file_is_not_used(record, tmp_path):
    made = publish(tmp_path / "segment", tmp_path / "tables", record, faiss_from=1)
    assert made is not None
    (made.path / "vectors.faiss").write_bytes(b"nonsense")
    assert Segment.open(tmp_path / "segment", made.path.name) is None


def test_faiss_is_asked_again_until_no_tie_is_cut(tmp_path):
    vectors = np.repeat(np.eye(DIM, dtype=np.float32), [300, 40, 60, 100], axis=0)
    index = faiss.FlatIndex.build(vectors)
    nearest, farther = segment._by_faiss(index, vectors[[0, 310]], 20, None)
    assert sorted(nearest) == list(range(300))
    assert sorted(farther) == list(range(300, 340))
    odd = np.arange(500) % 2 == 1
    assert sorted(segment._by_faiss(index, vectors[:1], 20, odd)[0]) == list(range(1, 300, 2))


def test_flat_index_keeps_half_precision_exactly(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(300, 16)).astype(np.float16).astype(np.float32)
    faiss.FlatIndex.build(vectors).save(tmp_path / "index")
    index = faiss.FlatIndex.open(tmp_path / "index")
    assert len(index) == 300
    scores, rows = index.search(vectors[:4], 300)
    np.testing.assert_allclose(scores, np.take_along_axis(vectors[:4] @ vectors.T, rows, 1), rtol=1e-5, atol=1e-5)
    odd = np.arange(300) % 2 == 1
    _, rows = index.search(vectors[:4], 150, odd)
    assert (np.sort(rows, axis=1) == np.flatnonzero(odd)).all()
