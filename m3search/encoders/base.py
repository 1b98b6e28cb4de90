"""What an encoder is: unit vectors of one dimension for texts and for every modality's inputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from m3search import modalities
from m3search.errors import UsageError
from m3search.modalities.ecg_layout import layout_of
from m3search.modalities.reading import read_item, source_of
from m3search.types import Batch, InputSpec

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.types import Float32, Item, UInt8


def normalise(vectors: npt.NDArray[Any]) -> Float32:
    """Unit length along the last axis, float32; a zero vector stays zero. Vectors are normalised nowhere else."""
    vectors = np.asarray(vectors, dtype=np.float32)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: Float32 = (vectors / np.where(length == 0, 1, length)).astype(np.float32)
    return unit


def pool_parts(part_vectors: Float32) -> Float32:
    """The vector of an item from those of its parts: float32 (P, D) -> (D,), their mean at unit length."""
    return normalise(part_vectors.mean(axis=0))


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

    def calibration(self) -> Mapping[str, Any]:
        """Statistics frozen with the weights, as calibration.json of a bundle has them; {} where there are none."""
        return {}

    def input_of(self, modality: str) -> InputSpec:
        """What the tower of that modality takes.

        Raises:
            UsageError: this encoder has no such tower.
        """
        if modality not in self.inputs:
            raise UsageError(f"encoder {self.name} has no tower for {modality!r}; it has {', '.join(self.inputs)}")
        return self.inputs[modality]

    def encode_text(self, texts: Sequence[str]) -> Float32:
        """float32 (B, D), unit length."""
        if isinstance(texts, str):
            raise UsageError("encode_text takes a list of texts, not one text")
        if not texts:
            return np.zeros((0, self.dim), dtype=np.float32)
        return normalise(self._embed_text(texts))

    def encode(self, batch: Batch) -> Float32:
        """float32 (B, D), unit length; `batch.inputs` as `inputs[batch.modality]` describes.

        Raises:
            UsageError: an unknown modality, or inputs of another shape or dtype than its tower takes.
        """
        _check_inputs(batch, self.input_of(batch.modality))
        if not len(batch):
            return np.zeros((0, self.dim), dtype=np.float32)
        return normalise(self._embed(batch))

    def encode_item(self, item: Item) -> tuple[Float32, Float32]:
        """The vector of an item, (D,), and those of its parts, (P, D): float32, unit length.

        Raises:
            UsageError: this encoder has no tower for the item's modality.
        """
        modality = item.source.modality
        inputs = modalities.get(modality).prepare(item, self.input_of(modality))
        part_vectors = self.encode(Batch(modality, inputs))
        return pool_parts(part_vectors), part_vectors

    def encode_files(self, paths: Sequence[str | Path], modality: str | None = None) -> Float32:
        """Item vectors of files, read and prepared as an index run does it: float32 (B, D), unit length.

        A CT slice given alone is an item of one slice. `modality` says what raster files show; without it the encoder
        guesses.

        Raises:
            UnreadableFile: the first file that cannot be read, and why.
            UsageError: a modality this encoder does not have.
        """
        vectors = np.zeros((len(paths), self.dim), dtype=np.float32)
        for row, path in enumerate(paths):
            source = source_of(Path(path), modality, guess=self.guess_modality)
            item = read_item(source, self.input_of(source.modality))
            vectors[row] = self.encode_item(item)[0]
        return vectors


def _check_inputs(batch: Batch, spec: InputSpec) -> None:
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    if spec.kind == "image":
        shape, dtype = (3, spec.size, spec.size), np.dtype(np.uint8)
    else:
        shape, dtype = (12, layout_of(spec).columns), np.dtype(np.float32)
    if batch.inputs.shape[1:] != shape or batch.inputs.dtype != dtype:
        raise UsageError(
            f"the {batch.modality} tower takes {dtype} {('B', *shape)}, not {batch.inputs.dtype} {batch.inputs.shape}"
        )
