"""Whole archives beside independent readings. As a table: `python -m tests.references ARCHIVE`."""

from __future__ import annotations

from pathlib import Path

import pytest

from m3search.phantoms import Phantom
from tests.references.compare import Comparison, compare
from tests.references.dcmtk import needs_dcmtk

pytestmark = [pytest.mark.system, needs_dcmtk]


def test_phantoms_read_as_others_read_them(phantoms: tuple[Path, list[Phantom]]) -> None:
    found = list(compare(phantoms[0]))
    comparisons = [one for one in found if isinstance(one, Comparison)]
    assert [one for one in comparisons if not one.agrees] == []
    assert {one.reference for one in comparisons} > {"dcmtk", "GDCM", "SimpleITK", "nibabel", "tifffile"}
    assert len({one.path for one in comparisons}) >= len(phantoms[1])


@pytest.mark.shared_data
def test_every_file_of_the_archive_reads_as_others_read_it(shared_data: Path) -> None:
    archive = shared_data / "archive"
    found = list(compare(archive))
    comparisons = [one for one in found if isinstance(one, Comparison)]
    assert [one for one in comparisons if not one.agrees] == []
    assert {one.path for one in found if one.path.is_file()} >= {
        path for path in archive.rglob("*") if path.suffix in (".dcm", ".gz", ".hea", ".svs", ".png", ".jpg", ".jpeg")
    }
    assert len({one.path for one in comparisons}) >= 150
