"""What one run could not read: told to its caller, kept in the failures table, and asked of by the next `--retry`."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from m3search.errors import Reason, UnreadableFile
from m3search.indexer.ledger import is_of
from m3search.modalities.reading import unreadable

if TYPE_CHECKING:
    from m3search.indexer.archives.base import Access, FileStat
    from m3search.indexer.plan import Known
    from m3search.privacy import PathMask
    from m3search.stores.lance import LanceStore


class Failures(Collection[Path]):
    """Files and folders that failed, each with its last error."""

    def __init__(self, store: LanceStore, root: Path) -> None:
        """`root` is the archive's."""
        self._store = store
        self._root = root
        self._errors: dict[Path, UnreadableFile] = {}

    def __len__(self) -> int:
        return len(self._errors)

    def __iter__(self) -> Iterator[Path]:
        return iter(self._errors)

    def __contains__(self, path: object) -> bool:
        return path in self._errors

    def add(self, error: UnreadableFile, path: Path) -> None:
        """Remember a failure under the file it names, or under `path` where that lies outside the archive.

        Raises:
            OSError: what failed is the disk of the index, which files of zip files or servers are copied to.
        """
        if error.reason is Reason.NO_SPACE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        self._errors[error.path if error.path.is_relative_to(self._root) else path] = error

    def sift(self, found: Iterable[FileStat | UnreadableFile]) -> list[FileStat]:
        """The files; failures among them are remembered."""
        stats = []
        for one in found:
            if isinstance(one, UnreadableFile):
                self.add(one, one.path)
            else:
                stats.append(one)
        return stats

    def before(self, known: Known, mask: PathMask, prefix: str, access: Access) -> set[Path]:
        """Files and folders of this archive in the failures table. One that is gone stays a failure."""
        listed = {
            mask.uri(path.relative_to(self._root)): path
            for stat in known.stats.values()
            for path in (stat.path, *stat.path.parents)
            if path.is_relative_to(self._root)
        }
        failed = set()
        for uri in self._stored(prefix):
            if uri in listed:
                failed.add(listed[uri])
                continue
            try:
                path = mask.resolve(self._root, uri)
                access.stat(path)
            except OSError as error:
                path = self._root / uri.removeprefix(prefix)
                self.add(unreadable(path, error), path)
            else:
                failed.add(path)
        return failed

    def record(self, mask: PathMask, prefix: str, run_id: str, now: datetime) -> None:
        """The failures table after a run: what failed now. Files that are mended or gone leave it."""
        rows = [
            {
                "uri": mask.uri(path.relative_to(self._root)),
                "reason": error.reason.value,
                "message": error.message,
                "run_id": run_id,
                "failed_at": now,
            }
            for path, error in self._errors.items()
        ]
        self._store.clear_failures(sorted(self._stored(prefix) - {row["uri"] for row in rows}))
        self._store.record_failures(rows)

    def _stored(self, prefix: str) -> set[str]:
        return {uri for uri in self._store.failures().column("uri").to_pylist() if is_of(uri, prefix)}
