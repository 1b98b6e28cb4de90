"""The command line as its user meets it: what is printed, what is exited with."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from m3search.cli import main
from m3search.cli.commands import app
from m3search.phantoms import Phantom

Phantoms = tuple[Path, list[Phantom]]


def run(
    *arguments: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["m3search", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    code = ended.value.code
    out, err = capsys.readouterr()
    return (code if isinstance(code, int) else 0), out, err


@pytest.fixture
def m3search(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Call the command line: (exit code, standard output, standard error)."""
    return lambda *arguments: run(*arguments, monkeypatch=monkeypatch, capsys=capsys)


def test_every_command_and_option_has_help() -> None:
    def check(command: object, name: str) -> None:
        assert command.help, name  # type: ignore[attr-defined]
        for parameter in command.params:  # type: ignore[attr-defined]
            assert getattr(parameter, "help", None) or parameter.name == "help", f"{name} {parameter.name}"
        for child, below in getattr(command, "commands", {}).items():
            check(below, f"{name} {child}")

    check(get_command(app), "m3search")


def test_index_prints_the_contracts_keys_and_a_second_run_finds_nothing_new(
    m3search, phantoms: Phantoms, tmp_path: Path
) -> None:
    arguments = ("index", phantoms[0], "--index", tmp_path / "i", "--model", "fake", "--workers", 0, "--json")
    code, out, _ = m3search(*arguments)
    first = json.loads(out)
    assert code == 0
    assert {"run_id", "seen", "indexed", "unchanged", "failed", "by_modality", "seconds"} <= first.keys()
    assert first["by_modality"] == dict.fromkeys(("ct", "ecg", "pathology", "retina", "xray"), 3)
    assert (first["indexed"], first["unchanged"], first["failed"]) == (15, 0, 0)
    second = json.loads(m3search(*arguments)[1])
    assert (second["indexed"], second["unchanged"], second["seen"]) == (0, 15, 15)


def test_strict_exits_with_4_after_indexing_the_rest(m3search, phantoms: Phantoms, tmp_path: Path) -> None:
    archive = tmp_path / "xray"
    archive.mkdir()
    good = next(phantom for phantom in phantoms[1] if phantom.path.endswith(".png") and phantom.modality == "xray")
    (archive / "good.png").write_bytes((phantoms[0] / good.path).read_bytes())
    (archive / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    arguments = ("index", archive, "--index", tmp_path / "i", "--model", "fake", "--workers", 0, "--strict")
    code, out, _ = m3search(*arguments)
    assert code == 4
    assert "failed 1" in out
    code, out, _ = m3search("failures", "--index", tmp_path / "i", "--json")
    assert [row["uri"] for row in json.loads(out)] == ["bad.png"]


def test_query_as_json_table_csv_and_sheet(m3search, indexed: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.html"
    code, out, _ = m3search("query", "chest x-ray", "--index", indexed, "-k", 3, "--json", "--html", sheet)
    answer = json.loads(out)
    assert code == 0
    assert answer["mode"] == "exact"
    assert answer["took_ms"] > 0
    keys = {"rank", "item_id", "modality", "score", "uri", "text", "labels", "study_key", "patient_key", "best_part"}
    assert [hit["rank"] for hit in answer["hits"]] == [1, 2, 3]
    assert all(hit.keys() == keys and hit["modality"] == "xray" for hit in answer["hits"])
    assert sheet.read_text().count("<img ") == 3
    assert "http" not in sheet.read_text()
    rows = list(csv.DictReader(io.StringIO(m3search("query", "chest x-ray", "--index", indexed, "--csv")[1])))
    assert len(rows) == 10
    table = m3search("query", "chest x-ray", "--index", indexed)[1]
    assert answer["hits"][0]["item_id"][:8] in table


def test_query_by_file_finds_the_file_itself_and_filters_across_modalities(
    m3search, phantoms: Phantoms, indexed: Path
) -> None:
    for phantom in phantoms[1]:
        path = phantoms[0] / phantom.path
        if path.is_dir() or phantom.format == "raster":
            continue
        hits = json.loads(m3search("query", "--image", path, "--index", indexed, "--json")[1])["hits"]
        assert hits[0]["uri"] == phantom.path
        assert hits[0]["score"] >= 0.999
    other = json.loads(m3search("query", "--image", path, "--modality", "ct,ecg", "--index", indexed, "--json")[1])
    assert other["mode"] == "filtered-exact"
    assert {hit["modality"] for hit in other["hits"]} == {"ct", "ecg"}


def test_a_mixed_query_of_words_files_and_items(m3search, phantoms: Phantoms, indexed: Path) -> None:
    files = {
        phantom.modality: phantoms[0] / phantom.path for phantom in phantoms[1] if phantom.path[-3:] in ("hea", "png")
    }
    one, other = (("--image", files[name]) for name in ("ecg", "retina"))
    answer = json.loads(m3search("query", *one, *other, "--index", indexed, "-k", 4, "--json")[1])
    assert answer["query"] == f"{files['ecg'].name} + {files['retina'].name}"
    assert {hit["modality"] for hit in answer["hits"]} == {"ecg", "retina"}
    seen = [hit["item_id"] for hit in answer["hits"]]
    told = ("--like", seen[0], "--unlike", seen[1], "--weight", "unlike=0.5")
    answer = json.loads(m3search("query", "ecg", *told, "--index", indexed, "--json")[1])
    assert not {seen[0], seen[1]} & {hit["item_id"] for hit in answer["hits"]}


def test_modes_groups_and_reranking(m3search, phantoms: Phantoms, indexed: Path) -> None:
    wanted = next(phantom for phantom in phantoms[1] if phantom.modality == "ecg")
    arguments = ("query", wanted.text, "--index", indexed, "--json")
    for mode, depth in (("text", 1), ("hybrid", 3)):  # to the fake encoder all ECGs are alike
        hits = json.loads(m3search(*arguments, "--mode", mode, "-k", depth)[1])["hits"]
        assert wanted.path in [hit["uri"] for hit in hits]
    hits = json.loads(m3search(*arguments, "--group", "patient", "-k", 20)[1])["hits"]
    keys = [hit["patient_key"] for hit in hits if hit["patient_key"]]
    assert len(keys) == len(set(keys))
    plain, late = (
        json.loads(m3search(*arguments, *more, "-k", 20)[1])["hits"] for more in ((), ("--rerank", "--hubness"))
    )
    assert {hit["item_id"] for hit in plain} == {hit["item_id"] for hit in late}


def test_many_queries_from_a_file(m3search, indexed: Path, tmp_path: Path) -> None:
    from m3search.evaluation.trec import read_run

    asked = tmp_path / "queries.txt"
    asked.write_text("q1\tchest x-ray\nq2\tno ecg\n")
    run, sheet = tmp_path / "run.txt", tmp_path / "sheet.html"
    arguments = ("query", "--queries", asked, "--index", indexed, "-k", 3)
    answers = json.loads(m3search(*arguments, "--json", "--trec", run, "--html", sheet)[1])
    assert [(answer["id"], answer["query"]) for answer in answers] == [("q1", "chest x-ray"), ("q2", "no ecg")]
    ranked = {answer["id"]: [hit["item_id"] for hit in answer["hits"]] for answer in answers}
    assert {query: [document for document, _ in found] for query, found in read_run(run).items()} == ranked
    assert sheet.read_text().count("<section>") == 2
    rows = list(csv.DictReader(io.StringIO(m3search(*arguments, "--csv")[1])))
    assert [row["query"] for row in rows] == ["q1"] * 3 + ["q2"] * 3
    assert "q1: chest x-ray" in m3search(*arguments)[1]
    m3search("query", "ecg", "--index", indexed, "-k", 2, "--trec", run)
    assert [len(found) for found in read_run(run).values()] == [2]


def test_where_filters_by_typed_conditions(m3search, indexed: Path) -> None:
    out = m3search("query", "x-ray", "--where", "sex = 'F' and modality in (xray, ct)", "--index", indexed, "--json")[1]
    hits = json.loads(out)["hits"]
    assert hits
    for hit in hits:
        row = json.loads(m3search("show", hit["item_id"], "--index", indexed, "--json")[1])
        assert row["sex"] == "F"
        assert row["modality"] in {"xray", "ct"}


def test_show_status_and_failures_for_people(m3search, indexed: Path, tmp_path: Path) -> None:
    item = json.loads(m3search("query", "ct", "-k", 1, "--index", indexed, "--json")[1])["hits"][0]["item_id"]
    code, out, _ = m3search("show", item[:12], "--index", indexed, "--thumbnail", tmp_path / "t.jpg")
    assert code == 0
    assert "provenance" in out
    assert (tmp_path / "t.jpg").read_bytes()[:2] == b"\xff\xd8"
    assert "items" in m3search("status", "--index", indexed)[1]
    assert "every file could be read" in m3search("failures", "--index", indexed)[1]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("query",), 2, "a query is one of"),
        (("query", "a", "--item", "zzzz"), 2, "has no item 'zzzz'"),
        (("query", "  "), 2, "the query text is empty"),
        (("query", "a", "--modality", "mri"), 2, "there is no modality 'mri'"),
        (("query", "a", "--modality", ""), 2, "there is no modality ''"),
        (("query", "a", "--where", "sexx = 'F'"), 2, "sex"),
        (("query", "--item", "zzzz"), 2, "has no item 'zzzz'"),
        (("query", "--image", "nowhere.dcm"), 2, "there is no file"),
        (("query", "a", "--json", "--csv"), 2, "choose one of"),
        (("query", "a", "--weight", "text"), 2, "write KIND=NUMBER"),
        (("query", "a", "--weight", "words=1"), 2, "there is no weight 'words'"),
        (("query", "--unlike", "a"), 2, "a query is one of"),
        (("query", "--queries", "nowhere.txt"), 2, "there is no file nowhere.txt of queries"),
        (("query", "a", "--queries", "nowhere.txt"), 2, "--queries holds the whole queries"),
        (("query", "a", "--calibration", "standard"), 2, "has no statistics"),
        (("show", "zzzz"), 2, "has no item 'zzzz'"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_to_do(
    m3search, indexed: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    found, _, err = m3search(*arguments, "--index", indexed)
    assert found == code
    assert message in err
    assert "Traceback" not in err


def test_a_place_that_cannot_be_written_exits_with_1_without_a_traceback(
    m3search, phantoms: Phantoms, indexed: Path, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    for arguments in (
        ("query", "a", "--html", file / "sheet.html", "--index", indexed),
        ("index", phantoms[0], "--model", "fake", "--index", file / "i"),
        ("demo", "--out", file),
    ):
        code, _, err = m3search(*arguments)
        assert code == 1
        assert str(file) in err
        assert err.count("\n") == 1


def test_names_and_words_are_printed_as_they_are(
    m3search, phantoms: Phantoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    archive = tmp_path / "retina [old]"
    archive.mkdir()
    picture = next(phantom.path for phantom in phantoms[1] if phantom.path.endswith(".png"))
    (archive / "[bold]a[b].png").write_bytes((phantoms[0] / picture).read_bytes())
    (archive / "[x]\x1b[2J.png").write_bytes(b"")
    (archive / "manifest.csv").write_text("path,text,labels\n[bold]a[b].png,[red]haze[/],\n")
    assert m3search("index", archive, "--index", tmp_path / "i", "--model", "fake", "--workers", 0)[0] == 0
    table = m3search("query", "haze", "--index", tmp_path / "i")[1]
    assert "[bold]a[b].png" in table
    assert "[red]haze[/]" in table
    item = json.loads(m3search("query", "haze", "--index", tmp_path / "i", "--json")[1])["hits"][0]["item_id"]
    assert "[bold]a[b].png" in m3search("show", item, "--index", tmp_path / "i")[1]
    assert "[old]" in m3search("status", "--index", tmp_path / "i")[1].replace("\n", "")
    failures = m3search("failures", "--index", tmp_path / "i")[1]
    assert "[x]" in failures
    assert "\x1b" not in failures


def test_the_best_part_is_shown_beside_the_place(m3search, indexed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    hit = json.loads(m3search("query", "ct", "--modality", "ct", "-k", 1, "--index", indexed, "--json")[1])["hits"][0]
    assert hit["best_part"].startswith("slice=")
    table = m3search("query", "ct", "--modality", "ct", "-k", 1, "--index", indexed)[1]
    assert f"[{hit['best_part']}]" in table


def test_no_index_and_another_encoders_index_exit_with_3(m3search, indexed: Path, tmp_path: Path) -> None:
    code, _, err = m3search("query", "a", "--index", tmp_path / "none")
    assert code == 3
    assert "m3search index" in err
    from m3search.stores.folder import IndexFolder, Manifest

    IndexFolder.create(tmp_path / "other", Manifest(encoder="fake", fingerprint="0" * 64, dim=64))
    code, _, err = m3search("query", "a", "--index", tmp_path / "other")
    assert code == 3
    assert "was built with" in err


def test_an_index_that_is_being_written_exits_with_1(m3search, phantoms: Phantoms, indexed: Path) -> None:
    from m3search.stores.folder import IndexFolder

    with IndexFolder.open(indexed).lock():
        code, _, err = m3search("index", phantoms[0], "--index", indexed)
        assert m3search("status", "--index", indexed)[0] == 0  # reading goes on
    assert code == 1
    assert "being written by" in err


def test_a_broken_model_name_exits_with_1(m3search, phantoms: Phantoms, tmp_path: Path) -> None:
    code, _, err = m3search("index", phantoms[0], "--index", tmp_path / "i", "--model", "no-such-bundle")
    assert code == 1
    assert "no-such-bundle" in err


def test_the_index_is_found_upwards_and_by_variable(
    m3search, indexed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / ".m3search").symlink_to(indexed)
    monkeypatch.chdir(below)
    assert m3search("status")[0] == 0
    monkeypatch.chdir("/")
    monkeypatch.setenv("M3SEARCH_INDEX", str(indexed))
    assert m3search("status")[0] == 0


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['m3search', '--help']\n"
        "from m3search.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'numpy', 'pyarrow', 'lancedb', 'openvino', 'pydicom', 'torch', 'PIL', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_cold_query_imports_neither_torch_nor_lancedb(indexed: Path) -> None:
    code = (
        "import sys\nfrom m3search.search import Engine\n"
        f"assert len(Engine.open({str(indexed)!r}).search('chest x-ray')) == 10\n"
        "heavy = {'torch', 'lancedb', 'pandas', 'pydicom'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert result.output.startswith("m3search 0.")
