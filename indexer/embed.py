"""Readings to vectors, in full batches per modality: the parts of many items share one call of a tower."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from m3search.encoders.base import pool_parts
from m3search.types import Batch

if TYPE_CHECKING:
    from types import TracebackType

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
    """Collects readings until a batch is full. What goes in comes out of `add` or `flush`, once.

    Batches are embedded, by threads of their own, while the next is collected: nobody waits for the encoder but where
    it is slower than the readers.
    """

    def __init__(self, encoder: Encoder, in_flight: int = 1) -> None:
        """
        Args:
            in_flight: batches that may be embedded while another is collected. On one machine more than one costs
                memory and gains nothing.
        """
        self._encoder = encoder
        self._most = in_flight
        self._waiting: dict[str, list[tuple[Work, Reading]]] = defaultdict(list)
        self._thread = ThreadPoolExecutor(in_flight, "embedder")
        self._flying: deque[Future[list[Embedded]]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=True)

    def add(self, work: Work, reading: Reading) -> Iterator[Embedded]:
        """Take one reading in; give back the items of batches that are done."""
        waiting = self._waiting[work.source.modality]
        waiting.append((work, reading))
        if sum(len(reading.inputs) for _, reading in waiting) >= BATCH_PARTS:
            self._submit(work.source.modality)
        yield from self._done(self._most)

    def flush(self) -> Iterator[Embedded]:
        """Everything that still waits."""
        for modality in list(self._waiting):
            self._submit(modality)
        yield from self._done(0)

    def _submit(self, modality: str) -> None:
        self._flying.append(self._thread.submit(self._embed, modality, self._waiting.pop(modality)))

    def _done(self, most: int) -> Iterator[Embedded]:
        """What is ready, in the order it was collected; waits while more than `most` batches are in flight."""
        while self._flying and (len(self._flying) > most or self._flying[0].done()):
            yield from self._flying.popleft().result()

    def _embed(self, modality: str, waiting: Sequence[tuple[Work, Reading]]) -> list[Embedded]:
        inputs = np.concatenate([reading.inputs for _, reading in waiting])
        batches = (inputs[start : start + BATCH_PARTS] for start in range(0, len(inputs), BATCH_PARTS))
        vectors = np.concatenate([self._encoder.encode(Batch(modality, batch)) for batch in batches])
        ends = np.cumsum([len(reading.inputs) for _, reading in waiting])
        return [
            Embedded(work, reading, pool_parts(part_vectors), part_vectors)
            for (work, reading), part_vectors in zip(waiting, np.split(vectors, ends[:-1]), strict=True)
        ]
