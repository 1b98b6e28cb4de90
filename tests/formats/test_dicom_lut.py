"""Look-up tables as PS3.3 states them, and as writers get them wrong. `tests/references` holds them against dcmtk's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian

from m3search.errors import Reason, UnreadableFile
from m3search.formats import dicom, dicom_pixels
from m3search.formats.dicom_lut import table_of
from tests.references.rules import HU, RAMP, image, table

CURVE = (np.arange(4096) ** 2 // 4096).astype(np.uint16)  # 12 bits in, 12 bits out


def lut(descriptor: list[int], data: Any) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = descriptor
    item.add_new("LUTData", "OW" if isinstance(data, bytes) else "US", data)
    return item


def shown(dataset: Dataset) -> dicom_pixels.Displayed:
    return dicom_pixels.displayed(Path("a.dcm"), dataset)


def test_values_beyond_the_table_take_its_ends() -> None:
    found = table_of(lut([3, -1, 16], np.array([7, 8, 9], "<u2").tobytes()), signed=True, little_endian=True)
    assert found is not None
    assert found.look_up(np.array([-32768, -1, 0, 1, 2, 32767], np.int16)).tolist() == [7, 7, 8, 9, 9, 9]


@pytest.mark.parametrize(
    "data",
    [bytes([1, 2, 255, 0]), np.array([1, 2, 255], "<u2").tobytes(), [1, 2, 255], [0x0201, 0x00FF]],
    ids=["packed bytes", "a word each", "numbers", "packed numbers"],
)
def test_entries_of_8_bits_are_packed_or_stand_in_a_word_each(data: Any) -> None:
    found = table_of(lut([3, 0, 8], data), signed=False, little_endian=True)
    assert found is not None
    assert (found.values.tolist(), found.bits) == ([1, 2, 255], 8)


def test_entries_are_in_the_byte_order_of_the_file(tmp_path: Path) -> None:
    big = image(RAMP.astype(">u2"), VOILUTSequence=[table(CURVE.byteswap(), 0, 12)])
    big.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    big.save_as(path := tmp_path / "a.dcm", enforce_file_format=True)
    little = shown(image(RAMP, VOILUTSequence=[table(CURVE, 0, 12)])).pixels
    assert np.array_equal(dicom_pixels.displayed(path, dicom.read_dataset(path)).pixels, little)


def test_a_first_value_below_zero_may_be_stated_unsigned() -> None:
    stated = [shown(image(RAMP, **HU, VOILUTSequence=[table(CURVE, first, 12)])).pixels for first in (-1024, 64512)]
    assert np.array_equal(*stated)
    assert np.abs(stated[0] - CURVE[RAMP] / 4095 * 255).max() <= 0.51


def test_a_table_may_hold_more_bits_than_it_declares() -> None:
    found = table_of(lut([2, 0, 8], np.array([0, 1023], "<u2").tobytes()), signed=False, little_endian=True)
    assert found is not None
    assert found.bits == 10


def test_a_modality_lut_gives_grey_values_of_any_depth() -> None:
    values = dicom_pixels.modality_values(Path("a.dcm"), image(RAMP, ModalityLUTSequence=[table(CURVE, 0, 12)]))
    assert np.array_equal(values, CURVE[RAMP])


def test_a_table_without_data_is_none_and_a_short_one_is_named() -> None:
    empty = Dataset()
    empty.LUTDescriptor = [4096, 0, 12]
    assert "percentile" in shown(image(RAMP, VOILUTSequence=[empty])).steps[-1]
    with pytest.raises(UnreadableFile) as caught:
        shown(image(RAMP, ModalityLUTSequence=[lut([4096, 0, 12], CURVE[:100].tobytes())]))
    assert caught.value.reason is Reason.CORRUPT


def test_rescale_without_one_of_its_parts() -> None:
    stated = {"RescaleSlope": "2"}, {"RescaleIntercept": "-5"}, {"RescaleSlope": "0", "RescaleIntercept": "-5"}
    values = [dicom_pixels.modality_values(Path("a.dcm"), image(RAMP, **elements)) for elements in stated]
    assert np.array_equal(values, [RAMP * 2.0, RAMP - 5.0, RAMP])


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted"),
    [
        ("MONOCHROME1", "", True), ("MONOCHROME1", "INVERSE", True), ("MONOCHROME1", "IDENTITY", False),
        ("MONOCHROME2", "", False), ("MONOCHROME2", "INVERSE", True), ("MONOCHROME2", "LIN OD", False),
    ],
)  # fmt: skip
def test_the_presentation_shape_is_the_last_word(photometric: str, shape: str, inverted: bool) -> None:
    result = shown(image(RAMP, photometric, PresentationLUTShape=shape))
    assert bool(result.pixels[0, 0] > result.pixels[-1, -1]) is inverted
    assert result.steps[-1].startswith("inverted") is inverted


def test_a_segmented_palette_is_straight_between_its_ends() -> None:
    """PS3.3 C.7.9.2.2: one discrete entry, then 255 on a line. dcmtk 3.6.7 does not read these."""
    dataset = image(np.arange(256, dtype=np.uint8).reshape(16, 16), "PALETTE COLOR")
    for colour, top in (("Red", 65535), ("Green", 32768), ("Blue", 0)):
        dataset.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [256, 0, 16])
        segments = np.array([0, 1, 0, 1, 255, top], "<u2").tobytes()
        dataset.add_new(f"Segmented{colour}PaletteColorLookupTableData", "OW", segments)
    line = np.arange(256).reshape(16, 16)
    expected = np.stack([line, line * 128 / 255, line * 0], axis=2)
    assert np.abs(shown(dataset).pixels - expected).max() <= 1


def test_luminance_and_colour_differences_become_red_green_blue() -> None:
    """PS3.3 C.7.6.3.1.2, the inverse of its equations."""
    ybr = np.random.default_rng(1).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    y, cb, cr = np.moveaxis(ybr.astype(float), 2, 0) - np.array([0, 128, 128])[:, None, None]
    exact = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=2).clip(0, 255)
    assert np.abs(shown(image(ybr, "YBR_FULL")).pixels - exact).max() <= 0.51


def test_a_range_of_padding_values_is_outside() -> None:
    pixels = np.tile(np.arange(100, 164, dtype=np.int16), (64, 1))
    pixels[:20], pixels[20:24] = -2000, -1999
    dataset = image(pixels, BitsStored=16, HighBit=15)
    dataset.add_new("PixelPaddingValue", "SS", -2000)
    dataset.add_new("PixelPaddingRangeLimit", "SS", -1990)
    result = shown(dataset)
    assert (result.pixels[:24] == 0).all()
    assert np.ptp(result.pixels[24:]) == 255
    assert dicom_pixels.modality_values(Path("a.dcm"), dataset).min() == 100
