"""An index whose vectors are made up, so that what should be found is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m3search.encoders.fake import FakeEncoder
from m3search.search import Engine
from m3search.stores.folder import IndexFolder, Manifest

DIM = 32


class ToldEncoder(FakeEncoder):
    """The fake encoder with texts whose vectors it is told, and with statistics."""

    def __init__(self, texts: Mapping[str, np.ndarray], statistics: Mapping[str, Any] | None = None) -> None:
        super().__init__(dim=DIM)
        self.texts = dict(texts)
        self.statistics = dict(statistics or {})
        self.asked: list[list[str]] = []

    def calibration(self) -> Mapping[str, Any]:
        return {"modalities": self.statistics} if self.statistics else {}

    def _embed_text(self, texts: Sequence[str]) -> np.ndarray:
        self.asked.append(list(texts))
        made = super()._embed_text(texts)
        for row, text in enumerate(texts):
            made[row] = self.texts.get(text, made[row])
        return made


def unit(*pairs: tuple[int, float]) -> np.ndarray:
    """(DIM,) unit vector with these coordinates."""
    vector = np.zeros(DIM, dtype=np.float32)
    for axis, value in pairs:
        vector[axis] = value
    return vector / np.linalg.norm(vector)


@pytest.fixture
def make(tmp_path: Path):
    """make(rows, parts=(), texts={}, statistics=None, **engine options) -> Engine."""

    def make(
        rows: Sequence[Mapping[str, Any]],
        parts: Sequence[Mapping[str, Any]] = (),
        texts: Mapping[str, np.ndarray] | None = None,
        statistics: Mapping[str, Any] | None = None,
        **how: Any,
    ) -> Engine:
        encoder = ToldEncoder(texts or {}, statistics)
        folder = IndexFolder.create(tmp_path / "i", Manifest(encoder.name, encoder.fingerprint, DIM))
        counts = {row["item_id"]: sum(part["item_id"] == row["item_id"] for part in parts) for row in rows}
        made = [
            {"uri": row["item_id"], "modality": "xray", "parts": counts[row["item_id"]]} | dict(row) for row in rows
        ]
        folder.record().write(made, list(parts))
        folder.reader().publish()
        return Engine(folder, encoder, **how)

    return make


def statistics_of(modality_vectors: Mapping[str, np.ndarray], texts: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What the trainer freezes: of items (N, DIM) and texts (T, DIM) of each modality."""
    return {
        name: {
            "image_mean": items.mean(axis=0).tolist(),
            "text_mean": texts[name].mean(axis=0).tolist(),
            "score_mean": float((texts[name] @ items.T).mean()),
            "score_std": float((texts[name] @ items.T).std()),
        }
        for name, items in modality_vectors.items()
    }
