"""Measures against a slow loop, against ir_measures, and against what can be worked out by hand."""

from __future__ import annotations

import math

import ir_measures
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from ir_measures import RR, Qrel, ScoredDoc, nDCG

from m3search import metrics

shapes = st.tuples(st.integers(1, 5), st.integers(1, 9))


@st.composite
def searches(draw):
    """Scores with many ties, relevance, exclusion."""
    shape = draw(shapes)
    scores = draw(arrays.arrays(np.int8, shape, elements=st.integers(-3, 3))).astype(np.float32) / 4
    return scores, draw(arrays.arrays(bool, shape)), draw(arrays.arrays(bool, shape))


def slow(scores, relevance, exclude, k):
    """One query by its definitions, item by item."""
    places = [g for g in range(len(scores)) if not exclude[g]]
    order = sorted(places, key=lambda g: (-scores[g], g))
    found = [bool(relevance[g]) for g in order]
    total = sum(found)
    if total == 0:
        return dict.fromkeys(("recall", "precision", "success", "ap", "ndcg", "rr"), math.nan)
    gain = sum(1 / math.log2(i + 2) for i in range(min(k, len(found))) if found[i])
    ideal = sum(1 / math.log2(i + 2) for i in range(min(k, total)))
    return {
        "recall": sum(found[:k]) / total,
        "precision": sum(found[:k]) / k,
        "success": float(any(found[:k])),
        "ap": sum(sum(found[: i + 1]) / (i + 1) for i in range(len(found)) if found[i]) / total,
        "ndcg": gain / ideal,
        "rr": 1 / (found.index(True) + 1),
    }


def fast(scores, relevance, k, exclude=None):
    return {
        "recall": metrics.recall_at_k(scores, relevance, k, exclude),
        "precision": metrics.precision_at_k(scores, relevance, k, exclude),
        "success": metrics.success_at_k(scores, relevance, k, exclude),
        "ap": metrics.average_precision(scores, relevance, exclude),
        "ndcg": metrics.ndcg_at_k(scores, relevance, k, exclude),
        "rr": metrics.reciprocal_rank(scores, relevance, exclude),
    }


@given(searches(), st.integers(1, 12))
def test_equal_to_the_definitions(search, k):
    scores, relevance, exclude = search
    found = fast(scores, relevance, k, exclude)
    for query in range(len(scores)):
        expected = slow(scores[query], relevance[query], exclude[query], k)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name][query], value, atol=1e-12, err_msg=name)


@given(searches(), st.integers(1, 12))
def test_equal_to_ir_measures(search, k):
    scores, relevance, _ = search
    order = np.argsort(-scores, axis=1, kind="stable")
    # ranks become scores, so that ir_measures has no ties to settle its own way
    run = [ScoredDoc(str(q), str(g), float(-place)) for q, ranked in enumerate(order) for place, g in enumerate(ranked)]
    qrels = [Qrel(str(q), str(g), int(relevance[q, g])) for q, g in np.ndindex(*relevance.shape)]
    names = {"recall": ir_measures.R @ k, "precision": ir_measures.P @ k, "success": ir_measures.Success @ k}
    names |= {"ap": ir_measures.AP, "ndcg": nDCG @ k, "rr": RR}
    theirs = {(m.query_id, m.measure): m.value for m in ir_measures.iter_calc(names.values(), qrels, run)}
    for name, values in fast(scores, relevance, k).items():
        for query, value in enumerate(values):
            if relevance[query].any():
                assert value == pytest.approx(theirs[str(query), names[name]], abs=1e-9), name


def test_excluded_items_change_nothing():
    scores = np.array([[0.9, 0.8, 0.7]])
    relevance = np.array([[True, False, True]])
    itself = np.array([[True, False, False]])
    assert metrics.mean_average_precision(scores, relevance, itself) == 0.5
    assert metrics.mrr(scores, relevance, itself) == 0.5
    assert metrics.recall_at_k(scores, relevance, 1, itself) == [0.0]


def test_excluded_items_come_behind_the_worst_score():
    scores, relevance = np.array([[0.5, -np.inf]]), np.array([[False, True]])
    assert metrics.reciprocal_rank(scores, relevance, np.array([[True, False]])) == [1.0]


def test_ties_keep_the_order_of_the_gallery():
    assert metrics.reciprocal_rank(np.zeros((1, 4)), np.array([[False, False, True, True]])) == [1 / 3]


def test_queries_without_a_relevant_item_are_left_out_of_means():
    scores, relevance = np.array([[2.0, 1.0], [2.0, 1.0]]), np.array([[True, False], [False, False]])
    assert metrics.mean_average_precision(scores, relevance) == 1.0
    assert math.isnan(metrics.mean_average_precision(scores[1:], relevance[1:]))


def test_an_empty_gallery_is_undefined():
    values = fast(np.zeros((2, 0)), np.zeros((2, 0), dtype=bool), 3)
    assert all(np.isnan(value).all() for value in values.values())


def test_interval_covers_the_true_mean_as_often_as_it_says():
    generator = np.random.default_rng(1)
    samples = generator.normal(0.5, 0.2, size=(200, 60))
    intervals = [metrics.bootstrap_interval(values, samples=300) for values in samples]
    covered = np.mean([interval.low <= 0.5 <= interval.high for interval in intervals])
    assert 0.88 <= covered <= 0.99


def test_interval_is_seeded_and_leaves_nan_out():
    values = np.random.default_rng(0).random(30)
    with_gaps = np.concatenate([values, [np.nan, np.nan]])
    assert metrics.bootstrap_interval(with_gaps) == metrics.bootstrap_interval(values)
    assert metrics.bootstrap_interval(values, seed=0) != metrics.bootstrap_interval(values, seed=1)
    assert metrics.bootstrap_interval(values).mean == pytest.approx(values.mean())


def test_interval_of_nothing_is_undefined():
    interval = metrics.bootstrap_interval(np.array([np.nan]))
    assert np.isnan([interval.mean, interval.low, interval.high]).all()


def test_groups_are_drawn_whole():
    values = np.repeat(np.random.default_rng(0).random(8), 50)
    alone = metrics.bootstrap_interval(values)
    together = metrics.bootstrap_interval(values, np.repeat(list("abcdefgh"), 50))
    assert together.high - together.low > 3 * (alone.high - alone.low)  # copies add no knowledge


@pytest.mark.parametrize("bad", [np.array([[np.nan, 1.0]]), np.zeros((2, 2)), np.zeros(2)])
def test_bad_scores_are_refused(bad):
    with pytest.raises(ValueError, match=r"NaN|shape"):
        metrics.average_precision(bad, np.ones((1, 2), dtype=bool))


def test_k_below_one_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        metrics.recall_at_k(np.ones((1, 2)), np.ones((1, 2), dtype=bool), 0)
