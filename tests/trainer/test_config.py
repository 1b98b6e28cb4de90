from __future__ import annotations

from pathlib import Path

import pytest

from m3search.errors import TrainingError
from m3search.trainer.config import load_config

GOOD = """
name = "toy"
dim = 8
[data]
manifests = ["*/manifest.csv"]
cache = "cache"
[run]
steps = 2
lr = 1
[modalities.ct]
batch = 2
input = { kind = "image", size = 64, windows = [[40, 400]] }
"""


def written(folder: Path, content: str) -> Path:
    path = folder / "toy.toml"
    path.write_text(content)
    return path


def test_values_are_read_with_their_types_and_defaults(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, GOOD))
    assert config.modalities["ct"].input.windows == ((40.0, 400.0),)
    assert config.run.lr == 1.0
    assert isinstance(config.run.lr, float)
    assert config.text.layers == (0, 1, 2, 3, 4, 5)
    assert config.resolve("cache") == tmp_path / "cache"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("steps = 2", "steps = 0", r"run\.steps is 0"),
        ("steps = 2", "step = 2", r"unknown key run\.step; known here: steps"),
        ("dim = 8", "", "missing key dim"),
        ("dim = 8", 'dim = "8"', "dim must be int, not '8'"),
        ("dim = 8", "dim = true", "dim must be int, not True"),
        ("modalities.ct", "modalities.mri", r"modalities\.mri: no such modality; choose from xray"),
        ('kind = "image"', 'kind = "video"', r"modalities\.ct\.input\.kind is 'video'; choose from 'image', 'signal'"),
        ("size = 64", "size = 50", "must be a multiple of 32"),
        ("[[40, 400]]", "[[40]]", r"windows\[0\] must have 2 values, not 1"),
        ("batch = 2", "batch = 0", "must be at least 1"),
        ("[data]", "[data", "is not TOML"),
        ('["*/manifest.csv"]', '"*/manifest.csv"', r"data\.manifests must be a list"),
    ],
)
def test_a_wrong_configuration_is_named_with_its_place(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(TrainingError, match=message) as caught:
        load_config(written(tmp_path, GOOD.replace(old, new, 1)))
    assert "toy.toml" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"there is no configuration file .*absent\.toml"):
        load_config(tmp_path / "absent.toml")


def test_the_shipped_configuration_is_right() -> None:
    config = load_config(Path(__file__).parents[2] / "trainer/configs/m3bind-small.toml")
    assert config.name == "m3bind-small"
    assert set(config.modalities) == {"xray", "ct", "retina", "ecg", "pathology"}
