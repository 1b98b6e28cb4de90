"""The baseline: the towers as training finds them. Warm trunks, random heads, an ECG tower of random weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from m3search.encoders.base import Encoder
from m3search.trainer.config import load_config
from m3search.trainer.model import build_specialist
from m3search.trainer.text_encoder import FrozenText, build_text

if TYPE_CHECKING:
    from m3search.types import Batch, Float32, UInt8

BATCH = 16


class UntrainedEncoder(Encoder):
    """In torch, built from the configuration of a training run and its seed."""

    def __init__(self, config_path: Path) -> None:
        config = load_config(config_path)
        torch.manual_seed(config.run.seed)
        self._frozen = FrozenText(config)
        self._text = build_text(config).eval()
        self._towers = {name: build_specialist(name, config, labels=0).tower.eval() for name in config.modalities}
        self.name = "untrained"
        self.fingerprint = ""
        self.dim = config.dim
        self.inputs = {name: modality.input for name, modality in config.modalities.items()}

    @torch.inference_mode()
    def _embed_text(self, texts: Sequence[str]) -> Float32:
        vectors: Float32 = self._text.embed(self._frozen, texts).embeddings.numpy()
        return vectors

    @torch.inference_mode()
    def _embed(self, batch: Batch) -> Float32:
        starts = range(0, len(batch), BATCH)
        chunks = [torch.from_numpy(batch.inputs[start : start + BATCH].copy()) for start in starts]  # may be read-only
        vectors: Float32 = torch.cat([self._towers[batch.modality](chunk) for chunk in chunks]).numpy()
        return vectors

    def guess_modality(self, image: UInt8) -> tuple[str, float]:
        raise NotImplementedError("an untrained encoder cannot tell what an image shows; benchmarks state it")
