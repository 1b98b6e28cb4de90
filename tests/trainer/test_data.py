"""What is said about an item while training, and how true it is of others."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from m3search.datasets import Row
from m3search.trainer.texts import Phrasebook, Text, overlap, truth


def row(group: str, *labels: str, modality: str = "xray", text: str = "A text.") -> Row:
    return Row(Path(f"{group}.png"), modality, group, text, text, labels)


def test_truth_of_a_text() -> None:
    item = row("g", "Pneumonia", "Infiltration")
    assert truth(item, Text("Pneumonia", frozenset({"Pneumonia"}))) == 1.0
    assert truth(item, Text("both", frozenset({"Pneumonia", "Cardiomegaly"}), "xray")) == 0.5
    assert truth(item, Text("any", frozenset({"Pneumonia", "Cardiomegaly"}), either=True)) == 1.0
    assert truth(item, Text("chest CT with pneumonia", frozenset({"Pneumonia"}), "ct")) == 0.0
    assert 0 < truth(item, Text("chest film", modality="xray")) < 1


def test_overlap_is_jaccard_within_and_undefined_between_modalities() -> None:
    rows = [row("a", "x", "y"), row("b", "y"), row("c", "y", modality="ct")]
    expected = np.array([[1, 0.5, np.nan], [0.5, 1, np.nan], [np.nan, np.nan, 1]], dtype=np.float32)
    np.testing.assert_array_equal(overlap(rows), expected)


def test_every_drawn_text_is_true_of_its_item() -> None:
    rows = [row("a", "Pneumonia", text="Opacity."), row("b"), row("c", "sinus rhythm", modality="ecg")]
    phrasebook = Phrasebook(rows)
    rng = np.random.default_rng(0)
    seen = {phrasebook.draw(r, rng).words for r in rows for _ in range(2000) if truth(r, phrasebook.draw(r, rng)) > 0}
    assert {"Pneumonia", "Opacity.", "lung infection", "sinus rhythm"} <= seen
    assert all(truth(r, phrasebook.draw(r, rng)) > 0 for r in (rows[0], rows[2]) for _ in range(200))
