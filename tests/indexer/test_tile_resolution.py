"""`m3search index --mpp`: the resolution of slides' tiles, asked for by the user instead of by the encoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from m3search.cli.commands import app
from m3search.indexer import Options, index
from m3search.stores.folder import IndexFolder
from tests.modalities.test_pathology import slide_picture, write_slide


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide of 0.5 micrometres per pixel with levels of 1 and 2, and a loose patch."""
    folder = tmp_path_factory.mktemp("archive") / "pathology"
    folder.mkdir()
    write_slide(folder / "slide.tif", slide_picture())
    y, x = np.mgrid[:128, :128]
    Image.fromarray(np.dstack([x, y, x + y]).astype(np.uint8)).save(folder / "patch.png")
    return folder.parent


def provenance(path: Path) -> dict[str, dict[str, Any]]:
    """Of each item, by the name of its file."""
    record = IndexFolder.open(path).record()
    rows = record.rows(record.matching(), ["uri", "provenance"]).to_pylist()
    return {Path(row["uri"]).name: json.loads(row["provenance"]) for row in rows}


@pytest.mark.parametrize(
    ("asked", "got", "level"),
    [(None, 1.0, 1), (0.5, 0.5, 0), (2.0, 2.0, 2), (3.0, 3.0, 2), (0.1, 0.25, 0)],
    ids=["the encoder's", "finest level", "coarsest level", "between levels and beyond", "finer than the slide"],
)
def test_tiles_have_the_resolution_that_was_asked_for(
    slides: Path, tmp_path: Path, asked: float | None, got: float, level: int
) -> None:
    index(slides, tmp_path / "index", model="fake", options=Options(workers=0, mpp=asked))
    found = provenance(tmp_path / "index")
    assert (found["slide.tif"]["tile_mpp"], found["slide.tif"]["tile_level"]) == (got, level)
    assert found["slide.tif"].get("tile_mpp_from") == (f"option: {asked:g} asked for" if asked else None)
    assert "tile_mpp_from" not in found["patch.png"]  # its resolution is as it is


def test_the_command_takes_it(slides: Path, tmp_path: Path) -> None:
    typed = ["index", str(slides), "--index", str(tmp_path / "index"), "--model", "fake", "--mpp", "2"]
    assert CliRunner().invoke(app, typed).exit_code == 0
    assert provenance(tmp_path / "index")["slide.tif"]["tile_mpp"] == 2.0
    assert CliRunner().invoke(app, [*typed[:-1], "0"]).exit_code == 2
