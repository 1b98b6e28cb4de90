"""Lists in Milvus: what a filter lets through is found, wherever it lies. In milvus-lite, without a server."""

from __future__ import annotations

import numpy as np
import pytest

from m3search import filters
from m3search.stores import milvus, open_remote, schema
from m3search.stores.memory import MemoryStore

pytest.importorskip("milvus_lite", reason="milvus-lite is not installed")
DIM, COUNT = 16, 3000


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """One with lists, and the oracle. Two in five items are of year 2, and lie on the other side of the space."""
    rng = np.random.default_rng(0)
    centres = unit(rng.normal(size=(40, DIM)))
    cluster = rng.integers(40, size=COUNT)
    vectors = unit(centres[cluster] + 0.3 * rng.normal(size=(COUNT, DIM)))
    far = vectors @ centres[0] < np.quantile(vectors @ centres[0], 0.4)
    rows = schema.conform(
        [
            {"item_id": f"{n:05}", "modality": "ct", "vector": vector, "year": 1 + int(away)}
            for n, (vector, away) in enumerate(zip(vectors, far, strict=True))
        ],
        schema.items(DIM),
    )
    oracle, store = MemoryStore(DIM), open_remote(f"milvus-lite:{tmp_path_factory.mktemp('lists') / 'some.db'}", DIM)
    store.ensure()
    oracle.upsert(rows)
    store.upsert(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(milvus, "LISTS_FROM", 1000)
        store.publish()
    return store, oracle, unit(centres[:1] + 0.2 * rng.normal(size=(30, DIM)))


@pytest.mark.parametrize("expression", [None, "year = 1", "year = 2", "year = 2 and item_id starts with 001"])
def test_recall_holds_also_where_matches_lie_far_from_the_query(stores, expression):
    store, oracle, queries = stores
    assert store._lists()
    where = None if expression is None else filters.parse(expression)
    found, exact = store.search(queries, 10, where), oracle.search(queries, 10, where)
    assert [len(one) for one in found] == [len(one) for one in exact]
    recall = np.mean([len(set(a.ids) & set(b.ids)) / len(b) for a, b in zip(found, exact, strict=True)])
    assert recall >= 0.97
