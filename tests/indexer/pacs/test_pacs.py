"""Indexing a PACS, played by a server in this process that may misbehave."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from m3search.errors import ArchiveUnreachable, UsageError
from m3search.indexer import Options, Report, index, retry_failures
from m3search.indexer import Pacs as Settings
from m3search.indexer.archives import dicomweb, pacs
from m3search.phantoms.phi import Phi
from m3search.search import Engine
from tests.formats.test_dicom_report import content, write_report

from .films import write_films, write_slices
from .server import Pacs, multipart, serving

pytest.importorskip("dicomweb_client", reason="needs the pacs extra")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pacs]:
    for name in (dicomweb.TOKEN, dicomweb.TOKEN_FILE, dicomweb.USER, dicomweb.PASSWORD, dicomweb.CA_FILE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(dicomweb, "FIRST_PAUSE_S", 0.01)
    with serving(Pacs()) as one:
        yield one


def run(server: Pacs, path: Path, **settings: Any) -> Report:
    prune = settings.pop("prune", False)
    options = Options(workers=0, prune=prune, pacs=Settings(patience_s=5.0, **settings))
    return index(server.url, path, model="fake", options=options)


def everything(path: Path) -> str:
    """All that an index and its answers hold, as text."""
    engine = Engine.open(path)
    rows = engine.store.record.rows(engine.store.record.matching()).drop_columns(["vector"]).to_pylist()
    files = [file.read_bytes().decode("latin-1") for file in path.rglob("*") if file.is_file()]
    return "\n".join([repr(rows), repr(engine.failures()), repr(engine.status()), *files])


def test_only_what_the_index_lacks_is_fetched(server: Pacs, tmp_path: Path) -> None:
    films = write_films(tmp_path / "films", range(12))
    for film in films[:7]:
        server.add(film)
    first = run(server, tmp_path / "index")
    assert (first.indexed, first.unchanged, first.failed, sorted(server.sent)) == (7, 0, 0, sorted(server.instances))
    assert not list((tmp_path / "index").glob("*.tmp"))

    server.sent.clear()
    again = run(server, tmp_path / "index")
    assert (again.indexed, again.unchanged, server.sent) == (0, 7, [])

    added = {server.add(film).uid for film in films[7:]}
    server.asked.clear()
    more = run(server, tmp_path / "index")
    assert (more.indexed, more.unchanged, more.failed) == (5, 7, 0)
    assert sorted(server.sent) == sorted(added)
    listed = [path for path in server.asked if path.partition("?")[0].endswith("/instances")]
    assert len(listed) == 2 * 5  # of the new series alone; each ends with an empty page


def test_items_are_those_of_the_same_files_in_a_folder(server: Pacs, tmp_path: Path) -> None:
    for path in [*write_films(tmp_path / "all", range(3)), *write_slices(tmp_path / "all" / "ct", 1, 5)]:
        server.add(path)
    run(server, tmp_path / "remote")
    index(tmp_path / "all", tmp_path / "local", model="fake", options=Options(workers=0))
    remote, local = (set(Engine.open(tmp_path / name).store.record.tally("item_id")) for name in ("remote", "local"))
    assert remote == local
    assert len(local) == 4


def test_a_series_that_grew_is_one_item_still(server: Pacs, tmp_path: Path) -> None:
    slices = write_slices(tmp_path / "ct", 1, 6)
    for path in slices[:5]:
        server.add(path)
    assert run(server, tmp_path / "index").by_modality == {"ct": 1}
    assert [path for path in server.asked if "/instances/" in path] == []  # fetched at once
    server.add(slices[5])
    grown = run(server, tmp_path / "index")
    assert (grown.indexed, grown.by_modality) == (1, {"ct": 1})
    engine = Engine.open(tmp_path / "index")
    row = engine.store.record.rows(engine.store.record.matching()).to_pylist()[0]
    assert len(row["files"]) == 6
    assert json.loads(row["provenance"])["slices"] == 6


def test_studies_come_in_portions(server: Pacs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacs, "PORTION", 3)
    films = write_films(tmp_path / "films", range(8))
    for film in films:
        server.add(film)
    first = run(server, tmp_path / "index")
    assert (first.indexed, first.unchanged, first.gone) == (8, 0, 0)
    for film in write_films(tmp_path / "films", range(8, 12)):
        server.add(film)
    lost = server.instances.pop(next(iter(server.instances)))
    second = run(server, tmp_path / "index")
    assert (second.indexed, second.unchanged, second.gone, second.removed) == (4, 7, 1, 0)
    assert run(server, tmp_path / "index", prune=True).removed == 1
    server.instances[lost.uid] = lost
    assert run(server, tmp_path / "index").indexed == 1
    assert len(server.sent) == len(films) + 4 + 1


@pytest.mark.parametrize("cap", [1000, 2])
def test_a_list_is_asked_for_to_its_end(
    server: Pacs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cap: int
) -> None:
    monkeypatch.setattr(dicomweb, "PAGE", 3)
    server.cap = cap
    for film in write_films(tmp_path / "films", range(8)):
        server.add(film)
    assert run(server, tmp_path / "index", only=("xray",)).indexed == 8


def test_a_server_that_takes_no_notice_of_offsets(
    server: Pacs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.offsets = False
    films = write_films(tmp_path / "films", range(0, 16, 2))  # of one modality
    for film in films[:4]:
        server.add(film)
    assert run(server, tmp_path / "index").indexed == 4
    monkeypatch.setattr(dicomweb, "PAGE", 4)
    for film in films:
        server.add(film)
    with pytest.raises(ArchiveUnreachable, match="same 4 results for every page"):
        run(server, tmp_path / "index")


def test_a_server_that_counts_nothing_is_listed_by_instance(server: Pacs, tmp_path: Path) -> None:
    server.counts = False
    for film in write_films(tmp_path / "films", range(3)):
        server.add(film)
    run(server, tmp_path / "index")
    assert (run(server, tmp_path / "index").unchanged, len(server.sent)) == (3, 3)


def test_modalities_are_chosen_by_the_server(server: Pacs, tmp_path: Path) -> None:
    for path in [*write_films(tmp_path / "films", range(2)), *write_slices(tmp_path / "ct", 1, 3)]:
        server.add(path)
    assert run(server, tmp_path / "index", only=("ct",)).by_modality == {"ct": 1}
    asked = {path.partition("Modality=")[2] for path in server.asked if path.startswith("/dicom-web/series?")}
    assert {query.partition("&")[0] for query in asked} == {"CT", *pacs.REPORTS}
    with pytest.raises(UsageError, match="no modality 'mri'"):
        run(server, tmp_path / "index", only=("mri",))
    with pytest.raises(UsageError, match="--prune"):
        run(server, tmp_path / "index", only=("ct",), prune=True)


def test_what_is_asked_for_is_what_is_recognised(tmp_path: Path) -> None:
    from m3search import modalities
    from m3search.types import Header

    for name, codes in pacs.CODES.items():
        for code in codes:
            storage = "1.2.840.10008.5.1.4.1.1.9.1.1" if name == "ecg" else "1.2.840.10008.5.1.4.1.1.7"
            attributes = {"Modality": code, "SOPClassUID": storage}
            assert modalities.recognise(Header(tmp_path, "dicom", attributes)) == name
    assert list(pacs.CODES) == list(modalities.MODALITIES)


def test_kept_files_are_the_servers_and_are_not_fetched_again(server: Pacs, tmp_path: Path) -> None:
    films = write_films(tmp_path / "films", range(3))
    for film in films:
        server.add(film)
    run(server, tmp_path / "index", keep=tmp_path / "kept")
    kept = sorted(path.read_bytes() for path in (tmp_path / "kept").rglob("*.dcm"))
    assert kept == sorted(film.read_bytes() for film in films)
    server.sent.clear()
    assert run(server, tmp_path / "other", keep=tmp_path / "kept").indexed == 3
    assert server.sent == []


@pytest.mark.parametrize("way", ["token", "token file", "password", "netrc"])
def test_credentials_come_from_the_environment_or_a_file(
    server: Pacs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    server.add(write_films(tmp_path / "films", [0])[0])
    bearer, basic = "Bearer sesame-open-7731", "Basic amFuZTpzZXNhbWUtb3Blbi03NzMx"  # jane:sesame-open-7731
    server.authorization = bearer if way.startswith("token") else basic
    with pytest.raises(ArchiveUnreachable, match=r"refuses the credentials \(401\)") as caught:
        run(server, tmp_path / "index")
    assert dicomweb.TOKEN in str(caught.value)
    settings = {}
    if way == "token":
        monkeypatch.setenv(dicomweb.TOKEN, "sesame-open-7731")
    elif way == "token file":
        (tmp_path / "token").write_text("sesame-open-7731\n")
        settings["token_file"] = tmp_path / "token"
    elif way == "password":
        monkeypatch.setenv(dicomweb.USER, "jane")
        monkeypatch.setenv(dicomweb.PASSWORD, "sesame-open-7731")
    else:
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login jane password sesame-open-7731\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert run(server, tmp_path / "index", **settings).indexed == 1
    assert "sesame" not in everything(tmp_path / "index")


def test_an_address_with_a_secret_in_it_is_refused(tmp_path: Path) -> None:
    for address in ("https://jane:sesame@pacs.example/dicom-web", "https://pacs.example/dicom-web?token=sesame"):
        with pytest.raises(UsageError, match="shell's history") as caught:
            index(address, tmp_path / "index", model="fake")
        assert "sesame" not in str(caught.value)


def test_a_busy_server_is_waited_for(server: Pacs, tmp_path: Path) -> None:
    for film in write_films(tmp_path / "films", range(3)):
        server.add(film)
    troubles = [(503, {"Retry-After": "0"}, b""), "hang up", (429, {}, b""), (504, {}, b""), "hang up", (500, {}, b"")]
    server.before = lambda path: troubles.pop() if troubles else None
    assert run(server, tmp_path / "index").indexed == 3


def test_a_server_that_stays_away_ends_the_run_and_what_was_stored_stays(
    server: Pacs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacs, "PORTION", 1)
    films = write_films(tmp_path / "films", range(4))
    for film in films:
        server.add(film)
    server.before = lambda path: "hang up" if len(server.sent) >= 2 and "/studies/" in path else None
    settings = Settings(patience_s=0.05)
    with pytest.raises(ArchiveUnreachable, match="has not answered"):
        index(server.url, tmp_path / "index", model="fake", options=Options(workers=0, pacs=settings))
    server.before = lambda path: None
    after = run(server, tmp_path / "index")
    assert (after.failed, after.by_modality) == (0, {"xray": 4})
    assert len(server.sent) <= 4 + 2  # what had arrived and was not yet stored


def test_one_bad_series_costs_itself(server: Pacs, tmp_path: Path) -> None:
    films = write_films(tmp_path / "films", range(6))
    bad = [server.add(film) for film in films]
    answers = {
        bad[0].study: (500, {}, b"Jane Doe"),
        bad[1].study: (404, {}, b"Jane Doe"),
        bad[2].study: (200, {"Content-Type": "text/html"}, b"<p>Jane Doe</p>"),
        bad[3].study: multipart([b"no DICOM, Jane Doe"]),
        bad[4].study: (200, {"Content-Type": "multipart/related; boundary=x"}, b"\r\n--x\r\nContent-Type: appl"),
    }

    def before(path: str) -> Any:
        return next((one for study, one in answers.items() if f"/{study}/" in path and "instances?" not in path), None)

    server.before = before
    report = run(server, tmp_path / "index")
    assert (report.indexed, report.failed) == (1, 5)
    failures = Engine.open(tmp_path / "index").failures()
    assert sorted(row["reason"] for row in failures) == ["unreachable"] * 3 + ["vanished"] * 2
    assert all(row["uri"].startswith("~") for row in failures)
    held = everything(tmp_path / "index")
    assert not any(word in held for one in bad for word in ("Jane", one.study, one.series, one.uid))

    server.before = lambda path: None
    server.sent.clear()
    reports = retry_failures(tmp_path / "index", options=Options(workers=0))
    assert [(one.indexed, one.failed) for one in reports] == [(5, 0)]
    assert sorted(server.sent) == sorted(one.uid for one in bad[:5])
    assert run(server, tmp_path / "index").unchanged == 6


def test_nothing_that_identifies_is_kept(server: Pacs, tmp_path: Path) -> None:
    phi = Phi()
    ones = [server.add(film) for film in write_films(tmp_path / "films", range(3), phi)]
    run(server, tmp_path / "index")
    held = everything(tmp_path / "index")
    for word in (*phi.values(), *(uid for one in ones for uid in (one.study, one.series, one.uid))):
        assert word not in held
    assert server.url in held


def test_a_structured_report_is_the_text_of_its_study_whenever_it_comes(server: Pacs, tmp_path: Path) -> None:
    films = [server.add(film) for film in write_films(tmp_path / "films", range(2))]
    run(server, tmp_path / "index")
    for number, study in enumerate((films[0].study, "1.2.3.4.5.6.7.8")):  # the other is of a study without images here
        identity = {"Modality": "SR", "StudyInstanceUID": study, "SeriesInstanceUID": f"2.25.77{number}"}
        identity["SOPInstanceUID"] = f"2.25.88{number}"
        words = [content("TEXT", "Finding", TextValue="Small left pleural effusion.")]
        server.add(write_report(tmp_path / f"{number}.dcm", words, **identity))
    server.sent.clear()
    report = run(server, tmp_path / "index")
    assert (report.indexed, report.unchanged, report.failed) == (1, 1, 0)
    assert sorted(server.sent) == sorted([films[0].uid, "2.25.880"])  # of the other study nothing
    record = Engine.open(tmp_path / "index").store.record
    texts = [row["text"] or "" for row in record.rows(record.matching()).to_pylist()]
    assert sum("pleural effusion" in text for text in texts) == 1
    server.sent.clear()
    assert (run(server, tmp_path / "index").unchanged, server.sent) == (2, [])


def test_short_uids_are_masked_too(server: Pacs, tmp_path: Path) -> None:
    from pydicom import dcmread

    path = write_films(tmp_path / "films", [0])[0]
    dataset = dcmread(path)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    dataset.save_as(path)
    server.add(path)
    server.before = lambda path: (404, {}, b"") if path.endswith("1.2.3.4") else None
    run(server, tmp_path / "index")
    assert [row["uri"].count("~") for row in Engine.open(tmp_path / "index").failures()] == [2]
    server.before = lambda path: None
    run(server, tmp_path / "index")
    row = (
        Engine.open(tmp_path / "index")
        .store.record.rows(Engine.open(tmp_path / "index").store.record.matching())
        .to_pylist()[0]
    )
    assert row["uri"].count("~") == 3


def test_what_answers_is_no_dicomweb_server(server: Pacs, tmp_path: Path) -> None:
    server.before = lambda path: (200, {"Content-Type": "text/html"}, b"<html>Jane Doe</html>")
    with pytest.raises(ArchiveUnreachable, match="no DICOM JSON") as caught:
        run(server, tmp_path / "index")
    assert "Jane" not in str(caught.value)
    server.before = lambda path: (404, {}, b"")
    with pytest.raises(ArchiveUnreachable, match="no DICOMweb service"):
        run(server, tmp_path / "index")


def test_a_study_is_found_again_by_who_has_the_key(server: Pacs, tmp_path: Path) -> None:
    one = server.add(write_films(tmp_path / "films", [0])[0])
    (tmp_path / "folder").mkdir()
    write_films(tmp_path / "folder", [1])
    index(tmp_path / "folder", tmp_path / "index", model="fake", options=Options(workers=0))
    run(server, tmp_path / "index")
    engine = Engine.open(tmp_path / "index")
    by_uri = {
        row["uri"]: row["item_id"] for row in engine.store.record.rows(engine.store.record.matching()).to_pylist()
    }
    there = next(item_id for uri, item_id in by_uri.items() if uri.startswith("@1/~"))
    assert engine.link(there) == f"{server.url}/studies/{one.study}"
    assert engine.link(by_uri["00001.dcm"]) == ""
    (tmp_path / "index" / "pseudonym.key").write_bytes(bytes(32))
    with pytest.raises(UsageError, match=r"pseudonym\.key"):
        Engine.open(tmp_path / "index").link(there)


@pytest.mark.parametrize("kept", [False, True], ids=["nothing kept", "files kept"])
def test_an_instance_edited_under_its_old_uid_is_replaced(server: Pacs, tmp_path: Path, kept: bool) -> None:
    from pydicom import dcmread

    films, slices = write_films(tmp_path / "films", range(3)), write_slices(tmp_path / "ct", 1, 4)
    for path in [*films, *slices]:
        server.add(path)
    keep = {"keep": tmp_path / "kept"} if kept else {}
    run(server, tmp_path / "index", **keep)
    before = stored(tmp_path / "index")
    for path in (films[0], slices[2]):
        dataset = dcmread(path)
        dataset.PixelData = dataset.PixelData[:-2] + b"\x07\x00"
        dataset.save_as(path)
        server.add(path)
    assert run(server, tmp_path / "index", **keep).unchanged == 4  # nothing that a server is asked for tells
    server.sent.clear()
    report = run(server, tmp_path / "index", refetch=True, **keep)
    assert (report.indexed, report.unchanged, report.failed, report.gone) == (2, 2, 0, 0)
    assert report.by_modality == {"xray": 3, "ct": 1}
    assert sorted(server.sent) == sorted(server.instances)
    after = stored(tmp_path / "index")
    assert set(after) == set(before)
    assert sum(after[uri] != before[uri] for uri in after) == 2
    server.sent.clear()
    assert (run(server, tmp_path / "index", **keep).unchanged, server.sent) == (4, [])


def stored(path: Path) -> dict[str, str]:
    """The id of each item by its uri, each uri once."""
    record = Engine.open(path).store.record
    rows = record.rows(record.matching(), ["uri", "item_id"]).to_pylist()
    assert len({row["uri"] for row in rows}) == len(rows)
    return {row["uri"]: row["item_id"] for row in rows}
