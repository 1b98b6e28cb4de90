"""The audit log: who did what, without a word of what it was about."""

from __future__ import annotations

import json
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import m3search
from m3search.errors import IndexUnwritable
from m3search.search import Engine
from m3search.stores import audit
from m3search.stores.folder import IndexFolder


@pytest.fixture
def index(indexed: Path, tmp_path: Path) -> Path:
    path = Path(shutil.copytree(indexed, tmp_path / "i"))
    (path / audit.NAME).unlink(missing_ok=True)
    return path


def test_each_action_is_one_line_with_digests_only(index: Path, tmp_path: Path) -> None:
    engine = Engine.open(index)
    hits = engine.search("effusion in Jane Doe", k=3)
    engine.search_many(["ecg", "ct"], k=2)
    engine.show(hits[0].item_id[:12])
    engine.thumbnail(hits[1].item_id)
    m3search.export(index, file=tmp_path / "a.parquet", where="modality = 'ct'")
    m3search.delete(index, items=[hits[2].item_id], dry_run=True)
    m3search.delete(index, items=[hits[2].item_id])
    m3search.undelete(index, everything=True)
    lines = (index / audit.NAME).read_text().splitlines()
    done = [json.loads(line) for line in lines]
    assert [(one["action"], one["count"]) for one in done] == [
        ("search", 3), ("search", 2), ("search", 2), ("show", 1), ("thumbnail", 1), ("export", 3), ("delete", 1),
        ("undelete", 1),
    ]  # fmt: skip
    assert {one["user"] for one in done} == {audit._user()}
    assert stat.S_IMODE((index / audit.NAME).stat().st_mode) == 0o600
    text = "".join(lines)
    assert "Jane" not in text
    assert not [hit.item_id for hit in hits if hit.item_id in text]


def test_whoever_has_the_key_can_ask_who_saw_an_item(index: Path) -> None:
    engine = Engine.open(index)
    first, second = engine.search("ct", k=2)
    engine.show(first.item_id)
    m3search.delete(index, items=[first.item_id])
    found = m3search.audit_log(index, item=first.item_id)
    assert [entry.action for entry in found] == ["search", "show", "delete"]
    assert second.item_id in found[0].items  # still there: named
    assert first.item_id not in found[0].items  # deleted: a digest
    assert [entry.action for entry in m3search.audit_log(index, what="ct")] == ["search"]
    assert [entry.action for entry in m3search.audit_log(index, action="show")] == ["show"]
    assert m3search.audit_log(index, user="nobody-here") == []
    assert len(m3search.audit_log(index, since="2020-01-01")) == 3
    assert m3search.audit_log(index, since="2999") == []


def test_it_can_be_switched_off_and_says_so(index: Path) -> None:
    m3search.switch_audit(index, on=False)
    Engine.open(index).search("ct", k=2)
    m3search.switch_audit(index, on=True)
    assert [entry.action for entry in m3search.audit_log(index)] == ["audit-off", "audit-on"]
    assert IndexFolder.open(index).manifest.audit


def test_what_cannot_be_logged_is_not_done(index: Path) -> None:
    (index / audit.NAME).mkdir()
    with pytest.raises(IndexUnwritable, match="audit --off"):
        Engine.open(index).search("ct")


def test_a_cut_line_is_passed_over_and_a_lost_key_is_not_replaced(index: Path) -> None:
    Engine.open(index).search("ct", k=1)
    with (index / audit.NAME).open("a") as file:
        file.write('{"time": "20')
    assert len(m3search.audit_log(index)) == 1
    (index / "pseudonym.key").unlink()
    audit.record(IndexFolder.open(index), "search", ("ct", ["a"]))
    assert not (index / "pseudonym.key").exists()


def test_lines_of_many_writers_do_not_mix(index: Path) -> None:
    folder = IndexFolder.open(index)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: audit.record(folder, "search", (str(number), ["x"] * 50)), range(200)))
    assert len(m3search.audit_log(index, action="search")) == 200
