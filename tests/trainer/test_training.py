"""A whole run in seconds: manifests to a bundle that the engine loads; killed, resumed, and fed with bad data."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from m3search.datasets import Row
from m3search.errors import TrainingError
from m3search.trainer import loop
from m3search.trainer.config import load_config
from m3search.trainer.corpus import check_rows, load_corpus
from m3search.trainer.loop import schedule
from m3search.trainer.train import Trained, prepare, run_stages, train


@pytest.fixture(scope="module")
def run(toy: Path, warm_starts: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder of an undisturbed run, with the bundle in it, and what the run said."""
    folder = tmp_path_factory.mktemp("run")
    shutil.copytree(toy, folder, dirs_exist_ok=True)
    said: list[str] = []
    figures = train(folder / "toy.toml", folder / "bundle", say=said.append)
    assert set(figures) == {"xray", "pathology"}
    return folder, said


@pytest.fixture(scope="module")
def trained(run: tuple[Path, list[str]]) -> Path:
    return run[0] / "bundle"


def test_every_stage_and_its_figures_are_told(run: tuple[Path, list[str]]) -> None:
    text = "\n".join(run[1])
    for stage in ("pretrain-xray 3/3", "pretrain-pathology 2/2", "joint 2/2", "bind 3/3", "distil 5/5", "tune 2/2"):
        assert stage in text
    assert text.count("text→image") >= 6
    assert "alignment of centre texts: specialists" in text


def test_bundle_json_holds_the_baselines_and_what_they_were_judged_on(trained: Path) -> None:
    description = json.loads((trained / "bundle.json").read_text())
    assert set(description["baselines"]) == {"specialists", "joint text encoder", "bound specialists", "distilled"}
    assert set(description["baselines"]["specialists"]) == {"xray", "pathology"}
    assert len(description["training"]["validation_key"]) == 16
    alignment = description["training"]["alignment"]
    assert alignment["turned"] < alignment["specialists"]


def steps_told(said: list[str]) -> list[str]:
    """What was said of steps, without the time."""
    return [line.split("  about")[0] for line in said if re.match(r"[a-z-]+ \d+/\d+  ", line)]


@pytest.fixture(scope="module")
def undisturbed(run: tuple[Path, list[str]]) -> Trained:
    """What the undisturbed run ended with, read from its checkpoints."""
    return stages_of(run[0], [])


def stages_of(folder: Path, said: list[str]) -> Trained:
    """All stages but the export."""
    return run_stages(prepare(load_config(folder / "toy.toml"), said.append))


@pytest.mark.parametrize("kill_at", ["pretrain-pathology", "bind", "distil", "tune"])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    run: tuple[Path, list[str]], undisturbed: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill_at: str
) -> None:
    """Killed right after the first checkpoint of a stage that has more steps to go."""
    shutil.copytree(run[0], tmp_path, dirs_exist_ok=True)
    order = ["pretrain-pathology", "bind", "distil", "tune"]
    for stage in order[order.index(kill_at) :]:  # as if the run had come just so far
        for done in (tmp_path / "cache" / "runs" / "toy").glob(f"{stage}-*.pt"):
            done.unlink()
    save = loop._save

    def kill(path: Path, step: int, stage: loop.Stage, *rest: Any) -> None:
        save(path, step, stage, *rest)
        if stage.name == kill_at:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "_save", kill)
    with pytest.raises(KeyboardInterrupt):
        stages_of(tmp_path, [])
    monkeypatch.undo()
    said: list[str] = []
    resumed = stages_of(tmp_path, said)
    assert f"{kill_at}: going on after step 1" in said
    expected = [line for line in steps_told(run[1]) if line.startswith(kill_at)]
    assert [line for line in steps_told(said) if line.startswith(kill_at)] == expected
    for name, network in (("text", resumed.shared.text), *resumed.shared.towers.items()):
        reference = undisturbed.shared.text if name == "text" else undisturbed.shared.towers[name]
        for key, tensor in reference.state_dict().items():
            torch.testing.assert_close(network.state_dict()[key], tensor, atol=1e-6, rtol=0, msg=f"{name}: {key}")


def test_a_finished_run_is_not_repeated(run: tuple[Path, list[str]]) -> None:
    said: list[str] = []
    stages_of(run[0], said)
    assert not steps_told(said)
    assert "bind: done before" in said


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("text", " ", r"0\.png: its text is empty; write one"),
        ("path", "absent.png", r"absent\.png: the manifest names it, but there is no such file"),
        ("labels", None, r"all pathology items have the same labels"),
    ],
)
def test_bad_data_is_named(toy: Path, tmp_path: Path, column: str, value: str | None, message: str) -> None:
    shutil.copytree(toy, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "pathology" / "manifest.csv"
    with file.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows[:1] if value is not None else rows:
        row[column] = "Fat" if value is None else value
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(TrainingError, match=message):
        load_corpus(load_config(tmp_path / "toy.toml"), print)


def test_a_group_on_both_sides_is_refused() -> None:
    row = Row(Path(__file__), "xray", "case 1", "a text", "", ("Pneumonia",))
    with pytest.raises(TrainingError, match="group 'case 1' is on both sides"):
        check_rows([row, replace(row, group="case 2", labels=())], [row])


def test_the_bundle_is_whole_and_encodes(trained: Path) -> None:
    from m3search.encoders import load_encoder
    from m3search.encoders.bundle import Bundle
    from m3search.types import Batch

    Bundle.open(trained).verify()
    encoder = load_encoder(trained)
    assert encoder.dim == 16
    assert set(encoder.inputs) == {"xray", "pathology"}
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)
    vectors = encoder.encode(Batch("xray", images))
    assert vectors.shape == (3, 16)
    texts = encoder.encode_text(["chest X-ray", "a longer text about tissue under the microscope"])
    np.testing.assert_allclose(np.linalg.norm(np.concatenate([vectors, texts]), axis=1), 1, atol=1e-5)
    assert encoder.guess_modality(np.zeros((50, 30, 3), dtype=np.uint8))[0] in ("xray", "pathology")


def test_the_runtime_computes_what_torch_computes_with_the_stored_weights(trained: Path) -> None:
    from safetensors.numpy import load_file

    from m3search.encoders import load_encoder
    from m3search.encoders.towers import ImageTower, fold_norms
    from m3search.trainer.graph import unpack
    from m3search.types import Batch

    tower = fold_norms(ImageTower(16))
    missing = tower.load_state_dict(unpack(load_file(trained / "pathology.safetensors"))).missing_keys
    assert not missing
    images = np.random.default_rng(1).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
    with torch.no_grad():
        expected = torch.nn.functional.normalize(tower(torch.from_numpy(images)), dim=1).numpy()
    got = load_encoder(trained).encode(Batch("pathology", images))
    assert (got * expected).sum(1).min() >= 0.9999


def test_the_card_names_sources_and_the_licence_of_the_weights(trained: Path) -> None:
    card = (trained / "MODEL_CARD.md").read_text()
    assert "CC BY-NC-SA 4.0" in card
    assert "Not a medical device" in card
    assert "| pathology |" in card


def test_a_modality_without_items_is_refused(toy: Path, tmp_path: Path) -> None:
    shutil.copytree(toy, tmp_path, dirs_exist_ok=True)
    config = tmp_path / "lacking.toml"
    config.write_text((toy / "toy.toml").read_text().replace("modalities.pathology", "modalities.retina"))
    with pytest.raises(TrainingError, match="no retina item"):
        load_corpus(load_config(config), print)


def test_augmentation_keeps_size_type_and_order_of_magnitude() -> None:
    from m3search.trainer.augment import IMAGE_AUGMENTATIONS, augment_images, augment_signals

    generator = torch.Generator().manual_seed(0)
    images = torch.full((5, 3, 64, 64), 120, dtype=torch.uint8)
    for how in IMAGE_AUGMENTATIONS.values():
        changed = augment_images(images, 48, how, generator)
        assert changed.shape == (5, 3, 48, 48)
        assert changed.dtype == torch.uint8
    signals = torch.randn(6, 12, 200, generator=generator)
    signals[2, 5] = torch.nan
    changed = augment_signals(signals, 20.0, generator)
    assert changed.shape == signals.shape
    assert torch.isnan(changed[2, 5]).all()
    assert not torch.isnan(changed).all(2).all(1).any()


def test_sideways_mirroring_is_for_tissue_only() -> None:
    from m3search.trainer.augment import IMAGE_AUGMENTATIONS

    assert {name for name, how in IMAGE_AUGMENTATIONS.items() if how.any_side_up} == {"pathology"}


def test_the_same_seed_draws_the_same_picture() -> None:
    from m3search.trainer.augment import IMAGE_AUGMENTATIONS, augment_images

    images = torch.randint(0, 256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    twice = [
        augment_images(images, 64, IMAGE_AUGMENTATIONS["pathology"], torch.Generator().manual_seed(2)) for _ in "ab"
    ]
    assert torch.equal(*twice)
    assert not torch.equal(twice[0], images)


def test_the_schedule_rises_and_falls() -> None:
    values = [schedule(step, 10, 100) for step in range(1, 101)]
    assert values[0] == pytest.approx(0.1)
    assert max(values) == pytest.approx(1.0)
    assert values[-1] == pytest.approx(0.02)
