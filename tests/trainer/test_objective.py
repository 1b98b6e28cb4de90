"""Texts of a batch, the queue of earlier ones, and the terms that come of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from m3search.datasets import Row
from m3search.trainer import losses, objective
from m3search.trainer.config import LossConfig
from m3search.trainer.texts import Phrasebook, Text, truths


def rows(*labels: str, modality: str = "xray") -> list[Row]:
    return [
        Row(Path(f"{i}.png"), modality, str(i), f"Text {i}.", f"Caption of {label}.", (label,))
        for i, label in enumerate(labels)
    ]


ROWS = rows("Pneumonia", "Cardiomegaly", "Pneumonia", "No Finding")


def batch(of: list[Row], seed: int = 0) -> objective.Batch:
    generator = torch.Generator().manual_seed(seed)
    texts = [Text(row.caption, frozenset(row.labels), row.modality) for row in of]
    distinct = list({text.words: text for text in texts}.values())
    place = [[text.words for text in distinct].index(text.words) for text in texts]
    labels = sorted({label for row in of for label in row.labels})
    vectors = (torch.randn(n, 6, generator=generator) for n in (len(of), len(distinct), len(labels)))
    items, texts_of, names = vectors
    return objective.Batch(of, items, objective.Sentences(distinct, place), texts_of, names, labels)


def test_every_item_has_a_text_that_is_true_of_it_and_no_text_stands_twice() -> None:
    rng, book = np.random.default_rng(0), Phrasebook(ROWS)
    for _ in range(20):
        sentences = objective.draw_sentences(ROWS, book, rng)
        assert len(set(sentences.words)) == len(sentences.words)
        true = truths(ROWS, sentences.texts)
        assert all(true[i, own] > 0 for i, own in enumerate(sentences.own))


@pytest.mark.parametrize("kind", ["soft", "infonce", "sigmoid"])
def test_the_kind_of_contrast_is_the_one_asked_for(kind: str) -> None:
    case = batch(ROWS)
    found = objective.terms(case, LossConfig(kind=kind, contrastive=2.0), torch.tensor(5.0), torch.zeros(3))  # type: ignore[arg-type]
    weights = torch.from_numpy(truths(case.rows, case.sentences.texts))
    expected = {
        "soft": losses.soft_contrastive(case.items, case.texts, weights, 5.0),
        "infonce": losses.info_nce(case.items, case.texts[case.sentences.own], 5.0),
        "sigmoid": losses.sigmoid_pairs(case.items, case.texts, weights, 5.0, objective.SIGMOID_BIAS),
    }[kind]
    torch.testing.assert_close(found["contrastive"], 2 * expected)


def test_terms_of_weight_zero_are_not_computed() -> None:
    found = objective.terms(batch(ROWS), LossConfig(labels=0.0, within=0.0), torch.tensor(5.0), torch.zeros(3))
    assert set(found) == {"contrastive"}


def test_nested_dimensions_use_the_leading_ones() -> None:
    case = batch(ROWS)
    cut = objective.Batch(
        case.rows, case.items[:, :2], case.sentences, case.texts[:, :2], case.names[:, :2], case.labels
    )
    scale, bias = torch.tensor(5.0), torch.zeros(3)
    nested = objective.terms(case, LossConfig(), scale, bias, dims=(2, 6))
    for name, term in objective.terms(case, LossConfig(), scale, bias).items():
        small = objective.terms(cut, LossConfig(), scale, bias)[name]
        torch.testing.assert_close(nested[name], (term + small) / 2)


def test_the_queue_remembers_the_last_batches_only_and_adds_negatives() -> None:
    queue = objective.Queue(6)
    scale, bias = torch.tensor(5.0), torch.zeros(3)
    alone = objective.terms(batch(ROWS), LossConfig(), scale, bias)["contrastive"]
    first = objective.terms(batch(ROWS), LossConfig(), scale, bias, queue=queue)["contrastive"]
    torch.testing.assert_close(first, alone)  # nothing to remember yet
    assert len(queue.items) == 4
    second = objective.terms(batch(ROWS, seed=1), LossConfig(), scale, bias, queue=queue)["contrastive"]
    assert second > objective.terms(batch(ROWS, seed=1), LossConfig(), scale, bias)["contrastive"]
    assert len(queue.items) == 6
    assert not queue.items[0][0].requires_grad
