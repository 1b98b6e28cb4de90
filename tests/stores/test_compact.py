"""Compaction: nothing of a deleted item is left in any file, answers stay, whenever it is killed."""

from __future__ import annotations

import importlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from lancedb.index import FTS, BTree

from m3search.stores.compact import compact
from m3search.stores.deletion import Selection, delete
from m3search.stores.folder import IndexFolder
from m3search.stores.lance import connect
from m3search.stores.tombstones import Tombstones
from m3search.stores.verify import verify
from tests.stores.conftest import files_of, unfinished_segment

DELETED = ("item-03", "item-04")
QUERIES = np.eye(8, dtype=np.float32)[:2]

POINTS = {  # where it is killed: a function, and at which call of it
    "before anything": ("m3search.stores.lance", "LanceStore.optimize", 1),
    "before parts are rewritten": ("m3search.stores.compact", "rewrite", 1),
    "between the tables": ("m3search.stores.compact", "rewrite", 2),
    "before the indexes are back": ("lancedb.table", "LanceTable.create_index", 1),
    "before old versions go": ("m3search.stores.compact", "forget", 1),
    "half of the old versions are gone": ("m3search.stores.compact", "forget", 3),
    "before the segment goes": ("m3search.stores.compact", "sweep", 1),
    "before a segment is there": ("m3search.stores.reader", "Reader.publish", 1),
    "before it is noted": ("m3search.stores.tombstones", "Tombstones.save", 1),
}


def inject(point: str, then: Callable[[], Any], replace: Callable[[object, str, object], None] = setattr) -> None:
    """Let `then` happen at a point of POINTS."""
    module, name, at = POINTS[point]
    *owners, name = name.split(".")
    owner = importlib.import_module(module)
    for one in owners:
        owner = getattr(owner, one)
    original, calls = getattr(owner, name), []

    def replaced(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        return then() if len(calls) == at else original(*arguments, **options)

    replace(owner, name, replaced)


def answers(index: IndexFolder) -> Any:
    reader = index.reader()
    found = [(one.ids, one.scores.tolist()) for one in reader.search(QUERIES, 20)]
    columns = ["item_id", "text", "thumbnail"]
    ids = list(found[0][0])
    return found, reader.rows(ids, columns).to_pylist(), reader.parts_of(ids)["part_id"].to_pylist()


def holding(index: IndexFolder, word: str) -> list[str]:
    return [name for name, content in files_of(index.path).items() if word.encode() in content]


@pytest.fixture
def indexed_chest(chest: IndexFolder) -> IndexFolder:
    """With the indexes that larger ones have, and two items deleted."""
    tables = connect(chest.tables)
    tables.open_table("items").create_index("text", config=FTS())
    tables.open_table("parts").create_index("item_id", config=BTree())
    delete(chest, Selection(items=DELETED))
    return chest


def test_no_byte_of_a_deleted_item_is_left(indexed_chest: IndexFolder) -> None:
    before = answers(indexed_chest)
    assert holding(indexed_chest, "item-03")
    done = compact(indexed_chest, grace_s=0)
    assert done.rewritten
    assert done.after.bytes < done.before.bytes
    assert done.after.versions == 4
    for word in (*DELETED, "zebra3", "picture of item-03"):
        assert holding(indexed_chest, word) == []
    assert answers(indexed_chest) == before
    tables = connect(indexed_chest.tables)
    assert [one.columns for one in tables.open_table("items").list_indices()] == [["text"]]
    assert [one.columns for one in tables.open_table("parts").list_indices()] == [["item_id"]]
    texts = tables.open_table("items").search("zebra3", query_type="fts").to_arrow()
    assert texts.num_rows == 0
    assert tables.open_table("items").search("zebra5", query_type="fts").to_arrow().num_rows == 1
    assert verify(indexed_chest).ok
    again = compact(indexed_chest, grace_s=0)
    assert not again.rewritten
    assert answers(indexed_chest) == before


def test_old_segments_and_temporary_files_go(chest: IndexFolder) -> None:
    unfinished_segment(chest, "0-1.part")
    (chest.path / "manifest.json.1.tmp").write_bytes(b"half")
    compact(chest, grace_s=0)
    assert not [name for name in files_of(chest.path) if ".tmp" in name or ".part" in name]
    assert chest.reader().view is not None


class Killed(BaseException):
    """Stands for the end of the process: nothing on disk happens after it."""


def killed() -> None:
    raise Killed


@pytest.mark.parametrize("point", POINTS)
def test_cut_off_at_any_step_answers_stay_and_the_next_one_finishes(
    indexed_chest: IndexFolder, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = answers(indexed_chest)
    with monkeypatch.context() as patch:
        inject(point, killed, patch.setattr)
        with pytest.raises(Killed):
            compact(indexed_chest, grace_s=0)
    again = IndexFolder.open(indexed_chest.path)
    assert answers(again) == before
    assert Tombstones.load(again).pending
    compact(again, grace_s=0)
    assert answers(again) == before
    assert verify(again).ok
    assert holding(again, "item-03") == []


PROGRAM = """
import os, runpy, signal, sys, threading
from m3search.stores.folder import locate

test = runpy.run_path(sys.argv[1])
die = lambda: os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[3] in test["POINTS"]:
    test["inject"](sys.argv[3], die)
else:
    threading.Timer(float(sys.argv[3]), die).start()
test["compact"](test["IndexFolder"].open(locate(sys.argv[2])), grace_s=0.1)
"""


@pytest.mark.parametrize("point", ["between the tables", "half of the old versions are gone", "0.15"])
def test_kill_9(indexed_chest: IndexFolder, point: str) -> None:
    before = answers(indexed_chest)
    process = subprocess.run([sys.executable, "-c", PROGRAM, __file__, str(indexed_chest.path), point], check=False)
    assert process.returncode in ({-signal.SIGKILL} if point in POINTS else {-signal.SIGKILL, 0})
    again = IndexFolder.open(indexed_chest.path)
    assert answers(again) == before
    compact(again, grace_s=0)
    assert answers(again) == before
    assert verify(again).ok


def test_readers_go_on_meanwhile(indexed_chest: IndexFolder) -> None:
    before = answers(indexed_chest)
    wrong: list[object] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            try:
                if answers(indexed_chest) != before:
                    wrong.append("another answer")
            except Exception as error:
                wrong.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    compact(indexed_chest, grace_s=2)  # longer than one reading takes on a busy machine
    time.sleep(0.1)
    stop.set()
    reader.join()
    assert wrong == []
