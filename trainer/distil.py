"""Stage 2 of M3Bind: one text encoder learns what all of the bound ones say.

Of a modality's own texts it learns that modality's encoder, which knows them best; of any other text (centre texts) the
mean of all, which agree after binding. The teachers do not move, so what they say of each text is computed once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from m3search.encoders.base import normalise
from m3search.trainer import losses
from m3search.trainer.device import autocast, device_of
from m3search.trainer.loop import Draw, Stage
from m3search.trainer.model import Specialist, decayed
from m3search.trainer.text_encoder import FrozenText, UpperText, build_text, text_vectors

if TYPE_CHECKING:
    from m3search.trainer.config import TrainConfig
    from m3search.types import Float32


class Distil(Stage):
    """The student starts as the mean of its teachers' weights: they come from one warm start and were bound."""

    name = "distil"

    def __init__(
        self,
        teachers: Mapping[str, Specialist],
        own: Mapping[str, Sequence[str]],
        centres: Sequence[str],
        frozen: FrozenText,
        config: TrainConfig,
    ) -> None:
        """
        Args:
            teachers: the bound specialists.
            own: texts of each modality's items.
            centres: texts for which the teachers' mean is learned.
        """
        self.frozen, self.config = frozen, config
        self.steps, self.warmup = config.distil.steps, config.distil.warmup
        self.device = device_of(config.run)
        self.texts, targets = lessons(teachers, own, centres, frozen)
        self.targets = torch.from_numpy(targets).to(self.device)
        self.module: UpperText = mean_text(teachers, config).to(self.device)

    def groups(self) -> list[dict[str, Any]]:
        """The head learns ten times as fast as the layers."""
        settings, student = self.config.distil, self.module
        return decayed(student.head.parameters(), settings.lr, settings.weight_decay) + decayed(
            student.layers.parameters(), settings.lr / 10, settings.weight_decay
        )

    def terms(self, draw: Draw) -> dict[str, Tensor]:
        """One batch of texts."""
        size = min(self.config.distil.batch, len(self.texts))
        chosen = draw.rng.choice(len(self.texts), size, replace=False)
        with autocast(self.config.run, self.device):
            found = self.module.embed(self.frozen, [self.texts[i] for i in chosen]).embeddings
        student, teacher = found.float(), self.targets[torch.from_numpy(chosen).to(self.device)]
        dims = self.config.distil.dims
        return {"distil": losses.nested(dims, lambda dim: losses.distil(student[:, :dim], teacher[:, :dim]))}

    def validate(self, average: nn.Module) -> str:
        """Cosine to the teachers."""
        assert isinstance(average, UpperText)
        found = text_vectors(average, self.frozen, self.texts)
        return f"cosine to the teachers {float((found * self.targets.cpu().numpy()).sum(1).mean()):.4f}"


def lessons(
    teachers: Mapping[str, Specialist],
    own: Mapping[str, Sequence[str]],
    centres: Sequence[str],
    frozen: FrozenText,
) -> tuple[list[str], Float32]:
    """Texts, each once, and what is to be learned of them, unit vectors (N, D)."""
    targets: dict[str, Float32] = {}
    for name, teacher in teachers.items():
        texts = sorted(set(own[name]))
        targets |= dict(zip(texts, text_vectors(teacher.text, frozen, texts), strict=True))
    others = sorted(set(centres) - targets.keys())
    if others:
        means = np.mean([text_vectors(teacher.text, frozen, others) for teacher in teachers.values()], axis=0)
        targets |= dict(zip(others, normalise(means), strict=True))
    return list(targets), np.stack(list(targets.values()))


@torch.no_grad()
def mean_text(teachers: Mapping[str, Specialist], config: TrainConfig) -> UpperText:
    """A text encoder whose weights are the mean of the teachers', or its warm start where these are of other kinds."""
    student = build_text(config)
    if not all(isinstance(teacher.text, UpperText) for teacher in teachers.values()):
        return student
    states = [teacher.text.state_dict() for teacher in teachers.values()]
    student.load_state_dict({name: torch.stack([s[name].cpu() for s in states]).mean(0) for name in states[0]})
    return student.requires_grad_(True)
