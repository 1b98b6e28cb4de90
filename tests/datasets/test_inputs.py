"""Decoded inputs: once, in the order of the rows, again where a file has changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from m3search.datasets import Row, load_inputs
from m3search.errors import DataError
from m3search.types import InputSpec

SPEC = InputSpec("image", size=32, max_parts=1)


def picture(path: Path, seed: int) -> Row:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return Row(path, "retina", path.stem, "", "", ())


def test_what_cannot_be_read_is_left_out_by_name_and_the_rest_is_kept(tmp_path: Path) -> None:
    rows = [picture(tmp_path / "a.png", 0), Row(tmp_path / "gone.png", "retina", "", "", "", ())]
    rows.append(picture(tmp_path / "b.png", 1))
    said: list[str] = []
    inputs = load_inputs(rows, SPEC, tmp_path / "cache", workers=1, say=said.append)
    assert [row.path.name for row in inputs.rows] == ["a.png", "b.png"]
    assert (inputs.parts.shape, inputs.first.tolist()) == ((2, 3, 32, 32), [0, 1, 2])
    assert "gone.png" in said[0]
    said.clear()
    again = load_inputs(rows, SPEC, tmp_path / "cache", workers=1, say=said.append)
    assert again.rows == inputs.rows
    assert said == [], "decoded again although nothing has changed"
    picture(tmp_path / "a.png", 2)
    changed = load_inputs(rows, SPEC, tmp_path / "cache", workers=1, say=said.append)
    assert not np.array_equal(changed.parts[0], inputs.parts[0])
    assert np.array_equal(changed.parts[1], inputs.parts[1])


def test_nothing_readable_is_an_error_that_says_why(tmp_path: Path) -> None:
    rows = [Row(tmp_path / "gone.png", "retina", "", "", "", ())]
    with pytest.raises(DataError, match=r"none of 1 retina items could be read; the first: .*gone\.png"):
        load_inputs(rows, SPEC, tmp_path / "cache", workers=1, say=lambda _: None)
