"""Each term against a closed form, and against a slow version written pair by pair."""

from __future__ import annotations

import math

import pytest
import torch

from m3search.trainer import losses


def unit(x: torch.Tensor) -> list[list[float]]:
    return torch.nn.functional.normalize(x, dim=1).tolist()


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def slow_cross_entropy(logits: list[list[float]], weights: list[list[float]]) -> float:
    rows = []
    for row, weight in zip(logits, weights, strict=True):
        if sum(weight) == 0:
            continue
        partition = math.log(sum(math.exp(value) for value in row))
        rows.append(-sum(w / sum(weight) * (value - partition) for w, value in zip(weight, row, strict=True)))
    return sum(rows) / len(rows)


def test_equal_embeddings_give_log_of_the_batch() -> None:
    same = torch.ones(7, 16)
    loss = losses.soft_contrastive(same, same, torch.eye(7), 10.0)
    assert loss.item() == pytest.approx(math.log(7), abs=1e-5)


def test_equal_embeddings_give_log_of_the_others_within_a_modality() -> None:
    loss = losses.within_modality(torch.ones(5, 8), torch.ones(5, 5), 10.0)
    assert loss.item() == pytest.approx(math.log(4), abs=1e-5)


def test_soft_contrastive_equals_the_slow_version() -> None:
    generator = torch.Generator().manual_seed(1)
    items, texts = torch.randn(6, 8, generator=generator), torch.randn(4, 8, generator=generator)
    weights = torch.rand(6, 4, generator=generator) * (torch.rand(6, 4, generator=generator) > 0.5)
    logits = [[5.0 * dot(a, b) for b in unit(texts)] for a in unit(items)]
    turned = [list(column) for column in zip(*logits, strict=True)]
    slow = 0.5 * (slow_cross_entropy(logits, weights.tolist()) + slow_cross_entropy(turned, weights.T.tolist()))
    assert losses.soft_contrastive(items, texts, weights, 5.0).item() == pytest.approx(slow, abs=1e-5)


def test_within_modality_ignores_pairs_of_different_modalities() -> None:
    generator = torch.Generator().manual_seed(2)
    items = torch.randn(5, 8, generator=generator)
    similar = torch.full((5, 5), torch.nan)
    similar[:3, :3] = torch.tensor([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]])
    similar[3:, 3:] = 1.0
    slow = []
    for i, others in ((0, {1: 0.5, 2: 0.0}), (1, {0: 0.5, 2: 0.0}), (3, {4: 1.0}), (4, {3: 1.0})):
        u = unit(items)
        slow.append(slow_cross_entropy([[3.0 * dot(u[i], u[j]) for j in others]], [list(others.values())]))
    assert losses.within_modality(items, similar, 3.0).item() == pytest.approx(sum(slow) / len(slow), abs=1e-5)


def test_rows_without_any_positive_count_nothing() -> None:
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(3))
    weights = torch.zeros(3, 4)
    weights[1, 2] = 0.2
    expected = -logits[1].log_softmax(0)[2].item()
    assert losses.soft_cross_entropy(logits, weights).item() == pytest.approx(expected, abs=1e-6)
    assert losses.soft_cross_entropy(logits, torch.zeros(3, 4)).item() == 0.0


def test_label_scores_equal_the_slow_version() -> None:
    generator = torch.Generator().manual_seed(4)
    items, names, bias = torch.randn(5, 6, generator=generator), torch.randn(3, 6, generator=generator), torch.randn(3)
    truth = torch.tensor([[1.0, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0], [0, 1, 0]])
    per_label = []
    for j, name in enumerate(unit(names)):
        positive, negative = [], []
        for i, item in enumerate(unit(items)):
            p = 1 / (1 + math.exp(-(4.0 * dot(item, name) + bias[j].item())))
            (positive if truth[i, j] else negative).append(-math.log(p if truth[i, j] else 1 - p))
        per_label.append(sum(positive) / max(1, len(positive)) + sum(negative) / len(negative))
    loss = losses.label_scores(items, names, truth, 4.0, bias)
    assert loss.item() == pytest.approx(sum(per_label) / 3, abs=1e-5)


def test_keep_close_is_zero_for_the_same_direction_and_two_for_the_opposite() -> None:
    x = torch.randn(4, 9, generator=torch.Generator().manual_seed(5))
    assert losses.keep_close(3 * x, x).item() == pytest.approx(0.0, abs=1e-6)
    assert losses.keep_close(-x, x).item() == pytest.approx(2.0, abs=1e-6)
