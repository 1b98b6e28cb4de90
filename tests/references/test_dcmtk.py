"""Our rendering against dcmtk's, rule by rule. `make test-system` runs it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from m3search.formats import dicom, dicom_pixels
from m3search.phantoms import Phantom
from tests.references.dcmtk import drawn, needs_dcmtk

pytestmark = [pytest.mark.system, needs_dcmtk]

HALF_A_STEP = 0.5 + 1e-2  # ours has 8 bits: half a grey value of rounding, and what 16 bits of dcmtk's round


def test_radiographs_of_phantoms_with_their_window(phantoms: tuple[Path, list[Phantom]]) -> None:
    films = sorted((phantoms[0] / "xray").glob("*.dcm"))
    assert films
    for path in films:
        ours = dicom_pixels.displayed(path, dicom.read_dataset(path)).pixels
        assert np.abs(ours - 255 * drawn(path, "+Wi", "1")).max() <= HALF_A_STEP, path.name
