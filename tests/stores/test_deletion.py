"""Deleting: gone from every place a search reads, remembered without a name, and whole after a kill."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from m3search import filters
from m3search.errors import FilterError, IndexLocked, NoIndex, UsageError
from m3search.privacy import Pseudonyms
from m3search.stores.deletion import Selection, delete, finish, undelete
from m3search.stores.folder import IndexFolder
from m3search.stores.tombstones import NAME, Tombstones
from tests.stores.conftest import files_of

IDS = [f"item-{number:02}" for number in range(12)]


def bytes_with(index: IndexFolder, word: str) -> list[str]:
    """Files of the index that hold a word."""
    return [name for name, content in files_of(index.path).items() if word.encode() in content]


def test_a_deleted_item_is_gone_from_table_parts_segment_and_thumbnails(chest: IndexFolder) -> None:
    reader = chest.reader()
    done = delete(chest, Selection(items=["item-03", "item-04"]))
    assert (done.item_ids, done.by_modality, done.parts, done.done) == (
        ("item-03", "item-04"), {"ct": 1, "xray": 1}, 2, True,
    )  # fmt: skip
    for store in (reader, chest.record()):
        assert store.matching() == [one for one in IDS if one not in done.item_ids]
        assert store.parts_of(done.item_ids).num_rows == 0
        assert store.rows(done.item_ids, ["thumbnail"]).num_rows == 0
        assert store.count(filters.contains("text", "zebra3")) == 0
    assert not any("item-03" in file for file in bytes_with(chest, "picture of item-03") if file.startswith("segment/"))


@pytest.mark.parametrize("by", ["id", "key"])
def test_a_patient_is_given_by_id_or_by_key(chest: IndexFolder, by: str) -> None:
    key = Pseudonyms.load(chest.key_file).of("P-ANNA-1")
    done = delete(chest, Selection(patient="P-ANNA-1" if by == "id" else key))
    assert done.item_ids == ("item-01", "item-05", "item-09")
    assert Tombstones.load(chest).patients == {key}
    assert bytes_with(chest, "P-ANNA") == []
    assert "P-ANNA" not in repr(done) + repr(Selection(patient="P-ANNA-1"))
    assert delete(chest, Selection(patient="P-ANNA-1")).item_ids == ()  # already done: no error


def test_by_filter_and_dry_run(chest: IndexFolder) -> None:
    before = files_of(chest.path)
    found = delete(chest, Selection(where="modality = ct"), dry_run=True)
    assert (found.item_ids, found.parts, found.done) == (tuple(IDS[::3]), 8, False)
    assert files_of(chest.path) == before
    assert delete(chest, Selection(where="modality = ct")).item_ids == found.item_ids
    assert chest.record().tally("modality") == {"xray": 8}


@pytest.mark.parametrize(
    ("selection", "error", "message"),
    [
        (Selection(), UsageError, "one of"),
        (Selection(items=["item-00"], where="modality = ct"), UsageError, "one of"),
        (Selection(items=["item-0"]), UsageError, "10 items begin with"),
        (Selection(items=["item-00", " "]), UsageError, "empty"),
        (Selection(patient=""), UsageError, "empty"),
        (Selection(where=" "), UsageError, "empty"),
        (Selection(items=["zz"]), UsageError, "no item 'zz'"),
        (Selection(patient="P-NOBODY"), UsageError, "no item of that patient"),
        (Selection(where="colour = red"), FilterError, "colour"),
    ],
)
def test_what_could_mean_too_much_is_refused(
    chest: IndexFolder, selection: Selection, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as raised:
        delete(chest, selection)
    assert "P-NOBODY" not in str(raised.value)
    assert chest.record().count() == 12
    assert not (chest.path / NAME).exists()


def test_nothing_is_deleted_while_another_run_writes(chest: IndexFolder) -> None:
    with chest.lock(), pytest.raises(IndexLocked):
        delete(chest, Selection(items=["item-00"]))


# Tombstones -----------------------------------------------------------------------------------------------------------
def test_tombstones_know_items_series_and_patients_by_keyed_digests_only(chest: IndexFolder) -> None:
    delete(chest, Selection(items=["item-02"]))
    known = Tombstones.load(chest)
    series = known.pseudonyms.of("series 2")
    assert known.has("item-02")
    assert known.has("another state of it", series)
    assert not known.has("item-03", known.pseudonyms.of("series 3"))
    assert not known.has("item-03", "")
    assert known.patients == frozenset()
    assert "item-02" not in (chest.path / NAME).read_text()
    assert known.pending


def test_a_deletion_can_be_lifted(chest: IndexFolder) -> None:
    delete(chest, Selection(items=["item-02"]))
    delete(chest, Selection(patient="P-ANNA-1"))
    assert undelete(chest, items=["item-02"]) == 1
    assert not Tombstones.load(chest).has("item-02", Pseudonyms.load(chest.key_file).of("series 2"))
    assert undelete(chest, patient="P-ANNA-1") == 4  # three items and the patient
    assert len(Tombstones.load(chest)) == 0
    delete(chest, Selection(where="modality = ct"))
    assert undelete(chest, everything=True) == 3
    assert undelete(chest, items=["item-02"]) == 0
    with pytest.raises(UsageError, match="one of"):
        undelete(chest)


@pytest.mark.parametrize("damage", ["", "{}", '{"format_version": 99}', "other key", "no key"])
def test_lost_tombstones_are_said_not_ignored(chest: IndexFolder, damage: str) -> None:
    delete(chest, Selection(items=["item-02"]))
    if "key" in damage:
        chest.key_file.unlink()
        if damage == "other key":
            chest.key_file.write_bytes(Pseudonyms.new_key())
    else:
        (chest.path / NAME).write_bytes(damage.encode())
    with pytest.raises(NoIndex, match=r"restore|later m3search"):
        Tombstones.load(chest)


# kill -9 --------------------------------------------------------------------------------------------------------------
KILLED = """
import os, signal, sys
from m3search.stores.deletion import Selection, delete
from m3search.stores.folder import IndexFolder, locate
from m3search.stores.lance import LanceStore

if sys.argv[2] == "before rows":
    LanceStore.delete = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
else:
    LanceStore._parts = property(lambda *_: os.kill(os.getpid(), signal.SIGKILL))
delete(IndexFolder.open(locate(sys.argv[1])), Selection(items=["item-03", "item-04"]))
"""


@pytest.mark.parametrize("when", ["before rows", "before parts"])
def test_a_killed_deletion_is_finished_by_the_next_writer(chest: IndexFolder, when: str) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(chest.path), when], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert chest.reader().matching() in (IDS, [one for one in IDS if one not in ("item-03", "item-04")])
    assert json.loads((chest.path / NAME).read_text())["pending"]
    record = chest.record()
    finish(record, Tombstones.load(chest))
    assert record.matching() == [one for one in IDS if one not in ("item-03", "item-04")]
    assert record.parts_of(["item-03", "item-04"]).num_rows == 0
