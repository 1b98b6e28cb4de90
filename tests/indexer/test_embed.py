"""Batches: full, embedded beside the collecting, and every item out once, with its own vectors."""

from __future__ import annotations

from pathlib import Path
from threading import Event

import numpy as np
import pytest

from m3search.encoders.base import pool_parts
from m3search.encoders.fake import FakeEncoder
from m3search.indexer.archives.manifest import Row
from m3search.indexer.embed import BATCH_PARTS, Embedded, Embedder
from m3search.indexer.plan import Work
from m3search.indexer.read import Reading
from m3search.types import Batch, Identity, Source, Tags

PATIENCE_S = 30.0


class Watched(FakeEncoder):
    """Notes the batches it is given, and embeds none before it may."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[tuple[str, int]] = []
        self.may = Event()
        self.may.set()

    def encode(self, batch: Batch) -> np.ndarray:
        assert self.may.wait(PATIENCE_S)
        self.batches.append((batch.modality, len(batch)))
        return super().encode(batch)


def reading(encoder: FakeEncoder, number: int, modality: str = "xray", parts: int = 1) -> tuple[Work, Reading]:
    size = encoder.inputs[modality].size
    pixels = np.random.default_rng(number).integers(0, 256, (parts, 3, size, size)).astype(np.uint8)
    source = Source(modality, "raster", (Path(f"{number}.png"),))
    work = Work(f"{modality}-{number}", f"{number}.png", source, Row(), "", (), "")
    return work, Reading(pixels, tuple(map(str, range(parts))), Tags(), Identity(), "", {}, b"")


def embed(encoder: FakeEncoder, readings: list[tuple[Work, Reading]]) -> list[Embedded]:
    with Embedder(encoder) as embedder:
        found = [one for work, reading in readings for one in embedder.add(work, reading)]
        return [*found, *embedder.flush()]


def test_every_item_comes_out_once_with_its_own_vectors() -> None:
    encoder = Watched()
    readings = [reading(encoder, n, ("xray", "retina")[n % 2]) for n in range(5 * BATCH_PARTS)]
    found = {one.work.item_id: one for one in embed(encoder, readings)}
    assert len(found) == len(readings)
    for work, item in readings[:: BATCH_PARTS // 2]:
        alone = FakeEncoder().encode(Batch(work.source.modality, item.inputs))
        np.testing.assert_allclose(found[work.item_id].part_vectors, alone, atol=1e-6)


def test_parts_of_many_items_fill_batches() -> None:
    encoder = Watched()
    readings = [reading(encoder, n, "pathology", 16) for n in range(5)] + [reading(encoder, n) for n in range(3)]
    found = embed(encoder, readings)
    assert sorted(encoder.batches) == [("pathology", 16), ("pathology", 32), ("pathology", 32), ("xray", 3)]
    assert all(np.allclose(one.vector, pool_parts(one.part_vectors)) for one in found)


def test_readings_are_taken_in_while_a_batch_is_embedded() -> None:
    encoder = Watched()
    encoder.may.clear()
    readings = [reading(encoder, n) for n in range(2 * BATCH_PARTS - 1)]
    with Embedder(encoder) as embedder:
        assert [one for work, item in readings for one in embedder.add(work, item)] == []  # and none was waited for
        encoder.may.set()
        found = [*embedder.add(*reading(encoder, 999)), *embedder.flush()]
    assert [one.work.item_id for one in found] == [f"xray-{n}" for n in (*range(2 * BATCH_PARTS - 1), 999)]


def test_what_the_encoder_raises_ends_the_run() -> None:
    class Broken(FakeEncoder):
        def encode(self, batch: Batch) -> np.ndarray:
            raise MemoryError

    encoder = Broken()
    with pytest.raises(MemoryError):
        embed(encoder, [reading(encoder, n) for n in range(3 * BATCH_PARTS)])
