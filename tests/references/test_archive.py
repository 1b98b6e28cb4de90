"""Every file of the real archive, beside independent readings. As a table: `python -m tests.references ARCHIVE`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.references.compare import Comparison, compare
from tests.references.dcmtk import needs_dcmtk


@pytest.mark.system
@pytest.mark.shared_data
@needs_dcmtk
def test_every_file_of_the_archive_reads_as_others_read_it(shared_data: Path) -> None:
    archive = shared_data / "archive"
    found = list(compare(archive))
    comparisons = [one for one in found if isinstance(one, Comparison)]
    assert [one for one in comparisons if not one.agrees] == []
    assert {one.path for one in found if one.path.is_file()} >= {
        path for path in archive.rglob("*") if path.suffix in (".dcm", ".gz", ".hea", ".svs", ".png", ".jpg", ".jpeg")
    }
    assert len({one.path for one in comparisons}) >= 150
