"""What is answered of an item: stored words, neighbours, and pictures from its archive."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from starlette.testclient import TestClient

from m3search.formats.slide import open_slide
from m3search.indexer import Options, index
from m3search.stores import audit
from m3search.stores.folder import IndexFolder
from m3search.web.app import create_app
from m3search.web.provenance import sentences
from m3search.web.settings import Settings
from tests.formats.test_dicom_report import content, write_report
from tests.web.conftest import HOST, error_of

MODALITIES = ("ct", "ecg", "pathology", "retina", "xray")


def _image(answer):
    assert answer.status_code == 200, answer.text
    image = Image.open(io.BytesIO(answer.content))
    assert answer.headers["content-type"] == f"image/{image.format.lower()}"
    return image


@pytest.mark.parametrize("modality", MODALITIES)
def test_an_item_tells_what_is_stored_of_it(api, items, modality):
    hit = items[modality][0]
    item = api.get(f"/v1/items/{hit['item_id']}").json()
    assert {key: item[key] for key in ("item_id", "modality", "uri", "text", "labels", "format", "parts")} == {
        key: hit[key] for key in ("item_id", "modality", "uri", "text", "labels", "format", "parts")
    }
    assert item["archive"]
    assert item["provenance"]
    assert item["provenance_words"]
    assert item["encoder"].startswith("fake@")
    assert item["files"] >= 1


def test_the_crop_of_a_fundus_photograph_is_told_in_words():
    def told(field):
        return sentences(json.dumps({"field_of_view": field})).words

    disc = {"box": [375, 20, 1765, 1415], "disc": True}
    assert told(disc) == ["cropped to the retina: columns 375 to 1765, rows 20 to 1415, black outside of its disc"]
    assert len(told([disc, None])) == 2
    assert "whole picture" in told(None)[0]


@pytest.mark.parametrize("modality", MODALITIES)
def test_parts_are_those_that_hits_name(api, items, modality):
    for hit in items[modality]:
        parts = api.get(f"/v1/items/{hit['item_id']}/parts").json()["parts"]
        assert [part["index"] for part in parts] == list(range(len(parts)))
        assert hit["best_part"] in {part["locator"] for part in parts} | {""}


def test_neighbours_within_and_across(api, items):
    own = items["ct"][0]["item_id"]
    found = api.get(f"/v1/items/{own}/neighbours", params={"within": 2, "across": 1}).json()
    assert [hit["modality"] for hit in found["within"]] == ["ct", "ct"]
    assert own not in {hit["item_id"] for hit in found["within"]}
    assert {name: len(hits) for name, hits in found["across"].items()} == {
        "ecg": 1, "pathology": 1, "retina": 1, "xray": 1,
    }  # fmt: skip
    assert api.get(f"/v1/items/{own}/neighbours?within=0&across=0").json() == {"within": [], "across": {}}


def test_items_that_are_not_there(api):
    for name in ("0" * 32, "x", "0" * 31, "A" * 32, "é"):
        for route in ("", "/parts", "/thumbnail", "/neighbours", "/view", "/image", "/region?x=0&y=0&w=1&h=1", "/ecg"):
            answer = api.get(f"/v1/items/{name}{route}")
            assert (answer.status_code, error_of(answer)) == (404, "no-such-item"), (name, route)


def test_a_ct_is_scrolled_and_windowed(api, items):
    for hit in items["ct"]:
        base = f"/v1/items/{hit['item_id']}"
        view = api.get(f"{base}/view").json()
        assert view["kind"] == "ct"
        assert view["slices"] >= hit["parts"]
        middle = _image(api.get(f"{base}/image", params={"format": "png"}))
        assert middle.size == (view["width"], view["height"])
        same = _image(api.get(f"{base}/image", params={"format": "png", "slice": view["slices"] // 2}))
        assert np.array_equal(np.asarray(middle), np.asarray(same))
        assert _image(api.get(f"{base}/image", params={"slice": 0, "size": 64})).size == (64, 64)
        assert error_of(api.get(f"{base}/image", params={"slice": view["slices"]})) == "invalid-request"
        for part in api.get(f"{base}/parts").json()["parts"]:
            assert _image(api.get(f"{base}/image", params={"slice": part["locator"].removeprefix("slice=")}))


def test_windows_are_in_hounsfield_units(api, items):
    hit = next(hit for hit in items["ct"] if api.get(f"/v1/items/{hit['item_id']}/view").json()["hounsfield"])
    base = f"/v1/items/{hit['item_id']}/image"

    def grey(window):
        return np.asarray(_image(api.get(base, params={"format": "png", "window": window}))).astype(int)

    assert np.array_equal(grey("lung"), grey("-600,1500"))
    assert (grey("-2000,10") == 255).mean() > 0.99  # everything is denser
    assert (grey("5000,10") == 0).all()
    wide, narrow = grey("40,4000"), grey("40,400")
    assert wide.std() < narrow.std()
    for wrong in ("brain", "1", "1,", "40,0", "nan,1", "1,inf", "40,400,1", "-600;1500", "40,-400"):
        assert error_of(api.get(base, params={"window": wrong})) == "invalid-request", wrong


@pytest.mark.parametrize("modality", ["xray", "retina"])
def test_pictures_are_shown_large_and_never_enlarged(api, items, modality):
    for hit in items[modality]:
        base = f"/v1/items/{hit['item_id']}"
        view = api.get(f"{base}/view").json()
        assert view == {"kind": "picture", "width": view["width"], "height": view["height"], "frames": 1}
        assert _image(api.get(f"{base}/image?size=4096")).size == (view["width"], view["height"])
        assert max(_image(api.get(f"{base}/image?size=100&format=png")).size) == 100
        assert error_of(api.get(f"{base}/image?frame=2")) == "no-rendering"
        assert error_of(api.get(f"{base}/ecg")) == "no-rendering"
        assert error_of(api.get(f"{base}/region?x=0&y=0&w=10&h=10")) == "no-rendering"


def test_regions_of_a_slide_are_its_pixels(api, items, phantoms):
    hit = next(
        hit for hit in items["pathology"] if api.get(f"/v1/items/{hit['item_id']}/view").json()["kind"] == "slide"
    )
    base = f"/v1/items/{hit['item_id']}"
    view = api.get(f"{base}/view").json()
    assert view["levels"][0] == 1
    assert len(view["tiles"]) == hit["parts"]
    x, y = view["tiles"][0]
    assert hit["best_part"].startswith("tile=")
    shown = _image(api.get(f"{base}/region", params={"x": x, "y": y, "w": view["tile"], "h": view["tile"]}))
    assert shown.size == (view["tile"],) * 2
    with open_slide([phantoms[0] / hit["uri"]]) as slide:
        pixels = slide.read_region(x, y, view["tile"], view["tile"], (view["tile"],) * 2)
    assert np.abs(np.asarray(shown).astype(int) - pixels).mean() < 4  # but for JPEG
    outside = _image(api.get(f"{base}/region", params={"x": -5000, "y": -5000, "w": 100, "h": 50, "size": 16}))
    assert outside.size == (16, 8)
    assert np.asarray(outside).min() > 250
    assert max(_image(api.get(f"{base}/image?size=300")).size) == 300
    for wrong in ({"w": 0}, {"w": "nan"}, {"x": "inf"}, {"size": 5000}, {"h": -1}):
        params = {"x": 0, "y": 0, "w": 10, "h": 10} | wrong
        assert error_of(api.get(f"{base}/region", params=params)) == "invalid-request", wrong


def test_an_ecg_on_paper_is_to_scale(api, items):
    for hit in items["ecg"]:
        base = f"/v1/items/{hit['item_id']}"
        view = api.get(f"{base}/view").json()
        svg = api.get(f"{base}/ecg")
        assert svg.headers["content-type"] == "image/svg+xml"
        width = float(re.search(r'width="([\d.]+)mm"', svg.text)[1])
        assert width == pytest.approx(10 * 25 + 2 * 3)  # 10 s of 25 mm and two margins
        assert "25 mm/s   10 mm/mV" in svg.text or "mm/mV" in svg.text
        assert "<script" not in svg.text
        assert "style" not in svg.text
        assert all(f">{lead}<" in svg.text for lead in view["leads"])
        png = _image(api.get(f"{base}/ecg?format=png"))
        assert png.info["dpi"][0] == pytest.approx(25.4 * png.width / width, rel=0.01)
        assert error_of(api.get(f"{base}/image")) == "no-rendering"
        assert error_of(api.get(f"{base}/ecg", params={"start": view["seconds"]})) == "invalid-request"


def test_an_ecg_as_numbers(api, items):
    base = f"/v1/items/{items['ecg'][0]['item_id']}"
    view, samples = api.get(f"{base}/view").json(), api.get(f"{base}/ecg?format=json").json()
    assert list(samples["leads"]) == view["leads"]
    assert samples["unit"] == "mV"
    lengths = {len(curve) for curve in samples["leads"].values()}
    assert lengths == {round(samples["rate_hz"] * samples["seconds"])}
    one, two, three = (np.array(samples["leads"][lead]) for lead in ("I", "II", "III"))
    assert np.abs(one + three - two).max() < 0.02  # Einthoven
    later = api.get(f"{base}/ecg?format=json&start=5").json()
    assert later["leads"]["I"][:100] == samples["leads"]["I"][round(5 * samples["rate_hz"]) :][:100]


def test_looks_are_logged_once(api, served, items):
    item = items["retina"][1]["item_id"]
    before = len(list(audit.read(IndexFolder.open(served), audit.Asked(item=item, action="show"))))
    for _ in range(3):
        api.get(f"/v1/items/{item}/image?size=32")
    entries = list(audit.read(IndexFolder.open(served), audit.Asked(item=item, action="show")))
    assert len(entries) - before <= 1
    assert entries


# The archive ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def own(tmp_path: Path, phantoms):
    """An archive of a few files that may be changed, and a client of its index."""
    archive = tmp_path / "archive"
    for name in ("xray", "ecg"):
        shutil.copytree(phantoms[0] / name, archive / name)
    index(archive, tmp_path / "i", model="fake", options=Options(workers=0))
    app = create_app(Settings(tmp_path / "i", workers=1))
    with TestClient(app, base_url=HOST, headers={"authorization": f"Bearer {app.token}"}) as client:
        yield archive, client
    app.close()


def _first(client, modality):
    return client.post("/v1/search", json={"text": "x", "modality": [modality], "limit": 1}).json()["hits"][0]


def test_a_file_that_went_or_changed_is_not_shown(own):
    archive, client = own
    hit = _first(client, "xray")
    url = f"/v1/items/{hit['item_id']}/image"
    assert client.get(url).status_code == 200
    path = archive / hit["uri"]
    away = path.rename(archive / "away")
    answer = client.get(url)
    assert (answer.status_code, error_of(answer)) == (409, "archive-away")
    assert not client.get(f"/v1/items/{hit['item_id']}").json()["archive"]
    assert client.get(f"/v1/items/{hit['item_id']}/thumbnail").status_code == 200  # it is the index's own
    away.rename(path)
    assert client.get(url).status_code == 200
    path.write_bytes(path.read_bytes() + b"\0")
    answer = client.get(url)
    assert (answer.status_code, error_of(answer)) == (409, "file-changed")
    assert path.name not in answer.text


@pytest.mark.parametrize("seen_before", [False, True])
def test_a_link_out_of_the_archive_is_not_followed(own, tmp_path, seen_before):
    archive, client = own
    hit = _first(client, "xray")
    url = f"/v1/items/{hit['item_id']}/image"
    if seen_before:
        assert client.get(url).status_code == 200
    path = archive / hit["uri"]
    outside = tmp_path / "outside"
    shutil.copy2(path, outside)
    path.unlink()
    path.symlink_to(outside)
    assert outside.stat().st_mtime_ns == path.stat().st_mtime_ns
    for _ in range(2):
        assert error_of(client.get(url)) == "archive-away"
        assert error_of(client.get(f"/v1/items/{hit['item_id']}/view")) == "archive-away"


def test_nor_is_one_of_a_companion(own, tmp_path):
    archive, client = own
    hits = client.post("/v1/search", json={"text": "x", "modality": ["ecg"]}).json()["hits"]
    hit = next(hit for hit in hits if hit["format"] == "wfdb")
    data = next(path for path in (archive / hit["uri"]).parent.glob("*") if path.suffix in (".dat", ".mat"))
    data = (archive / hit["uri"]).with_suffix(data.suffix)
    shutil.copy2(data, tmp_path / "outside")
    data.unlink()
    data.symlink_to(tmp_path / "outside")
    assert error_of(client.get(f"/v1/items/{hit['item_id']}/ecg")) == "archive-away"


def test_a_deleted_item_is_not_shown_any_more(own, tmp_path):
    from m3search import upkeep

    _, client = own
    hit = _first(client, "xray")
    routes = [f"/v1/items/{hit['item_id']}{route}" for route in ("", "/image", "/view", "/thumbnail", "/parts")]
    assert [client.get(route).status_code for route in routes] == [200] * 5
    upkeep.delete(tmp_path / "i", items=[hit["item_id"]])
    assert [error_of(client.get(route)) for route in routes] == ["no-such-item"] * 5
    assert error_of(client.post("/v1/search", json={"items": [hit["item_id"]]})) == "no-such-item"


def test_a_report_on_an_item_is_not_one_of_its_files(own, tmp_path):
    archive, client = own
    hit = next(
        hit
        for hit in client.post("/v1/search", json={"text": "x", "modality": ["xray"]}).json()["hits"]
        if hit["format"] == "dicom"
    )
    study = pydicom.dcmread(archive / hit["uri"], stop_before_pixels=True).StudyInstanceUID
    words = content("TEXT", "Findings", TextValue="Seen by a radiologist.")
    write_report(archive / "xray" / "sr.dcm", [words], StudyInstanceUID=study)
    index(archive, tmp_path / "i", options=Options(workers=0))
    item = client.get(f"/v1/items/{hit['item_id']}").json()
    assert item["archive"]
    assert item["files"] == 1
    assert client.get(f"/v1/items/{hit['item_id']}/image").status_code == 200
