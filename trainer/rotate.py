"""Before binding: every specialist's space is turned onto the others', which costs its own retrieval nothing.

Specialists are trained apart, so their spaces agree about texts up to a rotation at best. Turning a space, items and
texts alike, changes no inner product in it. Generalised Procrustes analysis (Gower, 1975) finds rotations that bring
the centre texts together; the common frame is then turned to the principal axes of the centres, so that the leading
dimensions carry most (a start for Matryoshka). The rotations go into the last layer of each tower and text encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from m3search.trainer.model import Specialist
from m3search.trainer.text_encoder import FrozenText, text_vectors

if TYPE_CHECKING:
    from m3search.types import Float32


ROUNDS = 20


def rotations(centres: Mapping[str, Float32]) -> dict[str, Float32]:
    """An orthogonal matrix (D, D) per encoder; `vectors @ rotation` are as close to each other as rotations allow.

    Args:
        centres: unit vectors (N, D) of the same texts by encoder.
    """
    turned = {name: vectors.astype(np.float64) for name, vectors in centres.items()}
    found = {name: np.eye(vectors.shape[1]) for name, vectors in turned.items()}
    mean = next(iter(turned.values()))  # the first round turns all onto the first
    for _ in range(ROUNDS):
        for name, vectors in centres.items():
            left, _, right = np.linalg.svd(vectors.astype(np.float64).T @ mean)
            found[name] = left @ right
            turned[name] = vectors @ found[name]
        mean = np.mean(list(turned.values()), axis=0)
    _, axes = np.linalg.eigh(mean.T @ mean)
    return {name: (rotation @ axes[:, ::-1]).astype(np.float32) for name, rotation in found.items()}


def rotate(specialists: Mapping[str, Specialist], frozen: FrozenText, texts: list[str]) -> None:
    """Turn the spaces of all specialists, in place, so that their embeddings of `texts` meet."""
    centres = {name: text_vectors(specialist.text, frozen, texts) for name, specialist in specialists.items()}
    for name, rotation in rotations(centres).items():
        for last in (specialists[name].text.head, last_linear(specialists[name].tower)):
            _turn(last, torch.from_numpy(rotation))


def last_linear(tower: nn.Module) -> nn.Linear:
    """The layer that makes the embedding."""
    return [module for module in tower.modules() if isinstance(module, nn.Linear)][-1]


@torch.no_grad()
def _turn(layer: nn.Linear, rotation: torch.Tensor) -> None:
    rotation = rotation.to(layer.weight)
    layer.weight.copy_(rotation.T @ layer.weight)
    if layer.bias is not None:
        layer.bias.copy_(layer.bias @ rotation)
