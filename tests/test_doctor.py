"""`m3search doctor`: what is missing is named, with what it costs and how to get it; nothing else is."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import pytest

from m3search import doctor
from m3search.cli import main
from m3search.doctor import Finding
from m3search.encoders.fake import FakeEncoder
from m3search.privacy import Pseudonyms
from m3search.stores.folder import IndexFolder, Manifest


def one(findings: Iterable[Finding], what: str) -> Finding:
    (found,) = [finding for finding in findings if finding.what == what]
    return found


@pytest.fixture
def index(tmp_path: Path) -> IndexFolder:
    encoder = FakeEncoder()
    folder = IndexFolder.create(tmp_path / "index", Manifest("fake", encoder.fingerprint, encoder.dim))
    Pseudonyms.load(folder.key_file)
    return folder


def test_a_machine_that_runs_these_tests_is_whole(index: IndexFolder) -> None:
    found = doctor.examine(index.path)
    assert doctor.is_whole(found), [finding for finding in found if not finding.ok]
    assert {finding.area for finding in found} >= {
        "versions",
        "machine",
        "decoders",
        "search",
        "models",
        "index",
        "disk",
    }
    assert one(found, "numpy").found == metadata.version("numpy")
    assert one(found, "m3bind-small").found.startswith("intact")
    assert one(found, "DICOM RLE").found


def test_every_dependency_is_looked_at_and_no_extra() -> None:
    names = [name for name, _ in doctor._required()]
    assert {"numpy", "lancedb", "pylibjpeg-openjpeg", "python-gdcm"} <= set(names)
    assert "pytest" not in names
    assert "torch" in [name for name, _ in doctor._required("train")]


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda package: "")
    found = doctor._package("numpy", "2.0")
    assert not found.ok
    assert found.needed
    assert "pip install" in found.advice
    assert not any(finding.ok for finding in doctor._extras())


def test_what_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda package: "1.26.4")
    found = doctor._package("numpy", "2.0")
    assert (found.found, found.ok) == ("1.26.4, older than 2.0", False)


@pytest.mark.parametrize(
    ("older", "newer"), [("1.26.4", "2.0"), ("2.9", "2.10"), ("2.12.9+cpu", "2.13.0"), ("", "1"), ("3.0rc1", "3.1")]
)
def test_versions_are_compared_by_number(older: str, newer: str) -> None:
    assert doctor._numbers(older) < doctor._numbers(newer)
    assert doctor._numbers("2.0.0") == doctor._numbers("2.0") == doctor._numbers("2")


def test_a_library_that_cannot_be_loaded_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jpeg_ls.py").write_text("raise ImportError('libcharls.so: no such file\\nand more')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "jpeg_ls", raising=False)
    found = doctor._package("pyjpegls", "1.0")
    assert not found.ok
    assert found.advice.startswith("ImportError: libcharls.so: no such file; pip install")


def test_a_syntax_without_decoder_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("m3search.formats.dicom_pixels.decoders", lambda: {"RLE": (), "JPEG baseline": ("pillow",)})
    found = list(doctor._decoders())
    assert one(found, "DICOM JPEG baseline").ok
    assert one(found, "DICOM RLE").advice.startswith("RLE files cannot be read")
    assert not doctor.is_whole(found)


def test_a_card_that_nothing_uses_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA Test, 81559 MiB'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(doctor, "_version", lambda package: "")  # no torch
    (found,) = doctor._gpu()
    assert found.found == "NVIDIA Test, 81559 MiB"
    assert "m3search[gpu]" in found.advice
    assert doctor.is_whole([found])
    program.write_text("#!/bin/sh\nexit 9\n")  # as where the driver is not loaded
    (found,) = doctor._gpu()
    assert (found.found, found.ok) == ("none", True)


def test_faiss_may_be_missing_but_not_there_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda package: "")
    assert doctor.is_whole(list(doctor._search()))
    monkeypatch.setattr(doctor, "_version", lambda package: "1.9" if package in ("faiss-cpu", "faiss-gpu") else "")
    (found,) = doctor._search()
    assert found.needed
    assert "pip uninstall faiss-cpu faiss-gpu" in found.advice


def test_a_damaged_model_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "bundle.json").write_text("{}")
    monkeypatch.setenv("M3SEARCH_MODELS", str(tmp_path))
    found = one(doctor._models(), "mine")
    assert (found.found, found.ok, found.needed) == ("broken", False, True)


def test_a_key_that_others_can_read_is_wrong(index: IndexFolder) -> None:
    assert all(finding.ok for finding in doctor._index(index.path))
    index.key_file.chmod(0o640)
    found = one(doctor._index(index.path), "pseudonym key")
    assert (found.found, found.ok, found.needed) == ("mode 640, open to others", False, True)
    assert f"chmod 600 {index.key_file}" in found.advice
    index.path.chmod(0o755)
    assert f"chmod 700 {index.path}" in one(doctor._index(index.path), "index folder").advice


def test_a_missing_key_is_wrong(index: IndexFolder) -> None:
    index.key_file.unlink()
    assert not one(doctor._index(index.path), "pseudonym key").ok


def test_an_archive_that_is_gone_is_told_of(index: IndexFolder, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    index.add_archive(str(tmp_path / "here")).add_archive(str(tmp_path / "gone"))
    found = one(doctor._index(index.path), "archives")
    assert (found.found, found.ok, found.needed) == ("1 of 2 there", False, False)


def test_no_index_is_wrong_only_where_one_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("M3SEARCH_INDEX", raising=False)
    assert all(finding.ok for finding in doctor._index(None))
    assert not any(finding.ok for finding in doctor._index(tmp_path / "nowhere"))


def test_a_damaged_manifest_is_told_of(index: IndexFolder) -> None:
    (index.path / "manifest.json").write_text("{")
    (found,) = doctor._index(index.path)
    assert (found.found, found.ok) == ("cannot be opened", False)


@pytest.mark.parametrize(("needed", "code"), [(True, 1), (False, 0)])
def test_the_command_exits_with_1_for_what_is_needed(
    needed: bool, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    findings = [Finding("a", "b", "[c]"), Finding("a", "d", "missing", False, "get it", needed)]
    monkeypatch.setattr(doctor, "examine", lambda index: findings)
    assert run(monkeypatch, "doctor") == code
    shown = capsys.readouterr().out
    assert "[c]" in shown
    assert ("1 to be put right" in shown) is needed
    assert run(monkeypatch, "doctor", "--json") == code
    (_, second) = json.loads(capsys.readouterr().out)
    assert second == {"area": "a", "what": "d", "found": "missing", "ok": False, "advice": "get it", "needed": needed}


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["m3search", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)
