"""Files that somebody asks with: searched by, never stored; what is no medical file costs only its answer."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from m3search.web import scratch, uploads
from m3search.web.app import create_app
from m3search.web.settings import Limits, Settings
from tests.formats.test_dicom_report import content, write_report
from tests.web.conftest import HOST, error_of


def _send(api, files, modality=None):
    data = {} if modality is None else {"modality": modality}
    return api.post("/v1/uploads", files=[("file", one) for one in files], data=data)


def _files_of(archive: Path, hit) -> list[tuple[str, bytes]]:
    place = archive / hit["uri"]
    if place.is_dir():
        found = sorted(place.iterdir())
    elif place.suffix == ".hea":
        found = sorted(place.parent.glob(f"{place.stem}.*"))
    else:
        found = [place]
    return [(path.name, path.read_bytes()) for path in found if path.suffix != ".txt"]


def _left_behind(app) -> list[Path]:
    return list(app.context.uploads._folder.iterdir())


@pytest.mark.parametrize("modality", ["xray", "ct", "retina", "ecg", "pathology"])
def test_a_file_of_the_index_is_recognised_and_finds_itself(api, app, items, phantoms, modality):
    for hit in items[modality]:
        answer = _send(api, _files_of(phantoms[0], hit), modality)
        assert answer.status_code == 201, answer.text
        upload = answer.json()
        assert upload["item_id"] == hit["item_id"]
        assert upload["modality"] == modality
        found = api.post("/v1/search", json={"uploads": [upload["upload_id"]], "limit": 1}).json()
        assert found["hits"][0]["item_id"] == hit["item_id"]
        thumbnail = api.get(f"/v1/uploads/{upload['upload_id']}/thumbnail")
        assert Image.open(io.BytesIO(thumbnail.content)).size
    assert _left_behind(app) == []


def test_a_slice_is_recognised_as_its_series(api, items, phantoms):
    hit = next(hit for hit in items["ct"] if (phantoms[0] / hit["uri"]).is_dir())
    one = _files_of(phantoms[0], hit)[3]
    assert _send(api, [one]).json()["item_id"] == hit["item_id"]


def test_another_picture_is_none_of_the_index_and_the_encoder_says_what_it_shows(api):
    blobs = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(blobs).resize((256, 256), Image.Resampling.BICUBIC).save(buffer, "PNG")
    upload = _send(api, [("x.png", buffer.getvalue())]).json()
    assert upload["item_id"] is None
    assert upload["modality_from"] == "encoder"
    stated = _send(api, [("x.png", buffer.getvalue())], "retina").json()
    assert (stated["modality"], stated["modality_from"]) == ("retina", "option")


def test_uploads_mix_with_words_and_items(api, items, phantoms):
    hit = items["xray"][0]
    upload = _send(api, _files_of(phantoms[0], hit)).json()["upload_id"]
    body = {"uploads": [upload], "text": "effusion", "items": [items["ct"][0]["item_id"]], "weights": {"image": -1}}
    found = api.post("/v1/search", json=body).json()
    assert found["query"].startswith("effusion + uploaded xray + ")
    assert found["hits"][-1]["item_id"] == hit["item_id"]  # turned away
    wrong = api.post("/v1/search", json=body | {"weights": {"image": [1, 2]}})
    assert error_of(wrong) == "usage"


def test_searching_by_a_file_in_one_request(api, app, items, phantoms):
    hit = items["ecg"][0]
    before = len(app.context.uploads)
    files = [("file", one) for one in _files_of(phantoms[0], hit)]
    answer = api.post("/v1/search/file", files=files, data={"query": json.dumps({"limit": 2, "modality": ["ecg"]})})
    assert [one["modality"] for one in answer.json()["hits"]] == ["ecg", "ecg"]
    assert answer.json()["hits"][0]["item_id"] == hit["item_id"]
    assert len(app.context.uploads) == before
    for wrong in ("{", "[]", '{"limit": 0}', '{"secret": "DOE"}'):
        refused = api.post("/v1/search/file", files=files, data={"query": wrong})
        assert error_of(refused) == "invalid-request"
        assert "DOE" not in refused.text


def test_uploads_are_forgotten_on_demand(api, items, phantoms):
    upload = _send(api, _files_of(phantoms[0], items["xray"][0])).json()["upload_id"]
    assert api.delete(f"/v1/uploads/{upload}").status_code == 204
    for answer in (
        api.delete(f"/v1/uploads/{upload}"),
        api.get(f"/v1/uploads/{upload}/thumbnail"),
        api.post("/v1/search", json={"uploads": [upload]}),
    ):
        assert error_of(answer) == "no-such-upload"


def test_uploads_are_forgotten_in_time_and_beyond_a_number(app, api, items, phantoms, monkeypatch):
    files = _files_of(phantoms[0], items["xray"][0])
    monkeypatch.setattr(uploads, "MOST", 2)
    ids = [_send(api, files).json()["upload_id"] for _ in range(3)]
    statuses = [api.get(f"/v1/uploads/{one}/thumbnail").status_code for one in ids]
    assert statuses == [404, 200, 200]
    monkeypatch.setattr(uploads, "KEPT_S", -1)
    assert error_of(api.get(f"/v1/uploads/{ids[2]}/thumbnail")) == "no-such-upload"
    assert len(app.context.uploads) == 0


def _png(width: int, height: int) -> bytes:
    """A PNG that declares this size and holds nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def _zip(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return out.getvalue()


MALFORMED = {
    "empty": ("a.dcm", b"", "empty"),
    "words": ("a.txt", b"Jane Doe, born 1970", "unknown-format"),
    "named like DICOM": ("a.dcm", b"Jane Doe, born 1970" * 20, "corrupt"),
    "cut DICOM": ("a.dcm", b"\0" * 128 + b"DICM" + b"\x02\0\0\0UL\x04\0\0\0\0\0", None),
    "huge PNG": ("a.png", _png(60_000, 60_000), "too-large"),
    "hollow PNG": ("a.png", _png(100, 100), None),
    "cut JPEG": ("a.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF" + b"\0" * 40, None),
    "named like NIfTI": ("a.nii.gz", b"\x1f\x8b" + b"\0" * 400, None),
    "a record without samples": ("a.hea", b"a 1 500 5000\na.dat 16 200 16 0 0 0 0 I\n", "missing-file"),
    "a record of another folder": ("a.hea", b"a 1 500 5000\n../../etc/passwd 16 200 16 0 0 0 0 I\n", "corrupt"),
    "samples without a record": ("a.dat", b"\0" * 1000, "unknown-format"),
    "named like a slide": ("a.svs", b"II*\0" + b"\xff" * 100, None),
    "a web page": ("a.html", b"<script>alert(1)</script>", "unknown-format"),
    "a zip file": ("a.zip", _zip({"a.dcm": b"Jane Doe"}), "unsupported"),
    "a cut zip file": ("a.zip", b"PK\x03\x04" + b"\0" * 100, "unknown-format"),
    "a program": ("a.exe", b"MZ" + b"\x90" * 100, "unknown-format"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_medical_file_is_refused(api, app, name):
    file, content, reason = MALFORMED[name]
    answer = _send(api, [(file, content)], "xray")
    assert answer.status_code == 422, answer.text
    assert error_of(answer) == "unreadable-file"
    assert reason in (None, answer.json()["error"]["reason"])
    assert "Doe" not in answer.text
    assert str(app.context.uploads._folder) not in answer.text
    assert _left_behind(app) == []


def test_names_lead_nowhere(api, app, items, phantoms, tmp_path):
    content = _files_of(phantoms[0], next(hit for hit in items["xray"] if hit["format"] == "dicom"))[0][1]
    before = set(Path(tempfile.gettempdir()).iterdir())
    for name in (
        "../../escaped.dcm", "/tmp/escaped.dcm", "..\\..\\escaped.dcm", "C:\\escaped.dcm", "a" * 4000 + ".dcm",
        "\x01.dcm", ".", "..", "con.dcm", "é.dcm", "a/../../escaped.dcm", "$(id).dcm", "a;b.dcm", "DOE^JANE.dcm",
    ):  # fmt: skip
        answer = _send(api, [(name, content)])
        assert answer.status_code == 201, (name, answer.text)
        assert "DOE" not in answer.text
    for name in ("../../escaped.dat", "..\\x.hea"):
        assert _send(api, [(name, content)]).status_code == 201
    for name in ("$(id).hea", "a b.dat", "-rf.hea", "é.mat", ".hea"):
        assert error_of(_send(api, [(name, content)])) == "invalid-request"
    assert _left_behind(app) == []
    new = {path for path in set(Path(tempfile.gettempdir()).iterdir()) - before if "escaped" in path.name}
    assert not new
    assert not list(app.context.uploads._folder.parent.glob("escaped*"))


def test_several_files_must_be_one_examination(api, app, items, phantoms):
    files = [_files_of(phantoms[0], hit)[0] for hit in items["xray"][:2]]
    assert "several examinations" in _send(api, files, "xray").json()["error"]["message"]
    record = [("a.hea", b"x"), ("a.hea", b"y")]
    assert error_of(_send(api, record)) == "invalid-request"
    assert _left_behind(app) == []


def test_uploads_that_are_none(api):
    assert api.post("/v1/uploads").status_code == 422
    assert api.post("/v1/uploads", json={"file": "x"}).status_code == 422
    assert api.post("/v1/uploads", data={"file": "x"}).status_code == 422
    assert api.post("/v1/uploads", files={"other": ("a.dcm", b"x")}).status_code == 422
    assert _send(api, [("a.png", b"x")], "mri").status_code == 422
    for boundary, raw in (
        ("x", b""),
        ("x", b"--x"),
        ("x", b"--x\r\n\r\n"),
        ("", b"--\r\n"),
        ("x" * 3000, b"--x--"),
    ):
        kind = {"content-type": f"multipart/form-data; boundary={boundary}"}
        answer = api.post("/v1/uploads", content=raw, headers=kind)
        assert answer.status_code in (400, 422), (boundary, answer.text)
        error_of(answer)
    many = [("file", (f"{number}.dcm", b"x")) for number in range(1100)]
    assert api.post("/v1/uploads", files=many).status_code in (400, 422)


def test_what_is_too_large_is_refused(api, app):
    answer = _send(api, [("a.dcm", b"\0" * (10 << 20))])
    assert (answer.status_code, error_of(answer)) == (413, "too-large")

    def endless():
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.dcm"\r\n\r\n'
        for _ in range(20):
            yield b"\0" * (1 << 20)

    kind = {"content-type": "multipart/form-data; boundary=x"}
    answer = api.post("/v1/uploads", content=endless(), headers=kind)
    assert (answer.status_code, error_of(answer)) == (413, "too-large")
    assert _left_behind(app) == []


def test_a_file_that_takes_too_long_costs_itself(served, items, phantoms):
    app = create_app(Settings(served, workers=1, limits=Limits(decode_seconds=0.0)))
    with TestClient(app, base_url=HOST, headers={"authorization": f"Bearer {app.token}"}) as client:
        answer = _send(client, _files_of(phantoms[0], items["xray"][0]))
        assert answer.status_code == 422
        assert answer.json()["error"]["reason"] == "timeout"
        assert error_of(client.get(f"/v1/items/{items['xray'][0]['item_id']}/image")) == "timed-out"
        assert client.post("/v1/search", json={"text": "x"}).status_code == 200
    app.close()
    assert not app.context.uploads._folder.exists()


def test_what_a_killed_server_left_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gone, running, other = (
        tmp_path / "m3search-serve-999999999-a",
        tmp_path / f"m3search-serve-{os.getpid()}-b",
        tmp_path / "x",
    )
    for folder in (gone, running, other):
        folder.mkdir()
    scratch.sweep()
    assert sorted(tmp_path.iterdir()) == sorted([running, other])
    shutil.rmtree(running)


def test_a_report_is_no_picture(api, app, tmp_path):
    words = content("TEXT", "Findings", TextValue="Pleural effusion.")
    path = write_report(tmp_path / "sr.dcm", [words], StudyInstanceUID="1.2.3")
    answer = _send(api, [("sr.dcm", path.read_bytes())])
    assert answer.json()["error"]["reason"] == "unsupported"
    assert "is a report" in answer.json()["error"]["message"]
    assert _left_behind(app) == []
