"""Protocols of retrieval: who is relevant, who is in the gallery, what chance is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from m3search.encoders.base import normalise
from m3search.evaluation import (
    Figure,
    Label,
    LabelledItems,
    QueryScore,
    image_to_image,
    summarise,
    text_to_image,
)
from m3search.evaluation.protocols import image_to_text_trials, text_to_own_image_trials
from m3search.evaluation.trials import score


def items(*rows: tuple[str, str, str, str], vectors: Sequence[Sequence[float]]) -> LabelledItems:
    """Rows of (modality, labels joined by |, group, source)."""
    labels = tuple(
        Label(f"item-{index}", modality, frozenset(names.split("|")) - {""}, "", group, source)
        for index, (modality, names, group, source) in enumerate(rows)
    )
    return LabelledItems(labels, normalise(np.array(vectors, dtype=np.float32)))


def by_query(scores: Sequence[QueryScore]) -> dict[tuple[str, str], QueryScore]:
    return {(score.modality, score.query): score for score in scores}


AXES = {"effusion": [1.0, 0, 0], "normal": [0, 1.0, 0], "covid": [0, 0, 1.0]}


def encode(names: Sequence[str]) -> np.ndarray:
    return np.array([AXES[name] for name in names], dtype=np.float32)


def test_text_query_ranks_all_or_its_own_modality() -> None:
    found = items(
        ("xray", "effusion", "a", "A"),
        ("xray", "effusion", "b", "A"),
        ("xray", "normal", "c", "A"),
        ("ct", "normal", "d", "B"),
        vectors=[[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0.8, 0.2, 0]],
    )
    everywhere = by_query(text_to_image(found, encode, scope="all", min_relevant=1))
    # Order for "effusion": item-0, item-3 (CT), item-1, item-2: precision 1 and 2/3 at the two relevant ones.
    assert everywhere["xray", "effusion"].value == pytest.approx((1 + 2 / 3) / 2)
    assert (everywhere["xray", "effusion"].gallery, everywhere["xray", "effusion"].relevant) == (4, 2)
    within = by_query(text_to_image(found, encode, scope="modality", min_relevant=1))
    assert within["xray", "effusion"].value == 1
    assert within["xray", "effusion"].gallery == 3
    assert set(within) == {("xray", "effusion"), ("xray", "normal"), ("ct", "normal")}


def test_label_of_two_modalities_is_relevant_in_both() -> None:
    found = items(("xray", "covid", "a", ""), ("ct", "covid", "b", ""), vectors=[[0, 0, 1], [0, 0, 1]])
    scores = text_to_image(found, encode, scope="all", min_relevant=1)
    assert [(score.modality, score.relevant, score.value) for score in scores] == [
        ("xray", 2, 1),
        ("ct", 2, 1),
    ]


def test_rare_labels_are_no_queries() -> None:
    found = items(("xray", "effusion|covid", "a", ""), ("xray", "effusion", "b", ""), vectors=[[1, 0, 0], [1, 0, 0]])
    assert [score.query for score in text_to_image(found, encode, min_relevant=2)] == ["effusion"]


def test_source_scope_keeps_sources_apart() -> None:
    found = items(
        ("xray", "effusion", "a", "A"), ("xray", "normal", "b", "A"), ("xray", "effusion", "c", "B"),
        vectors=[[0.5, 0.5, 0], [0.6, 0.4, 0], [1, 0, 0]],
    )  # fmt: skip
    scores = text_to_image(found, encode, scope="source", min_relevant=1)
    figures = summarise([score for score in scores if score.query == "effusion"], by="source")
    assert {name: figure.value for name, figure in figures.items()} == {"xray/A": 0.5, "xray/B": 1.0}
    assert figures["xray/A"].low is None, "one query has no interval"


def test_query_image_never_meets_itself_or_its_group() -> None:
    found = items(
        ("retina", "normal", "one", ""),
        ("retina", "normal", "one", ""),  # the other eye of the same patient: nearly the same picture
        ("retina", "covid", "two", ""),
        ("retina", "normal", "three", ""),
        vectors=[[1, 0, 0], [1, 0.01, 0], [0.9, 0.1, 0], [0, 1, 0]],
    )
    scores = by_query(image_to_image(found))
    assert scores["retina", "item-0"].value == 0.5  # the other eye would have made it 1
    assert scores["retina", "item-0"].gallery == 2
    assert ("retina", "item-2") not in scores, "nothing in its gallery is relevant"


def test_equal_texts_are_relevant_without_labels() -> None:
    labels = tuple(Label(f"i{n}", "ecg", frozenset(), text) for n, text in enumerate(["same", "same", "other", "", ""]))
    found = LabelledItems(labels, normalise(np.random.RandomState(0).standard_normal((5, 4))))
    assert {score.query for score in image_to_image(found)} == {"i0", "i1"}


def test_ties_are_broken_by_id() -> None:
    found = items(("ct", "normal", "a", ""), ("ct", "covid", "b", ""), vectors=[[1, 1, 0], [1, 1, 0]])
    scores = by_query(text_to_image(found, encode, min_relevant=1))
    assert scores["ct", "normal"].value == 1
    assert scores["ct", "covid"].value == 0.5


def test_chance_is_what_random_vectors_reach() -> None:
    random = np.random.RandomState(5)
    rows = [("ct", ("normal", "covid", "effusion")[n % 3], f"g{n}", "") for n in range(90)]
    found = items(*rows, vectors=random.standard_normal((90, 64)))
    figure = summarise(image_to_image(found))["ct"]
    assert figure.value == pytest.approx(figure.chance, abs=0.03)
    assert figure.low is not None
    assert figure.high is not None
    assert figure.low < figure.chance < figure.high
    assert figure.queries == 90


def test_interval_is_wider_where_queries_hang_together() -> None:
    values = np.random.RandomState(1).uniform(size=60)

    def scores(clusters: int) -> list[QueryScore]:
        return [
            QueryScore(str(n), "ct", "", str(n % clusters), float(values[n % clusters]), 0.3, 1, 10) for n in range(60)
        ]

    apart, together = summarise(scores(60))["ct"], summarise(scores(6))["ct"]
    assert _width(together) > 1.5 * _width(apart)


def _width(figure: Figure) -> float:
    assert figure.low is not None
    assert figure.high is not None
    return figure.high - figure.low


def test_vectors_must_belong_to_the_items() -> None:
    with pytest.raises(ValueError, match="1 items and 2 vectors"):
        LabelledItems((Label("a", "ct", frozenset()),), np.zeros((2, 3), dtype=np.float32))


def test_no_labels_no_queries() -> None:
    found = items(("ct", "", "a", ""), vectors=[[1, 0, 0]])
    assert text_to_image(found, encode) == []
    assert summarise([]) == {}


TEXTS = {"clear": [1.0, 0, 0], "fluid": [0, 1.0, 0], "a mass": [0, 0, 1.0], "an unlike text": [0.6, 0.8, 0]}


def texts(names: Sequence[str]) -> np.ndarray:
    return np.array([TEXTS[name] for name in names], dtype=np.float32)


def told(*rows: tuple[str, str], vectors: Sequence[Sequence[float]], source: str = "") -> LabelledItems:
    """X-rays of (text, group)."""
    labels = tuple(Label(f"item-{n}", "xray", frozenset(), *row, source) for n, row in enumerate(rows))
    return LabelledItems(labels, normalise(np.array(vectors, dtype=np.float32)))


def test_an_items_own_text_is_found_among_the_distinct_texts() -> None:
    found = told(
        ("clear", "a"), ("clear", "b"), ("fluid", "c"), ("a mass", "d"), ("", "e"),
        vectors=[[1, 0, 0], [0.8, 0.6, 0], [0.9, 0.1, 0], [0, 0, 1], [1, 0, 0]],
    )  # fmt: skip
    (trial,) = image_to_text_trials(found, texts)
    assert trial.documents == ("item-0", "item-2", "item-3"), "equal texts are one text, by its first item's id"
    ranks = {scored.query: 1 / scored.value for scored in score([trial], "RR")}
    assert ranks == pytest.approx({"item-0": 1, "item-1": 1, "item-2": 2, "item-3": 1}), "no text, no query"
    assert [scored.value for scored in score([trial], "R@1")] == [1, 1, 0, 1]
    assert {scored.chance for scored in score([trial], "R@1")} == {1 / 3}
    assert {scored.cluster for scored in score([trial], "R@1")} == {"a", "b", "c", "d"}


def test_a_text_finds_every_item_that_has_it() -> None:
    found = told(("clear", "a"), ("clear", "b"), ("fluid", "c"), vectors=[[1, 0, 0], [0, 0, 1], [0.5, 0.5, 0]])
    scores = {scored.query: scored for scored in score(text_to_own_image_trials(found, texts), "AP")}
    assert scores["item-0"].relevant == 2
    assert scores["item-0"].value == pytest.approx((1 + 2 / 3) / 2)  # item-0, item-2, item-1
    assert scores["item-2"].value == 1


def test_texts_of_one_source_are_not_mixed_with_anothers() -> None:
    one, other = (told(("clear", "a"), ("fluid", "b"), vectors=[[1, 0, 0], [0, 1, 0]], source=s) for s in "AB")
    both = LabelledItems(
        tuple(replace(item, item_id=f"{item.source} {item.item_id}") for item in one.items + other.items),
        np.concatenate([one.vectors, other.vectors]),
    )
    trials = image_to_text_trials(both, texts, "source")
    assert [(set(trial.sources), len(trial.documents)) for trial in trials] == [({"A"}, 2), ({"B"}, 2)]
    (trial,) = image_to_text_trials(both, texts, "modality")
    assert len(trial.documents) == 2


def test_one_text_alone_cannot_be_told_from_others() -> None:
    found = told(("clear", "a"), ("clear", "b"), vectors=[[1, 0, 0], [0, 1, 0]])
    assert image_to_text_trials(found, texts) == []
    assert text_to_own_image_trials(found, texts) == []


def test_equal_vectors_tie_wherever_they_stand() -> None:
    """A product in single precision may differ in its last bit between equal vectors."""
    random = np.random.RandomState(2)
    one = normalise(random.standard_normal((1, 257)))
    labels = tuple(Label(f"{n:03}", "ct", frozenset({"normal"} if n == 0 else {"covid"})) for n in range(200))
    found = LabelledItems(labels, np.repeat(one, 200, axis=0))
    query = normalise(random.standard_normal((1, 257)))
    scores = text_to_image(found, lambda names: np.repeat(query, len(names), axis=0), min_relevant=1)
    assert by_query(scores)["ct", "normal"].value == 1, "the first by id"
