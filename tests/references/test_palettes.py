"""Segmented palettes against PS3.3 C.7.9.2, read word for word: dcmtk 3.6.7 does not read them, and GDCM 3.2 ends the
process where indices have 8 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from m3search.formats import dicom, dicom_pixels
from tests.references.rules import SIDE, image

DISCRETE, LINEAR, INDIRECT = 0, 1, 2  # PS3.3 C.7.9.2.1 to .3
TOP = 65535
ONE_STEP = 1.01  # of 255: entries are cut to 8 bits, and those of a line are whole numbers of 16 bits before

SEGMENTS = {
    "lines": ([DISCRETE, 1, 0, LINEAR, 255, TOP], [DISCRETE, 1, TOP, LINEAR, 255, 0], [DISCRETE, 1, 9, LINEAR, 255, 9]),
    "the same segments again": (
        # red: two segments of 1 + 127 entries, and both again from where they ended; offsets are of bytes
        [DISCRETE, 1, 0, LINEAR, 127, TOP, INDIRECT, 2, 0, 0],
        [DISCRETE, 1, TOP, LINEAR, 127, 0, INDIRECT, 2, 0, 0],
        [DISCRETE, 1, 9, LINEAR, 255, 9],
    ),
    "steps and lines": (
        [DISCRETE, 3, 0, TOP, 20000, LINEAR, 100, 40000, DISCRETE, 2, 1, 2, LINEAR, 151, TOP],
        [DISCRETE, 1, TOP, LINEAR, 127, 300, LINEAR, 128, 60000],
        [DISCRETE, 2, 5, 600, LINEAR, 254, 0],
    ),
}


def palette(segments: tuple[list[int], ...], deep: bool) -> Dataset:
    """An image of every entry, or with `deep` of 16 bits, around a palette of 256."""
    indices = (np.arange(SIDE * SIDE) % 256).reshape(SIDE, SIDE).astype(np.uint16 if deep else np.uint8)
    dataset = image(indices, "PALETTE COLOR", **({"BitsStored": 16, "HighBit": 15} if deep else {}))
    for colour, numbers in zip(("Red", "Green", "Blue"), segments, strict=True):
        dataset.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [256, 0, 16])
        data = np.array(numbers, "<u2").tobytes()
        dataset.add_new(f"Segmented{colour}PaletteColorLookupTableData", "OW", data)
    return dataset


def expanded(numbers: Sequence[int]) -> list[float]:
    """Entries of a segmented palette, word for word as the standard has it."""
    entries: list[float] = []
    place = 0
    while place < len(numbers):
        kind, count = numbers[place : place + 2]
        if kind == DISCRETE:
            entries += numbers[place + 2 : place + 2 + count]
            place += 2 + count
        elif kind == LINEAR:
            start, end = entries[-1], numbers[place + 2]
            entries += [start + (end - start) * step / count for step in range(1, count + 1)]
            place += 3
        else:
            entries += again(numbers, numbers[place + 2] | numbers[place + 3] << 16, count, entries[-1])
            place += 4
    return entries


def again(numbers: Sequence[int], place: int, count: int, last: float) -> list[float]:
    """Entries of `count` segments from byte `place` on, which begin where the last entry is."""
    lengths = {DISCRETE: lambda at: 2 + numbers[at + 1], LINEAR: lambda _: 3}
    start = end = place // 2
    for _ in range(count):
        end += lengths[numbers[end]](end)
    return expanded([DISCRETE, 1, int(last), *numbers[start:end]])[1:]


@pytest.mark.parametrize("deep", [False, True], ids=["indices of 8 bits", "indices of 16 bits"])
@pytest.mark.parametrize("name", SEGMENTS)
def test_segments_are_read_as_the_standard_has_them(name: str, deep: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    dataset = palette(SEGMENTS[name], deep)
    dataset.save_as(path, enforce_file_format=True)
    ours = dicom_pixels.displayed(path, dicom.read_dataset(path)).pixels
    tables = np.array([expanded(numbers) for numbers in SEGMENTS[name]])
    assert tables.shape == (3, 256)
    indices = np.arange(SIDE * SIDE).reshape(SIDE, SIDE) % 256
    assert np.ptp(ours[..., 0]) > 200
    assert np.abs(ours - tables[:, indices].transpose(1, 2, 0) / 256).max() <= ONE_STEP
