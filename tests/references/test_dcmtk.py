"""Our rendering against dcmtk's, rule by rule. `make test-system` runs it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from m3search.formats import dicom, dicom_pixels
from m3search.phantoms import Phantom
from tests.references.dcmtk import drawn, needs_dcmtk
from tests.references.rules import FIRST_WINDOW, HALF_A_STEP, RAMP, RULES, SIGNED, image

pytestmark = [pytest.mark.system, needs_dcmtk]


@pytest.mark.parametrize("name", RULES)
def test_a_rule_of_the_standard(name: str, tmp_path: Path) -> None:
    rule = RULES[name]
    path = tmp_path / "a.dcm"
    rule.make().save_as(path, enforce_file_format=True)
    ours = dicom_pixels.displayed(path, dicom.read_dataset(path), rule.frame).pixels
    assert np.ptp(ours) > 200, "the image must show the rule"
    assert np.abs(ours - 255 * drawn(path, *rule.options, frame=rule.frame)).max() <= rule.tolerance


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
@pytest.mark.parametrize("signed", [False, True])
def test_padding_is_black_and_the_rest_as_without_it(photometric: str, signed: bool, tmp_path: Path) -> None:
    """dcmtk shows padding as the value that it is stored as: the rest must be alike, the padding black."""
    pixels = (SIGNED if signed else RAMP).copy()
    padding = -2000 if signed else 0
    pixels[:, :5] = pixels[20:, 28:] = padding
    dataset = image(pixels, photometric, WindowCenter="-200" if signed else "1200", WindowWidth="1500")
    dataset.add_new("PixelPaddingValue", "SS" if signed else "US", padding)
    path = tmp_path / "a.dcm"
    dataset.save_as(path, enforce_file_format=True)
    ours = dicom_pixels.displayed(path, dicom.read_dataset(path)).pixels
    inside = pixels != padding
    assert np.ptp(ours[inside]) > 200
    assert np.abs(ours - 255 * drawn(path, *FIRST_WINDOW))[inside].max() <= HALF_A_STEP
    assert not ours[~inside].any()


def test_radiographs_of_phantoms(phantoms: tuple[Path, list[Phantom]]) -> None:
    films = sorted((phantoms[0] / "xray").glob("*.dcm"))
    assert films
    for path in films:
        ours = dicom_pixels.displayed(path, dicom.read_dataset(path)).pixels
        assert np.abs(ours - 255 * drawn(path, *FIRST_WINDOW)).max() <= HALF_A_STEP, path.name
