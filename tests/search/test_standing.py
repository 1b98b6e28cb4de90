"""Which share of a modality scores lower than a hit."""

from __future__ import annotations

import numpy as np
import pytest

from m3search.search import Query
from m3search.search.query import Encoded
from m3search.search.standing import LEAST
from tests.search.conftest import unit

COUNT = 40


def _rows(modality, count=COUNT):
    """Items at rising angles from the first axis."""
    return [
        {"item_id": f"{modality}{number:02}", "modality": modality, "vector": unit((0, COUNT - number), (1, number))}
        for number in range(count)
    ]


def test_the_share_that_scores_lower(make):
    engine = make(_rows("xray"), texts={"axis": unit((0, 1.0))})
    hits = engine.search("axis", k=COUNT, standing=True)
    assert [hit.standing for hit in hits] == pytest.approx([(COUNT - 1 - place) / COUNT for place in range(COUNT)])


def test_equals_are_not_below_each_other(make):
    rows = [{"item_id": f"x{number}", "vector": unit((0, 1.0))} for number in range(COUNT)]
    hits = make(rows, texts={"axis": unit((0, 1.0))}).search("axis", k=3, standing=True)
    assert [hit.standing for hit in hits] == [0.0, 0.0, 0.0]


def test_each_modality_is_compared_with_itself_and_few_say_nothing(make):
    engine = make([*_rows("xray"), *_rows("ct", LEAST - 1)], texts={"axis": unit((0, 1.0))})
    hits = engine.search("axis", k=COUNT + LEAST, standing=True)
    assert {hit.standing is None for hit in hits if hit.modality == "ct"} == {True}
    assert {hit.standing is None for hit in hits if hit.modality == "xray"} == {False}


@pytest.mark.parametrize("how", [{}, {"standing": True, "mode": "text"}, {"standing": True, "rerank": True}])
def test_it_is_told_only_where_asked_for_and_known(make, how):
    rows = [row | {"text": "axis"} for row in _rows("xray")]
    assert all(hit.standing is None for hit in make(rows).search("axis", **how))


def test_what_is_written_later_is_drawn_from_too(make):
    engine = make(_rows("xray", 1), texts={"axis": unit((0, 1.0))})
    assert engine.search("axis", standing=True)[0].standing is None
    engine.store.upsert([row | {"uri": ""} for row in _rows("xray")[1:]])
    assert len(engine.store.spread(100)) == COUNT
    assert engine.store.spread(2) == ["xray00", f"xray{COUNT - 1}"]
    assert engine.store.spread(3, None) == engine.store.record.spread(3)


def test_files_that_were_encoded_before_stand_for_files(make):
    engine = make([{"item_id": "a", "vector": unit((0, 1.0))}, {"item_id": "b", "vector": unit((1, 1.0))}])
    towards = Query(encoded=(Encoded("what was sent", unit((1, 1.0))),))
    found = engine.search_many([towards], k=2)[0]
    assert ([hit.item_id for hit in found], found.query) == (["b", "a"], "what was sent")
    both = Query(encoded=(Encoded("x", unit((1, 1.0))), Encoded("y", unit((0, 1.0)))), weights={"image": [1, -0.5]})
    vector = engine.search_many([both], k=1)[0]
    assert vector[0].score == pytest.approx(2 / np.sqrt(5))
    itself = Query(encoded=(Encoded("z", unit((1, 1.0)), item_id="a"),))
    assert engine.search_many([itself], k=1)[0][0].item_id == "a"  # known by its bytes, it leads
