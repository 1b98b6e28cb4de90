"""What an encoder is: unit vectors of one dimension for texts and for every modality's inputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from m3search.types import Batch, InputSpec

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.types import Float32, UInt8


def normalise(vectors: npt.NDArray[Any]) -> Float32:
    """Unit length along the last axis, float32; a zero vector stays zero. The only place where vectors are normalised."""
    vectors = np.asarray(vectors, dtype=np.float32)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: Float32 = (vectors / np.where(length == 0, 1, length)).astype(np.float32)
    return unit


class Encoder(ABC):
    """Turns texts and prepared inputs into unit vectors that can be compared by inner product.

    Subclasses give `_embed_text` and `_embed`; everything else follows.
    """

    name: str
    fingerprint: str  # SHA-256 over the bundle: an index remembers it
    dim: int
    inputs: Mapping[str, InputSpec]  # by modality: also the list of modalities this encoder knows

    @abstractmethod
    def _embed_text(self, texts: Sequence[str]) -> npt.NDArray[Any]:
        """(B, D), any length."""

    @abstractmethod
    def _embed(self, batch: Batch) -> npt.NDArray[Any]:
        """(B, D), any length."""

    @abstractmethod
    def guess_modality(self, image: UInt8) -> tuple[str, float]:
        """Which image modality a raster (H, W, 3) shows, and the confidence in [0, 1]."""

    def encode_text(self, texts: Sequence[str]) -> Float32:
        """float32 (B, D), unit length."""
        if not texts:
            return np.zeros((0, self.dim), dtype=np.float32)
        return normalise(self._embed_text(texts))

    def encode(self, batch: Batch) -> Float32:
        """float32 (B, D), unit length; `batch.inputs` as `inputs[batch.modality]` describes."""
        if not len(batch):
            return np.zeros((0, self.dim), dtype=np.float32)
        return normalise(self._embed(batch))
