"""The files that pydicom ships to test itself: every one ends as an item or as a failure with its name and a reason.

wfdb ships no records (none of its source distributions does); those of its repository lie in ../shared/data/archive.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pydicom
import pytest

from m3search import formats
from m3search.errors import Reason
from m3search.indexer import Options, index
from m3search.stores.folder import IndexFolder

SAMPLES = Path(pydicom.__file__).parent / "data"


@pytest.mark.parametrize("modality", ["", "xray"], ids=["by header", "declared for those of any kind"])
def test_every_file_of_pydicom_is_an_item_or_a_named_failure(modality: str, tmp_path: Path) -> None:
    medical = [path for path in SAMPLES.rglob("*") if path.is_file() and formats.sniff(path) is not None]
    assert len(medical) > 150
    report = index(SAMPLES, tmp_path / "index", model="fake", options=Options(workers=0, modality=modality))
    record = IndexFolder.open(tmp_path / "index").record()
    failures = {row["uri"]: row for row in record.failures().to_pylist()}
    items = record.rows(record.matching()).to_pylist()
    stored = {entry["path"] for item in items for entry in item["files"]}
    assert not stored & failures.keys()
    names = Counter(Path(uri).name for uri in (*stored, *failures))  # folders named after a patient are masked
    assert names >= Counter(path.name for path in medical)
    assert report.indexed >= (40 if modality else 10)
    defects = {Reason.INTERNAL, Reason.CRASHED, Reason.TIMEOUT, Reason.MEMORY, Reason.MISSING_DECODER}
    assert not [uri for uri, row in failures.items() if row["reason"] in defects or not row["message"]]
