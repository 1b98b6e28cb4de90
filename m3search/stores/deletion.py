"""Removing items for good: out of every table at once, out of the segment, and kept out of later index runs.

What a search can reach is gone when `delete` returns. Bytes stay in older versions of the tables until `compact`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from m3search import filters
from m3search.errors import UsageError
from m3search.stores.tombstones import Tombstones

if TYPE_CHECKING:
    from m3search.stores.folder import IndexFolder
    from m3search.stores.lance import LanceStore

COLUMNS = ("item_id", "modality", "series_key", "patient_key", "parts")


@dataclass(frozen=True, slots=True)
class Selection:
    """What to delete: exactly one of these."""

    items: Sequence[str] = ()  # ids, or beginnings that only one item has
    patient: str | None = field(default=None, repr=False)  # a patient_key, or the own id: hashed at once, never kept
    where: str | None = None  # a filter expression, see `m3search.filters`

    def check(self) -> None:
        """Refuse a selection that could mean more than was meant.

        Raises:
            UsageError: none or several of the three, or an empty one.
        """
        given = [value for value in (self.items or None, self.patient, self.where) if value is not None]
        if len(given) != 1:
            raise UsageError(
                "choose what to delete by one of: items (--item), a patient (--patient), a filter (--where)"
            )
        if not all(item.strip() for item in self.items) or not (given[0] if isinstance(given[0], str) else "-").strip():
            raise UsageError("choose what to delete: an item, patient or filter is empty")


@dataclass(frozen=True, slots=True)
class Deletion:
    """What was deleted, or would be: the keys of `m3search delete --json`."""

    item_ids: tuple[str, ...]  # sorted
    by_modality: dict[str, int]
    parts: int
    done: bool  # False: only looked for


def delete(index: IndexFolder, selection: Selection, *, dry_run: bool = False) -> Deletion:
    """Remove items, their parts and thumbnails, and publish a segment without them.

    Args:
        dry_run: only say what would be deleted; nothing is written.

    Raises:
        UsageError: `selection` is none, or names an item or patient that the index does not have and never had.
        FilterError: its filter cannot be understood.
        IndexLocked: another run is writing.
        NoIndex: the tombstones or the key they need are lost.
    """
    selection.check()
    record = index.record()
    if dry_run:
        rows, _ = _selected(record, Tombstones.load(index), selection)
        return _deletion(rows, done=False)
    with index.lock() as held:
        index.forget_unfinished()
        tombstones = Tombstones.load(index)
        finish(record, tombstones)
        rows, patients = _selected(record, tombstones, selection)
        deletion = _deletion(rows, done=True)
        if rows or patients - tombstones.patients:
            held()
            replace(tombstones.having(rows, patients), pending=True).save(index)
            record.delete(deletion.item_ids)
        index.reader().publish()
    return deletion


def undelete(
    index: IndexFolder, *, items: Sequence[str] = (), patient: str | None = None, everything: bool = False
) -> int:
    """Let deleted items in again: the next index run that meets them reads them. Returns how many tombstones fell.

    Args:
        items: whole ids.
        patient: a patient_key or the patient's own id; lifts what was deleted as this patient's.
        everything: all of them.

    Raises:
        UsageError: none or several of the three.
        IndexLocked: another run is writing.
    """
    if (bool(items) + (patient is not None) + everything) != 1:
        raise UsageError(
            "choose what may come back by one of: items (--item), a patient (--patient), everything (--all)"
        )
    with index.lock():
        index.forget_unfinished()
        before = Tombstones.load(index)
        patients = _keys(before, patient) if patient else ()
        after = before.lifting_all() if everything else before.lifting(items, patients)
        if len(after) != len(before):
            after.save(index)
    return len(before) - len(after)


def finish(record: LanceStore, tombstones: Tombstones) -> int:
    """Remove what a killed deletion left. For a writer, before it does anything else. Returns how many items."""
    if not tombstones.pending:
        return 0
    removed = record.delete([item_id for item_id in record.matching() if tombstones.has(item_id)])
    record.drop_strays()
    return removed


def _selected(
    record: LanceStore, tombstones: Tombstones, selection: Selection
) -> tuple[list[dict[str, Any]], frozenset[str]]:
    """COLUMNS of the items, sorted by id, and the keys of the patients that are meant as a whole."""
    patients: frozenset[str] = frozenset()
    if selection.where is not None:
        ids = record.matching(filters.parse(selection.where))
    elif selection.patient is not None:
        candidates = _keys(tombstones, selection.patient)
        ids = record.matching(filters.one_of("patient_key", sorted(candidates)))
        if not ids and not candidates & tombstones.patients:
            raise UsageError(
                "the index has no item of that patient; give an item's patient_key, or the id as the files state it"
            )
        patients = candidates & tombstones.patients
    else:
        ids = sorted({found for item in selection.items for found in _resolved(record, tombstones, item)})
    rows = record.rows(ids, COLUMNS).to_pylist()
    if selection.patient is not None:
        patients |= {row["patient_key"] for row in rows}
    return rows, patients


def _keys(tombstones: Tombstones, patient: str) -> frozenset[str]:
    """What a patient may be stored under: the key itself, or that of the id."""
    return frozenset((patient, tombstones.pseudonyms.of(patient.strip())))


def _resolved(record: LanceStore, tombstones: Tombstones, item: str) -> list[str]:
    found = record.matching(filters.starts_with("item_id", item))
    if item in found or len(found) == 1:
        return [item] if item in found else found
    if found:
        raise UsageError(f"{len(found)} items begin with {item!r}; give more of the id")
    if tombstones.has(item):
        return []
    raise UsageError(f"the index has no item {item!r}")


def _deletion(rows: Sequence[dict[str, Any]], *, done: bool) -> Deletion:
    return Deletion(
        item_ids=tuple(row["item_id"] for row in rows),
        by_modality=dict(sorted(Counter(row["modality"] or "" for row in rows).items())),
        parts=sum(row["parts"] for row in rows if (row["parts"] or 0) > 1),
        done=done,
    )
