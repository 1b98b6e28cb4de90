"""What a run has to do: the archive now, compared with what the index holds.

Files are inspected only where the ledger does not vouch for them, grouped into items (a CT series is many files), and
an item whose bytes are already stored under its id is never read again, wherever its files have moved.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from blake3 import blake3

from m3search import modalities
from m3search.errors import Reason, UnreadableFile
from m3search.indexer.archives.folder import FileStat
from m3search.indexer.archives.manifest import Row
from m3search.indexer.inspect import Inspected
from m3search.indexer.ledger import FileEntry, Ledger, State, Stored
from m3search.privacy import PathMask, Pseudonyms
from m3search.types import ModalityFrom, Source

ITEM_ID_HEX = 32  # 128 bits of BLAKE3


@dataclass(frozen=True, slots=True)
class Work:
    """One item to read, embed and write. `source.modality` is "" while the encoder has yet to decide."""

    item_id: str
    source: Source
    row: Row
    files: tuple[FileEntry, ...]
    series_key: str
    replaces: tuple[str, ...] = ()  # ids of items that held an earlier state of these files


@dataclass(slots=True)
class Plan:
    """The work of one run."""

    work: list[Work] = field(default_factory=list)
    unchanged: set[str] = field(default_factory=set)  # item ids that stay as they are
    moved: dict[str, tuple[FileEntry, ...]] = field(default_factory=dict)  # same bytes, other files or times
    superseded: set[str] = field(default_factory=set)  # leftovers of a killed run
    gone: set[str] = field(default_factory=set)  # no file is left in the archive
    failures: list[UnreadableFile] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Known:
    """The archive against the ledger, before any file is opened."""

    stats: Mapping[str, FileStat]  # by uri
    states: Mapping[str, State]  # by item id

    def to_inspect(self, ledger: Ledger) -> list[FileStat]:
        """Files that no unchanged item vouches for."""
        vouched = {
            entry.path
            for item_id, state in self.states.items()
            if state is State.UNCHANGED
            for entry in ledger.items[item_id].files
        }
        return [stat for uri, stat in self.stats.items() if uri not in vouched]


def compare(stats: Iterable[FileStat], ledger: Ledger, root: Path, mask: PathMask) -> Known:
    """Which stored items still match their files. Companions outside a manifest's list are looked up on disk."""
    now = {mask.uri(stat.path.relative_to(root)): stat for stat in stats}
    extra = dict(now)
    for uri in ledger.paths():
        if uri not in extra:
            try:
                extra[uri] = FileStat.of(mask.resolve(root, uri))
            except OSError:
                continue
    return Known(now, {item_id: item.state(extra) for item_id, item in ledger.items.items()})


@dataclass(frozen=True, slots=True)
class Declared:
    """What is known about files besides their bytes."""

    root: Path
    rows: Mapping[Path, Row]
    modality: str = ""  # --modality: for files whose header does not say

    def modality_of(self, found: Inspected) -> tuple[str, ModalityFrom]:
        """Header, then manifest, then option, then folder names; ("", "encoder") leaves it to the encoder.

        Raises:
            UnreadableFile: the manifest declares another modality than the header, or the kind is not searched.
        """
        declared = self.rows.get(found.path, Row()).modality
        if found.modality:
            if declared and declared != found.modality:
                raise UnreadableFile(
                    found.path,
                    Reason.WRONG_MODALITY,
                    f"the manifest says {declared}, its own header says {found.modality}; correct the manifest",
                )
            return found.modality, "header"
        if declared:
            return declared, "manifest"
        if self.modality:
            return self.modality, "option"
        hint = modalities.from_folders(found.path.relative_to(self.root).parent)
        return (hint, "folder") if hint else ("", "encoder")

    def row_of(self, files: Sequence[Path]) -> Row:
        """One row for an item of several files: the first text, every label."""
        rows = [row for path in files if (row := self.rows.get(path))]
        if not rows:
            return Row()
        labels = dict.fromkeys(label for row in rows for label in row.labels)
        text = next((row.text for row in rows if row.text), "")
        return replace(rows[0], text=text, labels=tuple(labels))


@dataclass(slots=True)
class _Group:
    modality: str
    modality_from: ModalityFrom
    format: str
    series_key: str
    sources: dict[Path, None] = field(default_factory=dict)  # the files a reader is given, in order
    entries: dict[str, FileEntry] = field(default_factory=dict)  # by uri, companions too

    @property
    def item_id(self) -> str:
        digests = sorted({entry.digest for entry in self.entries.values()})
        return blake3("\n".join(digests).encode()).hexdigest()[:ITEM_ID_HEX]


class Planner:
    """Turns inspected files into a `Plan`."""

    def __init__(self, ledger: Ledger, known: Known, declared: Declared, mask: PathMask, pseudonyms: Pseudonyms) -> None:
        self._ledger = ledger
        self._known = known
        self._declared = declared
        self._mask = mask
        self._pseudonyms = pseudonyms
        self._stored_series: dict[str, list[Stored]] = defaultdict(list)
        for item in ledger.items.values():
            if item.series_key:
                self._stored_series[item.series_key].append(item)

    def plan(self, inspected: Sequence[Inspected]) -> Plan:
        """Every file of `inspected` ends in the plan: as work, as a moved copy, or as a failure."""
        for found in inspected:  # all of them first: a folder named after a patient masks every file below it
            self._mask.learn(found.path.relative_to(self._declared.root), found.identifiers)
        plan = Plan()
        groups = self._grouped(inspected, plan)
        states = self._known.states
        plan.unchanged = {item_id for item_id, state in states.items() if state is State.UNCHANGED}
        plan.gone = {item_id for item_id, state in states.items() if state is State.GONE}
        dirty = {item_id for item_id, state in states.items() if state is State.DIRTY}
        touched: dict[str, list[str]] = defaultdict(list)  # uri -> stored items that list it
        for item_id in dirty | self._joined(groups, plan):
            for entry in self._ledger.items[item_id].files:
                touched[entry.path].append(item_id)
        claimed = set()
        for group in groups.values():
            former = {item_id for uri in group.entries for item_id in touched.get(uri, ())}
            claimed |= former
            self._settle(group, former, plan)
        plan.superseded = dirty - claimed - plan.moved.keys() - self._failed_items(plan)
        return plan

    def _grouped(self, inspected: Sequence[Inspected], plan: Plan) -> dict[str, _Group]:
        groups: dict[str, _Group] = {}
        for found in sorted(inspected, key=lambda found: found.path):
            try:
                modality, modality_from = self._declared.modality_of(found)
            except UnreadableFile as error:
                plan.failures.append(error)
                continue
            entries = [self._entry(digest.stat, digest.digest) for digest in found.digests]
            series_key = self._pseudonyms.of(found.series)
            # Equal bytes in two places are one item with two copies.
            key = series_key or "\n".join(sorted(entry.digest for entry in entries))
            group = groups.setdefault(key, _Group(modality, modality_from, found.format, series_key))
            group.entries.update((entry.path, entry) for entry in entries)
            if series_key or not group.sources:
                group.sources[found.path] = None
        return groups

    def _joined(self, groups: Mapping[str, _Group], plan: Plan) -> set[str]:
        """New slices of a stored series bring the stored ones back into the work."""
        joined = set()
        for group in groups.values():
            for item in self._stored_series.get(group.series_key, ()) if group.series_key else ():
                joined.add(item.item_id)
                if item.item_id in plan.unchanged:
                    for entry in item.files:
                        group.entries.setdefault(entry.path, entry)
                        group.sources[self._mask.resolve(self._declared.root, entry.path)] = None
        return joined

    def _settle(self, group: _Group, former: set[str], plan: Plan) -> None:
        item_id = group.item_id
        files = tuple(sorted(group.entries.values(), key=lambda entry: entry.path))
        if stored := self._ledger.items.get(item_id):
            here = {entry.path for entry in files}
            others = [
                entry for entry in stored.files if entry.path not in here and self._is_present(entry)
            ]
            plan.moved[item_id] = tuple(sorted([*files, *others], key=lambda entry: entry.path))
            plan.gone.discard(item_id)
            plan.unchanged.discard(item_id)
            return
        replaces = tuple(sorted(former))
        plan.unchanged.difference_update(replaces)
        plan.work.append(
            Work(
                item_id=item_id,
                source=Source(
                    modality=group.modality,
                    format=group.format,
                    files=tuple(sorted(group.sources)),
                    modality_from=group.modality_from,
                ),
                row=self._declared.row_of(tuple(group.sources)),
                files=files,
                series_key=group.series_key,
                replaces=replaces,
            )
        )

    def _failed_items(self, plan: Plan) -> set[str]:
        """Stored items one of whose files cannot be inspected now: kept, since nothing stored may be lost."""
        failed = {self._mask.uri(error.path.relative_to(self._declared.root)) for error in plan.failures}
        return {
            item_id for item_id, item in self._ledger.items.items() if any(entry.path in failed for entry in item.files)
        }

    def _entry(self, stat: FileStat, digest: str) -> FileEntry:
        return FileEntry(self._mask.uri(stat.path.relative_to(self._declared.root)), stat.size, stat.mtime_ns, digest)

    def _is_present(self, entry: FileEntry) -> bool:
        stat = self._known.stats.get(entry.path)
        return stat is not None and (stat.size, stat.mtime_ns) == (entry.size, entry.mtime_ns)
