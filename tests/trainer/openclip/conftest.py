"""Checkpoints of every layout and their bundles, made once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from m3search.trainer.importing import Imported, import_model


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Any]]:
    """Folder and model of a layout. Only to be read."""
    from tests.trainer.openclip.checkpoints import write_checkpoint

    made: dict[str, tuple[Path, Any]] = {}

    def get(layout: str) -> tuple[Path, Any]:
        if layout not in made:
            folder = tmp_path_factory.mktemp("checkpoints") / layout
            made[layout] = folder, write_checkpoint(folder, layout)
        return made[layout]

    return get


@pytest.fixture
def copy(checkpoint: Callable[[str], tuple[Path, Any]], tmp_path: Path) -> Callable[[str], Path]:
    """A folder of a layout that may be changed."""
    return lambda layout: Path(shutil.copytree(checkpoint(layout)[0], tmp_path / layout))


@pytest.fixture(scope="session")
def imported(
    checkpoint: Callable[[str], tuple[Path, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Imported]:
    """The bundle of a layout. Only to be read."""
    made: dict[str, Imported] = {}

    def get(layout: str) -> Imported:
        if layout not in made:
            out = tmp_path_factory.mktemp("imported") / layout
            made[layout] = import_model(f"local-dir:{checkpoint(layout)[0]}", out)
        return made[layout]

    return get
