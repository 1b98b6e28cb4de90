"""The items of an index as Parquet, vectors included, for any tool that reads it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from m3search import filters
from m3search.errors import UsageError
from m3search.stores import schema

if TYPE_CHECKING:
    from m3search.stores.folder import IndexFolder

Precision = Literal["fp32", "fp16"]
LEFT_OUT = ("described", "files", "thumbnail")  # of the index's own concern, or large
ROWS = 4096  # of a row group: what is in memory at a time
KINDS = {"fp32": pa.float32(), "fp16": pa.float16()}


@dataclass(frozen=True, slots=True)
class Export:
    """What was written: the keys of `m3search export --json`."""

    file: str
    items: int
    parts_file: str  # "" where parts were not asked for
    parts: int
    bytes: int  # of both files


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What an export holds."""

    where: str | None = None  # only items that match, see `m3search.filters`
    parts: Path | None = None  # also write the parts of these items, to this file
    precision: Precision = "fp32"  # of vectors; the index keeps half, so that fp32 adds no digits but more readers
    thumbnails: bool = False


def export(index: IndexFolder, file: Path, options: ExportOptions) -> Export:
    """Write items, ordered by id, to a Parquet file that only its owner may read: embeddings are patient data.

    Vectors are fixed-size lists of `precision`; the file's metadata name the encoder they can be compared with. An
    existing file is replaced once the new one is whole.

    Raises:
        UsageError: both files are one.
        FilterError: the filter cannot be understood.
        OSError: a file cannot be written.
    """
    if options.parts is not None and options.parts.resolve() == file.resolve():
        raise UsageError("items and parts need a file each")
    record, kind = index.record(), KINDS[options.precision]
    ids = record.matching(None if options.where is None else filters.parse(options.where))
    left_out = LEFT_OUT[:2] if options.thumbnails else LEFT_OUT
    columns = [name for name in schema.items(record.dim).names if name not in left_out]
    about = _about(index)

    def items_of(some: Sequence[str]) -> pa.Table:
        return record.rows(some, columns)

    items = _write(file, ids, items_of, kind, about)
    parts = 0
    if options.parts is not None:
        parts = _write(options.parts, ids, record.parts_of, kind, about)
    files = [file] if options.parts is None else [file, options.parts]
    size = sum(one.stat().st_size for one in files)
    return Export(str(file), items, str(options.parts or ""), parts, size)


def _write(
    file: Path,
    ids: Sequence[str],
    rows_of: Callable[[Sequence[str]], pa.Table],
    kind: pa.DataType,
    about: dict[str, str],
) -> int:
    """Write the rows of these items, some at a time. Returns how many."""
    temporary = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    shape = _with_precision(rows_of([]), kind).schema.with_metadata(about)
    count = 0
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        with pq.ParquetWriter(temporary, shape, compression="zstd") as writer:
            for start in range(0, len(ids), ROWS):
                rows = _with_precision(rows_of(ids[start : start + ROWS]), kind)
                writer.write_table(rows.cast(shape))
                count += rows.num_rows
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
    return count


def _with_precision(rows: pa.Table, kind: pa.DataType) -> pa.Table:
    """The rows with vectors of this kind of number."""
    fields = [
        field.with_type(pa.list_(kind, field.type.list_size)) if pa.types.is_fixed_size_list(field.type) else field
        for field in rows.schema
    ]
    return rows.cast(pa.schema(fields))


def _about(index: IndexFolder) -> dict[str, str]:
    manifest = index.manifest
    return {
        "m3search.encoder": manifest.encoder if os.sep not in manifest.encoder else Path(manifest.encoder).name,
        "m3search.fingerprint": manifest.fingerprint,
        "m3search.dim": str(manifest.dim),
        "m3search.metric": manifest.metric,
    }
