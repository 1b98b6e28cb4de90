"""Measures by name: equal to ir_measures with grades, cutoffs and lists that are cut short."""

from __future__ import annotations

import ir_measures
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3search.metrics import Measure, Ranking

NAMES = ("AP", "AP@3", "RR", "nDCG", "nDCG@3", "nDCG@10", "R@1", "R@5", "P@5", "Success@3")
THEIR_NAMES = {
    "map": "AP", "map_cut_3": "AP@3", "recip_rank": "RR", "ndcg": "nDCG", "ndcg_cut_10": "nDCG@10", "recall_5": "R@5",
    "P_5": "P@5", "success_3": "Success@3",
}  # fmt: skip


@given(
    gains=st.lists(st.integers(-1, 3), min_size=12, max_size=12),
    ranked=st.permutations(range(12)),
    length=st.integers(1, 12),
)
def test_equal_to_ir_measures_where_some_relevant_items_were_not_found(
    gains: list[int], ranked: list[int], length: int
) -> None:
    run = [ir_measures.ScoredDoc("q", str(g), -float(place)) for place, g in enumerate(ranked[:length])]
    qrels = [ir_measures.Qrel("q", str(g), gain) for g, gain in enumerate(gains)]
    measures = [ir_measures.parse_measure(name) for name in NAMES]
    theirs = {str(m.measure): m.value for m in ir_measures.iter_calc(measures, qrels, run)}
    found = np.maximum([gains[g] for g in ranked[:length]], 0).astype(float)
    judged = np.sort(np.maximum(gains, 0).astype(float))[::-1]
    for name in NAMES:
        (value,) = Measure.parse(name)(Ranking(found[None], judged[None]))
        if max(gains) > 0:
            assert value == pytest.approx(theirs[name], abs=1e-9), name
        else:
            assert np.isnan(value)


@pytest.mark.parametrize(("theirs", "ours"), THEIR_NAMES.items())
def test_names_of_trec_eval_mean_the_same(theirs: str, ours: str) -> None:
    one, other = Measure.parse(theirs), Measure.parse(ours)
    assert (one.kind, one.k, one.name) == (other.kind, other.k, theirs)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("MAP", "no measure 'MAP'; choose from AP, RR"),
        ("R", "R needs a cutoff, such as R@10"),
        ("recall", "recall needs a cutoff"),
        ("P@0", "at least 1"),
        ("nDCG@-2", "at least 1"),
        ("AP@x", "no measure"),
    ],
)
def test_other_names_are_refused_with_what_there_is(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Measure.parse(name)
