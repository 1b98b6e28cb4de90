"""What learns: specialists, each one tower and one text encoder, from warm starts and grouped for the optimiser."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m3search.encoders.signal_tower import SignalTower
from m3search.encoders.towers import ImageTower
from m3search.errors import TrainingError
from m3search.modalities.ecg_layout import layout_of
from m3search.trainer.starts import warm_image_tower
from m3search.trainer.text_encoder import OpenClipEncoder, TextEncoder, build_text
from m3search.trainer.validate import item_vectors

if TYPE_CHECKING:
    from m3search.datasets import Inputs
    from m3search.trainer.config import ModalityConfig, TrainConfig
    from m3search.trainer.openclip import OpenClip
    from m3search.types import Float32


class OpenClipTower(nn.Module):
    """The image tower of an open_clip model, with a head into the shared space."""

    def __init__(self, trunk: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.trunk, self.head = trunk, head

    def features(self, inputs: Tensor) -> Tensor:
        """uint8 (B, 3, S, S) to what the head sees: open_clip's own embedding."""
        return cast("Tensor", self.trunk(inputs))

    def forward(self, inputs: Tensor) -> Tensor:
        return cast("Tensor", self.head(self.features(inputs)))


Tower = ImageTower | SignalTower | OpenClipTower


class Specialist(nn.Module):
    """One modality's tower and text encoder, the temperature between them, and one bias per label name."""

    def __init__(self, tower: Tower, text: TextEncoder, labels: int) -> None:
        super().__init__()
        self.tower = tower
        self.text = text
        self.log_scale = nn.Parameter(torch.tensor(math.log(14.0)))
        self.label_bias = nn.Parameter(torch.full((labels,), -2.0))

    def train(self, mode: bool = True) -> Specialist:
        """As usual, but an image trunk keeps the batch statistics it came with: the batches are small."""
        super().train(mode)
        if isinstance(self.tower, ImageTower):
            self.tower.trunk.eval()
        return self

    @property
    def scale(self) -> Tensor:
        """Inverse temperature, at most 100 as in CLIP."""
        return self.log_scale.exp().clamp(max=100.0)

    def groups(self, config: ModalityConfig, text_lr: float) -> list[dict[str, Any]]:
        """Heads and towers from scratch learn fast, trunks slower, text slowest; biases and norms do not decay."""
        decay = config.weight_decay
        fast: list[nn.Parameter] = [*self.text.head.parameters(), self.log_scale, self.label_bias]
        groups = decayed(_all_but_head(self.text), text_lr, decay)
        if isinstance(self.tower, SignalTower):
            fast += self.tower.parameters()
        else:
            groups += decayed(self.tower.trunk.parameters(), config.trunk_lr, decay)
            fast += self.tower.head.parameters()
        return groups + decayed(fast, config.lr, decay)


def build_specialist(modality: str, config: TrainConfig, labels: int) -> Specialist:
    """From warm starts, or from open_clip models where the configuration names them.

    Heads are drawn per modality: specialists know nothing of each other.

    Raises:
        TrainingError: an open_clip model takes images of another size than the configuration says.
        CheckpointError: there is no such model.
    """
    settings = config.modalities[modality]
    seed = 1000 * config.run.seed + sorted(config.modalities).index(modality)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tower: Tower
        if settings.input.kind == "signal":
            tower = SignalTower(config.dim, dropout=settings.dropout, layout=layout_of(settings.input))
        elif settings.image_tower:
            tower = _open_clip_tower(modality, config, seed)
        else:
            tower = warm_image_tower(config.dim, settings.dropout)
            tower.trunk.freeze(settings.frozen_blocks)
            # As the images come: a third faster on a CPU.
            nn.utils.convert_conv2d_weight_memory_format(tower, torch.channels_last)
        text: TextEncoder = build_text(config, seed)
        if settings.text_tower:
            start = open_clip_model(settings.text_tower)
            text = OpenClipEncoder(start, projection(start.dim, config.dim, seed))
        return Specialist(tower, text, labels)


def projection(features: int, dim: int, seed: int) -> nn.Linear:
    """Orthonormal, the same for the same seed: images and texts of one model stay as near as they are."""
    layer = nn.Linear(features, dim, bias=False)
    nn.init.orthogonal_(layer.weight, generator=torch.Generator().manual_seed(seed))
    return layer


@cache
def open_clip_model(source: str) -> OpenClip:
    """Loaded once; image and text tower of a specialist may come from the same source."""
    from m3search.trainer.openclip import load_open_clip

    return load_open_clip(source)


def _open_clip_tower(modality: str, config: TrainConfig, seed: int) -> OpenClipTower:
    settings = config.modalities[modality]
    start = open_clip_model(settings.image_tower)
    if settings.input.size != start.size:
        raise TrainingError(
            f"modalities.{modality}.input.size is {settings.input.size}, but {settings.image_tower} takes images of "
            f"{start.size} pixels; set it to {start.size}"
        )
    return OpenClipTower(copy.deepcopy(start.image), projection(start.dim, config.dim, seed))


def _all_but_head(text: TextEncoder) -> list[nn.Parameter]:
    return [parameter for name, parameter in text.named_parameters() if not name.startswith("head.")]


def decayed(parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> list[dict[str, Any]]:
    """Groups of what learns: matrices decay, biases and norms do not."""
    learning = [p for p in parameters if p.requires_grad]
    groups = (
        ([p for p in learning if p.ndim > 1], weight_decay),
        ([p for p in learning if p.ndim <= 1], 0.0),
    )
    return [{"params": chosen, "lr": lr, "weight_decay": decay} for chosen, decay in groups if chosen]


@torch.no_grad()
def item_embeddings(tower: nn.Module, inputs: Inputs, size: int = 0) -> Float32:
    """(R, D) unit vectors of the items; images are brought to `size` pixels where that is given and they are larger."""
    device = next(tower.parameters()).device

    def embed(parts: np.ndarray) -> Float32:
        tensor = torch.from_numpy(np.array(parts))
        if size and tensor.ndim == 4 and tensor.shape[-1] != size:
            smaller = F.interpolate(tensor.float(), (size, size), mode="bilinear", antialias=True)
            tensor = smaller.round().clamp(0, 255).to(torch.uint8)
        vectors: Float32 = tower(tensor.to(device)).float().cpu().numpy()
        return vectors

    return item_vectors(inputs, embed)
