from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3search.errors import TrainingError
from m3search.trainer.data import Row, read_manifests, split
from m3search.trainer.texts import Phrasebook, Text, overlap, truth


def row(group: str, *labels: str, modality: str = "xray", text: str = "A text.") -> Row:
    return Row(Path(f"{group}.png"), modality, group, text, text, labels)


@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.sampled_from(["xray", "ct"]), st.sets(st.sampled_from("abcde"), max_size=3)),
        min_size=1,
        max_size=80,
    )
)
def test_a_group_is_never_on_both_sides_and_no_row_is_lost(drawn: list[tuple[int, str, set[str]]]) -> None:
    rows = [row(f"g{group}", *sorted(labels), modality=modality) for group, modality, labels in drawn]
    training, validation = split(rows)
    assert not {r.group for r in training} & {r.group for r in validation}
    assert Counter(training) + Counter(validation) == Counter(rows)


def test_the_split_does_not_depend_on_the_order_of_rows() -> None:
    rows = [row(f"g{i}", "ab"[i % 2]) for i in range(50)]
    shuffled = random.Random(0).sample(rows, len(rows))
    assert set(split(rows)[1]) == set(split(shuffled)[1])


def test_a_fifth_is_held_out_and_rare_labels_are_on_both_sides() -> None:
    rows = [row(f"g{i}", "common") for i in range(100)] + [row("r1", "rare"), row("r2", "rare", "common")]
    training, validation = split(rows)
    assert 18 <= len(validation) <= 23
    for side in (training, validation):
        assert any("rare" in r.labels for r in side)


@pytest.mark.shared_data
def test_the_real_split(shared_data: Path) -> None:
    rows = read_manifests([shared_data / "train/*/manifest.csv"])
    training, validation = split(rows)
    assert not {r.group for r in training} & {r.group for r in validation}
    for modality in {r.modality for r in rows}:
        held_out = sum(r.modality == modality for r in validation) / sum(r.modality == modality for r in rows)
        assert 0.15 <= held_out <= 0.28, modality


def test_a_manifest_without_a_needed_column_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("path,modality,text\na.png,xray,hello\n")
    with pytest.raises(TrainingError, match=r"manifest\.csv has no column 'labels'"):
        read_manifests([tmp_path / "manifest.csv"])
    with pytest.raises(TrainingError, match="no manifest matches"):
        read_manifests([tmp_path / "absent/*.csv"])


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
