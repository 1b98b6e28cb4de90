"""Manifests and reports among files that are listed and not walked through: members of a zip file, objects of a bucket.

The same rules as in a folder (`folder`), on local copies that are gone afterwards.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from m3search.errors import Reason, UnreadableFile
from m3search.indexer.archives import manifest, reports
from m3search.indexer.archives.manifest import BadLine, Row
from m3search.modalities.reading import unreadable

if TYPE_CHECKING:
    from m3search.indexer.archives.base import Access, FileStat

MOST_BYTES = 1 << 28  # of a manifest


@dataclass(slots=True)
class Described:
    """What is said of files, and which words of it cannot be used."""

    rows: dict[Path, Row] = field(default_factory=dict)
    failures: list[UnreadableFile] = field(default_factory=list)


def describe(stats: Sequence[FileStat], access: Access, scratch: Path) -> Described:
    """Read every manifest and the reports beside files; those of a folder above come first."""
    found = Described()
    paths = {stat.path for stat in stats}
    for stat in sorted(stats, key=lambda stat: (len(stat.path.parts), stat.path)):
        if stat.path.name == manifest.NAME:
            try:
                _take_manifest(stat, access, scratch, found)
            except (UnreadableFile, OSError) as error:
                failure = error if isinstance(error, UnreadableFile) else unreadable(stat.path, error)
                found.failures.append(failure)
    for stat in stats:
        names = (stat.path.with_name(name) for name in reports.names_for(stat.path))
        report = next((path for path in names if path in paths), None)
        row = found.rows.get(stat.path, Row())
        if report is None or row.text:
            continue
        try:
            with _local(report, access, scratch) as copy:
                text = reports.text_of(copy)
        except (UnreadableFile, OSError) as error:  # a report that cannot be read is none, as in a folder
            failure = error if isinstance(error, UnreadableFile) else unreadable(report, error)
            if failure.reason is Reason.NO_SPACE:
                found.failures.append(failure)
            continue
        if text:
            found.rows[stat.path] = replace(row, text=text)
    return found


def _take_manifest(stat: FileStat, access: Access, scratch: Path, found: Described) -> None:
    if stat.size > MOST_BYTES:
        raise UnreadableFile(stat.path, Reason.TOO_LARGE, "is larger than any manifest")
    wrong = []
    with _local(stat.path, access, scratch) as copy:
        for one in manifest.entries(copy):
            if not isinstance(one, BadLine):
                path, row = one
                found.rows[stat.path.parent / path.relative_to(copy.parent)] = row
            elif one.path:
                path = stat.path.parent / one.path.relative_to(copy.parent)
                found.failures.append(UnreadableFile(path, Reason.UNSUPPORTED, f"its {manifest.NAME}, {one}"))
            else:
                wrong.append(one)
    if wrong:
        more = f" (and {len(wrong) - 1} more such lines)" if len(wrong) > 1 else ""
        found.failures.append(UnreadableFile(stat.path, Reason.CORRUPT, f"{wrong[0]}{more}"))


@contextmanager
def _local(path: Path, access: Access, scratch: Path) -> Iterator[Path]:
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=scratch))
    try:
        access.copy(path, folder / path.name)
        yield folder / path.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)
