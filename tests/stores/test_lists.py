"""A segment with inverted lists: its promise of recall, filters that lose nothing, and what is committed after it."""

from __future__ import annotations

import os
import shutil
from datetime import timedelta

import numpy as np
import pytest

from m3search import filters
from m3search.stores import faiss, publishing, schema, segment, tuning
from m3search.stores.base import rank
from m3search.stores.lance import LanceStore
from m3search.stores.publishing import Policy, publish
from m3search.stores.reader import Reader
from m3search.stores.segment import Segment
from m3search.stores.tuning import Setting, Tuning, neighbours

MODALITIES = ("xray", "ct", "ecg", "retina")
DIM, COUNT, CLUSTERS = 32, 6000, 60
POLICY = Policy(flat_from=1, lists_from=1000, stale=0.05, queries=100)


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def of_clusters(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (N, DIM) and the cluster of each."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(CLUSTERS, DIM))
    cluster = rng.integers(CLUSTERS, size=count)
    return unit(centres[cluster] + 0.4 * rng.normal(size=(count, DIM))), cluster


def rows(numbers, vectors, clusters) -> list[dict]:
    return [
        {"item_id": f"{number:05}", "modality": MODALITIES[int(cluster) % 4], "vector": vector, "year": number % 1000}
        for number, vector, cluster in zip(numbers, vectors, clusters, strict=True)
    ]


VECTORS, CLUSTER = of_clusters(COUNT, 1)
QUERIES, QUERY_CLUSTER = of_clusters(40, 2)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Lists are used for filters too, however few rows there are."""
    monkeypatch.setattr(segment, "FEW", 20)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An index of lists, for tests that only read."""
    folder = tmp_path_factory.mktemp("lists")
    record = LanceStore.create(folder / "tables", DIM)
    record.upsert(rows(range(COUNT), VECTORS, CLUSTER))
    reader = Reader(folder / "tables", folder / "segment", POLICY)
    built = reader.publish()
    assert built is not None
    assert built.tuning is not None
    return reader


@pytest.fixture
def own(made, tmp_path):
    """A copy of it, for tests that write."""
    shutil.copytree(made._tables.parent, tmp_path / "index")
    return Reader(tmp_path / "index/tables", tmp_path / "index/segment", POLICY)


def recall(reader, queries, k=10, where=None) -> float:
    """Against the record, which scans everything."""
    found = reader.search(queries, k, where)
    exact = reader.record.search(queries, k, where)
    assert [len(one) for one in found] == [len(one) for one in exact]
    return float(np.mean([len(set(a.ids) & set(b.ids)) / max(len(b), 1) for a, b in zip(found, exact, strict=True)]))


@pytest.mark.parametrize("k", [1, 10, 60, 250])
def test_the_promised_recall_is_kept(made, k):
    assert recall(made, QUERIES, k) >= 0.97
    mixed = unit(QUERIES[::2] + QUERIES[1::2])
    assert recall(made, mixed, k) >= 0.97


def test_results_say_whether_they_are_exact(made):
    assert not made.search(QUERIES[:1], 10)[0].exact
    assert made.search(QUERIES[:1], 10, filters.parse("year = 3"))[0].exact  # a dozen rows: all are scored
    assert not made.search(QUERIES[:1], 10, filters.parse("year >= 500"))[0].exact
    assert made.search(QUERIES[:1], COUNT)[0].exact  # nothing to be gained from lists


@pytest.mark.parametrize("where", ["year < 1", "year < 10", "year < 100", "year < 500", "modality = ct", "year >= 0"])
def test_filters_lose_nothing(made, where):
    assert recall(made, QUERIES, 10, filters.parse(where)) >= 0.97


def test_a_filter_that_leaves_only_what_is_far_from_the_query_loses_nothing(made):
    of_query = np.array(MODALITIES)[QUERY_CLUSTER % 4]
    for modality in MODALITIES:
        far = QUERIES[of_query != modality][:10]
        assert recall(made, far, 10, filters.equals("modality", modality)) >= 0.97


def test_vectors_that_are_alike_leave_lists_empty(tmp_path):
    """As of films that were exported again and again: fewer different vectors than lists."""
    few = unit(np.random.default_rng(5).normal(size=(30, DIM)))
    record = LanceStore.create(tmp_path / "tables", DIM)
    record.upsert(rows(range(3000), few[np.arange(3000) % 30], np.arange(3000)))
    reader = Reader(tmp_path / "tables", tmp_path / "segment", POLICY)
    built = reader.publish()
    assert built is not None
    assert built.manifest["kind"] == "lists"
    for where in (None, filters.parse("modality = ct"), filters.parse("year < 7")):
        found = reader.search(few, 10, where)
        exact = reader.record.search(few, 10, where)
        for one, other in zip(found, exact, strict=True):
            np.testing.assert_allclose(one.scores, other.scores, atol=1e-3)


def test_equal_vectors_are_ordered_by_id(quick):
    own = quick
    own.record.upsert(rows(range(50, 70), np.tile(QUERIES[:1], (20, 1)), [0] * 20))
    own.publish(anew=True)
    (found,) = own.search(QUERIES[:1], 8)
    assert list(found.ids) == sorted(found.ids)
    assert set(found.ids) <= {f"{number:05}" for number in range(50, 70)}


def test_an_upsert_and_a_deletion_are_seen_by_the_next_search(own):
    first = own.view.segment
    own.upsert(rows([77777], QUERIES[:1], [0]))
    assert own.search(QUERIES[:1], 1)[0].ids == ("77777",)
    nearest = own.search(QUERIES[1:2], 5)[0].ids
    own.delete(nearest[:3])
    after = own.search(QUERIES[1:2], 5)[0].ids
    assert after[:2] == nearest[3:]
    assert not set(after) & set(nearest[:3])
    own.upsert([{"item_id": nearest[3], "modality": "ct", "vector": -QUERIES[1]}])  # moves away
    assert nearest[3] not in own.search(QUERIES[1:2], 5)[0].ids
    assert own.view.segment is first
    assert own.view.changed == 6
    assert own.count() == COUNT + 1 - 3
    assert own.matching(filters.one_of("item_id", ["77777", nearest[0], nearest[4]])) == sorted(["77777", nearest[4]])
    assert own.rows(["77777", nearest[0]], ["item_id"])["item_id"].to_pylist() == ["77777"]
    own.record.optimize()  # moves rows, but they keep their ids
    assert own.view.segment is first
    assert own.view.changed == 6


def test_a_segment_is_made_anew_only_past_a_threshold(quick):
    own = quick
    first = own.view.segment.path.name
    own.upsert(rows(range(COUNT, COUNT + 100), *of_clusters(100, 5)))
    assert own.publish().path.name == first
    own.upsert(rows(range(COUNT + 100, COUNT + 500), *of_clusters(400, 6)))
    assert own.publish().path.name != first
    assert own.view.changed == 0
    assert len([path for path in own._segments.iterdir() if path.is_dir()]) == 1
    assert recall(own, QUERIES) >= 0.97


def test_any_order_of_writes_and_searches_agrees_with_the_record(own):
    rng = np.random.default_rng(7)
    for step in range(int(os.environ.get("M3SEARCH_TEST_ACTIONS", "12"))):
        numbers = rng.integers(COUNT + 500, size=8)
        if step % 500 == 499:
            own.publish()
        if step % 50 == 49:  # as after an index run: each action leaves a version and a fragment, which cost every look
            own.record.optimize(keep=timedelta(0))
        if step % 3 == 2:
            own.delete([f"{number:05}" for number in numbers])
        else:
            own.upsert(rows(np.unique(numbers), *of_clusters(len(np.unique(numbers)), 100 + step)))
        where = filters.parse("modality in (ct, ecg)") if step % 2 else None
        assert own.count(where) == own.record.count(where)
        assert recall(own, QUERIES[:10], 10, where) >= 0.95
        some = [f"{number:05}" for number in numbers]
        assert own.rows(some, ["item_id", "year"]).to_pylist() == own.record.rows(some, ["item_id", "year"]).to_pylist()


def test_tuning_is_recorded(made):
    tuned = made.view.segment.tuning
    assert min(tuned.recall_items, tuned.recall_texts) >= 0.98
    assert [setting.depth for setting in tuned.settings] == [10, 32, 100, 320]
    assert tuned.texts == "made"
    assert Tuning.from_json(tuned.to_json()) == tuned
    assert made.view.segment.kind == f"IVF{tuned.lists},PQ16x4fsr"


def test_settings_of_other_depths():
    tuned = Tuning(1000, (Setting(10, 8, 40), Setting(100, 32, 200)), 1.0, 1.0)
    assert tuned.setting(3).nprobe == 8
    assert tuned.setting(11) == Setting(100, 32, 200)
    assert tuned.setting(400).nprobe == round(32 * 4 ** (np.log(4) / np.log(10)))
    assert tuned.setting(10**9).nprobe == 1000
    setting, wanted = tuned.filtered(10, matching=10_000, count=100_000)
    assert (setting.nprobe, setting.candidates) == (32, 40)  # as deep as the 100th neighbour of all
    assert wanted == 10_000 * 32 / 1000


def test_exact_neighbours_over_blocks():
    vectors, queries = VECTORS[:700].astype(np.float16), QUERIES[:5]
    itself = np.array([-1, 3, -1, 650, -1])
    found = neighbours(vectors, queries, itself, 20, block=64)
    scores = queries @ vectors.astype(np.float32).T
    scores[[1, 3], [3, 650]] = -np.inf
    np.testing.assert_array_equal(found, np.argsort(-scores, axis=1)[:, :20])


def test_a_killed_build_goes_on_where_it_stood(own, monkeypatch):
    trained = []
    train = faiss.InvertedFile.train
    monkeypatch.setattr(faiss.InvertedFile, "train", lambda *a, **k: trained.append(1) or train(*a, **k))
    tune = publishing.tune
    monkeypatch.setattr(publishing, "tune", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt()))
    own.upsert(rows(range(1000), *of_clusters(1000, 9)))
    with pytest.raises(KeyboardInterrupt):
        own.publish()
    assert recall(own, QUERIES) >= 0.97  # the old one serves, corrected
    monkeypatch.setattr(publishing, "tune", tune)
    own.upsert(rows([88888], QUERIES[:1], [0]))  # during the build
    built = own.publish()
    assert trained == [1]
    assert built.manifest["count"] == COUNT
    assert own.search(QUERIES[:1], 1)[0].ids == ("88888",)
    assert list(own._segments.glob("*.part")) == []


def test_scores_are_those_of_the_record(made):
    (found,) = made.search(QUERIES[:1], 10)
    vectors = schema.matrix(made.rows(found.ids, ["vector"])["vector"])
    np.testing.assert_allclose(found.scores, rank(QUERIES[0], vectors, found.ids, 10).scores, atol=1e-5)


def test_without_its_lists_a_segment_is_not_used(quick):
    own = quick
    (own.view.segment.path / "lists.faiss").write_bytes(b"nonsense")
    assert Segment.newest(own._segments) is None
    again = Reader(own._tables, own._segments, POLICY)
    assert again.search(QUERIES[:1], 3)[0].exact
    assert publish(own._segments, own._tables, own.record, POLICY) is not None


class Killed(BaseException):
    """Stands for the end of the process: nothing on disk happens after it."""


@pytest.fixture
def quick(own, monkeypatch):
    """What takes longest of a build is taken from the first one."""
    trained, tuned = faiss.read_trained(own.view.segment.path / "lists.faiss"), own.view.segment.tuning
    trained.reset()
    monkeypatch.setattr(faiss.InvertedFile, "train", lambda *_: trained)
    monkeypatch.setattr(publishing, "tune", lambda *_: tuned)
    return own


@pytest.mark.parametrize("after", range(9))
def test_killed_at_any_write_the_next_search_answers_as_before_or_after(quick, after):
    own = quick
    own.upsert(rows(range(1000), *of_clusters(1000, 9)))
    writes = []

    def dying(write):
        def step(*arguments, **keywords):
            if len(writes) == after:
                raise Killed
            writes.append(write)
            return write(*arguments, **keywords)

        return step

    with pytest.MonkeyPatch.context() as patch:
        for name in ("_write", "_save", "_step", "_sync"):
            patch.setattr(publishing, name, dying(getattr(publishing, name)))
        patch.setattr(publishing.Path, "rename", dying(publishing.Path.rename))
        with pytest.raises(Killed):
            own.publish()
    for reader in (own, Reader(own._tables, own._segments, POLICY)):
        assert reader.count() == COUNT
        assert recall(reader, QUERIES[:10]) >= 0.95
    built = own.publish()
    assert built.manifest["count"] == COUNT
    assert segment.names(own._segments) == [built.path.name]
    assert list(own._segments.glob("*.part")) == []


def test_killed_after_the_swap_the_new_segment_answers(quick):
    own = quick
    old = own.view.segment.path
    own.upsert(rows(range(1000), *of_clusters(1000, 9)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publishing, "begun", lambda root: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            own.publish()
    assert old.exists()
    again = Reader(own._tables, own._segments, POLICY)
    assert again.view.segment.path != old
    assert again.view.changed == 0


def test_an_open_segment_outlives_its_files(own):
    """A newer one may replace it, and its files go, before everything of it was first asked for."""
    opened = Segment(own.view.segment.path)
    shutil.rmtree(opened.path)
    assert len(opened.row_ids) == COUNT
    half = opened.choose(np.arange(COUNT) % 2 == 0)
    assert half.per_list.sum() == COUNT // 2
    found, exact = opened.nearest(QUERIES[:1], 10, half)
    assert not exact
    assert len(found[0].rows) == 10
    assert (found[0].rows % 2 == 0).all()


def test_texts_are_tried_as_they_are_and_as_calibration_asks():
    texts = VECTORS[:80].astype(np.float16)
    plain, centred = tuning._texts(texts, 40, np.random.default_rng(0))
    assert plain.shape == centred.shape == (40, DIM)
    raw = {row.tobytes() for row in texts.astype(np.float32)}
    assert all(row.tobytes() in raw for row in plain)
    moved = plain - texts.mean(axis=0, dtype=np.float32)
    np.testing.assert_allclose(centred, moved / np.linalg.norm(moved, axis=1, keepdims=True), atol=1e-5)


def test_texts_of_one_form_cannot_hide_what_the_other_misses(monkeypatch):
    vectors = VECTORS.astype(np.float16)
    flat = faiss.FlatIndex.build(vectors)
    lists = faiss.InvertedFile.build(faiss.InvertedFile.train(vectors, 32), vectors, flat)
    easy, hard = VECTORS[:60], unit(np.random.default_rng(1).normal(size=(60, DIM)))
    monkeypatch.setattr(tuning, "_seconds", lambda _lists, _queries, setting: setting.nprobe)
    monkeypatch.setattr(tuning, "DEPTHS", (10,))

    def nprobe(*texts) -> int:
        monkeypatch.setattr(tuning, "_texts", lambda *_: list(texts))
        return tuning.tune(lists, vectors, vectors[:60], most=60).settings[0].nprobe

    assert nprobe(easy, hard) == nprobe(hard, hard) > nprobe(easy, easy)


def test_neither_batches_nor_single_queries_pay_for_the_other(monkeypatch):
    class Timed:
        """Takes a while for each call and for each query."""

        now = 0.0

        def search(self, queries, _k, nprobe, candidates):
            self.now += nprobe + candidates * len(queries)

    timed = Timed()
    monkeypatch.setattr(tuning.time, "perf_counter", lambda: timed.now)
    for_batches, balanced = Setting(10, nprobe=100, candidates=10), Setting(10, nprobe=10, candidates=11)
    assert tuning._seconds(timed, VECTORS[:1000], for_batches) == pytest.approx((10.1 * 110) ** 0.5)
    assert tuning._seconds(timed, VECTORS[:1000], balanced) == pytest.approx((11.01 * 21) ** 0.5)


def test_tuning_on_texts_of_the_index(made, tmp_path):
    record = LanceStore.create(tmp_path / "tables", DIM)
    some = rows(range(1200), VECTORS[:1200], CLUSTER[:1200])
    record.upsert([row | {"text_vector": VECTORS[-row["year"]]} for row in some])
    built = publish(tmp_path / "segment", tmp_path / "tables", record, POLICY)
    assert built.tuning.texts == "stored"
    assert len(record.text_vectors(50)) == 50
