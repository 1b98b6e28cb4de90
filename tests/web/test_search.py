"""Searching over HTTP finds what the engine finds, and says what it did."""

from __future__ import annotations

import csv
import io
import json

import pytest

from m3search.search import Engine
from m3search.stores import audit
from m3search.stores.folder import IndexFolder
from tests.web.conftest import error_of


def _search(api, **body):
    answer = api.post("/v1/search", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def _ids(found):
    return [hit["item_id"] for hit in found["hits"]]


def test_hits_are_those_of_the_engine(api, served):
    engine = Engine.open(served)
    for how, same in (
        ({"text": "pleural effusion", "limit": 7}, {"text": "pleural effusion", "k": 7}),
        ({"text": "effusion", "modality": ["ct", "xray"]}, {"text": "effusion", "modality": ["ct", "xray"], "k": 24}),
        ({"text": "effusion", "filters": "sex = 'F'"}, {"text": "effusion", "where": "sex = 'F'", "k": 24}),
        ({"text": "effusion", "mode": "text"}, {"text": "effusion", "mode": "text", "k": 24}),
        ({"text": "effusion", "group_by": "patient"}, {"text": "effusion", "group": "patient", "k": 24}),
    ):
        found, expected = _search(api, **how), engine.search(**same)
        assert [(hit["item_id"], hit["rank"]) for hit in found["hits"]] == [(hit.item_id, hit.rank) for hit in expected]
        assert [hit["score"] for hit in found["hits"]] == pytest.approx([hit.score for hit in expected], abs=1e-6)
        assert found["query"] == expected.query
        assert found["mode"] == expected.mode


def test_an_item_finds_itself_first_and_what_is_liked_is_no_news(api, items):
    one, other = (hit["item_id"] for hit in items["xray"][:2])
    assert _ids(_search(api, items=[one]))[0] == one
    mixed = _ids(_search(api, text="effusion", like=[one], unlike=[other], weights={"like": 2, "text": 0.5}))
    assert not {one, other} & set(mixed)


def test_pages_join_to_the_whole_list(api):
    whole = _search(api, text="anything", limit=15)
    assert not _search(api, text="anything", limit=100)["more"]
    pages = [_search(api, text="anything", limit=5, offset=start) for start in (0, 5, 10)]
    assert [one for page in pages for one in _ids(page)] == _ids(whole)
    assert [hit["rank"] for page in pages for hit in page["hits"]] == list(range(1, 16))
    assert all(page["more"] for page in pages)
    assert _search(api, text="anything", limit=5, offset=15)["hits"] == []


def test_what_was_counted_tells_why_nothing_was_found(api):
    assert _search(api, text="x")["matching"] == _search(api, text="x")["items"] == 15
    narrowed = _search(api, text="x", modality=["ct"])
    assert (narrowed["matching"], narrowed["items"]) == (3, 15)
    nothing = _search(api, text="x", filters="year = 1800")
    assert (nothing["matching"], nothing["items"], nothing["hits"]) == (0, 15, [])


def test_denials_are_told(api):
    assert _search(api, text="chest X-ray without pleural effusion")["denied"] == ["pleural effusion"]
    assert _search(api, items=_ids(_search(api, text="x"))[:1])["denied"] == []


@pytest.mark.parametrize(("how", "kind"), [({}, "cosine"), ({"mode": "text"}, "bm25"), ({"mode": "hybrid"}, "fused")])
def test_scores_are_explained(api, how, kind):
    found = _search(api, text="effusion", **how)
    assert found["score_kind"] == kind
    assert found["score_words"]


def test_lines_hold_the_same_as_the_object(api):
    whole = _search(api, text="anything", limit=10, offset=2)
    answer = api.post(
        "/v1/search", json={"text": "anything", "limit": 10, "offset": 2}, headers={"accept": "application/x-ndjson"}
    )
    assert answer.headers["content-type"] == "application/x-ndjson"
    head, *hits = [json.loads(line) for line in answer.text.splitlines()]
    assert hits == whole["hits"]
    assert head | {"took_ms": 0} == {key: value for key, value in whole.items() if key != "hits"} | {"took_ms": 0}


def test_how_far_down_one_may_look(api):
    assert error_of(api.post("/v1/search", json={"text": "x", "limit": 1000, "offset": 1})) == "invalid-request"
    lines = {"accept": "application/x-ndjson"}
    deep = {"text": "x", "limit": 9000, "offset": 1000}
    assert api.post("/v1/search", json=deep, headers=lines).status_code == 200
    beyond = {"text": "x", "limit": 9000, "offset": 1001}
    assert error_of(api.post("/v1/search", json=beyond, headers=lines)) == "invalid-request"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "usage"),
        ({"text": "  "}, 400, "usage"),
        ({"text": "x", "filters": "sex ="}, 400, "bad-filter"),
        ({"text": "x", "filters": "patient_name = 'Doe'"}, 400, "bad-filter"),
        ({"text": "x", "filters": "(" * 3000}, 400, "bad-filter"),
        ({"text": "x", "filters": "not " * 900 + "sex = 'F'"}, 400, "bad-filter"),
        ({"text": "x", "weights": {"text": [1, 2]}}, 400, "usage"),
        ({"text": "x", "weights": {"words": 1}}, 422, "invalid-request"),
        ({"text": "x", "weights": {"text": 1e300}}, 422, "invalid-request"),
        ({"text": "x", "weights": {"text": "NaN"}}, 422, "invalid-request"),
        ({"text": "x", "calibration": "both"}, 400, "usage"),
        ({"text": "x", "modality": ["mri"]}, 422, "invalid-request"),
        ({"text": "x", "limit": 0}, 422, "invalid-request"),
        ({"text": "x", "offset": -1}, 422, "invalid-request"),
        ({"text": "x" * 10_001}, 422, "invalid-request"),
        ({"text": ["x"]}, 422, "invalid-request"),
        ({"query": "x"}, 422, "invalid-request"),
        ({"items": ["0" * 32]}, 404, "no-such-item"),
        ({"like": ["../../etc/passwd"]}, 422, "invalid-request"),
        ({"uploads": ["u" + "0" * 22]}, 404, "no-such-upload"),
    ],
)
def test_what_cannot_be_asked_is_refused(api, body, status, code):
    answer = api.post("/v1/search", json=body)
    assert (answer.status_code, error_of(answer)) == (status, code), answer.text
    assert api.post("/v1/search/file", data={"query": json.dumps(body)}).status_code == 422  # without a file


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"text": "\xff"}', b'{"text": "\\ud800"}', b"[" * 50_000,
     b'{"limit": 1e999}', b'{"text": 1}', b'{"weights": {"text": Infinity}, "text": "x"}'],
)  # fmt: skip
def test_what_is_no_json_is_refused(api, content):
    answer = api.post("/v1/search", content=content, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422), answer.text
    error_of(answer)


def test_odd_characters_are_words_as_others(api):
    for text in ("a\0b", "💊 x" * 100, "\u202e x", "'; DROP TABLE items; --", "<script>", "%s%n", "é x " * 1000):
        for mode in ("vector", "text", "hybrid"):
            assert api.post("/v1/search", json={"text": text, "mode": mode}).status_code == 200, text


def test_errors_do_not_repeat_what_was_asked(api):
    for body in ({"text": 5, "DOE^JANE": 1}, {"items": ["DOE^JANE"]}, {"limit": "DOE^JANE", "text": "x"}):
        answer = api.post("/v1/search", json=body)
        if "DOE^JANE" not in body:  # the name of a field that is not known is told
            assert "DOE" not in answer.text


def test_searches_are_logged(api, served):
    api.post("/v1/search", json={"text": "a query that is logged", "limit": 2})
    entries = list(audit.read(IndexFolder.open(served), audit.Asked(what="a query that is logged")))
    assert [(entry.action, entry.count) for entry in entries] == [("search", 2)]


def test_the_list_leaves_as_csv(api, served):
    body = {"text": "exported", "limit": 4, "offset": 1}
    answer = api.post("/v1/export", json=body | {"format": "csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    assert "attachment" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["item_id"] for row in rows] == _ids(_search(api, **body))
    entries = list(audit.read(IndexFolder.open(served), audit.Asked(what="exported", action="export")))
    assert [entry.count for entry in entries] == [4]


def test_the_list_leaves_as_a_sheet_without_scripts(api):
    answer = api.post("/v1/export", json={"text": "<script>alert(1)</script>", "limit": 3, "format": "html"})
    assert "attachment" in answer.headers["content-disposition"]
    assert answer.text.count("<img ") == 3
    assert "<script" not in answer.text
