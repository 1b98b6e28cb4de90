"""Chance, against the mean over every order of a small gallery."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from m3search.metrics import Measure, Ranking, expected, expected_average_precision

NAMES = ("AP", "AP@2", "RR", "RR@2", "nDCG", "nDCG@3", "R@1", "R@9", "P@3", "P@9", "Success@1", "Success@3")
GALLERIES = (
    [1],
    [1, 0],
    [1, 0, 0, 0],
    [1, 1, 0, 0],
    [1, 1, 1, 0, 0],
    [1, 1, 1, 1],
    [3, 1, 0, 0, 0],
    [2, 2, 1, 0, 0, 0],
)


@pytest.mark.parametrize("gains", GALLERIES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_is_the_mean_over_all_orders(name: str, gains: list[int]) -> None:
    measure = Measure.parse(name)
    orders = np.array(list(permutations(map(float, gains))))
    judged = np.tile(np.sort(np.array(gains, dtype=float))[::-1], (len(orders), 1))
    relevant = np.array([gain for gain in gains if gain])
    assert expected(measure, relevant, len(gains)) == pytest.approx(measure(Ranking(orders, judged)).mean())


@pytest.mark.parametrize("gains", [[1, 0, 0], [1, 1, 0, 0], [3, 1, 0, 0]], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_relevant_items_that_are_nowhere_lower_what_any_order_reaches(name: str, gains: list[int]) -> None:
    measure = Measure.parse(name)
    orders = np.array(list(permutations(map(float, gains))))
    missing = np.array([2.0, 1.0])
    judged = np.tile(np.sort(np.concatenate([gains, missing]))[::-1], (len(orders), 1))
    mean = measure(Ranking(orders, judged)).mean()
    assert expected(measure, np.array(gains), len(gains), missing) == pytest.approx(mean)
    assert expected(measure, np.zeros(0), len(gains), missing) == 0


def test_large_galleries_are_no_trouble() -> None:
    assert expected_average_precision(1000, 1_000_000) == pytest.approx(0.001, rel=0.02)
    assert expected(Measure.parse("RR"), np.ones(1), 1_000_000) == pytest.approx(np.log(1_000_000) / 1e6, rel=0.05)


def test_nothing_relevant_is_undefined_and_too_many_are_refused() -> None:
    assert np.isnan(expected(Measure.parse("RR"), np.zeros(2), 5))
    assert expected_average_precision(0, 5) == 0
    with pytest.raises(ValueError, match="3 relevant items in a gallery of 2"):
        expected(Measure.parse("AP"), np.ones(3), 2)
