"""Verification: an index that is whole passes, and each kind of damage is found and comes with its remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from m3search.errors import IndexLocked
from m3search.stores.compact import compact
from m3search.stores.deletion import Selection, delete
from m3search.stores.folder import IndexFolder
from m3search.stores.lance import connect
from m3search.stores.place import remove
from m3search.stores.segment import names
from m3search.stores.verify import verify
from tests.stores.conftest import files_of, unfinished_segment


def add_raw(index: IndexFolder, table: str, rows: list[dict[str, object]]) -> None:
    """Past every check of the record."""
    connect(index.tables).open_table(table).add(rows)


def twice(index: IndexFolder) -> None:
    add_raw(index, "items", index.record().rows(["item-01"]).to_pylist())


def long_vector(index: IndexFolder) -> None:
    index.record().upsert([{"item_id": "item-01", "modality": "ct", "vector": np.full(8, 0.5)}])


def stray_part(index: IndexFolder) -> None:
    add_raw(index, "parts", [{"part_id": "x/0", "item_id": "x", "index": 0, "vector": np.eye(8)[0].tolist()}])


def lost_part(index: IndexFolder) -> None:
    connect(index.tables).open_table("parts").delete("part_id = 'item-03/1'")


def another_encoder(index: IndexFolder) -> None:
    index.record().record_run({"run_id": "r", "encoder": "0a" * 32})


def open_key(index: IndexFolder) -> None:
    if not isinstance(index.key_file, Path):
        pytest.skip("objects have no mode")
    index.key_file.chmod(0o644)


def lost_key(index: IndexFolder) -> None:
    index.key_file.unlink()


def damaged_segment(index: IndexFolder) -> None:
    path = index.segment / names(index.segment)[0] / "parts.arrow"
    path.write_bytes(path.read_bytes() + b"more")


def other_vectors_in_the_segment(index: IndexFolder) -> None:
    """A segment of a state that it was not copied from."""
    (before,) = (index.segment / name for name in names(index.segment))
    kept = files_of(before)
    index.record().upsert([{"item_id": "item-01", "modality": "xray", "vector": np.eye(8)[0]}])
    index.reader().publish()
    (now,) = (index.segment / name for name in names(index.segment))
    for name, content in kept.items():
        (now / name).write_bytes(content)


def leftover(index: IndexFolder) -> None:
    unfinished_segment(index, "0-state.part")


def deleted(index: IndexFolder) -> None:
    delete(index, Selection(items=["item-03"]))


def deleted_and_back(index: IndexFolder) -> None:
    row = index.record().rows(["item-01"]).to_pylist()
    delete(index, Selection(items=["item-01"]))
    compact(index, grace_s=0)
    add_raw(index, "items", row)


def test_a_whole_index_passes(chest: IndexFolder) -> None:
    found = verify(chest)
    assert [check for check in found.checks if not check.ok] == []
    said = {check.what: check.found for check in found.checks}
    assert said["items"] == "12"
    assert said["parts"] == "8"
    assert said["what searches read"] == "12 items"
    remove(chest.segment)
    assert verify(chest).ok


@pytest.mark.parametrize(
    ("damage", "what", "words"),
    [
        (twice, "items", "twice: item-01"),
        (long_vector, "vectors of items", "wrong in item-01"),
        (stray_part, "parts without an item", "x"),
        (lost_part, "parts of each item", "incomplete in item-03"),
        (another_encoder, "encoder of the rows", "0a0a0a0a"),
        (open_key, "pseudonym key", "others may read it"),
        (lost_key, "pseudonym key", "missing"),
        (damaged_segment, "segment's files", "parts.arrow"),
        (other_vectors_in_the_segment, "what searches read", "with other vectors: item-01"),
        (leftover, "leftovers of killed runs", "0-state.part"),
        (deleted, "deleted items in table items", "versions"),
        (deleted, "deleted items in table parts", "versions"),
        (deleted, "bytes of deleted items", "may still lie"),
        (deleted_and_back, "deleted items in what searches read", "item-01"),
    ],
)
def test_damage_is_found_with_its_remedy(
    chest: IndexFolder, damage: Callable[[IndexFolder], None], what: str, words: str
) -> None:
    damage(chest)
    found = verify(chest)
    assert not found.ok
    (check,) = (one for one in found.checks if one.what == what)
    assert words in check.found
    assert not check.ok
    assert check.remedy


def test_compacting_mends_a_segment_and_clears_what_was_left(chest: IndexFolder) -> None:
    for damage in (damaged_segment, leftover, stray_part):
        damage(chest)
    assert not verify(chest).ok
    compact(chest, grace_s=0)
    assert verify(chest).ok


def test_it_waits_for_no_writer(chest: IndexFolder) -> None:
    with chest.lock(), pytest.raises(IndexLocked):
        verify(chest)
