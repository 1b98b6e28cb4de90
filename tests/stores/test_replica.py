"""A copy of an index in Milvus: filled, resumed, verified, put in place, searched. In milvus-lite, without a server."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import m3search
from m3search.errors import EncoderMismatch, FilterError, IndexNotFound, StoreUnreachable, UsageError
from m3search.stores import open_remote, replica
from m3search.stores.folder import IndexFolder
from m3search.stores.milvus import MilvusStore

pytest.importorskip("milvus_lite", reason="milvus-lite is not installed")


@pytest.fixture
def index(indexed, tmp_path):
    """A copy of the phantoms' index, for tests that write."""
    shutil.copytree(indexed, tmp_path / ".m3search")
    return tmp_path / ".m3search"


@pytest.fixture
def address(tmp_path):
    return f"milvus-lite:{tmp_path / 'copy.db'}"


def found(engine, **how):
    return [(hit.item_id, hit.score, hit.uri) for hit in engine.search("pleural effusion", k=7, **how)]


def test_a_copy_answers_as_the_index_does(index, address):
    done = m3search.publish(index, to=address)
    assert done.in_place
    assert done.items == done.copied == IndexFolder.open(index).record().count()
    assert (done.recall_items, done.recall_texts) == (1, 1)
    here, there = m3search.open(index), m3search.open(index, store=address)
    for how in ({}, {"where": "modality = ct"}, {"modality": "ecg", "group": "study"}):
        assert found(there, **how) == found(here, **how)
    assert there.status().items == done.items


def test_what_a_person_wrote_stays_in_the_index(index, address):
    m3search.publish(index, to=address)
    store = open_remote(address, 256)
    assert {"uri", "text"}.isdisjoint(store.capabilities.columns)
    with pytest.raises(FilterError, match="text is not kept"):
        m3search.open(index, store=address).search("mass", where="text contains mass")


def test_a_killed_publication_goes_on_where_it_stood(index, address, monkeypatch):
    monkeypatch.setattr(replica, "ROWS", 4)
    written = []
    upsert = MilvusStore.upsert

    def dying(self, rows):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(rows.num_rows)
        upsert(self, rows)

    monkeypatch.setattr(MilvusStore, "upsert", dying)
    with pytest.raises(KeyboardInterrupt):
        m3search.publish(index, to=address)
    with pytest.raises(IndexNotFound, match="nothing was published"):
        found(m3search.open(index, store=address))
    monkeypatch.setattr(MilvusStore, "upsert", upsert)
    done = m3search.publish(index, to=address)
    assert done.in_place
    assert done.copied == done.items - sum(written)
    assert found(m3search.open(index, store=address)) == found(m3search.open(index))
    assert json.loads((index / replica.NOTES).read_text()) == {}


def test_a_new_version_takes_the_name_over(index, address):
    first = m3search.publish(index, to=address)
    engine = m3search.open(index, store=address)
    gone = found(engine)[0][0]
    record = IndexFolder.open(index).record()
    record.delete([gone])
    assert gone not in [item_id for item_id, _, _ in found(engine)]  # at once: the index says what is there
    second = m3search.publish(index, to=address, drop_old=True)
    assert second.version > first.version
    assert second.dropped == (first.collection,)
    assert second.items == first.items - 1
    assert found(engine) == found(m3search.open(index))


def test_a_copy_that_lacks_rows_is_not_put_in_place(index, address, monkeypatch):
    upsert = MilvusStore.upsert
    monkeypatch.setattr(MilvusStore, "upsert", lambda self, rows: upsert(self, rows[1:]))
    assert not m3search.publish(index, to=address).in_place
    with pytest.raises(IndexNotFound):
        found(m3search.open(index, store=address))


def test_a_copy_of_another_encoders_index_is_refused(index, address):
    m3search.publish(index, to=address)
    manifest = json.loads((index / "manifest.json").read_text())
    (index / "manifest.json").write_text(json.dumps(manifest | {"fingerprint": "0" * 64}))
    with pytest.raises(EncoderMismatch, match="of this encoder"):
        replica.open_replica(IndexFolder.open(index), address)


def test_a_collection_of_somebody_else_is_left_alone(index, address):
    other = open_remote(address, 4)
    other.ensure()
    with pytest.raises(UsageError, match="did not publish"):
        m3search.publish(index, to=address)
    assert other.count() == 0


@pytest.mark.parametrize("bad", ["milvus://", "milvus://host:1/a-b", "redis://host/x", "milvus://u:secret@host/x"])
def test_bad_addresses_are_refused_without_their_secrets(index, bad):
    with pytest.raises(UsageError) as caught:
        m3search.publish(index, to=bad)
    assert "secret" not in str(caught.value)


def test_a_server_that_is_away_is_named(index):
    with pytest.raises(StoreUnreachable, match=r"127\.0\.0\.1:9"):
        m3search.publish(index, to="milvus://127.0.0.1:9/x")


def test_more_neighbours_than_milvus_gives_are_refused(address):
    store = open_remote(address, 4)
    store.ensure()
    with pytest.raises(UsageError, match="at most"):
        store.search(np.ones((1, 4), np.float32), 20_000)
