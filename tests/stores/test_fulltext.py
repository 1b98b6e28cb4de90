"""The index of words and the scan agree; both heed filters, and a new index is used at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from m3search.errors import IndexNotFound
from m3search.filters import parse
from m3search.stores.fulltext import FullText, build, stems
from m3search.stores.lance import LanceStore

TEXTS = {
    "a": "Right-sided pleural effusion, large.",
    "b": "Two pleural effusions and cardiomegaly.",
    "c": "Normal heart.",
    "d": None,
    "e": "Cardiomegaly.",
}


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    store = LanceStore.create(tmp_path / "t", 4)
    vector = np.array([1, 0, 0, 0], dtype=np.float32)
    store.upsert([
        {"item_id": name, "vector": vector, "text": text, "modality": "ct" if name == "b" else "xray"}
        for name, text in TEXTS.items()
    ])  # fmt: skip
    return tmp_path / "t"


@pytest.mark.parametrize("indexed", [False, True])
def test_words_are_found_by_their_stems_and_filtered(tables: Path, indexed: bool) -> None:
    assert build(tables, index_from=1 if indexed else 100) == indexed
    texts = FullText(tables)

    def found(words: str, k: int = 10, where: str | None = None) -> list[str]:
        return [hit.item_id for hit in texts.search(words, k, parse(where) if where else None)]

    assert set(found("effusion")) == {"a", "b"}
    assert found("cardiomegaly effusions")[0] == "b"
    assert found("effusion", where="modality = 'ct'") == ["b"]
    assert len(found("cardiomegaly effusion", k=1)) == 1
    assert found("the of") == found("fracture") == []
    assert next(hit.text for hit in texts.search("heart", 1)) == TEXTS["c"]
    LanceStore.open(tables).upsert(
        [{"item_id": "f", "vector": np.array([0, 1, 0, 0]), "text": "Fracture.", "modality": "xray"}]
    )
    assert found("fracture") == ["f"]
    LanceStore.open(tables).delete(["f"])
    assert found("fracture") == []
    assert build(tables, index_from=100) == indexed


def test_stems() -> None:
    assert stems("No effusions of the pleura; mass, masses") == ["effusion", "pleura", "mass", "masse"]


def test_no_tables(tmp_path: Path) -> None:
    with pytest.raises(IndexNotFound, match="m3search index"):
        FullText(tmp_path)
