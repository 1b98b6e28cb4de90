"""The index as a whole: counts, status, the plane, metrics, and the document that describes it all."""

from __future__ import annotations

import json

import numpy as np
import pytest

from m3search import filters
from m3search.search import Engine
from m3search.stores.folder import IndexFolder
from m3search.web.facets import COLUMNS, facets
from m3search.web.projection import projection
from tests.web.conftest import error_of


def test_facets_count_what_filters_would_find(api, served):
    found = api.post("/v1/facets", json={}).json()
    assert set(found["facets"]) == set(COLUMNS)
    store = Engine.open(served).store
    for column, values in found["facets"].items():
        assert values, column
        for one in values:
            assert store.count(filters.parse(one["expression"])) == one["count"], one
    assert sum(one["count"] for one in found["facets"]["modality"]) == found["items"] == 15


def test_facets_heed_filters_and_modalities_leave_each_other_alone(api):
    body = {"filters": "sex = 'F'", "modality": ["ct"], "columns": ["modality", "sex", "labels"]}
    found = api.post("/v1/facets", json=body).json()
    assert set(found["facets"]) == {"modality", "sex", "labels"}
    assert {one["value"] for one in found["facets"]["modality"]} > {"ct"}
    assert found["matching"] == next(one["count"] for one in found["facets"]["modality"] if one["value"] == "ct")
    assert [one["value"] for one in found["facets"]["sex"]] == ["F"]
    assert error_of(api.post("/v1/facets", json={"filters": "sex ="})) == "bad-filter"
    assert error_of(api.post("/v1/facets", json={"columns": ["text"]})) == "invalid-request"


def test_values_with_quotes_are_quoted(tmp_path):
    index = IndexFolder.create(tmp_path / "i", _manifest())
    index.record().upsert(
        [{"item_id": "a", "modality": "ct", "vector": [1, 0], "labels": ["Kerley's lines", "x"], "year": 2020}]
    )
    found = facets(index.reader(), None, [], ["labels", "year"])["facets"]
    assert {one["value"] for one in found["labels"]} == {"Kerley's lines", "x"}
    for one in (*found["labels"], *found["year"]):
        assert index.reader().count(filters.parse(one["expression"])) == 1
    assert found["year"][0]["value"] == 2020


def _manifest():
    from m3search.stores.folder import Manifest

    return Manifest("fake", "f0" * 32, 2)


def test_counts_are_the_same_however_many_there_are(monkeypatch):
    import pyarrow as pa

    from m3search.stores import tally

    words = pa.chunked_array([["b", "a", None], ["a", ""]])
    lists = pa.chunked_array([[["x", "y"], [], None], [["x"]]], type=pa.list_(pa.string()))
    numbers = pa.chunked_array([[2020, None, 2020, 7]], type=pa.int16())
    few = [tally.tally(column) for column in (words, lists, numbers)]
    some = [tally.tally(column, np.array([0, 2])) for column in (words, lists, numbers)]
    monkeypatch.setattr(tally, "FEW", 0)
    assert [tally.tally(column) for column in (words, lists, numbers)] == few
    assert [tally.tally(column, np.array([0, 2])) for column in (words, lists, numbers)] == some
    assert few == [{"a": 2, "b": 1, "": 2}, {"x": 2, "y": 1, "": 2}, {"2020": 2, "7": 1, "": 1}]
    assert tally.merged(*few[:1], few[0]) == {"": 4, "a": 4, "b": 2}


def test_the_status_tells_no_place_on_this_machine(api, served):
    answer = api.get("/v1/status")
    found = answer.json()
    assert found["items"] == 15
    assert found["by_modality"] == {"ct": 3, "ecg": 3, "pathology": 3, "retina": 3, "xray": 3}
    assert found["limits"]["upload_bytes"] == 8 << 20
    assert found["calibrations"] == ["none"]
    assert str(served.parent) not in answer.text


def test_the_plane_shows_every_item_where_it_belongs(api, served):
    found = api.get("/v1/projection").json()
    assert len(found["points"]) == found["items"] == 15
    values = np.array([[point["x"], point["y"]] for point in found["points"]])
    assert np.abs(values).max() == 1
    assert 1 >= found["explained"][0] >= found["explained"][1] > 0
    assert api.get("/v1/projection").json() == found
    assert len(api.get("/v1/projection?most=10").json()["points"]) == 10
    for most in (9, 20_001, "x"):
        assert error_of(api.get(f"/v1/projection?most={most}")) == "invalid-request"


@pytest.mark.parametrize("count", [0, 1, 2])
def test_the_plane_of_few(tmp_path, count):
    index = IndexFolder.create(tmp_path / "i", _manifest())
    if count:
        rows = [{"item_id": str(row), "modality": "ct", "vector": [1 - row, row]} for row in range(count)]
        index.record().upsert(rows)
    assert len(projection(index.reader(), 10)["points"]) == count


def test_the_axes_are_those_along_which_items_differ_most(tmp_path):
    index = IndexFolder.create(tmp_path / "i", _manifest())
    along = [(0.6, 0.8), (0.8, 0.6), (1.0, 0.0), (0.0, 1.0)]
    index.record().upsert([{"item_id": str(i), "modality": "ct", "vector": v} for i, v in enumerate(along)])
    found = projection(index.reader(), 10)
    assert found["explained"][0] > 0.9
    assert [point["item_id"] for point in sorted(found["points"], key=lambda point: point["x"])] in (
        ["2", "1", "0", "3"],
        ["3", "0", "1", "2"],
    )


def test_health_and_metrics(api, stranger):
    assert stranger.get("/healthz").json() == {"status": "ok"}
    text = api.get("/metrics").text
    assert "m3search_items 15.0" in text
    assert 'm3search_requests_total{method="GET",route="/healthz",status="200"}' in text
    assert "m3search_request_seconds_bucket" in text


def test_routes_in_metrics_hold_no_ids(api, items):
    item = items["xray"][0]["item_id"]
    api.get(f"/v1/items/{item}")
    api.get("/v1/items/DOE-JANE/thumbnail")
    api.get("/DOE-JANE")
    text = api.get("/metrics").text
    assert item not in text
    assert "DOE" not in text
    assert 'route="/v1/items/{item_id}"' in text


def test_the_log_holds_no_more_than_routes(api, items, caplog):
    with caplog.at_level("INFO", "m3search.web"):
        api.post("/v1/search", json={"text": "DOE JANE"})
        api.get(f"/v1/items/{items['ct'][0]['item_id']}/image?slice=3")
    assert "POST /v1/search 200" in caplog.text
    assert "GET /v1/items/{item_id}/image 200" in caplog.text
    assert "DOE" not in caplog.text
    assert items["ct"][0]["item_id"] not in caplog.text


def test_the_document_describes_every_answer(stranger):
    document = stranger.get("/v1/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], (method, path)
            assert operation["description"], (method, path)
            assert {"4XX", "5XX"} <= set(operation["responses"]), (method, path)
    assert "http://" not in json.dumps(document).replace("http://127.0.0.1", "")
