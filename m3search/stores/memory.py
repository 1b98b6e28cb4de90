"""The exact oracle: everything in memory, every item scored. What the other stores are tested against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from m3search.filters import mask
from m3search.stores import schema
from m3search.stores.base import Capabilities, Neighbours, check_queries, rank

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.filters import Filter
    from m3search.types import Float32


class MemoryStore:
    """A `VectorStore` that forgets when the process ends. Vectors are rounded to half precision as everywhere."""

    capabilities = Capabilities(persistent=False)

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._table = schema.items(dim).empty_table()

    def ensure(self) -> None:
        """See `VectorStore`. There is nothing to make."""

    def publish(self) -> None:
        """See `VectorStore`. Every item is scored, there is nothing to build."""

    def upsert(self, rows: pa.Table) -> None:
        """See `VectorStore`."""
        rows = schema.last_of_each(schema.conform(rows, schema.items(self.dim)), "item_id")
        self._table = pa.concat_tables([self._without(rows["item_id"].to_pylist()), rows])

    def delete(self, item_ids: Sequence[str]) -> int:
        """See `VectorStore`."""
        before = self._table.num_rows
        self._table = self._without(item_ids)
        return int(before - self._table.num_rows)

    def search(self, queries: Float32, k: int, where: Filter | None = None) -> list[Neighbours]:
        """See `VectorStore`."""
        queries = check_queries(queries, k, self.dim)
        table = self._table.take(np.flatnonzero(self._matching(where)))
        vectors, ids = schema.matrix(table["vector"]), table["item_id"].to_pylist()
        return [rank(query, vectors, ids, k) for query in queries]

    def count(self, where: Filter | None = None) -> int:
        """See `VectorStore`."""
        return int(self._matching(where).sum())

    def _matching(self, where: Filter | None) -> npt.NDArray[np.bool_]:
        return np.ones(self._table.num_rows, dtype=bool) if where is None else mask(where, self._table)

    def _without(self, item_ids: Sequence[str]) -> pa.Table:
        gone = set(item_ids)
        kept = [row for row, item_id in enumerate(self._table["item_id"].to_pylist()) if item_id not in gone]
        return self._table.take(np.array(kept, dtype=np.int64))
