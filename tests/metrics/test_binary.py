"""AUROC against its definition, pair by pair, and weights against repeated items."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

from m3search.metrics import auroc, bootstrap_interval, interval_of


@pytest.mark.parametrize("seed", range(30))
def test_is_the_share_of_pairs_in_order_each_item_as_often_as_it_weighs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 15))
    scores, positive, times = rng.integers(-2, 3, size), rng.random(size) < 0.4, rng.integers(0, 4, size)
    pairs = [
        (scores[i] > scores[j]) + 0.5 * (scores[i] == scores[j])
        for i in np.repeat(np.flatnonzero(positive), times[positive])
        for j in np.repeat(np.flatnonzero(~positive), times[~positive])
    ]
    (area,) = auroc(scores, positive, times[None].astype(float))
    if pairs:
        assert area == pytest.approx(np.mean(pairs))
    else:
        assert np.isnan(area)


def test_many_draws_at_once_are_each_on_their_own() -> None:
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 9, 40), rng.random(40) < 0.3
    weights = rng.integers(0, 3, (7, 40)).astype(float)
    together = auroc(scores, positive, weights)
    np.testing.assert_allclose(together, [auroc(scores, positive, row[None])[0] for row in weights])


def test_reversed_scores_mirror_it() -> None:
    scores, positive = np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, True, False, True])
    assert auroc(scores, positive)[0] == pytest.approx(1 - auroc(-scores, positive)[0])
    assert auroc(scores, positive)[0] == pytest.approx(3.5 / 4)


@pytest.mark.parametrize(("scores", "positive"), [([np.nan, 1], [True, False]), ([1, 2, 3], [True, False])])
def test_bad_input_is_refused(scores: list[float], positive: list[bool]) -> None:
    with pytest.raises(ValueError, match=r"NaN|do not fit"):
        auroc(np.array(scores), np.array(positive))


def test_no_items_no_area() -> None:
    assert np.isnan(auroc(np.zeros(0), np.zeros(0, dtype=bool))).all()


def test_intervals_do_not_depend_on_how_many_draws_are_computed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    values, groups = np.random.default_rng(0).random(30), np.arange(30) // 3
    whole = bootstrap_interval(values, groups)
    monkeypatch.setattr("m3search.metrics.bootstrap.BLOCK", 100)
    np.testing.assert_allclose(astuple(bootstrap_interval(values, groups)), astuple(whole), atol=1e-12)


def test_interval_of_an_area_covers_chance_for_scores_that_know_nothing() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(60):
        scores, positive = rng.random(50), np.arange(50) % 2 == 0
        interval = interval_of(lambda weights, s=scores, p=positive: auroc(s, p, weights), np.arange(50), samples=200)
        covered += interval.low <= 0.5 <= interval.high
    assert covered >= 50


def test_one_group_has_no_width_and_nothing_has_no_interval() -> None:
    scores, positive = np.array([1.0, 0.0]), np.array([True, False])
    interval = interval_of(lambda weights: auroc(scores, positive, weights), ["a", "a"])
    assert (interval.mean, interval.low, interval.high) == (1, 1, 1)
    assert np.isnan(interval_of(lambda weights: weights.sum(axis=1), []).mean)
