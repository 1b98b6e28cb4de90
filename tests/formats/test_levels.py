"""Each value once: the same pixels, and the same percentiles, as from all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from m3search.formats import dicom_pixels
from m3search.formats.levels import CHUNK, Levels, percentiles

RNG = np.random.default_rng(5)
RANGES = {"u1": (0, 256), "i1": (-128, 128), "u2": (0, 65536), "i2": (-32768, 32768), ">u2": (3, 900), "<i2": (-9, 70)}


@pytest.mark.parametrize("kind", RANGES)
def test_a_picture_of_levels_is_the_picture(kind: str) -> None:
    image = RNG.integers(*RANGES[kind], size=(37, CHUNK // 30)).astype(kind)
    levels = Levels.of(image)
    assert levels is not None
    assert np.array_equal(np.sort(levels.values), np.unique(image))
    assert levels.counts.sum() == image.size
    shown = (levels.values.astype(np.int64) % 251).astype(np.uint8)
    assert np.array_equal(levels.picture(shown), (image.astype(np.int64) % 251).astype(np.uint8))


@pytest.mark.parametrize("kind", ["f4", "i4"])
def test_deeper_values_have_no_levels(kind: str) -> None:
    assert Levels.of(np.zeros((4, 4), kind)) is None


@pytest.mark.parametrize("slope", [1.0, -2.5])
def test_percentiles_are_those_of_all_pixels(slope: float) -> None:
    for size in (1, 2, 7, 1000):
        image = RNG.integers(0, 40, size=size).astype(np.uint16)
        levels = Levels.of(image[None])
        assert levels is not None
        for ranks in ((0.5, 99.5), (0.0, 100.0), (33.3, 50.0)):
            found = percentiles((slope * levels.values).astype(np.float32), ranks, levels.counts)
            assert found == pytest.approx(np.percentile(slope * image.astype(np.float64), ranks))


def frame(pixels: np.ndarray, **elements: object) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def table(keyword: str) -> list[Dataset]:
    lut = Dataset()
    lut.add_new("LUTDescriptor", "US", [4096, 0, 16 if keyword == "ModalityLUTSequence" else 12])
    lut.add_new("LUTData", "US", RNG.integers(0, 4096, 4096).tolist())  # up and down: no window is like that
    lut.ModalityLUTType = "US"
    return [lut]


@pytest.mark.parametrize("kind", ["u2", "i2"])
@pytest.mark.parametrize(
    "elements",
    [
        {},
        {"WindowCenter": 1000, "WindowWidth": 900, "RescaleSlope": -2, "RescaleIntercept": 4000},
        {"WindowCenter": 1000, "WindowWidth": 400, "VOILUTFunction": "SIGMOID", "PixelPaddingValue": 7},
        {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 500, "PhotometricInterpretation": "MONOCHROME1"},
        {"VOILUTSequence": "table"},
        {"ModalityLUTSequence": "table", "PhotometricInterpretation": "MONOCHROME1"},
        {"WindowCenter": -9000, "WindowWidth": 2},  # shows nothing
    ],
)
def test_frames_are_shown_as_if_pixel_by_pixel(kind: str, elements: dict[str, object]) -> None:
    pixels = (RNG.normal(1500, 500, (60, 50)).clip(0, 4095)).astype(kind)
    pixels[:5] = 7
    given = {name: table(name) if value == "table" else value for name, value in elements.items()}
    dataset = frame(pixels, **given)
    found = dicom_pixels.displayed(Path("a.dcm"), dataset)
    expected, steps = dicom_pixels._shown(dataset, 0, pixels)
    assert np.array_equal(found.pixels, expected)
    assert len(np.unique(expected)) > 10
    assert found.steps == tuple(steps)
