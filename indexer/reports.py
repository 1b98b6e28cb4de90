"""Reports that are DICOM files of their own: which items they speak of.

A report belongs to every item of its study. Such an item lists the report among its files, so that a changed report
brings the item back, but its id is made of its own bytes only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from m3search.errors import Reason, UnreadableFile
from m3search.indexer.ledger import FileEntry

if TYPE_CHECKING:
    from m3search.indexer.archives.base import FileStat
    from m3search.indexer.inspect import Inspected
    from m3search.indexer.ledger import Ledger
    from m3search.indexer.plan import Known
    from m3search.privacy import PathMask, Pseudonyms

BETWEEN = "\n\n"


@dataclass(frozen=True, slots=True)
class StudyReports:
    """What the reports of one study say, equal ones once, in the order of their files."""

    texts: tuple[str, ...] = field(default=(), repr=False)
    entries: tuple[FileEntry, ...] = ()

    @property
    def text(self) -> str:
        return BETWEEN.join(dict.fromkeys(self.texts))

    @property
    def digests(self) -> frozenset[str]:
        return frozenset(entry.digest for entry in self.entries)


def by_study(found: Iterable[Inspected], pseudonyms: Pseudonyms, mask: PathMask, root: Path) -> dict[str, StudyReports]:
    """The reports among the files that were looked at, by the key of their study."""
    studies: dict[str, list[tuple[str, FileEntry]]] = defaultdict(list)
    for one in sorted((one for one in found if one.report), key=lambda one: one.path):
        seen = one.digests[0]
        uri = mask.uri(seen.stat.path.relative_to(root))
        entry = FileEntry.of_report(uri, seen.stat.size, seen.stat.mtime_ns, seen.digest)
        studies[pseudonyms.of(one.study)].append((one.report, entry))
    return {
        key: StudyReports(tuple(text for text, _ in pairs), tuple(entry for _, entry in pairs))
        for key, pairs in studies.items()
    }


def beside(found: Sequence[Inspected], ledger: Ledger, known: Known, pseudonyms: Pseudonyms) -> list[FileStat]:
    """Files that must be looked at, too: the reports of studies that new or changed files belong to, and the items that
    a new report speaks of.
    """
    looked_at = {digest.stat.path for one in found for digest in one.digests}
    touched: dict[str, set[str]] = defaultdict(set)  # study -> digests of its reports that were looked at
    for one in found:
        if one.study:
            reports = touched[pseudonyms.of(one.study)]
            if one.report:
                reports.add(FileEntry.report_digest(one.digests[0].digest))
    wanted: dict[Path, FileStat] = {}
    for item in ledger.items.values():
        if (new := touched.get(item.study_key)) is None or not item.study_key:
            continue
        speaks_of_it = not new <= item.report_digests
        for entry in item.files:
            stat = known.stats.get(entry.path)
            if stat and stat.path not in looked_at and (speaks_of_it or entry.is_report):
                wanted[stat.path] = stat
    return list(wanted.values())


def unattached(
    found: Iterable[Inspected], studies: Collection[str], ledger: Ledger, pseudonyms: Pseudonyms
) -> list[UnreadableFile]:
    """A failure for each report of a study of which nothing is searched here."""
    stored: Mapping[str, None] = {item.study_key: None for item in ledger.items.values()}
    return [
        UnreadableFile(
            one.path,
            Reason.UNSUPPORTED,
            "is a report of a study of which nothing is searched here; index its images with it",
        )
        for one in found
        if one.report and (key := pseudonyms.of(one.study)) not in studies and key not in stored
    ]
