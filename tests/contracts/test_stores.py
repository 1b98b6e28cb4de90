"""What every store promises, whichever it is: the same answers, to the last bit, as the oracle in memory."""

from __future__ import annotations

from itertools import count

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m3search import filters
from m3search.stores import schema
from m3search.stores.lance import LanceStore
from m3search.stores.memory import MemoryStore
from m3search.stores.milvus import Address, MilvusStore
from m3search.stores.place import place_of
from m3search.stores.publishing import Policy
from m3search.stores.reader import Reader

DIM = 8
ON_A_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here")
ON_A_SERVER = pytest.mark.cluster
STORES = (
    "memory",
    "lance",
    "segment",
    "flat",
    "stale",
    "torch",
    pytest.param("cuda", marks=ON_A_GPU),
    "milvus-lite",
    pytest.param("milvus", marks=ON_A_SERVER),
    pytest.param("lance-s3", marks=ON_A_SERVER),
)
number = count()


class Kept(Policy):
    """Never makes another segment, however much has changed."""

    def suffices(self, view) -> bool:
        return True


POLICIES = {
    "segment": Policy(flat_from=10**9, lists_from=10**9),
    "flat": Policy(flat_from=1, lists_from=10**9),
    "stale": Kept(),
    "torch": Policy(),
    "cuda": Policy(),
}
DEVICES = {"torch": "cpu", "cuda": "cuda"}


class Published(Reader):
    """A reader that publishes after each write, so that it is a segment that answers; with "stale" always the first."""

    def upsert(self, rows) -> None:
        super().upsert(rows)
        self.publish()
        assert self.view is not None

    def delete(self, item_ids) -> int:
        removed = super().delete(item_ids)
        self.publish()
        return removed


def in_milvus(address: Address, dim: int) -> MilvusStore:
    """An empty collection."""
    store = MilvusStore(address, dim)
    store.ensure()
    return store


@pytest.fixture(params=STORES)
def new_store(request, tmp_path_factory):
    """A function that makes an empty store."""

    def make(dim=DIM):
        if request.param == "memory":
            return MemoryStore(dim)
        folder = tmp_path_factory.mktemp("store") / str(next(number))
        if request.param == "milvus-lite":
            pytest.importorskip("milvus_lite", reason="milvus-lite is not installed")
            return in_milvus(Address(str(tmp_path_factory.getbasetemp() / "milvus.db"), f"n{next(number)}"), dim)
        if request.param == "milvus":
            server = request.getfixturevalue("milvus_server")
            return in_milvus(Address.of(f"{server}/n{next(number)}"), dim)
        if request.param == "lance-s3":
            place = place_of(f"{request.getfixturevalue('on_s3')}/n{next(number)}")
            return LanceStore.create(place / "tables", dim)
        record = LanceStore.create(folder / "tables", dim)
        if request.param == "lance":
            return record
        return Published(folder / "tables", folder / "segment", POLICIES[request.param], DEVICES.get(request.param))

    return make


def unit(vectors) -> np.ndarray:
    vectors = np.asarray(vectors, dtype=np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def rows(ids, vectors, **columns) -> pa.Table:
    columns = {name: list(values) for name, values in columns.items()}
    each = (
        [{name: values[n] for name, values in columns.items()} for n in range(len(ids))] if columns else [{}] * len(ids)
    )
    return schema.conform(
        [{"item_id": i, "modality": "ct", "vector": v} | c for i, v, c in zip(ids, unit(vectors), each, strict=True)],
        schema.items(vectors.shape[1] if len(vectors) else DIM),
    )


def assert_same(found, expected):
    assert [one.ids for one in found] == [one.ids for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.scores.dtype == np.float32
        np.testing.assert_array_equal(one.scores, other.scores)


RANDOM = np.random.default_rng(0)
VECTORS = unit(RANDOM.normal(size=(40, DIM)))
IDS = [f"id{n:02}" for n in range(40)]


def test_empty(new_store):
    store = new_store()
    assert store.dim == DIM
    assert store.count() == 0
    (found,) = store.search(VECTORS[:1], 5)
    assert found.ids == ()
    assert found.scores.shape == (0,)
    assert store.delete(["id00"]) == 0


def test_a_stored_vector_finds_itself_first(new_store):
    store = new_store()
    store.upsert(rows(IDS, VECTORS))
    for item_id, found in zip(IDS, store.search(VECTORS, 3), strict=True):
        assert found.ids[0] == item_id
        assert found.scores[0] >= 0.999
        assert len(found) == 3


def test_scores_are_inner_products(new_store):
    store = new_store()
    store.upsert(rows(IDS, VECTORS))
    (found,) = store.search(VECTORS[7:8], 40)
    np.testing.assert_allclose(found.scores, [VECTORS[7] @ VECTORS[IDS.index(i)] for i in found.ids], atol=1e-3)
    assert (np.diff(found.scores) <= 0).all()


def test_more_asked_than_there_are(new_store):
    store = new_store()
    store.upsert(rows(IDS[:3], VECTORS[:3]))
    assert sorted(store.search(VECTORS[:1], 100)[0].ids) == IDS[:3]


@pytest.mark.parametrize("k", [1, 5, 37])
def test_ties_are_broken_by_id_across_the_last_place(new_store, k):
    store = new_store()
    shuffled = RANDOM.permutation(40)
    store.upsert(rows([IDS[n] for n in shuffled], np.tile(VECTORS[:1], (40, 1))))
    (found,) = store.search(VECTORS[:1], k)
    assert found.ids == tuple(IDS[:k])
    assert len(set(found.scores.tolist())) == 1


def test_more_ties_than_a_search_asks_for_at_first(new_store):
    store = new_store()
    ids = [f"{n:04}" for n in range(500)]
    vectors = np.tile(VECTORS[:1], (500, 1))
    vectors[:100] = VECTORS[1]
    store.upsert(rows(ids[::-1], vectors[::-1]))
    assert store.search(VECTORS[:1], 20)[0].ids == tuple(ids[100:120])


def test_upsert_replaces_the_whole_row(new_store):
    store = new_store()
    store.upsert(rows(IDS[:2], VECTORS[:2], sex=["F", "F"], year=[2000, 2001]))
    store.upsert(rows(IDS[:1], VECTORS[5:6], sex=["M"]))
    assert store.count() == 2
    assert store.count(filters.equals("sex", "F")) == 1
    assert store.count(filters.parse("year = 2000")) == 0
    assert store.search(VECTORS[5:6], 1)[0].ids == (IDS[0],)
    assert store.search(VECTORS[5:6], 1)[0].scores[0] >= 0.999


def test_of_repeated_ids_the_last_row_counts(new_store):
    store = new_store()
    store.upsert(rows(["a", "b", "a"], VECTORS[:3]))
    assert store.count() == 2
    assert store.search(VECTORS[2:3], 1)[0].ids == ("a",)


def test_upsert_of_nothing(new_store):
    store = new_store()
    store.upsert(schema.items(DIM).empty_table())
    assert store.count() == 0


def test_deleted_items_are_gone(new_store):
    store = new_store()
    store.upsert(rows(IDS, VECTORS))
    assert store.delete([*IDS[:10], "never there", IDS[0]]) == 10
    assert store.count() == 30
    for found in store.search(VECTORS, 40):
        assert not set(found.ids) & set(IDS[:10])
        assert len(found) == 30


def test_a_filter_never_loses_a_match(new_store):
    store = new_store()
    store.upsert(rows(IDS, VECTORS, sex=["F" if n % 8 == 0 else "M" for n in range(40)]))
    for found in store.search(VECTORS, 5, filters.equals("sex", "F")):
        assert sorted(found.ids) == IDS[::8]
    assert store.search(VECTORS[:1], 5, filters.equals("sex", "nobody"))[0].ids == ()
    assert store.search(VECTORS[:1], 5, filters.one_of("sex", []))[0].ids == ()


def test_no_queries(new_store):
    assert new_store().search(np.zeros((0, DIM), dtype=np.float32), 3) == []


@pytest.mark.parametrize("ids", [["it's"], ['"'], ["a\\"], ["%"], ["é"]])
def test_any_text_is_an_id(new_store, ids):
    store = new_store()
    store.upsert(rows(ids, VECTORS[:1]))
    assert store.search(VECTORS[:1], 1)[0].ids == tuple(ids)
    assert store.delete(ids) == 1
    assert store.count() == 0


@pytest.mark.parametrize(("shape", "k"), [((DIM,), 1), ((1, DIM + 1), 1), ((1, DIM), 0)])
def test_wrong_queries_are_refused(new_store, shape, k):
    with pytest.raises(ValueError, match=r"queries must be|k must be"):
        new_store().search(np.zeros(shape, dtype=np.float32), k)


@pytest.mark.parametrize("bad", [None, np.full(DIM, np.nan), np.full(DIM, np.inf)])
def test_bad_vectors_are_refused(new_store, bad):
    with pytest.raises(ValueError, match="vector"):
        new_store().upsert(schema.conform([{"item_id": "a", "modality": "ct", "vector": bad}], schema.items(DIM)))


def test_unknown_columns_are_refused(new_store):
    with pytest.raises(ValueError, match="no such column: name"):
        new_store().upsert(pa.table({"item_id": ["a"], "name": ["Doe"]}))


# Whatever is done, in any order, all stores say the same ------------------------------------------------------------
FEW_IDS = st.sampled_from(["a", "b", "c", "d", "e", "f"])
GRID = st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=2, max_size=2).filter(any)  # many ties
ITEM = st.fixed_dictionaries(
    {
        "item_id": FEW_IDS,
        "vector": GRID.map(unit),
        "sex": st.sampled_from([None, "F", "M"]),
        "year": st.sampled_from([None, 2000, 2010]),
        "labels": st.sampled_from([None, [], ["Mass"], ["Mass", "Nodule"]]),
    }
)
UPSERT = st.tuples(st.just("upsert"), st.lists(ITEM, min_size=1, max_size=6))
DELETE = st.tuples(st.just("delete"), st.lists(FEW_IDS, max_size=3))
EXPRESSIONS = (
    "sex = F",
    "not sex = F",
    "year >= 2005 or labels contains mass",
    "labels contains nodule",
    "sex is null and year != 2000",
)


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    actions=st.lists(UPSERT | DELETE, min_size=1, max_size=4),
    queries=st.lists(GRID, min_size=1, max_size=3),
    k=st.integers(1, 8),
)
def test_equal_to_the_oracle(new_store, actions, queries, k):
    store, oracle = new_store(2), MemoryStore(2)
    for action, argument in actions:
        if action == "upsert":
            table = schema.conform([{"modality": "ct"} | row for row in argument], schema.items(2))
            store.upsert(table)
            oracle.upsert(table)
        else:
            assert store.delete(argument) == oracle.delete(argument)
        for where in (None, *map(filters.parse, EXPRESSIONS)):
            assert store.count(where) == oracle.count(where)
            assert_same(store.search(unit(queries), k, where), oracle.search(unit(queries), k, where))


def test_equal_to_the_oracle_at_size(new_store):
    store, oracle = new_store(64), MemoryStore(64)
    vectors = unit(RANDOM.normal(size=(3000, 64)))
    vectors[1000:2000] = vectors[:1000]  # every other one has a twin
    table = rows([f"{n * 7919 % 3000:05}" for n in range(3000)], vectors, year=[n % 100 for n in range(3000)])
    store.upsert(table)
    oracle.upsert(table)
    queries = unit(RANDOM.normal(size=(5, 64)))
    for where in (None, filters.parse("year < 50"), filters.parse("year = 3")):
        assert_same(store.search(queries, 25, where), oracle.search(queries, 25, where))
