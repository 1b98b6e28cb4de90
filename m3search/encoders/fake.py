"""An encoder without weights, for tests and examples: deterministic, fast, and honest about what it can match.

A vector has three blocks that never overlap: one dimension per modality, hashed words, hashed content. So a text that
names a modality is nearer to every item of it than to any other item, equal texts are equal, equal inputs are equal,
and nothing else about the content can be found by words.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from m3search.encoders.base import Encoder, normalise
from m3search.errors import UsageError
from m3search.types import InputSpec

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.types import Batch, Float32, UInt8

FAKE_INPUTS: Mapping[str, InputSpec] = MappingProxyType(
    {
        "xray": InputSpec("image", size=64, max_parts=1),
        "ct": InputSpec("image", size=64, windows=((-600.0, 1500.0), (40.0, 400.0), (500.0, 2000.0)), max_parts=8),
        "retina": InputSpec("image", size=64, max_parts=1),
        "ecg": InputSpec("signal", rate_hz=100.0, seconds=10.0, max_parts=6),
        "pathology": InputSpec("image", size=64, max_parts=8, tile_mpp=1.0),
    }
)

# Words that name a modality, as whole words of a lower-cased text ("x-ray" is one word here).
NAMING_WORDS = {
    "xray": {"xray", "x-ray", "x-rays", "radiograph", "radiographs", "cxr"},
    "ct": {"ct", "tomography", "hounsfield"},
    "retina": {"retina", "retinal", "fundus", "retinopathy", "drusen", "macula"},
    "ecg": {"ecg", "ekg", "electrocardiogram", "12-lead", "sinus", "fibrillation"},
    "pathology": {"pathology", "histology", "h&e", "biopsy", "tissue", "slide"},
}
WORD = re.compile(r"h&e|[a-z0-9]+(?:-[a-z0-9]+)*")
GRID = 8  # an image is described by GRID x GRID means per channel, a signal by 4 GRID segments per lead


class FakeEncoder(Encoder):
    """Stands in for a bundle wherever one is expected."""

    def __init__(self, dim: int = 64, inputs: Mapping[str, InputSpec] = FAKE_INPUTS, name: str = "fake") -> None:
        """`dim`: at least 16 more than there are modalities, so that words and content have room."""
        if dim < len(inputs) + 16:
            raise UsageError(
                f"the fake encoder needs at least {len(inputs) + 16} dimensions for {len(inputs)} modalities"
            )
        self.name = name
        self.dim = dim
        self.inputs = dict(inputs)
        self.fingerprint = hashlib.sha256(repr((name, dim, sorted(self.inputs.items()))).encode()).hexdigest()
        self._modality_axis = {modality: axis for axis, modality in enumerate(sorted(self.inputs))}
        room = dim - len(self.inputs)
        self._words = slice(len(self.inputs), len(self.inputs) + room // 2)
        self._content = slice(len(self.inputs) + room // 2, dim)
        self._projections: dict[int, npt.NDArray[np.float64]] = {}

    def _embed_text(self, texts: Sequence[str]) -> Float32:
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            words = WORD.findall(text.lower())
            for word in words:
                row[self._words] += _signs(word, self._words.stop - self._words.start)
            row[self._words] = normalise(row[self._words])
            for modality, axis in self._modality_axis.items():
                row[axis] = float(not NAMING_WORDS.get(modality, {modality}).isdisjoint(words))
        return vectors

    def _embed(self, batch: Batch) -> Float32:
        features = _image_features(batch.inputs) if batch.inputs.dtype == np.uint8 else _signal_features(batch.inputs)
        # In double precision: the order of a sum depends on batch and threads, and shall not show in half precision.
        content = features.astype(np.float64) @ self._projection(features.shape[1])
        vectors = np.zeros((len(batch), self.dim), dtype=np.float32)
        vectors[:, self._modality_axis[batch.modality]] = 1
        vectors[:, self._content] = normalise(content)
        return vectors

    def guess_modality(self, image: UInt8) -> tuple[str, float]:
        """By colour: grey is an X-ray, with black corners CT; coloured is pathology, with black corners retina."""
        height, width = image.shape[:2]
        inset_y, inset_x = max(1, height // 16), max(1, width // 16)
        corners = np.concatenate([image[:inset_y, :inset_x], image[-inset_y:, -inset_x:]], axis=None)
        dark = float(corners.mean()) < 24
        coloured = float(np.ptp(image.astype(np.int16), axis=2).mean()) > 8
        guess = {(False, False): "xray", (False, True): "ct", (True, True): "retina", (True, False): "pathology"}
        modality = guess[coloured, dark]
        known = [name for name, spec in self.inputs.items() if spec.kind == "image"]
        return (modality, 0.5) if modality in known else (known[0], 0.0)

    def _projection(self, features: int) -> npt.NDArray[np.float64]:
        """Fixed random projection (features, content dimensions); RandomState's stream is frozen by numpy's policy."""
        if features not in self._projections:
            width = self._content.stop - self._content.start
            self._projections[features] = np.random.RandomState(features).standard_normal((features, width))
        return self._projections[features]


def _signs(word: str, width: int) -> Float32:
    """A fixed vector of +1 and -1 for a word, (width,): words are nearly orthogonal."""
    digest = hashlib.shake_128(word.encode()).digest((width + 7) // 8)
    signs: Float32 = np.unpackbits(np.frombuffer(digest, dtype=np.uint8), count=width).astype(np.float32) * 2 - 1
    return signs


def _image_features(images: UInt8) -> Float32:
    """Mean intensity on a grid, uint8 (B, 3, S, S) -> float32 (B, 3 GRID²) around the mid-grey."""
    batch, channels, height, width = images.shape
    rows = np.add.reduceat(images, _starts(height, GRID), axis=2, dtype=np.float64)
    cells = np.add.reduceat(rows, _starts(width, GRID), axis=3)
    means = cells.reshape(batch, channels * GRID * GRID) / (height * width / GRID**2)
    features: Float32 = (means - 127.5).astype(np.float32)
    return features


def _signal_features(signals: Float32) -> Float32:
    """Mean and spread of each segment of each lead, float32 (B, 12, T) with NaN -> float32 (B, 12 * 2 * 4 GRID)."""
    filled = np.nan_to_num(signals).astype(np.float64)
    starts = _starts(filled.shape[2], 4 * GRID)
    length = filled.shape[2] / (4 * GRID)
    mean = np.add.reduceat(filled, starts, axis=2) / length
    spread = np.sqrt(np.add.reduceat(filled**2, starts, axis=2) / length)
    return np.concatenate([mean, spread], axis=2).reshape(len(filled), -1).astype(np.float32)


def _starts(length: int, segments: int) -> npt.NDArray[np.int64]:
    return np.arange(segments, dtype=np.int64) * length // segments
