"""Export: what Parquet readers find is what the index holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from m3search.errors import FilterError, UsageError
from m3search.stores import export as module
from m3search.stores import schema
from m3search.stores.export import ExportOptions, Precision, export
from m3search.stores.folder import IndexFolder


@pytest.mark.parametrize(("precision", "kind"), [("fp32", pa.float32()), ("fp16", pa.float16())])
def test_items_and_parts(
    chest: IndexFolder, tmp_path: Path, precision: Precision, kind: pa.DataType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROWS", 5)  # more than one row group
    file, parts = tmp_path / "items.parquet", tmp_path / "parts.parquet"
    done = export(chest, file, ExportOptions(parts=parts, precision=precision))
    assert (done.items, done.parts, done.bytes) == (12, 8, file.stat().st_size + parts.stat().st_size)
    found, record = pq.read_table(file), chest.record()
    assert found["item_id"].to_pylist() == record.matching()
    assert found.schema.field("vector").type == pa.list_(kind, 8)
    assert {"text_vector", "provenance", "patient_key"} < set(found.column_names)
    assert not {"thumbnail", "files", "described"} & set(found.column_names)
    expected = schema.matrix(record.rows(record.matching(), ["vector"])["vector"])
    values = found["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    np.testing.assert_array_equal(values.astype(np.float32).reshape(12, 8), expected)
    assert found.schema.metadata[b"m3search.fingerprint"].decode() == chest.manifest.fingerprint
    assert pq.read_table(parts)["part_id"].to_pylist() == record.parts_of(record.matching())["part_id"].to_pylist()
    assert file.stat().st_mode & 0o077 == 0
    written = {path.name for path in tmp_path.iterdir()} - {"chest", "cache", "state"}
    assert written == {"items.parquet", "parts.parquet"}


def test_filtered_and_with_thumbnails(chest: IndexFolder, tmp_path: Path) -> None:
    done = export(chest, tmp_path / "a", ExportOptions(where="modality = ct", thumbnails=True))
    rows = pq.read_table(tmp_path / "a").to_pylist()
    assert [row["item_id"] for row in rows] == ["item-00", "item-03", "item-06", "item-09"]
    assert rows[0]["thumbnail"] == b"picture of item-00"
    assert (done.items, done.parts_file) == (4, "")
    assert export(chest, tmp_path / "b", ExportOptions(where="modality = ecg")).items == 0
    assert pq.read_table(tmp_path / "b").num_rows == 0


def test_a_failed_export_leaves_the_file_that_was_there(
    chest: IndexFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "items"
    file.write_text("old")
    with pytest.raises(FilterError):
        export(chest, file, ExportOptions(where="colour = red"))
    with pytest.raises(UsageError, match="a file each"):
        export(chest, file, ExportOptions(parts=file))
    monkeypatch.setattr(pq.ParquetWriter, "write_table", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        export(chest, file, ExportOptions())
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".tmp")] == []
