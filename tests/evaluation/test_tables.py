"""Tables: means over modalities, paired ratios, flawed protocols beside honest ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from made import labelled

from m3search.encoders.base import normalise
from m3search.evaluation import Label, LabelledItems, legacy, tables
from m3search.evaluation.classification import Classification, Round
from m3search.evaluation.figures import Part, QueryScore, figure_of
from m3search.evaluation.protocols import image_to_image_trials
from m3search.evaluation.tables import MEAN, Table, mean_ratio, ratio, remembering, retrieval_table
from m3search.evaluation.trials import score


def scored(modality: str, *values: float) -> list[QueryScore]:
    return [QueryScore(f"q{n}", modality, "", f"p{n}", value, 0.1, 1, 10) for n, value in enumerate(values)]


def test_the_mean_over_modalities_weighs_them_alike() -> None:
    found = figure_of([Part.of(scored("ct", 1, 1, 1, 0.6)), Part.of(scored("ecg", 0.1))])
    assert found.value == pytest.approx((0.9 + 0.1) / 2)
    assert (found.queries, found.chance) == (5, 0.1)


def noisy(seed: int, noise: float) -> LabelledItems:
    rng = np.random.default_rng(0)
    rows = [(["ct", "ecg"][n % 2], "ab"[n // 2 % 2], f"p{n // 4}") for n in range(80)]
    exact = np.array([np.eye(2)["ab".index(label)] for _, label, _ in rows])
    drawn = np.random.default_rng(seed).standard_normal((80, 2)) * noise + rng.standard_normal((80, 2)) * 0.1
    return labelled(*rows, vectors=exact + drawn)


def table(items: LabelledItems) -> Table:
    return retrieval_table("image_to_image", "image to image", image_to_image_trials(items))


def test_an_encoder_relative_to_itself_is_one_and_to_a_worse_one_more() -> None:
    good, worse = table(noisy(1, 0.1)), table(noisy(2, 1.0))
    same = ratio(good, good)
    assert set(same) == {"ct", "ecg", MEAN}
    for one in same.values():
        assert (one.mean, one.low, one.high) == pytest.approx((1, 1, 1))
    better = ratio(good, worse)
    assert all(one.low > 1 for one in better.values())
    by_hand = np.mean([good.figures[m].value for m in ("ct", "ecg")]) / worse.figures[MEAN].value
    assert better[MEAN].mean == pytest.approx(by_hand)
    inverse = ratio(worse, good)
    assert inverse["ct"].mean == pytest.approx(1 / better["ct"].mean)


def test_the_mean_of_several_questions_ratios() -> None:
    good, worse = noisy(1, 0.1), noisy(2, 1.0)
    ours, theirs = ({name: (own, own) for name, own in table(items).parts.items()} for items in (good, worse))
    found, by_one = mean_ratio(ours, theirs), ratio(table(good), table(worse))
    for name in ("ct", "ecg"):  # twice the same question
        assert (found[name].mean, found[name].low) == pytest.approx((by_one[name].mean, by_one[name].low))
    assert found[MEAN].mean == pytest.approx((found["ct"].mean + found["ecg"].mean) / 2)
    assert found[MEAN].low > 1
    assert mean_ratio(ours, {"ct": theirs["ecg"]}) == {}


def test_one_patient_alone_bounds_nothing() -> None:
    alone = Part.of([replace(one, cluster="p") for one in scored("ct", 0.2, 0.4)])
    made = Table("k", "t", "AP", {"ct": figure_of([alone])}, {"ct": alone})
    assert made.figures["ct"].low is None
    assert np.isnan(ratio(made, made)["ct"].low)


def test_paired_intervals_are_narrower_than_unpaired_ones() -> None:
    """Both encoders meet the same patients in each draw: what is hard for both does not widen the ratio."""
    one, other = table(noisy(1, 0.5)), table(noisy(1, 0.55))
    paired = ratio(one, other)["ct"]
    figure = one.figures["ct"]
    assert paired.high - paired.low < (figure.high - figure.low) / figure.value


def test_encoders_that_were_asked_something_else_are_not_compared() -> None:
    items = noisy(1, 0.5)
    fewer = LabelledItems(items.items[:60], items.vectors[:60])
    assert ratio(table(items), table(fewer)) == {}
    assert ratio(table(items), replace(table(items), parts={})) == {}


def test_classifications_are_compared_as_retrieval_is() -> None:
    rng = np.random.default_rng(0)
    carries = np.eye(2, dtype=bool)[np.arange(50) % 2]

    def made(noise: float) -> Table:
        scores = carries + noise * rng.standard_normal((50, 2))
        only = Round(scores, carries, np.arange(50))
        task = Classification("ct", "", ("a", "b"), tuple(f"p{n}" for n in range(50)), (only,))
        return tables.table("zeroshot_auroc", "zero-shot", "AUROC", {"ct": task.auroc()})

    better = ratio(made(0.3), made(2.0))["ct"]
    assert better.low > 1


def test_a_query_left_in_its_gallery_flatters_and_duplicates_punish() -> None:
    rng = np.random.default_rng(0)
    rows = [("ct", "ab"[n % 2], f"p{n // 2}") for n in range(20)]
    items = labelled(*rows, vectors=rng.standard_normal((20, 8)))
    honest = np.mean([one.value for one in score(image_to_image_trials(items))])
    flawed = score(legacy.query_left_in(items))
    assert np.mean([one.value for one in flawed]) > honest + 0.05
    assert {one.gallery for one in flawed} == {20}
    assert {one.value for one in score(legacy.query_left_in(items), "Success@1")} == {1}, "it finds itself first"
    assert {one.gallery for one in score(legacy.case_left_in(items))} == {19}


def test_equal_texts_as_misses_blame_all_but_one_of_them() -> None:
    texts = ["clear", "clear", "clear", "fluid"]
    labels = tuple(Label(f"i{n}", "xray", frozenset(), text, f"p{n}") for n, text in enumerate(texts))
    items = LabelledItems(labels, normalise(np.array([[1, 0], [1, 0], [1, 0], [0, 1]])))

    def encode(asked: Sequence[str]) -> np.ndarray:
        return np.array([[1, 0] if text == "clear" else [0, 1] for text in asked], dtype=np.float32)

    (trial,) = legacy.duplicates_are_misses(items, encode)
    assert len(trial.documents) == 4
    assert [one.value for one in score([trial], "R@1")] == [1, 0, 0, 1], "ties go to the first by id"


def test_each_text_is_encoded_once() -> None:
    asked: list[str] = []

    def encode(texts: Sequence[str]) -> np.ndarray:
        asked.extend(texts)
        return np.array([[float(len(text)), 0] for text in texts], dtype=np.float32)

    once = remembering(encode)
    np.testing.assert_array_equal(once(["a", "bb", "a"])[:, 0], [1, 2, 1])
    np.testing.assert_array_equal(once(["bb", "ccc"])[:, 0], [2, 3])
    assert asked == ["a", "bb", "ccc"]
