"""The segment: as the record in every answer, whatever is committed after it, and light to open."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from m3search import filters
from m3search.errors import IndexNotFound, MissingExtra
from m3search.stores import faiss, schema, segment
from m3search.stores.chosen import Chosen
from m3search.stores.lance import LanceStore
from m3search.stores.publishing import Policy, publish
from m3search.stores.reader import Reader
from m3search.stores.segment import Segment, damaged_files, names, state_of
from m3search.stores.view import View

DIM = 4
IDS = [f"id{n}" for n in (3, 1, 4, 0, 2)]
QUERY = np.eye(DIM, dtype=np.float32)[:1]


def assert_same(found, expected):
    assert [one.ids for one in found] == [one.ids for one in expected]
    np.testing.assert_array_equal([one.scores for one in found], [one.scores for one in expected])


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
    copy = reader.view
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
    first = reader.view.segment
    change(record)
    assert reader.view.segment is first
    assert reader.view.changed
    for where in (None, filters.parse("modality = ct"), filters.parse("labels contains id0")):
        assert reader.matching(where) == record.matching(where)
        assert reader.count(where) == record.count(where)
        assert reader.tally("modality", where) == record.tally("modality", where)
        assert_same(reader.search(QUERY, 9, where), record.search(QUERY, 9, where))
    columns = ["item_id", "uri", "labels", "vector"]
    asked = ["id3", "id0", "new", "zz", "id1"]
    assert reader.rows(asked, columns).to_pylist() == record.rows(asked, columns).to_pylist()
    assert reader.parts_of(asked).to_pylist() == record.parts_of(asked).to_pylist()
    reader.publish()
    assert reader.view.segment is not first
    assert not reader.view.changed
    assert_same(reader.search(QUERY, 9), record.search(QUERY, 9))


def test_a_segment_outlives_the_merging_of_fragments(record, reader):
    record.upsert([{"item_id": "new", "modality": "ct", "vector": np.eye(DIM)[0]}])
    record.delete(["id0"])
    record.optimize()
    assert reader.view.changed == 2
    assert reader.matching() == record.matching()


def test_a_table_whose_rows_keep_no_ids_is_read_itself_once_it_changed(tmp_path):
    import lancedb

    record = LanceStore.create(tmp_path / "tables", DIM)
    items = record.everything(schema.items(DIM).names)[1].drop_columns(["_rowid"])
    lancedb.connect(str(tmp_path / "tables")).drop_table("items")
    lancedb.connect(str(tmp_path / "tables")).create_table("items", items)
    record = LanceStore.open(tmp_path / "tables")
    reader = Reader(tmp_path / "tables", tmp_path / "segment")
    record.upsert([{"item_id": "a", "modality": "ct", "vector": np.eye(DIM)[0]}])
    reader.publish()
    assert reader.view is not None
    record.upsert([{"item_id": "b", "modality": "ct", "vector": np.eye(DIM)[1]}])
    assert reader.view is None
    assert reader.matching() == ["a", "b"]


def test_failures_and_runs_leave_the_segment_fresh(record, reader):
    record.record_failures([{"uri": "a"}])
    record.record_run({"run_id": "r"})
    assert reader.view.segment.state == state_of(reader._tables)


def test_only_the_newest_segment_is_kept(record, reader, tmp_path):
    record.delete(["id0"])
    reader.publish()
    reader.publish()
    assert [name.split("-")[1] for name in names(tmp_path / "segment")] == [state_of(tmp_path / "tables")]


def test_another_index_in_the_same_place_is_another_state(record, tmp_path):
    states = {state_of(tmp_path / "tables")}
    for name in ("one", "two"):
        LanceStore.create(tmp_path / name, DIM).write([{"item_id": "a", "vector": np.eye(DIM)[0]}])
        states.add(state_of(tmp_path / name))
    assert len(states) == 3
    assert state_of(tmp_path / "absent") is None


def test_a_reader_goes_on_with_a_segment_that_is_replaced(record, reader):
    old = reader.view
    record.delete(["id0"])
    reader.publish()
    assert len(old.parts_of(["id3"])) == 3
    assert len(old.search(QUERY, 9)[0]) == 5


@pytest.mark.parametrize("name", ["manifest.json", "items.arrow"])
def test_a_damaged_segment_is_not_used(record, reader, tmp_path, name):
    path = reader.view.segment.path
    assert damaged_files(path) == []
    (path / name).write_bytes(b"{}")
    assert Segment.newest(tmp_path / "segment") is None
    again = Reader(tmp_path / "tables", tmp_path / "segment")
    assert again.matching() == record.matching()
    again.publish()
    assert again.view is not None
    (again.view.segment.path / "parts.arrow").write_bytes(b"other")
    assert damaged_files(again.view.segment.path) == ["parts.arrow"]


def test_nothing_is_published_while_another_process_commits(record, tmp_path):
    class Busy:
        dim, version = DIM, 1

        def everything(self, columns):
            copied = record.everything(columns)
            record.delete(["id0"])
            return copied

    assert publish(tmp_path / "segment", tmp_path / "tables", Busy()) is None
    assert names(tmp_path / "segment") == []


def test_what_a_kill_left_of_older_segments_goes_with_the_next_run(record, tmp_path):
    """Found by `python -m tests.faults`: an old segment, half removed, was damage to `verify` until a compaction."""
    root = tmp_path / "segment"
    first = publish(root, tmp_path / "tables", record)
    assert first is not None
    older, halved = root / f"{0:012}-{first.state}", root / f"{1:012}-{first.state}.old"
    shutil.copytree(first.path, older)
    shutil.copytree(first.path, halved)
    (halved / "items.arrow").unlink()
    again = publish(root, tmp_path / "tables", record)
    assert again is not None
    assert again.path == first.path
    assert [path.name for path in root.iterdir() if path.is_dir()] == [first.path.name]


def test_an_old_segment_is_never_seen_half_removed(record, tmp_path, monkeypatch):
    root = tmp_path / "segment"
    publish(root, tmp_path / "tables", record)
    record.delete(["id0"])
    monkeypatch.setattr(shutil, "rmtree", lambda path, **_: (Path(path) / "items.arrow").unlink(missing_ok=True))
    publish(root, tmp_path / "tables", record)
    (name,) = names(root)
    assert damaged_files(root / name) == []


@pytest.mark.parametrize("left", [0, 10, 200])
def test_what_a_full_disk_left_of_a_copy_is_not_gone_on_with(record, tmp_path, left):
    """Found by `python -m tests.faults`: NumPy says of an empty file what it says of no other, and every run ended."""
    whole = publish(tmp_path / "segment", tmp_path / "tables", record)
    assert whole is not None
    work = whole.path.rename(whole.path.with_name(f"{whole.path.name}.part"))
    (work / "manifest.json").unlink()
    (work / "row_ids.npy").write_bytes((work / "row_ids.npy").read_bytes()[:left])
    again = publish(tmp_path / "segment", tmp_path / "tables", record)
    assert again is not None
    assert damaged_files(again.path) == []
    assert_same(View(again).search(QUERY, 3), record.search(QUERY, 3))


def test_an_empty_record_has_a_segment(tmp_path):
    LanceStore.create(tmp_path / "tables", DIM)
    reader = Reader(tmp_path / "tables", tmp_path / "segment", Policy(flat_from=0))
    reader.publish()
    assert reader.view is not None
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
    small = publish(tmp_path / "small", tmp_path / "tables", record, Policy(flat_from=6))
    large = publish(tmp_path / "large", tmp_path / "tables", record, Policy(flat_from=5))
    assert small is not None
    assert large is not None
    assert not (small.path / "vectors.faiss").exists()
    assert (large.path / "vectors.faiss").exists()
    assert_same(View(large).search(QUERY, 3), View(small).search(QUERY, 3))


def test_without_faiss_answers_are_the_same(record, tmp_path, monkeypatch):
    with_it = publish(tmp_path / "segment", tmp_path / "tables", record, Policy(flat_from=1))
    assert with_it is not None
    expected = View(with_it).search(QUERY, 3)
    monkeypatch.setitem(sys.modules, "faiss", None)  # importing it now fails
    without = Segment.newest(tmp_path / "segment")
    assert without is not None
    assert_same(View(without).search(QUERY, 3), expected)
    with pytest.raises(MissingExtra, match=r'pip install "m3search\[cpu\]"'):
        faiss.FlatIndex.build(QUERY)


def test_a_damaged_faiss_file_is_not_used(record, tmp_path):
    made = publish(tmp_path / "segment", tmp_path / "tables", record, Policy(flat_from=1))
    assert made is not None
    (made.path / "vectors.faiss").write_bytes(b"nonsense")
    assert Segment.newest(tmp_path / "segment") is None


def test_faiss_is_asked_again_until_no_tie_is_cut(tmp_path):
    vectors = np.repeat(np.eye(DIM, dtype=np.float32), [300, 40, 60, 100], axis=0)
    index = faiss.FlatIndex.build(vectors)
    nearest, farther = segment._by_flat(index, vectors[[0, 310]], 20, None)
    assert sorted(nearest) == list(range(300))
    assert sorted(farther) == list(range(300, 340))
    odd = np.arange(500) % 2 == 1
    assert sorted(segment._by_flat(index, vectors[:1], 20, Chosen(odd))[0]) == list(range(1, 300, 2))


def test_flat_index_keeps_half_precision_exactly(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(300, 16)).astype(np.float16).astype(np.float32)
    faiss.FlatIndex.build(vectors).save(tmp_path / "index")
    index = faiss.FlatIndex.open(tmp_path / "index")
    assert len(index) == 300
    scores, rows = index.search(vectors[:4], 300)
    np.testing.assert_allclose(scores, np.take_along_axis(vectors[:4] @ vectors.T, rows, 1), rtol=1e-5, atol=1e-5)
    odd = np.arange(300) % 2 == 1
    _, rows = index.search(vectors[:4], 150, Chosen(odd))
    assert (np.sort(rows, axis=1) == np.flatnonzero(odd)).all()


def _on_a_full_disk(index: faiss.FlatIndex | faiss.InvertedFile) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with pytest.raises(OSError, match="No space left") as raised:
        index.save(Path("/dev/full"))
    assert raised.value.errno == errno.ENOSPC


@pytest.mark.parametrize("count", [1, 3000])
def test_a_full_disk_is_told_of_few_bytes_and_of_many(count):
    """FAISS's own writer takes it for done where the last bytes, up to 4096, find no room."""
    _on_a_full_disk(faiss.FlatIndex.build(np.ones((count, 16))))


def test_a_full_disk_is_told_of_lists():
    vectors = np.random.default_rng(0).normal(size=(1000, 16)).astype(np.float16)
    flat = faiss.FlatIndex.build(vectors)
    _on_a_full_disk(faiss.InvertedFile.build(faiss.InvertedFile.train(vectors, 4), vectors, flat))
