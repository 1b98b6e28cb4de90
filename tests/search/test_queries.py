"""What a query may be made of, and what may be done with its ranking, on vectors that are made up."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from m3search.errors import UsageError
from m3search.search import Query
from m3search.search.batch import read_queries
from m3search.search.fuse import fuse

from .conftest import DIM, unit

EFFUSION, HEART, DEVICE, CHEST = 20, 21, 22, 23


@pytest.fixture
def engine(make):
    """Chest films with and without an effusion (e), a large heart (h), a device (d); reports that say so."""
    rows = []
    for name, axes, text in (
        ("e", [EFFUSION], "Right pleural effusion."),
        ("eh", [EFFUSION, HEART], "Cardiomegaly with pleural effusion."),
        ("h", [HEART], "Cardiomegaly without pleural effusion."),
        ("hd", [HEART, DEVICE], "Cardiomegaly. A pacemaker is in place."),
        ("n", [], "No pleural effusion, no cardiomegaly."),
    ):
        vector = unit((CHEST, 1), *((axis, 0.6) for axis in axes))
        rows.append({"item_id": name, "vector": vector, "text": text, "labels": [], "study_key": f"s{len(name)}"})
    texts = {
        "effusion": unit((EFFUSION, 1), (CHEST, 0.8)),
        "pleural effusion": unit((EFFUSION, 1), (CHEST, 0.8)),
        "cardiomegaly": unit((HEART, 1), (CHEST, 0.8)),
        "chest x-ray": unit((CHEST, 1)),
        "no effusion": unit((EFFUSION, 1), (CHEST, 0.9)),
    }
    return make(rows, texts=texts)


def ids(hits) -> list[str]:
    return [hit.item_id for hit in hits]


def test_what_a_text_denies_is_ranked_last(engine) -> None:
    assert set(ids(engine.search("effusion", k=2))) == {"e", "eh"}
    assert ids(engine.search("cardiomegaly without effusion"))[0] in {"h", "hd"}
    order = ids(engine.search("cardiomegaly without effusion"))
    assert order.index("h") < order.index("eh") < order.index("e")
    assert set(ids(engine.search("chest x-ray, no effusion"))[-2:]) == {"e", "eh"}
    assert set(ids(engine.search("cardiomegaly without effusion", weights={"not": 0}))) == {"e", "eh", "h", "hd", "n"}


def test_a_denial_alone_keeps_to_the_modality_it_speaks_of(make) -> None:
    rows = [
        {"item_id": "has", "modality": "xray", "vector": unit((CHEST, 1), (EFFUSION, 0.6))},
        {"item_id": "lacks", "modality": "xray", "vector": unit((CHEST, 1))},
        {"item_id": "other", "modality": "ecg", "vector": unit((5, 1))},
    ]
    mean = {"score_mean": 0.2, "score_std": 0.1}
    statistics = {
        "xray": mean | {"text_mean": unit((CHEST, 1)).tolist(), "image_mean": unit((CHEST, 1)).tolist()},
        "ecg": mean | {"text_mean": unit((5, 1)).tolist(), "image_mean": unit((5, 1)).tolist()},
    }
    engine = make(rows, texts={"effusion": unit((EFFUSION, 1), (CHEST, 0.8))}, statistics=statistics)
    assert ids(engine.search("effusion")) == ["has", "lacks", "other"]
    assert ids(engine.search("no effusion")) == ["lacks", "has", "other"]


def test_mixtures_weights_and_signs(engine) -> None:
    assert ids(engine.search("cardiomegaly", item="e", k=1)) == ["eh"]
    assert ids(engine.search("effusion", item="hd", k=1, weights={"item": [3]})) == ["hd"]
    assert ids(engine.search("effusion", item="hd", k=1, weights={"text": 3})) == ["e"]
    turned = ids(engine.search(item=["hd", "e"], weights={"item": [1, -1]}))
    assert turned[0] == "hd"
    assert turned[-1] == "e"
    assert engine.search("effusion", item="hd").query == "effusion + hd"


def test_more_like_and_unlike_are_not_hits_themselves(engine) -> None:
    hits = ids(engine.search("chest x-ray", like="h", unlike="e", weights={"unlike": 0.5}))
    assert hits == ["n", "hd", "eh"]
    assert ids(engine.search(like=["eh", "e"], k=1)) == ["h"]
    with pytest.raises(UsageError, match="cancel each other out"):
        engine.search(item=["e", "e"], weights={"item": [1, -1]})


def test_hybrid_and_text_heed_what_reports_deny(engine) -> None:
    assert set(ids(engine.search("pleural effusion", mode="text"))) == {"e", "eh"}
    assert ids(engine.search("pacemaker", mode="text")) == ["hd"]
    assert set(ids(engine.search("cardiomegaly without pleural effusion", mode="text"))) == {"h", "hd"}
    assert ids(engine.search("no effusion", mode="text")) == []
    hybrid = engine.search("pleural effusion", mode="hybrid")
    assert len(hybrid) == 5
    assert set(ids(hybrid)[:2]) == {"e", "eh"}
    assert 0 < hybrid[-1].score < hybrid[0].score <= 1
    assert ids(engine.search("pleural effusion", mode="text", where="item_id = 'e'")) == ["e"]


def test_fusion_is_the_sum_of_reciprocal_ranks() -> None:
    fused = fuse([[("a", 9.0), ("b", 3.0)], [("b", 0.2), ("c", 0.1)]])
    best = 2 / 61
    assert fused == [("b", (1 / 62 + 1 / 61) / best), ("a", (1 / 61) / best), ("c", (1 / 62) / best)]
    assert fuse([[("b", 1.0)], [("a", 1.0)]])[0][0] == "a"


def test_groups_are_shown_by_their_best_item_and_pages_are_full(make) -> None:
    rows = [
        {
            "item_id": f"{row:03d}",
            "vector": unit((CHEST, 1), (EFFUSION, 1 - row / 200)),
            "patient_key": f"p{row // 50}" if row < 150 else None,
        }
        for row in range(160)
    ]
    engine = make(rows, texts={"effusion": unit((EFFUSION, 1))})
    assert ids(engine.search("effusion", k=5, group="patient")) == ["000", "050", "100", "150", "151"]
    assert len(engine.search("effusion", k=50, group="patient")) == 13
    assert len(engine.search("effusion", k=50, group="study")) == 50


def test_ties_are_ordered_by_id_whatever_is_done_with_the_ranking(make) -> None:
    rows = [{"item_id": f"{row:02d}", "vector": unit((CHEST, 1)), "text": "effusion"} for row in range(40)]
    engine = make(rows)
    for how in ({}, {"mode": "text"}, {"mode": "hybrid"}, {"hubness": True}, {"rerank": True}, {"group": "study"}):
        assert ids(engine.search("effusion", k=20, **how)) == [f"{row:02d}" for row in range(20)]


def test_the_best_part_is_shown_and_reranks(make) -> None:
    finding, place = unit((EFFUSION, 1)), unit((CHEST, 1))
    parts, rows = [], []
    for name, strength, where in (("a", 1.2, 7), ("b", 0.0, 3), ("c", 0.4, 1)):
        slices = np.stack([unit((CHEST, 1))] * 10)
        slices[where] = unit((CHEST, 1), (EFFUSION, strength))
        if name == "c":  # a little of it everywhere: its mean is as near, no slice of it is
            slices[:] = unit((CHEST, 1), (EFFUSION, 0.16))
        mean = slices.mean(axis=0)
        rows.append({"item_id": name, "modality": "ct", "vector": mean / np.linalg.norm(mean)})
        parts += [
            {"part_id": f"{name}{row}", "item_id": name, "index": row, "locator": f"slice={row}", "vector": vector}
            for row, vector in enumerate(slices)
        ]
    rows.append({"item_id": "x", "modality": "xray", "vector": unit((CHEST, 1), (EFFUSION, 0.05))})
    engine = make(rows, parts, texts={"effusion": finding + 0.1 * place})
    pooled, late = engine.search("effusion"), engine.search("effusion", rerank=True)
    assert ids(pooled)[:2] == ["c", "a"]
    assert [hit.item_id for hit in late if hit.modality == "ct"] == ["a", "c", "b"]
    assert {hit.item_id: hit.best_part for hit in late if hit.item_id in "ax"} == {"a": "slice=7", "x": ""}
    assert {hit.item_id: hit.score for hit in late}["x"] == pytest.approx(
        {hit.item_id: hit.score for hit in pooled}["x"], abs=1e-6
    )
    mean = np.mean([hit.score for hit in pooled if hit.modality == "ct"])
    assert np.mean([hit.score for hit in late if hit.modality == "ct"]) == pytest.approx(mean, abs=1e-6)


def test_hubs_are_lowered(make, monkeypatch: pytest.MonkeyPatch) -> None:
    from m3search.search import hubness

    rows = [
        {"item_id": "hub", "vector": unit((EFFUSION, 1), (HEART, 1), (DEVICE, 1))},
        {"item_id": "own", "vector": unit((EFFUSION, 1), (CHEST, 1.6))},
    ]
    engine = make(rows, texts={"effusion": unit((EFFUSION, 1))})
    monkeypatch.setattr(hubness, "bank_of", lambda encoder: np.stack([unit((HEART, 1)), unit((DEVICE, 1))]))
    assert ids(engine.search("effusion")) == ["hub", "own"]
    assert ids(engine.search("effusion", hubness=True)) == ["own", "hub"]


def test_many_queries_are_those_asked_one_by_one_and_embedded_together(engine) -> None:
    texts = ["effusion", "cardiomegaly", "cardiomegaly without effusion", "effusion"]
    many = engine.search_many(texts, k=3)
    assert engine.encoder.asked == [["effusion", "cardiomegaly"]]
    assert [ids(hits) for hits in many] == [ids(engine.search(text, k=3)) for text in texts]
    vectors = engine.encoder.encode_text(texts[:2])
    assert [ids(hits) for hits in engine.search_many(vectors, k=3)] == [ids(hits) for hits in many[:2]]
    mixed = engine.search_many([Query(text="effusion", items=("h",)), "effusion"], k=1)
    assert [hits.query for hits in mixed] == ["effusion + h", "effusion"]
    assert engine.search_many([]) == []


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda engine: engine.search(), "a query is one of"),
        (lambda engine: engine.search(unlike="e"), "a query is one of"),
        (lambda engine: engine.search(" "), "the query text is empty"),
        (lambda engine: engine.search("a", k=0), "k must be at least 1"),
        (lambda engine: engine.search("a", mode="words"), "there is no mode 'words'"),
        (lambda engine: engine.search("a", group="series"), "there is no group 'series'"),
        (lambda engine: engine.search("a", weights={"txt": 1}), "there is no weight 'txt'"),
        (lambda engine: engine.search("a", item=["e", "h"], weights={"item": [1, 2, 3]}), "3 weights for 2"),
        (lambda engine: engine.search(like="zz"), "has no item 'zz'"),
        (lambda engine: engine.search_many(np.ones((2, 3), dtype=np.float32)), "query vectors must be"),
        (lambda engine: engine.search_many(np.zeros((1, DIM), dtype=np.float32)), "must be finite and not zero"),
        (lambda engine: engine.search_many("effusion"), "takes a list of queries"),
    ],
)
def test_a_wrong_query_says_what_would_be_right(engine, ask, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ask(engine)


def test_files_of_queries(tmp_path: Path) -> None:
    plain = tmp_path / "queries.txt"
    plain.write_text("effusion\n\nq7\tno nodule\n")
    batch = read_queries(plain)
    assert batch.names == ("1", "q7")
    assert [query.text for query in batch.queries] == ["effusion", "no nodule"]
    lines = tmp_path / "queries.jsonl"
    asked = [{"id": "a", "text": "effusion", "image": "b.png", "weights": {"image": 0.5}}, {"like": ["x", "y"]}]
    lines.write_text("\n".join(map(json.dumps, asked)))
    batch = read_queries(lines)
    assert batch.names == ("a", "2")
    assert batch.queries[0].images == (tmp_path / "b.png",)
    assert batch.queries[1].like == ("x", "y")
    array = tmp_path / "queries.npy"
    np.save(array, np.ones((2, DIM), dtype=np.float16))
    assert read_queries(array).queries.dtype == np.float32


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "\n", "holds no query"),
        ("a.txt", "a\tx\na\ty\n", "has 2 queries with the id 'a'"),
        ("a.txt", "a\t\n", "line 1: the query text is empty"),
        ("a.jsonl", "{", "line 1 is no JSON object"),
        ("a.jsonl", '{"text": "a"}\n{"words": "a"}', "line 2 is no query with 'words'"),
        ("a.jsonl", '{"unlike": "a"}', "line 1: a query is one of"),
        ("a.npy", "text", "is no array of numbers"),
    ],
)
def test_a_wrong_file_of_queries_names_the_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=message):
        read_queries(tmp_path / name)
