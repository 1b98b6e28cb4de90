"""Which files `m3search failures --retry` reads: those that failed, and what forms one item with them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from m3search.indexer.ledger import Ledger, State

if TYPE_CHECKING:
    from m3search.indexer.archives.base import FileStat
    from m3search.indexer.inspect import Inspected
    from m3search.indexer.plan import Known
    from m3search.privacy import PathMask


def first(stats: Iterable[FileStat], failed: Collection[Path]) -> list[FileStat]:
    """Those that failed, and all below a folder that failed."""
    return [stat for stat in stats if any(path in failed for path in (stat.path, *stat.path.parents))]


def beside(stats: Iterable[FileStat], found: Iterable[Inspected], failed: Collection[Path]) -> list[FileStat]:
    """Files that may form one item with a file that failed: its neighbours, where its format is of several files."""
    folders = {one.path.parent for one in found if one.series or one.format == "wfdb"}
    stats = list(stats)
    tried = {stat.path for stat in first(stats, failed)}
    return [stat for stat in stats if stat.path.parent in folders and stat.path not in tried]


def related(others: Iterable[Inspected], found: Iterable[Inspected], failed: Collection[Path]) -> list[Inspected]:
    """Of the neighbours, those of the same series, and headers that read a file that failed."""
    series = {one.series for one in found if one.series}
    return [
        one for one in others if one.series in series or any(digest.stat.path in failed for digest in one.digests[1:])
    ]


def only(known: Known, ledger: Ledger, found: Iterable[Inspected], mask: PathMask, root: Path) -> Known:
    """Every item that none of these files is about counts as unchanged, whatever became of it."""
    uris = {mask.uri(digest.stat.path.relative_to(root)) for one in found for digest in one.digests}
    return replace(
        known,
        states={
            item_id: state if any(entry.path in uris for entry in ledger.items[item_id].files) else State.UNCHANGED
            for item_id, state in known.states.items()
        },
    )
