"""delete, undelete, verify, compact and export as their user meets them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from m3search.cli.commands import app
from m3search.errors import M3SearchError
from m3search.stores.folder import IndexFolder


@pytest.fixture
def index(indexed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the phantoms' index, found by variable."""
    path = Path(shutil.copytree(indexed, tmp_path / "i"))
    monkeypatch.setenv("M3SEARCH_INDEX", str(path))
    return path


def run(*arguments: object, answer: str = "") -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)), input=answer)


def test_deleting_asks_first_and_verify_says_what_is_left_to_do(index: Path) -> None:
    looked = run("delete", "--where", "modality = 'ct'", "--dry-run")
    assert looked.exit_code == 0
    assert "would delete 3 ct and" in looked.output
    assert run("delete", "--where", "modality = 'ct'", answer="n\n").exit_code == 1
    assert run("delete", "--where", "modality = 'ct'").exit_code == 1  # nobody answers
    record = IndexFolder.open(index).record()
    assert record.count() == 15
    assert run("verify").exit_code == 0
    done = run("delete", "--where", "modality = 'ct'", answer="y\n")
    assert done.exit_code == 0
    assert "deleted 3 ct and" in done.output
    assert record.count() == 12
    wrong = run("verify", "--json")
    assert wrong.exit_code == 1
    said = json.loads(wrong.output)
    assert not said["ok"]
    assert {check["remedy"] for check in said["checks"] if not check["ok"]} == {'run "m3search compact"'}
    assert "wrong" in run("verify").output
    assert json.loads(run("compact", "--json").output)["after"]["versions"] == 4
    assert run("verify").exit_code == 0
    assert "lifted 3 deletions" in run("undelete", "--all").output


def test_a_patients_own_id_is_never_shown(index: Path) -> None:
    refused = run("delete", "--patient", "SECRET-ID-7", "--yes")
    assert isinstance(refused.exception, M3SearchError)
    assert "SECRET-ID-7" not in refused.output + str(refused.exception)
    assert isinstance(run("delete", "--item", "a", "--json").exception, M3SearchError)


def test_export_writes_parquet(index: Path, tmp_path: Path) -> None:
    file, parts = tmp_path / "items.parquet", tmp_path / "parts.parquet"
    done = run("export", file, "--parts", parts, "--where", "modality = 'ct'", "--precision", "fp16", "--json")
    assert json.loads(done.output)["items"] == pq.read_table(file).num_rows == 3
    assert json.loads(done.output)["parts"] == pq.read_table(parts).num_rows > 3
    assert "items.parquet" in run("export", file).output
