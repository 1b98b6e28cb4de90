"""What was deleted and must stay out: `deleted.json` in the index folder.

The files of a deleted item usually stay in the archive, so the next index run would bring it back. A run therefore asks
here before it reads an item. Only keyed digests are kept (HMAC with the index's `pseudonym.key`): they recognise an
item that is seen again, and say nothing of one that is not.

An item is known by its bytes (`item_id`); a series also by its key, since another slice gives it another id; a patient
who was deleted whole by the patient's key, so that later examinations stay out too. Tombstones are written before the
rows are removed: a deletion that is killed is finished by the next writer, never half undone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from m3search.errors import NoIndex
from m3search.privacy import Pseudonyms
from m3search.stores.folder import write_atomically

if TYPE_CHECKING:
    from m3search.stores.folder import IndexFolder

NAME = "deleted.json"
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Tombstone:
    """One deleted item."""

    item: str  # keyed digest of its item_id
    series: str = ""  # its series_key
    patient: str = ""  # its patient_key where the whole patient was deleted, else ""


@dataclass(frozen=True, slots=True)
class Tombstones:
    """The deletions of one index. Changes give a new value, which `save` makes the index's own."""

    pseudonyms: Pseudonyms = field(repr=False)
    items: Mapping[str, Tombstone] = field(default_factory=dict)  # by `Tombstone.item`
    patients: frozenset[str] = frozenset()  # patient keys
    pending: bool = False  # bytes of deleted items may still lie in files: until the next compaction
    series: frozenset[str] = field(default=frozenset(), init=False)  # series keys of `items`

    def __post_init__(self) -> None:
        object.__setattr__(self, "series", frozenset(one.series for one in self.items.values() if one.series))

    def __len__(self) -> int:
        return len(self.items) + len(self.patients)

    @classmethod
    def load(cls, index: IndexFolder) -> Tombstones:
        """The tombstones of an index.

        Raises:
            NoIndex: they cannot be read, or the key they were made with is gone: deleted items would come back.
        """
        path = index.path / NAME
        if not path.exists():
            return cls(Pseudonyms.load(index.key_file))
        lost = f"index {index.path}: {NAME} was made with another pseudonym.key; restore that file"
        if not index.key_file.exists():
            raise NoIndex(lost)
        pseudonyms = Pseudonyms.load(index.key_file)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["format_version"] > FORMAT_VERSION:
                raise NoIndex(
                    f"index {index.path} was written by a later m3search; upgrade with pip install -U m3search"
                )
            items = {row[0]: Tombstone(*row) for row in content["items"]}
            known = cls(pseudonyms, items, frozenset(content["patients"]), content["pending"])
            key = content["key"]
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise NoIndex(f"index {index.path}: {NAME} is damaged ({type(error).__name__}); restore it") from error
        if key != pseudonyms.of(NAME):
            raise NoIndex(lost)
        return known

    def save(self, index: IndexFolder) -> None:
        """Replace the index's tombstones, atomically. For the holder of the lock."""
        content: dict[str, Any] = {
            "format_version": FORMAT_VERSION,
            "key": self.pseudonyms.of(NAME),  # tells the key that made them
            "pending": self.pending,
            "patients": sorted(self.patients),
            "items": [[one.item, one.series, one.patient] for _, one in sorted(self.items.items())],
        }
        write_atomically(index.path / NAME, json.dumps(content) + "\n")

    def has(self, item_id: str, series_key: str = "") -> bool:
        """Whether this item was deleted. `series_key`: only where the item is the whole series."""
        if not self.items:
            return False
        return self.pseudonyms.of(item_id) in self.items or (series_key != "" and series_key in self.series)

    def having(self, rows: Iterable[Mapping[str, Any]], patients: Iterable[str] = ()) -> Tombstones:
        """With these items too, and with these patients as a whole.

        Args:
            rows: item_id, series_key and patient_key of each item; keys may be None.
            patients: patient keys; their items among `rows` are remembered as theirs.
        """
        whole = self.patients | frozenset(patients)
        items = dict(self.items)
        for row in rows:
            item, patient = self.pseudonyms.of(row["item_id"]), row["patient_key"] or ""
            items[item] = Tombstone(item, row["series_key"] or "", patient if patient in whole else "")
        return replace(self, items=items, patients=whole)

    def lifting(self, item_ids: Iterable[str] = (), patients: Iterable[str] = ()) -> Tombstones:
        """Without these items, without every other state of their series, and without these patients."""
        named = {self.pseudonyms.of(item_id) for item_id in item_ids}
        series = {self.items[item].series for item in named & self.items.keys()} - {""}
        gone = set(patients)
        kept = {
            item: one
            for item, one in self.items.items()
            if item not in named and one.series not in series and one.patient not in gone
        }
        return replace(self, items=kept, patients=self.patients - gone)

    def lifting_all(self) -> Tombstones:
        """Without any."""
        return replace(self, items={}, patients=frozenset())
