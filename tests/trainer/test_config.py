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
average = 1
[modalities.ct]
batch = 2
steps = 4
input = { kind = "image", size = 64, windows = [[40, 400]] }
[bind]
steps = 3
[distil]
steps = 2
dims = [4, 8]
"""


def written(folder: Path, content: str) -> Path:
    path = folder / "toy.toml"
    path.write_text(content)
    return path


def test_values_are_read_with_their_types_and_defaults(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, GOOD))
    assert config.modalities["ct"].input.windows == ((40.0, 400.0),)
    assert config.run.average == 1.0
    assert isinstance(config.run.average, float)
    assert config.tune is None
    assert config.text.layers == (0, 1, 2, 3, 4, 5)
    assert config.resolve("cache") == tmp_path / "cache"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("steps = 3", "steps = 0", r"bind\.steps is 0"),
        ("steps = 4", "steps = 4\nteacher = 0.5", r"teacher asks a forest about beats; set input\.beat_seconds"),
        ("steps = 4", "steps = 4\nown_text = 1.5", r"modalities\.ct\.own_text is 1\.5; it must be between 0 and 1"),
        ("steps = 3", "step = 3", r"unknown key bind\.step; known here: steps"),
        ("steps = 4", "steps = -1", r"modalities\.ct\.steps is -1"),
        ("dims = [4, 8]", "dims = [4, 16]", r"distil\.dims holds 16; it must be between 1 and dim = 8"),
        ("[distil]", "[tune]\nsteps = 0\n[distil]", r"tune\.steps is 0"),
        ("average = 1", "accumulate = 0", r"run\.accumulate is 0"),
        ("average = 1", 'device = "tpu"', r"run\.device is 'tpu'; choose from 'auto', 'cpu', 'cuda'"),
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


@pytest.mark.parametrize("name", ["m3bind-small", "m3bind-paper"])
def test_the_shipped_configurations_are_right(name: str) -> None:
    config = load_config(Path(__file__).parents[2] / f"trainer/configs/{name}.toml")
    assert config.name == name
    assert set(config.modalities) == {"xray", "ct", "retina", "ecg", "pathology"}


def test_the_papers_settings_of_stage_1_are_those_of_its_code() -> None:
    bind = load_config(Path(__file__).parents[2] / "trainer/configs/m3bind-paper.toml").bind
    assert (bind.steps, bind.batch, bind.lr, bind.weight_decay, bind.warmup) == (3000, 48, 2e-5, 1e-5, 100)
    assert (bind.rank, bind.alpha, bind.dropout, bind.align) == (8, 8, 0.1, "mse")
