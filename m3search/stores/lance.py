"""The system of record: four LanceDB tables in one folder or below one address, every write one atomic commit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import BTree

from m3search.errors import IndexNotFound
from m3search.filters import to_sql
from m3search.stores import schema
from m3search.stores.base import BLOCK, Capabilities, Neighbours, check_queries, evenly, rank, shortlist
from m3search.stores.place import remove, storage_options
from m3search.stores.tally import merged, tally

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.filters import Filter
    from m3search.stores.place import Place
    from m3search.types import Float32

    Float16 = npt.NDArray[np.float16]

STABLE_ROW_IDS = {"new_table_enable_stable_row_ids": "true"}  # a row keeps its id for good: see `view.py`
TABLES = ("parts", "failures", "runs", "items")  # made in this order: where `items` exists, all do
IDS_PER_STATEMENT = 5000
SCALAR_INDEX_FROM = 20_000  # rows; below, scanning the key column is as fast as an index
READERS_KEEP = timedelta(minutes=10)  # how long a reader that opened an older version may go on reading it


def connect(tables: Place) -> Any:
    """The database of a folder or address; tables made through it keep the ids of their rows."""
    options = STABLE_ROW_IDS | storage_options(tables)
    return lancedb.connect(str(tables), read_consistency_interval=timedelta(0), storage_options=options)


@dataclass(frozen=True, slots=True)
class Changes:
    """What became of a table since a version."""

    kept: npt.NDArray[np.bool_]  # (N,) which of the row ids asked about still stand for the same content
    rows: pa.Table  # written since


class LanceStore:
    """`LanceStore.create(path, dim)` makes the tables, `LanceStore.open(path)` finds them. One writer at a time.

    Implements `VectorStore` over `items`; the other methods are the record's own. Rows may be given as a pa.Table or
    as a list of mappings, with any subset of the columns of `schema`.
    """

    capabilities = Capabilities()

    def __init__(self, path: Place) -> None:
        """Use `open` or `create`."""
        # Every read looks for commits of other processes first: microseconds on a local disk, a request on S3.
        self._path = path
        self._database = connect(path)
        self._items = self._database.open_table("items")
        self.dim: int = self._items.schema.field("vector").type.list_size

    @classmethod
    def create(cls, path: Place, dim: int) -> LanceStore:
        """New, empty tables in `path`, made if absent. Finishes what a killed `create` left.

        Raises:
            FileExistsError: there are tables here already.
        """
        if (path / "items.lance").exists():
            raise FileExistsError(path)
        schemas = {
            "parts": schema.parts(dim),
            "failures": schema.failures(),
            "runs": schema.runs(),
            "items": schema.items(dim),
        }
        database = connect(path)
        for name in TABLES:
            remove(path / f"{name}.lance")
            database.create_table(name, schema=schemas[name])
        return cls(path)

    @classmethod
    def open(cls, path: Place) -> LanceStore:
        """The tables in `path`.

        Raises:
            IndexNotFound: there are none.
        """
        if not (path / "items.lance").is_dir():
            raise IndexNotFound(f'no tables at {path}; make an index with "m3search index ARCHIVE"')
        return cls(path)

    def at(self, version: int) -> LanceStore:
        """The items as they were in a version, to be read.

        Raises:
            IndexNotFound: that version is no longer kept.
        """
        pinned = LanceStore.open(self._path)
        try:
            pinned._items.checkout(version)
        except (ValueError, RuntimeError, OSError) as error:
            raise IndexNotFound(f"version {version} of {self._path} is no longer kept; start anew") from error
        return pinned

    @cached_property
    def _parts(self) -> Any:
        return self._database.open_table("parts")

    @cached_property
    def _failures(self) -> Any:
        return self._database.open_table("failures")

    @cached_property
    def _runs(self) -> Any:
        return self._database.open_table("runs")

    @property
    def version(self) -> int:
        """Of the items table: another after each commit that changes it."""
        return int(self._items.version)

    # VectorStore ------------------------------------------------------------------------------------------------------
    def ensure(self) -> None:
        """See `VectorStore`. An open store has its tables: `create` made them."""

    def publish(self) -> None:
        """See `VectorStore`. Its searches scan; `publishing.publish` makes the segment that answers fast."""

    def upsert(self, rows: pa.Table | Sequence[Mapping[str, Any]]) -> None:
        """See `VectorStore`. One commit."""
        rows = schema.conform(rows, schema.items(self.dim))
        if rows.num_rows:
            _merge(self._items, schema.last_of_each(rows, "item_id"), "item_id")

    def delete(self, item_ids: Sequence[str]) -> int:
        """Items, then their parts: a kill between leaves parts that nothing refers to, which `optimize` removes."""
        removed = 0
        for ids in _chunks(item_ids):
            condition = f"item_id IN ({_literals(ids)})"
            if found := self._items.count_rows(condition):
                self._items.delete(condition)
                removed += found
            if self._parts.count_rows(condition):
                self._parts.delete(condition)
        return removed

    def search(self, queries: Float32, k: int, where: Filter | None = None) -> list[Neighbours]:
        """See `VectorStore`. Streams over the vector column: memory stays bounded, time is linear in the index."""
        queries = check_queries(queries, k, self.dim)
        found: list[list[tuple[Float32, list[str]]]] = [[] for _ in queries]
        for block in self._scan(["item_id", "vector"], where).to_batches(BLOCK):
            vectors = schema.matrix(block["vector"])
            for scores, kept in zip(queries @ vectors.T, found, strict=True):
                rows = shortlist(scores, k)
                kept.append((vectors[rows], [block["item_id"][row].as_py() for row in rows.tolist()]))
        empty = np.zeros((0, self.dim), dtype=np.float32)
        return [
            rank(
                query,
                np.concatenate([empty, *(vectors for vectors, _ in kept)]),
                [item_id for _, ids in kept for item_id in ids],
                k,
            )
            for query, kept in zip(queries, found, strict=True)
        ]

    def count(self, where: Filter | None = None) -> int:
        """See `VectorStore`."""
        return int(self._items.count_rows(None if where is None else to_sql(where)))

    # Reading the record -----------------------------------------------------------------------------------------------
    def ledger(self) -> pa.Table:
        """item_id, uri, keys of series and study, described, files of every item: what a run compares archives with."""
        return self._scan(["item_id", "uri", "series_key", "study_key", "described", "files"]).to_arrow()

    def rows(self, item_ids: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table:
        """These items in the order asked; ids that are not there are left out. `columns` None is all of them."""
        wanted = list(columns or schema.items(self.dim).names)
        found = self._select(self._items, item_ids, list(dict.fromkeys(["item_id", *wanted])))
        place = {item_id: row for row, item_id in enumerate(found["item_id"].to_pylist())}
        order = [place[item_id] for item_id in item_ids if item_id in place]
        return found.take(np.array(order, dtype=np.int64)).select(wanted)

    def parts_of(self, item_ids: Sequence[str]) -> pa.Table:
        """`schema.parts` rows of these items: by item in the order asked, then by index."""
        found = self._select(self._parts, item_ids, schema.parts(self.dim).names)
        place = {item_id: row for row, item_id in enumerate(item_ids)}
        keys = [(place[owner], index) for owner, index in zip(*_lists(found, "item_id", "index"), strict=True)]
        return found.take(np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64))

    def matching(self, where: Filter | None = None) -> list[str]:
        """Ids of the items that match, sorted."""
        return sorted(self._scan(["item_id"], where).to_arrow()["item_id"].to_pylist())

    def tally(self, column: str, where: Filter | None = None) -> dict[str, int]:
        """How many items have each value of a column, by value: `tally("modality")`. Null counts as ""; of `labels`,
        items count for each of theirs.
        """
        return merged(tally(self._scan([column], where).to_arrow()[column]))

    def spread(self, most: int, where: Filter | None = None) -> list[str]:
        """See `Reader.spread`."""
        ids = self.matching(where)
        return [ids[place] for place in evenly(len(ids), most)]

    def everything(self, columns: Sequence[str]) -> tuple[int, pa.Table, pa.Table]:
        """The version of `items`, its columns and `_rowid`, and the whole of `parts`: what a segment copies."""
        items = self._pinned()
        rows = items.search().with_row_id(True).select(list(columns)).to_arrow()
        return int(items.version), rows, self._parts.search().to_arrow()

    def stream(self, columns: Sequence[str], rows: int) -> Iterator[pa.Table]:
        """These columns of all items, so many rows at a time, in the same order each time a version is read."""
        for batch in self._scan(columns).to_batches(rows):
            yield pa.Table.from_batches([batch])

    def text_vectors(self, most: int) -> Float16:
        """(T, dim) of up to `most` items that have a text: the first ones, each vector once."""
        query = self._items.search().select(["text_vector"]).where("text_vector IS NOT NULL").limit(4 * most)
        return np.unique(schema.half(query.to_arrow()["text_vector"]), axis=0)[:most]

    def changes(self, version: int, row_ids: npt.NDArray[np.uint64], columns: Sequence[str]) -> Changes | None:
        """What became of these rows of `items` since `version`, and these columns of the rows written since.

        None where that cannot be told: an older table than that version's, or one without stable row ids.
        """
        items = self._pinned()
        if items.version < version or not _stable(items):
            return None
        newer = f"{WRITTEN} > {version}"
        query = items.search().with_row_id(True)
        later = query.where(newer).select(list(columns)).to_arrow()
        written = later["_rowid"].to_numpy()
        known = np.isin(written, row_ids)
        kept = ~np.isin(row_ids, written[known]) if known.any() else np.ones(len(row_ids), dtype=bool)
        if items.count_rows() != len(row_ids) + np.count_nonzero(~known):  # some are gone
            there = items.search().with_row_id(True).select([WRITTEN]).to_arrow()["_rowid"].to_numpy()
            kept &= np.isin(row_ids, there)
        return Changes(kept, later.drop_columns(["_rowid"]))

    def _pinned(self) -> Any:
        """`items` at its newest version, at which it stays."""
        items = self._database.open_table("items")
        items.checkout(items.version)
        return items

    # Writing the record -----------------------------------------------------------------------------------------------
    def write(
        self, items: pa.Table | Sequence[Mapping[str, Any]], parts: pa.Table | Sequence[Mapping[str, Any]] = ()
    ) -> None:
        """One shard. Parts first, in one commit that also drops stale parts of these items; then the items, in one.

        A kill before the items are committed leaves parts that nothing refers to; writing the shard again, or
        `optimize`, clears them.

        Raises:
            ValueError: a part belongs to no item of the shard.
        """
        items = schema.last_of_each(schema.conform(items, schema.items(self.dim)), "item_id")
        parts = schema.last_of_each(schema.conform(parts, schema.parts(self.dim)), "part_id")
        owners = items["item_id"].to_pylist()
        if strays := set(parts["item_id"].to_pylist()) - set(owners):
            raise ValueError(f"parts of items that are not in the shard: {', '.join(sorted(map(str, strays)))}")
        stale = f"item_id IN ({_literals(owners)})"
        if owners and (parts.num_rows or self._parts.count_rows(stale)):
            merge = self._parts.merge_insert("part_id").when_matched_update_all().when_not_matched_insert_all()
            merge.when_not_matched_by_source_delete(stale).execute(parts, on_bad_vectors="null")
        self.upsert(items)

    def update_files(
        self, files: Mapping[str, Sequence[Mapping[str, Any]]], uris: Mapping[str, str] | None = None
    ) -> None:
        """New ledgers of stored items whose files were touched, copied or moved; vectors stay. One commit.

        Args:
            files: by item_id, each file as {path, size, mtime_ns, digest}. Ids that are not there are ignored.
            uris: by item_id, where the uri changes too.
        """
        if not files:
            return
        uris = uris or {}
        kinds = schema.items(self.dim)
        before = self.rows(list(files), ["item_id", "uri"])
        ids, old = _lists(before, "item_id", "uri")
        if not ids:
            return
        rows = {
            "item_id": pa.array(ids, pa.string()),
            "uri": pa.array([uris.get(item_id, uri) for item_id, uri in zip(ids, old, strict=True)], pa.string()),
            "files": pa.array([list(files[item_id]) for item_id in ids], kinds.field("files").type),
        }
        self._items.merge_insert("item_id").when_matched_update_all().execute(pa.table(rows))

    def record_failures(self, rows: pa.Table | Sequence[Mapping[str, Any]]) -> None:
        """Add or replace by uri. `attempts` (1 if not given) is added to what was there."""
        rows = schema.last_of_each(schema.conform(rows, schema.failures()), "uri")
        if not rows.num_rows:
            return
        before = dict(zip(*_lists(self.failures(), "uri", "attempts"), strict=True))
        uris, attempts = _lists(rows, "uri", "attempts")
        summed = [before.get(uri, 0) + (1 if new is None else new) for uri, new in zip(uris, attempts, strict=True)]
        place = rows.schema.get_field_index("attempts")
        _merge(self._failures, rows.set_column(place, rows.schema.field(place), pa.array(summed, pa.int32())), "uri")

    def clear_failures(self, uris: Sequence[str]) -> None:
        """Forget these failures."""
        for some in _chunks(uris):
            self._failures.delete(f"uri IN ({_literals(some)})")

    def failures(self) -> pa.Table:
        """`schema.failures` rows, sorted by uri."""
        return self._failures.search().to_arrow().sort_by("uri")

    def record_run(self, row: Mapping[str, Any]) -> None:
        """Add or update by run_id: at the start of a run with what is known, at its end with the rest."""
        known = {one["run_id"]: one for one in self.runs().to_pylist()}
        _merge(self._runs, schema.conform([known.get(row["run_id"], {}) | dict(row)], schema.runs()), "run_id")

    def runs(self) -> pa.Table:
        """`schema.runs` rows, oldest first."""
        return self._runs.search().to_arrow().sort_by([("started_at", "ascending"), ("run_id", "ascending")])

    def drop_strays(self) -> None:
        """Remove parts that no item refers to: what a killed write or deletion left."""
        owners = set(self._parts.search().select(["item_id"]).to_arrow()["item_id"].to_pylist())
        for ids in _chunks(sorted(owners - set(self.matching()))):
            self._parts.delete(f"item_id IN ({_literals(ids)})")

    def optimize(self, keep: timedelta = READERS_KEEP) -> None:
        """After a run: drop parts without an item, merge small fragments, forget versions older than `keep`."""
        self.drop_strays()
        for table in (self._items, self._parts):
            if table.count_rows() >= SCALAR_INDEX_FROM and not table.list_indices():
                table.create_index("item_id", config=BTree())
        for table in (self._items, self._parts, self._failures, self._runs):
            table.optimize(cleanup_older_than=keep)

    # ------------------------------------------------------------------------------------------------------------------
    def _scan(self, columns: Sequence[str], where: Filter | None = None) -> Any:
        query = self._items.search().select(list(columns))
        return query if where is None else query.where(to_sql(where))

    @staticmethod
    def _select(table: Any, item_ids: Sequence[str], columns: Sequence[str]) -> pa.Table:
        """Rows of these items, in any order."""
        chunks = [
            table.search().where(f"item_id IN ({_literals(ids)})").select(list(columns)).to_arrow()
            for ids in _chunks(item_ids)
        ]
        return pa.concat_tables(chunks) if chunks else table.search().select(list(columns)).limit(1).to_arrow()[:0]


WRITTEN = "_row_last_updated_at_version"  # of each row, by Lance


def _stable(items: Any) -> bool:
    """Whether a table has stable row ids: else Lance gives 1, the version of the empty table, for each row."""
    first: list[int] = items.search().select([WRITTEN]).limit(1).to_arrow()[WRITTEN].to_pylist()
    return first != [1]


def _merge(table: Any, rows: pa.Table, key: str) -> None:
    """Insert or replace whole rows by key, as one atomic commit.

    "null": lancedb else refuses a null `text_vector`. Other bad vectors do not get past `schema.conform`.
    """
    merge = table.merge_insert(key).when_matched_update_all().when_not_matched_insert_all()
    merge.execute(rows, on_bad_vectors="null")


def _literals(values: Sequence[str]) -> str:
    return ", ".join("'" + value.replace("'", "''") + "'" for value in values)


def _chunks(values: Sequence[str]) -> Iterator[Sequence[str]]:
    unique = list(dict.fromkeys(values))
    return (unique[start : start + IDS_PER_STATEMENT] for start in range(0, len(unique), IDS_PER_STATEMENT))


def _lists(table: pa.Table, *columns: str) -> list[list[Any]]:
    return [table[column].to_pylist() for column in columns]
