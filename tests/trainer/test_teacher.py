"""The forest whose opinion softens the labels of ECGs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from m3search.datasets import Inputs, Row
from m3search.modalities.ecg_layout import layout_of
from m3search.trainer import teacher
from m3search.types import InputSpec

SPEC = InputSpec("signal", rate_hz=100, seconds=3, beat_seconds=0.96)


def records(count: int = 60) -> Inputs:
    """A measure of the first lead tells "wide" records from the others; one in ten is labelled wrongly."""
    layout = layout_of(SPEC)
    parts = np.zeros((count, 12, layout.columns), dtype=np.float32)
    parts[::7, 3] = np.nan  # a lead is missing
    rows = []
    for i in range(count):
        wide = i % 2 == 0
        parts[i, 0, layout.measures.start] = 5.0 if wide else -5.0
        labels = ("wide",) if wide != (i % 10 == 0) else ("narrow",)
        rows.append(Row(Path(f"{i}.hea"), "ecg", f"group {i // 2}", "text", "", (*labels, *["rare"][: i == 0])))
    return Inputs(tuple(rows), parts, np.arange(count + 1))


@pytest.fixture(autouse=True)
def small_forests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher, "TREES", 30)


def test_a_wrong_label_is_believed_less_than_a_right_one() -> None:
    inputs = records()
    told = teacher.opinions(inputs, SPEC, share=0.5, seed=0)
    wrong = [told[row]["narrow"] for i, row in enumerate(inputs.rows) if i % 10 == 0]
    right = [told[row]["narrow"] for i, row in enumerate(inputs.rows) if i % 2 and "narrow" in row.labels]
    assert max(wrong) < min(right)
    assert all(0 <= value <= 1 for of in told.values() for value in of.values())


def test_rare_labels_have_no_opinion_and_the_share_is_that_of_the_forest() -> None:
    inputs = records()
    as_labelled = teacher.opinions(inputs, SPEC, share=0.0, seed=0)
    assert all("rare" not in of for of in as_labelled.values())
    assert all(value == (label in row.labels) for row, of in as_labelled.items() for label, value in of.items())


def test_equal_seeds_give_equal_opinions() -> None:
    inputs = records()
    assert teacher.opinions(inputs, SPEC, 0.5, 3) == teacher.opinions(inputs, SPEC, 0.5, 3)


def test_only_what_there_is_an_opinion_of_is_softened() -> None:
    rows = records(4).rows
    truth = np.array([[1, 0], [0, 1]], dtype=np.float32)
    softer = teacher.soften(truth, rows[:2], ["wide", "narrow"], {rows[0]: {"wide": 0.75}})
    assert softer.tolist() == [[0.75, 0.0], [0.0, 1.0]]
    assert truth[0, 0] == 1.0
