"""Readings to vectors, in full batches per modality: the parts of many items share one call of a tower."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from m3search.encoders.base import pool_parts
from m3search.types import Batch

if TYPE_CHECKING:
    from m3search.encoders.base import Encoder
    from m3search.indexer.plan import Work
    from m3search.indexer.read import Reading
    from m3search.types import Float32

BATCH_PARTS = 32  # parts that are embedded at once


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """An item with its vectors, float32 of unit length."""

    work: Work
    reading: Reading
    vector: Float32  # (D,)
    part_vectors: Float32  # (P, D)


class Embedder:
    """Collects readings until a batch is full. What goes in comes out of `add` or `flush`, once."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._waiting: dict[str, list[tuple[Work, Reading]]] = defaultdict(list)

    def add(self, work: Work, reading: Reading) -> Iterator[Embedded]:
        """Take one reading in; give back the items that this one completed a batch for."""
        waiting = self._waiting[work.source.modality]
        waiting.append((work, reading))
        if sum(len(reading.inputs) for _, reading in waiting) >= BATCH_PARTS:
            yield from self._embed(work.source.modality)

    def flush(self) -> Iterator[Embedded]:
        """Everything that still waits."""
        for modality in list(self._waiting):
            yield from self._embed(modality)

    def _embed(self, modality: str) -> Iterator[Embedded]:
        waiting = self._waiting.pop(modality)
        inputs = np.concatenate([reading.inputs for _, reading in waiting])
        batches = (inputs[start : start + BATCH_PARTS] for start in range(0, len(inputs), BATCH_PARTS))
        vectors = np.concatenate([self._encoder.encode(Batch(modality, batch)) for batch in batches])
        ends = np.cumsum([len(reading.inputs) for _, reading in waiting])
        for (work, reading), part_vectors in zip(waiting, np.split(vectors, ends[:-1]), strict=True):
            yield Embedded(work, reading, pool_parts(part_vectors), part_vectors)
