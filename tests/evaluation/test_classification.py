"""Zero-shot and few-shot classification, by hand, against scikit-learn, and that no patient is on both sides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import clouds, labelled

from m3search import vocabulary
from m3search.encoders.base import normalise
from m3search.evaluation import prompts
from m3search.evaluation.classification import Classification, Round, recognised
from m3search.evaluation.fewshot import draw, few_shot
from m3search.evaluation.figures import figure_of
from m3search.evaluation.probe import fit_probe
from m3search.evaluation.zeroshot import zero_shot


def classification(scores: Sequence[Sequence[float]], carries: Sequence[Sequence[int]]) -> Classification:
    """Every item of its own group."""
    group = np.arange(len(scores))
    only = Round(np.array(scores, dtype=float), np.array(carries, dtype=bool), group)
    labels = tuple("abcdef"[: len(carries[0])])
    return Classification("ct", "", labels, tuple(f"g{n}" for n in group), (only,))


def test_with_one_label_each_it_is_the_usual_balanced_accuracy() -> None:
    task = classification([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]], [[1, 0], [1, 0], [1, 0], [0, 1]])
    found = figure_of([task.balanced_accuracy()])
    assert found.value == pytest.approx((2 / 3 + 0) / 2)
    assert found.chance == 0.5
    assert (found.queries, found.items) == (2, 4)


def test_labels_of_one_item_do_not_compete() -> None:
    scores, carries = np.array([[0.9, 0.8, 0.1]]), np.array([[True, True, False]])
    np.testing.assert_array_equal(recognised(scores, carries)[0, :2], [1, 1])
    scores = np.array([[0.9, 0.05, 0.1]])
    np.testing.assert_array_equal(recognised(scores, carries)[0, :2], [1, 0])


def test_equal_scores_are_chance() -> None:
    carries = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]]
    task = classification(np.zeros((4, 3)), carries)
    found = figure_of([task.balanced_accuracy()])
    assert found.value == pytest.approx(found.chance)
    assert figure_of([task.auroc()]).value == 0.5


def test_chance_is_what_random_scores_reach() -> None:
    rng = np.random.default_rng(0)
    carries = rng.random((4000, 5)) < 0.3
    carries[~carries.any(axis=1), 0] = True
    found = figure_of([classification(rng.random((4000, 5)), carries).balanced_accuracy()])
    assert found.value == pytest.approx(found.chance, abs=0.02)


def test_auroc_of_each_label_and_their_mean() -> None:
    task = classification([[0.9, 0.4], [0.1, 0.3], [0.5, 0.8]], [[1, 0], [0, 1], [1, 0]])
    assert {name: figure_of([part]).value for name, part in task.by_label().items()} == {"a": 1.0, "b": 0.0}
    assert figure_of([task.auroc()]).value == 0.5
    assert task.by_label()["a"].queries == 2


def test_intervals_draw_whole_groups() -> None:
    rng = np.random.default_rng(1)
    scores, carries = rng.random((60, 2)), np.eye(2, dtype=bool)[np.arange(60) % 2]
    groups = tuple(f"g{n}" for n in range(60))
    apart = Classification("ct", "", ("a", "b"), groups, (Round(scores, carries, np.arange(60)),))
    few = np.repeat(np.arange(6), 10)  # ten copies of each of six items add no knowledge
    copies = Round(np.repeat(scores[:6], 10, axis=0), np.repeat(carries[:6], 10, axis=0), few)
    together = Classification("ct", "", ("a", "b"), groups[:6], (copies,))
    apart, together = (figure_of([task.auroc()]) for task in (apart, together))
    assert together.high - together.low > apart.high - apart.low


def axes(texts: Sequence[str]) -> np.ndarray:
    """Texts that name a label point along its axis; others along the last."""
    order = ("Lung cancer", "Intracranial haemorrhage", "Normal")
    rows = [[label.lower() in text.lower() for label in order] for text in texts]
    return normalise(np.array([[*row, not any(row)] for row in rows], dtype=np.float32))


def test_zero_shot_reads_labels_from_prompts() -> None:
    found = clouds(("Lung cancer", "Intracranial haemorrhage", "Normal"), groups=6, spread=0.05)
    (task,) = zero_shot(found, axes)
    assert task.labels == ("Intracranial haemorrhage", "Lung cancer", "Normal")
    assert figure_of([task.balanced_accuracy()]).value > 0.9
    assert figure_of([task.auroc()]).value > 0.95
    assert task.balanced_accuracy().chance == pytest.approx(1 / 3)


def test_a_stratum_of_one_label_is_not_asked() -> None:
    found = labelled(*[("ct", "Normal", f"g{n}") for n in range(5)], vectors=np.eye(5))
    assert zero_shot(found, axes) == []
    assert few_shot(found, shots=(1,)) == {1: []}


def test_prompts_are_not_worded_as_training_texts() -> None:
    training = {*vocabulary.TEMPLATES, *(text for pair in vocabulary.PAIRS + vocabulary.BARE_PAIRS for text in pair)}
    training = {text.lower().rstrip(".") for text in training}
    own = {*prompts.TEMPLATES, *(text for pair in prompts.DENIALS for text in pair)}
    assert not {text.lower().rstrip(".") for text in own} & training


def test_prompts_are_sentences_with_every_word_for_the_label() -> None:
    said: list[str] = []

    def encode(texts: Sequence[str]) -> np.ndarray:
        said.extend(texts)
        return np.ones((len(texts), 2), dtype=np.float32)

    vectors = prompts.class_vectors("xray", ["Pleural effusion", "COVID-19"], encode)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    assert "A case of pleural effusion." in said
    assert "A case of COVID-19." in said
    assert any("fluid around the lung" in text.lower() for text in said)
    assert len(said) == len(set(said))


def test_a_word_for_two_labels_tells_neither() -> None:
    said: list[str] = []

    def encode(texts: Sequence[str]) -> np.ndarray:
        said.extend(texts)
        return np.ones((len(texts), 2), dtype=np.float32)

    labels = ["inferior myocardial infarction", "anterior myocardial infarction"]
    shared = {word for label in labels for word in vocabulary.words_for(label)}
    shared = {word for word in shared if all(word in vocabulary.words_for(label) for label in labels)}
    prompts.class_vectors("ecg", labels, encode)
    assert not [text for text in said for word in shared if f"of {word}." in text]


@given(
    st.lists(
        st.tuples(st.integers(0, 12), st.sets(st.sampled_from("abc"), min_size=1, max_size=2)), min_size=8, max_size=50
    ),
    st.integers(0, 99),
)
def test_no_group_is_both_learned_from_and_asked(drawn: list[tuple[int, set[str]]], seed: int) -> None:
    rows = [("ct", "|".join(sorted(labels)), f"g{group}") for group, labels in drawn]
    found = labelled(*rows, vectors=np.eye(len(rows)))
    groups, order = found.groups(), found.by_id(np.arange(len(rows)))
    chosen = draw(found, order, found.labels(), 4, np.random.default_rng(seed))
    support = np.concatenate(list(chosen.support.values()))
    assert not set(groups[support]) & set(groups[chosen.queries])
    for label, taken in chosen.support.items():
        assert all(label in found.items[row].labels for row in taken)
        assert len(taken) <= 4
        having = {groups[row] for row in order if label in found.items[row].labels}
        assert len(set(groups[taken])) <= max(len(having) // 2, 0)
    assert len(set(support.tolist()) | set(chosen.queries.tolist())) <= len(rows)


def test_more_examples_of_clear_labels_do_not_hurt_and_queries_stay_the_same() -> None:
    found = clouds(("a", "b", "c", "d"), groups=20, spread=0.6)
    by_shots = few_shot(found, shots=(1, 8), draws=3)
    one, many = (figure_of([by_shots[count][0].balanced_accuracy()]).value for count in (1, 8))
    assert many > one > 0.3
    for few, more in zip(by_shots[1][0].rounds, by_shots[8][0].rounds, strict=True):
        np.testing.assert_array_equal(few.carries, more.carries)


def test_draws_are_seeded() -> None:
    found = clouds(("a", "b"), groups=8)
    same, again, other = (few_shot(found, shots=(2,), draws=2, seed=seed)[2][0].rounds[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(same.scores, again.scores)
    assert same.scores.shape != other.scores.shape or not np.array_equal(same.scores, other.scores)


@pytest.mark.parametrize("size", [6, 60])
def test_the_probe_finds_scikit_learns_optimum(size: int) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model", reason="scikit-learn, to compare with, is not installed")
    rng = np.random.default_rng(size)
    vectors = normalise(rng.standard_normal((size, 12)))
    target = np.concatenate([np.arange(3), rng.integers(0, 3, size - 3)])
    weights, bias = fit_probe(vectors, target, 3)
    theirs = linear_model.LogisticRegression(C=10.0, class_weight="balanced", max_iter=5000, tol=1e-8)
    theirs.fit(vectors.astype(np.float64), target)
    fresh = normalise(rng.standard_normal((50, 12)))
    logits = fresh @ weights + bias
    odds = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(odds, theirs.predict_proba(fresh), atol=2e-3)


def test_a_class_without_examples_is_never_predicted() -> None:
    weights, bias = fit_probe(np.eye(4), np.array([0, 0, 2, 2]), 3)
    assert ((np.eye(4) @ weights + bias).argmax(axis=1) != 1).all()
