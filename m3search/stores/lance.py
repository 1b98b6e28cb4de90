"""The system of record: four LanceDB tables in one folder, every write one atomic commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from m3search.stores.base import Capabilities, Neighbours

if TYPE_CHECKING:
    from m3search.filters import Filter
    from m3search.types import Float32


class LanceStore:
    """`LanceStore.create(path, dim)` makes the tables, `LanceStore.open(path)` finds them. One writer at a time.

    Implements `VectorStore` over `items`; the other methods are the record's own. Rows may be given as a pa.Table or
    as a list of mappings, with any subset of the columns of `schema`.
    """

    capabilities = Capabilities()
    dim: int

    @classmethod
    def create(cls, path: Path, dim: int) -> LanceStore:
        """New, empty tables in `path` (made if absent). FileExistsError where there already is one."""
        raise NotImplementedError

    @classmethod
    def open(cls, path: Path) -> LanceStore:
        """IndexNotFound where `path` has no tables."""
        raise NotImplementedError

    @property
    def version(self) -> int:
        """Of the items table: another after each commit that changes it."""
        raise NotImplementedError

    # VectorStore ------------------------------------------------------------------------------------------------------
    def upsert(self, rows: pa.Table) -> None:
        raise NotImplementedError

    def delete(self, item_ids: Sequence[str]) -> int:
        """Items and their parts."""
        raise NotImplementedError

    def search(self, queries: Float32, k: int, where: Filter | None = None) -> list[Neighbours]:
        raise NotImplementedError

    def count(self, where: Filter | None = None) -> int:
        raise NotImplementedError

    # Record -----------------------------------------------------------------------------------------------------------
    def write(self, items: pa.Table, parts: pa.Table) -> None:
        """One shard: parts first, then items, each one commit; replaced items lose their stale parts."""
        raise NotImplementedError

    def ledger(self) -> pa.Table:
        """item_id, series_key, files of every item: what the planner compares the archive with."""
        raise NotImplementedError

    def rows(self, item_ids: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table:
        """These items in the order asked; ids that are not there are left out."""
        raise NotImplementedError

    def matching(self, where: Filter | None = None) -> list[str]:
        """Ids of the items that match, sorted."""
        raise NotImplementedError

    def tally(self, column: str, where: Filter | None = None) -> dict[str, int]:
        """How many items per value of a text column: `tally("modality")`."""
        raise NotImplementedError

    def parts_of(self, item_ids: Sequence[str]) -> pa.Table:
        """`schema.parts` rows of these items, by item in the order asked, then by index."""
        raise NotImplementedError

    def update_files(
        self, files: Mapping[str, Sequence[Mapping[str, Any]]], uris: Mapping[str, str] | None = None
    ) -> None:
        """Replace the ledger of these items (touched, copied or moved files) without touching their vectors.

        `files`: item_id -> list of {path, size, mtime_ns, digest}; `uris`: item_id -> new uri, where it changes too.
        """
        raise NotImplementedError

    def record_failures(self, rows: pa.Table | Sequence[Mapping[str, Any]]) -> None:
        """Add or replace by uri; `attempts` is added to what was there (default 1)."""
        raise NotImplementedError

    def clear_failures(self, uris: Sequence[str]) -> None:
        raise NotImplementedError

    def failures(self) -> pa.Table:
        """Sorted by uri."""
        raise NotImplementedError

    def record_run(self, row: Mapping[str, Any]) -> None:
        """Add or replace by run_id: once at the start, once at the end."""
        raise NotImplementedError

    def runs(self) -> pa.Table:
        """Oldest first."""
        raise NotImplementedError

    def optimize(self) -> None:
        """Compact small fragments and drop old versions: after a run."""
        raise NotImplementedError
