"""Age, sex, projection, side and magnification: what a text says of them, and how far that fits an item."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from m3search.datasets import Row
from m3search.trainer.details import KINDS, LEAST, NO_DETAILS, Details, agreement, details_in
from m3search.trainer.texts import own_text, truth


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("PA chest X-ray of a 56-year-old male patient.", Details(56, "male", "PA")),
        ("Anteroposterior (AP) chest X-ray of a 70-year-old female patient.", Details(70, "female", "AP")),
        ("12-lead ECG of a 9 year old girl", Details(9, "female")),
        ("Colour fundus photograph of the left eye", Details(side="left")),
        ("oral mucosa at 400x magnification", Details(magnification="400x")),
        ("a 50-year-old and a 60-year-old, male and female", NO_DETAILS),  # of whom it speaks is not said
        ("left bundle branch block, lateral infarction, apical", NO_DETAILS),
        ("", NO_DETAILS),
    ],
)
def test_what_a_text_says(words: str, expected: Details) -> None:
    assert details_in(words) == expected


def test_what_is_not_said_always_fits_and_every_wrong_detail_takes_its_share() -> None:
    item = Details(50, "male", "PA", "left", "40x")
    assert agreement([item, NO_DETAILS], [NO_DETAILS, item]).tolist() == [[1.0, 1.0], [1.0, 1.0]]
    other = {"sex": "female", "projection": "AP", "side": "right", "magnification": "400x"}
    wrong = [Details(**{kind: other[kind]}) for kind in KINDS]
    assert agreement([item], wrong)[0] == pytest.approx([LEAST] * len(KINDS))
    assert agreement([item], [Details(**other)])[0] == pytest.approx(LEAST ** len(KINDS))  # type: ignore[arg-type]


def test_an_age_loses_truth_with_the_years_between() -> None:
    fits = agreement([Details(50)], [Details(age) for age in (50, 52, 58, 70, 10)])[0]
    assert fits[0] == 1.0
    assert all(np.diff(fits[:4]) < 0)
    assert fits[4] == pytest.approx(LEAST, abs=1e-3)


def test_an_item_s_own_text_is_truer_of_it_than_one_of_another_patient_with_the_same_finding() -> None:
    def row(caption: str) -> Row:
        return Row(Path(f"{caption}.png"), "xray", caption, caption, caption, ("Pneumonia",))

    captions = [
        f"{view} chest X-ray of a {age}-year-old {sex} patient. Pneumonia."
        for view, age, sex in product(("AP", "PA"), (30, 80), ("male", "female"))
    ]
    rows = [row(caption) for caption in captions]
    found = np.array([[truth(item, own_text(other, other.text)) for other in rows] for item in rows])
    assert np.diag(found).tolist() == [1.0] * len(rows)
    assert found[~np.eye(len(rows), dtype=bool)].max() < 0.5
    assert found.min() > 0  # the finding is there all the same
