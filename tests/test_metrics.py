"""Measures against a slow loop, against ir_measures, and against what can be worked out by hand."""

from __future__ import annotations

import math
from itertools import permutations

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


def fast(hits, k):
    return {
        "recall": metrics.recall_at_k(hits, k),
        "precision": metrics.precision_at_k(hits, k),
        "success": metrics.success_at_k(hits, k),
        "ap": metrics.average_precision(hits),
        "ndcg": metrics.ndcg_at_k(hits, k),
        "rr": metrics.reciprocal_rank(hits),
    }


@given(searches(), st.integers(1, 12))
def test_equal_to_the_definitions(search, k):
    scores, relevance, exclude = search
    found = fast(metrics.rank(scores, relevance, exclude), k)
    for query in range(len(scores)):
        expected = slow(scores[query], relevance[query], exclude[query], k)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name][query], value, atol=1e-12, err_msg=name)


@given(searches(), st.integers(1, 12))
def test_equal_to_ir_measures(search, k):
    scores, relevance, _ = search
    hits = metrics.rank(scores, relevance)
    order = np.argsort(-scores, axis=1, kind="stable")
    # ranks become scores, so that ir_measures has no ties to settle its own way
    run = [ScoredDoc(str(q), str(g), float(-place)) for q, ranked in enumerate(order) for place, g in enumerate(ranked)]
    qrels = [Qrel(str(q), str(g), int(relevance[q, g])) for q, g in np.ndindex(*relevance.shape)]
    names = {"recall": ir_measures.R @ k, "precision": ir_measures.P @ k, "success": ir_measures.Success @ k}
    names |= {"ap": ir_measures.AP, "ndcg": nDCG @ k, "rr": RR}
    theirs = {(m.query_id, m.measure): m.value for m in ir_measures.iter_calc(names.values(), qrels, run)}
    for name, values in fast(hits, k).items():
        for query, value in enumerate(values):
            if relevance[query].any():
                assert value == pytest.approx(theirs[str(query), names[name]], abs=1e-9), name


def test_excluded_items_change_nothing():
    scores = np.array([[0.9, 0.8, 0.7]])
    relevance = np.array([[True, False, True]])
    itself = np.array([[True, False, False]])
    hits = metrics.rank(scores, relevance, itself)
    np.testing.assert_array_equal(hits, [[False, True, False]])
    assert metrics.mean_average_precision(hits) == 0.5
    assert metrics.mrr(hits) == 0.5


def test_ties_keep_the_order_of_the_gallery():
    hits = metrics.rank(np.zeros((1, 4)), np.array([[False, True, False, True]]))
    np.testing.assert_array_equal(hits, [[False, True, False, True]])


def test_one_query_alone():
    assert metrics.average_precision(np.array([True, False, True])) == pytest.approx((1 + 2 / 3) / 2)


def test_queries_without_a_relevant_item_are_left_out_of_means():
    hits = np.array([[True, False], [False, False]])
    assert metrics.mean_average_precision(hits) == 1.0
    assert math.isnan(metrics.mean(metrics.recall_at_k(hits[1:], 1)))


def test_an_empty_gallery_is_undefined():
    values = fast(np.zeros((2, 0), dtype=bool), 3)
    assert all(np.isnan(value).all() for value in values.values())


@pytest.mark.parametrize(("relevant", "gallery"), [(1, 1), (1, 4), (2, 5), (5, 5), (3, 6)])
def test_chance_is_the_mean_over_all_orders(relevant, gallery):
    orders = set(permutations([True] * relevant + [False] * (gallery - relevant)))
    average = np.mean([metrics.average_precision(np.array(order)) for order in orders])
    assert metrics.expected_average_precision(relevant, gallery) == pytest.approx(average)


def test_interval_covers_the_true_mean_as_often_as_it_says():
    generator = np.random.default_rng(1)
    samples = generator.normal(0.5, 0.2, size=(200, 60))
    intervals = [metrics.confidence_interval(values, samples=300) for values in samples]
    covered = np.mean([low <= 0.5 <= high for low, high in intervals])
    assert 0.88 <= covered <= 0.99


def test_interval_is_seeded_and_leaves_nan_out():
    values = np.array([0.1, 0.4, np.nan, 0.9])
    assert metrics.confidence_interval(values) == metrics.confidence_interval(values[[0, 1, 3]])
    assert metrics.confidence_interval(values, seed=0) != metrics.confidence_interval(values, seed=1)


def test_clusters_are_drawn_whole():
    values = np.repeat(np.random.default_rng(0).random(8), 50)
    alone = np.subtract(*metrics.confidence_interval(values)[::-1])
    together = np.subtract(*metrics.confidence_interval(values, clusters=np.repeat(list("abcdefgh"), 50))[::-1])
    assert together > 3 * alone  # copies add no knowledge


@pytest.mark.parametrize("bad", [np.array([[np.nan, 1.0]]), np.zeros((2, 2)), np.zeros(2)])
def test_bad_scores_are_refused(bad):
    with pytest.raises(ValueError, match=r"NaN|shape"):
        metrics.rank(bad, np.ones((1, 2), dtype=bool))


def test_k_below_one_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        metrics.recall_at_k(np.ones((1, 2), dtype=bool), 0)
