"""The tables of an index, as Arrow schemas. `item_id` keys items, `part_id` parts, `uri` failures, `run_id` runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.types import Float32

TIMESTAMP = pa.timestamp("us", tz="UTC")

FILE = pa.struct(
    [
        ("path", pa.string()),  # relative to the archive
        ("size", pa.int64()),  # bytes
        ("mtime_ns", pa.int64()),
        ("digest", pa.string()),  # BLAKE3 of the bytes, hex
    ]
)


def items(dim: int) -> pa.Schema:
    """One row per searchable item."""
    vector = pa.list_(pa.float16(), dim)
    return pa.schema(
        [
            pa.field("item_id", pa.string(), nullable=False),  # BLAKE3 of content and locator: same bytes, same id
            ("uri", pa.string()),  # of the first copy, relative to the archive
            ("locator", pa.string()),
            ("modality", pa.string()),
            ("modality_from", pa.string()),  # who said so: types.ModalityFrom
            ("format", pa.string()),
            pa.field("vector", vector, nullable=False),  # unit length before rounding to half precision
            ("text_vector", vector),
            ("text", pa.string()),
            ("labels", pa.list_(pa.string())),
            ("patient_key", pa.string()),  # keyed pseudonyms, never the identifiers themselves
            ("study_key", pa.string()),
            ("series_key", pa.string()),
            ("sex", pa.string()),
            ("age_band", pa.string()),
            ("body_part", pa.string()),
            ("view", pa.string()),
            ("laterality", pa.string()),
            ("year", pa.int16()),
            ("parts", pa.int32()),  # how many rows the parts table has for this item; 0 or 1 where it has just one view
            ("thumbnail", pa.binary()),  # JPEG or PNG
            ("provenance", pa.string()),  # JSON: how the bytes became a vector
            ("described", pa.string()),  # digest of what the manifest said: an edited manifest is noticed by it
            ("files", pa.list_(FILE)),  # the ledger: every file the item was read from, copies included
            ("run_id", pa.string()),
            ("indexed_at", TIMESTAMP),
        ]
    )


def parts(dim: int) -> pa.Schema:
    """One row per slice, tile or window of an item that has several."""
    return pa.schema(
        [
            pa.field("part_id", pa.string(), nullable=False),
            ("item_id", pa.string()),
            ("index", pa.int32()),  # anatomical or temporal order, from 0
            ("locator", pa.string()),
            pa.field("vector", pa.list_(pa.float16(), dim), nullable=False),
        ]
    )


def failures() -> pa.Schema:
    """One row per file that could not become an item."""
    return pa.schema(
        [
            pa.field("uri", pa.string(), nullable=False),
            ("reason", pa.string()),  # errors.Reason
            ("message", pa.string()),
            ("attempts", pa.int32()),
            ("size", pa.int64()),  # with mtime_ns: tried again only when the file has changed
            ("mtime_ns", pa.int64()),
            ("run_id", pa.string()),
            ("failed_at", TIMESTAMP),
        ]
    )


def runs() -> pa.Schema:
    """One row per index run."""
    return pa.schema(
        [
            pa.field("run_id", pa.string(), nullable=False),
            ("started_at", TIMESTAMP),
            ("finished_at", TIMESTAMP),  # null while running, and for good if the run was killed
            ("seen", pa.int64()),
            ("indexed", pa.int64()),
            ("unchanged", pa.int64()),
            ("failed", pa.int64()),
            ("removed", pa.int64()),
            ("encoder", pa.string()),  # fingerprint
            ("version", pa.string()),  # of m3search
        ]
    )


def conform(rows: pa.Table | Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """The rows in this schema's column order and types; absent columns become null, unknown ones are an error.

    Accepts a list of mappings for convenience. A vector may be any numeric list or a numpy array.

    Raises:
        ValueError: an unknown column, a null where the schema allows none, or a vector that is not finite.
    """
    if not isinstance(rows, pa.Table):
        names = {name for row in rows for name in row}
        rows = pa.table({name: _column([row.get(name) for row in rows], schema, name) for name in names})
    unknown = [name for name in rows.column_names if name not in schema.names]
    if unknown:
        raise ValueError(f"no such column: {', '.join(unknown)}")
    columns = []
    for field in schema:
        if field.name in rows.column_names:
            column = rows[field.name].combine_chunks().cast(field.type)
        else:
            column = pa.nulls(rows.num_rows, field.type)
        if not field.nullable and column.null_count:
            raise ValueError(f"column {field.name} must be present and never null")
        columns.append(column)
        if field.name == "vector" and not np.isfinite(matrix(column)).all():
            raise ValueError("a vector holds NaN or infinity")
    return pa.table(columns, schema=schema)


def _column(values: list[Any], schema: pa.Schema, name: str) -> pa.Array:
    if name not in schema.names:
        raise ValueError(f"no such column: {name}")
    kind = schema.field(name).type
    if pa.types.is_fixed_size_list(kind):
        values = [None if value is None else np.asarray(value, dtype=np.float16) for value in values]
    return pa.array(values, type=kind)


def last_of_each(rows: pa.Table, key: str) -> pa.Table:
    """Where a key occurs more than once, its last row only: merging needs unique keys."""
    last = {value: row for row, value in enumerate(rows[key].to_pylist())}
    return rows if len(last) == rows.num_rows else rows.take(np.array(sorted(last.values()), dtype=np.int64))


def half(column: pa.ChunkedArray | pa.FixedSizeListArray) -> npt.NDArray[np.float16]:
    """A float16[D] column as (N, D), without a copy where it is one chunk.

    Reads Arrow's buffer directly: pyarrow's own conversions import pandas where it is installed, 0.3 s of a cold query.

    Raises:
        ValueError: a row is null.
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if column.null_count:
        raise ValueError("a vector is null")
    shape = (len(column), column.type.list_size)
    if len(column) == 0:
        return np.zeros(shape, dtype=np.float16)
    values = column.values  # of the whole buffer, also where the column is a slice of it
    start = values.offset + column.offset * shape[1]
    flat = np.frombuffer(values.buffers()[1], dtype=np.float16, count=shape[0] * shape[1], offset=2 * start)
    return flat.reshape(shape)


def matrix(column: pa.ChunkedArray | pa.Array) -> Float32:
    """A float16[D] column as float32 (N, D).

    Raises:
        ValueError: a row is null.
    """
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    empty = np.zeros((0, column.type.list_size), dtype=np.float16)
    return np.concatenate([empty, *map(half, chunks)]).astype(np.float32)
