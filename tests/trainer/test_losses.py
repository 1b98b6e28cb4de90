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


def test_softer_targets_take_the_place_of_the_truth_but_not_of_its_weights() -> None:
    items, names = torch.eye(2), torch.tensor([[1.0, 0.0]])
    truth, believed = torch.tensor([[1.0], [0.0]]), torch.tensor([[0.7], [0.1]])
    loss = losses.label_scores(items, names, truth, 2.0, torch.zeros(1), believed)

    def entropy(logit: float, target: float) -> float:
        p = 1 / (1 + math.exp(-logit))
        return -target * math.log(p) - (1 - target) * math.log(1 - p)

    assert loss.item() == pytest.approx(entropy(2.0, 0.7) + entropy(0.0, 0.1), abs=1e-6)
    same = losses.label_scores(items, names, truth, 2.0, torch.zeros(1), truth)
    assert same.item() == losses.label_scores(items, names, truth, 2.0, torch.zeros(1)).item()


def test_keep_close_is_zero_for_the_same_direction_and_two_for_the_opposite() -> None:
    x = torch.randn(4, 9, generator=torch.Generator().manual_seed(5))
    assert losses.keep_close(3 * x, x).item() == pytest.approx(0.0, abs=1e-6)
    assert losses.keep_close(-x, x).item() == pytest.approx(2.0, abs=1e-6)


def test_info_nce_of_equal_embeddings_is_log_of_the_batch() -> None:
    assert losses.info_nce(torch.ones(9, 4), torch.ones(9, 4), 20.0).item() == pytest.approx(math.log(9), abs=1e-5)


def test_info_nce_against_a_slow_version() -> None:
    items, texts = torch.randn(5, 8), torch.randn(5, 8)
    a, b = unit(items), unit(texts)
    logits = [[7.0 * dot(x, y) for y in b] for x in a]
    eye = [[float(i == j) for j in range(5)] for i in range(5)]
    back = [list(column) for column in zip(*logits, strict=True)]
    expected = 0.5 * (slow_cross_entropy(logits, eye) + slow_cross_entropy(back, eye))
    assert losses.info_nce(items, texts, 7.0).item() == pytest.approx(expected, abs=1e-5)


def test_a_queue_is_further_columns() -> None:
    """With old texts and items appended, as if the batch had been larger on one side at a time."""
    items, texts, old_items, old_texts = (torch.randn(n, 6) for n in (4, 3, 5, 2))
    weights, old_text_weights, old_item_weights = torch.rand(4, 3), torch.rand(4, 2), torch.rand(3, 5)
    got = losses.soft_contrastive(
        items, texts, weights, 5.0, (old_texts, old_text_weights), (old_items, old_item_weights)
    )
    a, b, c, d = unit(items), unit(texts), unit(old_items), unit(old_texts)
    forth = [[5.0 * dot(x, y) for y in [*b, *d]] for x in a]
    back = [[5.0 * dot(y, x) for x in [*a, *c]] for y in b]
    forth_weights = torch.cat([weights, old_text_weights], 1).tolist()
    back_weights = torch.cat([weights.T, old_item_weights], 1).tolist()
    expected = 0.5 * (slow_cross_entropy(forth, forth_weights) + slow_cross_entropy(back, back_weights))
    assert got.item() == pytest.approx(expected, abs=1e-5)


def test_sigmoid_pairs_closed_form_and_slow_version() -> None:
    same = torch.ones(3, 4)
    # every logit is scale + bias = 0: log 2 a pair, three texts an item
    assert losses.sigmoid_pairs(same, same, torch.eye(3), 10.0, -10.0).item() == pytest.approx(
        3 * math.log(2), abs=1e-5
    )
    items, texts, weights = torch.randn(3, 5), torch.randn(4, 5), torch.rand(3, 4)
    total = 0.0
    for x, row in zip(unit(items), weights.tolist(), strict=True):
        for y, weight in zip(unit(texts), row, strict=True):
            probability = 1 / (1 + math.exp(-(4.0 * dot(x, y) - 1.0)))
            total -= weight * math.log(probability) + (1 - weight) * math.log(1 - probability)
    assert losses.sigmoid_pairs(items, texts, weights, 4.0, -1.0).item() == pytest.approx(total / 3, abs=1e-4)


def test_alignments_closed_forms() -> None:
    a = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    b = torch.tensor([[0.0, 2.0], [-2.0, 0.0]])  # turned by a right angle and twice as long
    assert losses.align_mse(a, b).item() == pytest.approx((1 + 4 + 4 + 1) / 4)
    assert losses.align_cosine(a, b).item() == pytest.approx(1.0)
    assert losses.align_relational(a, b).item() == pytest.approx(0.0, abs=1e-6)
    for align in losses.ALIGNMENTS.values():
        assert align(a, a).item() == pytest.approx(0.0, abs=1e-6)


def test_alignment_is_the_sum_over_all_pairs() -> None:
    centres = {name: torch.randn(6, 4) for name in ("xray", "ct", "ecg")}
    pairs = (("xray", "ct"), ("xray", "ecg"), ("ct", "ecg"))
    expected = sum(((centres[m] - centres[n]) ** 2).mean().item() for m, n in pairs)
    assert losses.alignment(centres, "mse").item() == pytest.approx(expected, abs=1e-5)
    assert losses.alignment({"xray": centres["xray"]}).item() == 0.0


def test_a_student_that_says_what_the_teacher_says_has_only_the_teachers_own_entropy_to_pay() -> None:
    teacher = torch.randn(7, 5)
    assert losses.distil(3 * teacher, teacher).item() == pytest.approx(0.0, abs=1e-4)
    assert losses.distil(-teacher, teacher).item() == pytest.approx(2.0, abs=1e-4)  # relations hold, directions do not
    assert losses.distil(torch.randn(7, 5), teacher).item() > 0.5


def test_nested_dimensions_are_averaged() -> None:
    assert losses.nested((2, 4), lambda dim: torch.tensor(float(dim))).item() == 3.0
