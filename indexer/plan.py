"""What a run has to do: the archive now, compared with what the index holds.

Files are inspected only where the ledger does not vouch for them, grouped into items (a CT series is many files), and
an item whose bytes are already stored under its id is never read again, wherever its files have moved.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from m3search import modalities
from m3search.errors import UnreadableFile
from m3search.indexer import reports
from m3search.indexer.archives.base import FileStat
from m3search.indexer.archives.manifest import Row
from m3search.indexer.inspect import Inspected, Word
from m3search.indexer.ledger import FileEntry, Ledger, State, Stored
from m3search.indexer.reports import StudyReports
from m3search.modalities.content import item_id_of
from m3search.privacy import CONTAINED_FROM, PathMask, Pseudonyms
from m3search.types import ModalityFrom, Source

if TYPE_CHECKING:
    from m3search.stores.tombstones import Tombstones

LONG_NUMBER = 5  # digits from which an identifier is looked for in the names of all files of an archive


@dataclass(frozen=True, slots=True)
class Work:
    """One item to read, embed and write. `source.modality` is "" while the encoder has yet to decide."""

    item_id: str
    uri: str  # of the file, or of the folder that a series shares
    source: Source
    row: Row
    described: str  # keyed digest of `row`
    files: tuple[FileEntry, ...]
    series_key: str
    replaces: tuple[str, ...] = ()  # ids of items that held an earlier state of these files
    stats: tuple[FileStat, ...] = ()  # the files that will be read, as they were when their bytes were looked at


@dataclass(frozen=True, slots=True)
class Moved:
    """A stored item whose bytes are the same while its files were copied, renamed or touched."""

    uri: str
    files: tuple[FileEntry, ...]


@dataclass(slots=True)
class Plan:
    """The work of one run."""

    work: list[Work] = field(default_factory=list)
    unchanged: set[str] = field(default_factory=set)  # item ids that stay as they are
    moved: dict[str, Moved] = field(default_factory=dict)  # by item id: same bytes, other files or times
    superseded: set[str] = field(default_factory=set)  # leftovers of a killed run
    gone: set[str] = field(default_factory=set)  # no file is left in the archive
    deleted: set[str] = field(default_factory=set)  # ids of items that were deleted from the index and stay out
    failures: list[UnreadableFile] = field(default_factory=list)  # reports of studies without any item


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


def compare(
    stats: Iterable[FileStat], ledger: Ledger, declared: Declared, mask: PathMask, unreachable: Iterable[Path] = ()
) -> Known:
    """Which stored items still match their files. Companions outside a manifest's list are looked up on disk.

    `unreachable` are files and folders that could not be looked at: what is stored of them, or from below them, counts
    as unchanged. A folder that is locked for a while must not look as if its files were gone.
    """
    root = declared.root
    now = {mask.uri(stat.path.relative_to(root)): stat for stat in stats}
    extra = dict(now)
    for uri in ledger.paths():
        if uri not in extra:
            try:
                extra[uri] = FileStat.of(mask.resolve(root, uri))
            except OSError:
                continue
    hidden = {mask.uri(path.relative_to(root)) for path in unreachable}
    states = {
        item_id: State.UNCHANGED
        if hidden and any(_lies_in(entry.path, hidden) for entry in item.files if entry.path not in now)
        else item.state(extra, declared.digest_of(declared.row_of(item.files, now)))
        for item_id, item in ledger.items.items()
        if item.files
    }
    return Known(now, states)


def _lies_in(uri: str, folders: Collection[str]) -> bool:
    path = PurePosixPath(uri)
    return any(str(place) in folders for place in (path, *path.parents))


@dataclass(frozen=True, slots=True)
class Declared:
    """What is known about files besides their bytes."""

    root: Path
    rows: Mapping[Path, Row]
    pseudonyms: Pseudonyms
    modality: str = ""  # --modality: for files whose header does not say

    def word(self, path: Path) -> Word:
        """What the manifest, the option and the folder names say of one file."""
        declared = self.rows.get(path, Row()).modality
        if self.modality:
            return Word(declared, self.modality, "option")
        hint = modalities.from_folders(path.relative_to(self.root).parent)
        return Word(declared, hint, "folder") if hint else Word(declared)

    def digest_of(self, row: Row) -> str:
        """What tells that a row was edited. Keyed: whoever guesses an id could else try whether a digest is its."""
        return self.pseudonyms.of(row.digest)

    def row_of(self, files: Sequence[FileEntry], stats: Mapping[str, FileStat]) -> Row:
        """One row for an item of several files, in their order: the first text, every label."""
        paths = (stat.path for entry in files if (stat := stats.get(entry.path)))
        rows = [row for path in paths if (row := self.rows.get(path))]
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
    study_key: str = ""
    sources: dict[Path, None] = field(default_factory=dict)  # the files a reader is given, in order
    entries: dict[str, FileEntry] = field(default_factory=dict)  # by uri, companions too
    stats: dict[Path, FileStat] = field(default_factory=dict)  # of the sources and their companions

    @property
    def item_id(self) -> str:
        return item_id_of(entry.digest for entry in self.entries.values())


class Planner:
    """Turns inspected files into a `Plan`."""

    def __init__(
        self,
        ledger: Ledger,
        known: Known,
        declared: Declared,
        mask: PathMask,
        pseudonyms: Pseudonyms,
        tombstones: Tombstones | None = None,
    ) -> None:
        self._ledger = ledger
        self._known = known
        self._declared = declared
        self._mask = mask
        self._pseudonyms = pseudonyms
        self._tombstones = tombstones
        self._paths = {uri: stat.path for uri, stat in known.stats.items()}  # also of what lies nowhere on this machine
        self._stored_series: dict[str, list[Stored]] = defaultdict(list)
        for item in ledger.items.values():
            if item.series_key:
                self._stored_series[item.series_key].append(item)

    def plan(self, inspected: Sequence[Inspected], failed: Collection[Path] = ()) -> Plan:
        """Every file of `inspected` ends in the plan: as work, as a moved copy, or as one of a deleted item.

        `failed` are files that could not be inspected: what is stored of them stays.
        """
        self._learn_identifiers(inspected, failed)  # first: a folder named after a patient masks every file below it
        stats = {
            self._mask.uri(stat.path.relative_to(self._declared.root)): stat for stat in self._known.stats.values()
        }
        self._known = replace(self._known, stats=stats)
        plan = Plan()
        groups = self._grouped(inspected)
        self._reports = reports.by_study(inspected, self._pseudonyms, self._mask, self._declared.root)
        studies = {group.study_key for group in groups.values()}
        plan.failures = reports.unattached(inspected, studies, self._ledger, self._pseudonyms)
        plan.deleted = self._take_deleted(groups)
        states = self._known.states
        plan.unchanged = {item_id for item_id, state in states.items() if state is State.UNCHANGED}
        plan.gone = {item_id for item_id, state in states.items() if state is State.GONE}
        self._leave_to_others(plan.gone, plan)
        dirty = {item_id for item_id, state in states.items() if state is State.DIRTY}
        touched: dict[str, list[str]] = defaultdict(list)  # uri -> stored items that list it
        for item_id in dirty | self._joined(groups, plan):
            for entry in self._ledger.items[item_id].files:
                touched[entry.path].append(item_id)
        claimed = set()
        # Items that live on first: one copy may have changed while the other keeps the item.
        for group in sorted(groups.values(), key=lambda group: group.item_id not in self._ledger.items):
            former = {item_id for uri in group.entries for item_id in touched.get(uri, ())}
            claimed |= former
            self._settle(group, former, plan)
        leftover = dirty - claimed - self._kept(failed)
        self._leave_to_others(leftover, plan)
        plan.superseded = leftover - plan.moved.keys()
        return plan

    def _learn_identifiers(self, inspected: Sequence[Inspected], failed: Collection[Path]) -> None:
        """What files and manifests say of a person is masked in their own paths, and where it stands as a whole word in
        the names of other files too: of neighbours, any identifier; elsewhere, numbers long enough to be no accident.
        """
        nearby: dict[Path, set[str]] = defaultdict(set)
        numbers = set()
        for found in inspected:
            patient_id = self._declared.rows.get(found.path, Row()).patient_id
            own = (*found.identifiers, *(one for one in (patient_id,) if len(one) >= CONTAINED_FROM))
            for digest in found.digests:
                self._mask.learn(digest.stat.path.relative_to(self._declared.root), own)
            folded = {one.casefold() for one in own if len(one) >= CONTAINED_FROM}
            nearby[found.path.parent] |= folded
            numbers |= {one for one in folded if sum(map(str.isdigit, one)) >= LONG_NUMBER}
        for path in (*failed, *(found.path for found in inspected if not found.identifiers)):
            relative = path.relative_to(self._declared.root)
            self._mask.learn_words(relative, numbers, nearby.get(path.parent, ()))

    def _grouped(self, inspected: Sequence[Inspected]) -> dict[str, _Group]:
        groups: dict[str, _Group] = {}
        # Segments of a WFDB record have headers of their own, but are read through the record's.
        spoken_for = {digest.stat.path for found in inspected for digest in found.digests[1:]}
        alone = [found for found in inspected if found.path not in spoken_for and not found.report]
        for found in sorted(alone, key=lambda found: found.path):
            entries = [self._entry(digest.stat, digest.digest) for digest in found.digests]
            series_key = self._pseudonyms.of(found.series)
            # Equal bytes in two places are one item with two copies.
            key = series_key or "\n".join(sorted(entry.digest for entry in entries))
            group = groups.setdefault(key, _Group(found.modality, found.modality_from, found.format, series_key))
            group.study_key = group.study_key or self._pseudonyms.of(found.study)
            group.entries.update((entry.path, entry) for entry in entries)
            if series_key or not group.sources:
                group.sources[found.path] = None
                group.stats.update((digest.stat.path, digest.stat) for digest in found.digests)
        return groups

    def _take_deleted(self, groups: dict[str, _Group]) -> set[str]:
        """Take out of `groups` what was deleted from the index before; returns the ids."""
        deleted = {
            key: group.item_id
            for key, group in groups.items()
            if self._tombstones is not None and self._tombstones.has(group.item_id, group.series_key)
        }
        for key in deleted:
            del groups[key]
        return set(deleted.values())

    def _joined(self, groups: Mapping[str, _Group], plan: Plan) -> set[str]:
        """New slices of a stored series bring the stored ones back into the work."""
        joined = set()
        for group in groups.values():
            for item in self._stored_series.get(group.series_key, ()) if group.series_key else ():
                joined.add(item.item_id)
                if item.item_id in plan.unchanged:
                    for entry in item.files:
                        if entry.is_report:
                            continue
                        group.entries.setdefault(entry.path, entry)
                        path = self._paths.get(entry.path) or self._mask.resolve(self._declared.root, entry.path)
                        group.sources[path] = None
                        group.stats.setdefault(path, FileStat(path, entry.size, entry.mtime_ns))
        return joined

    def _settle(self, group: _Group, former: set[str], plan: Plan) -> None:
        item_id = group.item_id
        entries = group.entries
        stored = self._ledger.items.get(item_id)
        if stored:
            own = (entry for entry in stored.files if entry.path not in entries and not entry.is_report)
            others = [entry for entry in own if self._is_present(entry)]
            others.extend(stored.elsewhere)
            uri = stored.uri if others or stored.uri in entries else self._uri(tuple(group.sources))
            entries = entries | {entry.path: entry for entry in others}
            plan.gone.discard(item_id)
            plan.unchanged.discard(item_id)
        told = self._reports.get(group.study_key, StudyReports()) if group.study_key else StudyReports()
        files = (*sorted(entries.values(), key=lambda entry: entry.path), *told.entries)
        row = self._declared.row_of(files, self._known.stats)
        described = self._declared.digest_of(row)
        row = replace(row, text=row.text or told.text)
        if stored and stored.is_described_by(described) and stored.report_digests == told.digests:
            plan.moved[item_id] = Moved(uri, files)
            return
        self._leave_to_others(former - {item_id}, plan)
        replaces = tuple(sorted(former - {item_id} - plan.moved.keys()))
        plan.unchanged.difference_update(replaces)
        plan.work.append(
            Work(
                item_id=item_id,
                uri=self._uri(tuple(group.sources)),
                source=Source(
                    modality=group.modality,
                    format=group.format,
                    files=tuple(sorted(group.sources)),
                    modality_from=group.modality_from,
                ),
                row=row,
                described=described,
                files=files,
                series_key=group.series_key,
                replaces=replaces,
                stats=tuple(group.stats.values()),
            )
        )

    def _leave_to_others(self, item_ids: Iterable[str], plan: Plan) -> None:
        """Items that have no file left here, but copies in another archive of this index, live on there."""
        for item_id in sorted(set(item_ids) - plan.moved.keys()):
            if copies := self._ledger.items[item_id].elsewhere:
                plan.moved[item_id] = Moved(self._ledger.items[item_id].uri_elsewhere, copies)
                plan.gone.discard(item_id)
                plan.unchanged.discard(item_id)

    def _kept(self, failed: Collection[Path]) -> set[str]:
        """Stored items one of whose files fails now: kept, since nothing stored may be lost to a bad copy."""
        uris = {self._mask.uri(path.relative_to(self._declared.root)) for path in failed}
        return {
            item_id for item_id, item in self._ledger.items.items() if any(entry.path in uris for entry in item.files)
        }

    def _entry(self, stat: FileStat, digest: str) -> FileEntry:
        return FileEntry(self._mask.uri(stat.path.relative_to(self._declared.root)), stat.size, stat.mtime_ns, digest)

    def _uri(self, sources: Sequence[Path]) -> str:
        shared = sources[0] if len(sources) == 1 else Path(os.path.commonpath([path.parent for path in sources]))
        return self._mask.uri(shared.relative_to(self._declared.root))

    def _is_present(self, entry: FileEntry) -> bool:
        stat = self._known.stats.get(entry.path)
        return stat is not None and (stat.size, stat.mtime_ns) == (entry.size, entry.mtime_ns)
