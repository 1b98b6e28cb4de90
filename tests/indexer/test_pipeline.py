"""Whole index runs on phantoms with the fake encoder: bad files, kills, changes, privacy."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import pytest

from m3search.errors import EncoderMismatch, IndexLocked
from m3search.indexer import Options, Report, index
from m3search.phantoms import Phantom, Phi, write_archive
from m3search.search import Engine
from m3search.stores.folder import IndexFolder

Phantoms = tuple[Path, list[Phantom]]


def run(archive: Path, path: Path, **options: Any) -> Report:
    return index(archive, path, model="fake", options=Options(**({"workers": 0} | options)))


def rows(path: Path) -> list[dict[str, Any]]:
    """Every item without what differs between runs, ordered by id."""
    record = IndexFolder.open(path).record()
    kept = record.rows(record.matching()).drop_columns(
        ["run_id", "indexed_at", "patient_key", "study_key", "series_key", "locator", "described"]
    )
    return kept.to_pylist()


def png(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


@pytest.fixture
def copy(phantoms: Phantoms, tmp_path: Path) -> Path:
    """A copy of the phantoms that may be changed."""
    return Path(shutil.copytree(phantoms[0], tmp_path / "archive"))


def test_every_phantom_becomes_one_item_with_its_text(phantoms: Phantoms, indexed: Path) -> None:
    found = {row["uri"]: row for row in rows(indexed)}
    assert set(found) == {phantom.path for phantom in phantoms[1]}
    for phantom in phantoms[1]:
        row = found[phantom.path]
        assert row["modality"] == phantom.modality
        assert row["text"] == phantom.text
        assert row["thumbnail"]
        assert row["provenance"] not in (None, "{}")
        assert row["modality_from"] == ("manifest" if phantom.format == "raster" else "header")


def test_worker_processes_give_the_same_rows(phantoms: Phantoms, indexed: Path, tmp_path: Path) -> None:
    run(phantoms[0], tmp_path / "i", workers=2)
    assert rows(tmp_path / "i") == rows(indexed)


def test_bad_files_are_named_with_their_reason_and_the_rest_is_indexed(
    copy: Path, phantoms: Phantoms, tmp_path: Path
) -> None:
    dicom = next(path for path in copy.glob("xray/*.dcm"))
    header = next(path for path in copy.glob("ecg/*.hea"))
    whole = dicom.read_bytes()
    bad = copy / "bad"
    bad.mkdir()
    (bad / "empty.dcm").write_bytes(b"")
    (bad / "truncated.dcm").write_bytes(whole[: len(whole) // 2])
    (bad / "text.dcm").write_text("Dear colleague,")
    (bad / "bomb.png").write_bytes(png(60000, 60000))
    (bad / "cut.png").write_bytes(png(64, 64))
    shutil.copy(header, bad / header.name)  # without its .dat
    (bad / "notes.txt").write_text("not a medical file, and not a failure")
    (bad / "dangling.dcm").symlink_to(bad / "nowhere.dcm")
    report = run(copy, tmp_path / "i")
    reasons = {row["uri"]: (row["reason"], row["message"]) for row in Engine.open(tmp_path / "i").failures()}
    assert {uri: reason for uri, (reason, _) in reasons.items()} == {
        "bad/empty.dcm": "empty",
        "bad/truncated.dcm": "truncated",
        "bad/text.dcm": "corrupt",
        "bad/bomb.png": "too-large",
        "bad/cut.png": "truncated",
        f"bad/{header.name}": "missing-file",
        "bad/dangling.dcm": "missing-file",
    }
    assert all(len(message) > 15 for _, message in reasons.values())
    assert (report.indexed, report.failed) == (len(phantoms[1]), 7)


def test_a_damaged_slice_is_named_and_its_series_indexed_without_it(copy: Path, tmp_path: Path) -> None:
    slices = sorted(next(folder for folder in sorted(copy.glob("ct/*")) if folder.is_dir()).iterdir())
    archive = tmp_path / "series"
    (archive / "bad").mkdir(parents=True)
    for path in slices:
        shutil.copy(path, archive)
    whole = slices[1].read_bytes()
    (archive / "bad" / "copy.dcm").write_bytes(whole[: len(whole) * 2 // 3])
    for _ in range(2):
        report = run(archive, tmp_path / "i")
        assert (report.by_modality, report.failed) == ({"ct": 1}, 1)
        failures = Engine.open(tmp_path / "i").failures()
        assert [(row["uri"], row["reason"]) for row in failures] == [("bad/copy.dcm", "truncated")]
    row = Engine.open(tmp_path / "i").show(rows(tmp_path / "i")[0]["item_id"])
    assert f'"slices": {len(slices)}' in row["provenance"]


def test_a_mended_file_leaves_the_failures_and_attempts_are_counted(copy: Path, tmp_path: Path) -> None:
    dicom = next(path for path in copy.glob("xray/*.dcm"))
    whole = dicom.read_bytes()
    dicom.write_bytes(whole[:-100])
    for _ in range(2):
        run(copy, tmp_path / "i")
    assert [row["attempts"] for row in Engine.open(tmp_path / "i").failures()] == [2]
    dicom.write_bytes(whole)
    assert run(copy, tmp_path / "i").indexed == 1
    assert Engine.open(tmp_path / "i").failures() == []


def test_a_file_that_breaks_keeps_its_old_item(copy: Path, tmp_path: Path) -> None:
    run(copy, tmp_path / "i")
    before = rows(tmp_path / "i")
    dicom = next(path for path in copy.glob("xray/*.dcm"))
    dicom.write_bytes(dicom.read_bytes()[:-100])
    report = run(copy, tmp_path / "i")
    assert (report.indexed, report.failed) == (0, 1)
    assert rows(tmp_path / "i") == before


def test_changes_are_followed(copy: Path, tmp_path: Path) -> None:
    run(copy, tmp_path / "i")
    touched = next(path for path in copy.glob("retina/*.png"))
    os.utime(touched, ns=(1, 1))
    changed = next(path for path in copy.glob("xray/*.dcm"))
    changed.write_bytes(changed.read_bytes()[:-2] + b"\x07\x00")
    samples = next(path for path in copy.glob("ecg/*.dat"))
    samples.write_bytes(samples.read_bytes()[:-2] + b"\x07\x00")
    gone = next(path for path in copy.glob("pathology/*.tiff"))
    gone.unlink()
    report = run(copy, tmp_path / "i")
    assert (report.indexed, report.gone, report.removed) == (2, 1, 0)
    assert len(rows(tmp_path / "i")) == 15
    report = run(copy, tmp_path / "i", prune=True)
    assert (report.indexed, report.gone, report.removed) == (0, 0, 1)
    assert len(rows(tmp_path / "i")) == 14


def test_what_cannot_be_looked_at_is_not_taken_for_gone(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(copy, tmp_path / "i")
    before = rows(tmp_path / "i")
    listing = os.scandir
    for locked in (copy / "xray", copy):

        def refuse(path: Any, locked: Path = locked) -> Any:  # root may list everything, so the refusal is played
            if Path(path) == locked:
                raise PermissionError(13, "Permission denied")
            return listing(path)

        monkeypatch.setattr(os, "scandir", refuse)
        report = run(copy, tmp_path / "i", prune=True)
        assert (report.indexed, report.gone, report.removed, report.failed) == (0, 0, 0, 1)
        assert rows(tmp_path / "i") == before


def test_files_of_any_name_are_indexed_once_and_followed(copy: Path, phantoms: Phantoms, tmp_path: Path) -> None:
    archive = tmp_path / "odd"
    series = next(folder for folder in sorted(copy.glob("ct/*")) if folder.is_dir())
    slices = sorted(series.iterdir())
    pictures = sorted(copy.glob("*/*.png"))
    (archive / "~tmp").mkdir(parents=True)
    (archive / "@1").mkdir()
    for path in slices[1:]:
        shutil.copy(path, archive / "~tmp")
    shutil.copy(pictures[0], archive / "@1")
    shutil.copy(pictures[1], archive / os.fsdecode(b"fundus sc\xe4n [1]'\n.PNG"))
    assert run(archive, tmp_path / "i").indexed == 3
    assert run(archive, tmp_path / "i").unchanged == 3
    shutil.copy(slices[0], archive / "~tmp")  # a slice that came late
    report = run(archive, tmp_path / "i", prune=True)
    assert (report.indexed, report.unchanged, report.gone, report.removed) == (1, 2, 0, 0)
    assert sorted(row["uri"] for row in rows(tmp_path / "i")) == [
        f"./@1/{pictures[0].name}", "fundus sc\\xe4n [1]'\n.PNG", "~tmp",
    ]  # fmt: skip


def test_two_archives_share_an_index_without_claiming_each_others_items(copy: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_archive(other, patients=1, seed=99, modalities=["ecg", "retina"])
    shutil.copytree(copy / "xray", other / "xray")
    run(copy, tmp_path / "i")
    assert run(other, tmp_path / "i").indexed == 2
    assert len(rows(tmp_path / "i")) == 17
    for archive in (copy, other):
        report = run(archive, tmp_path / "i", prune=True)
        assert (report.indexed, report.gone, report.removed) == (0, 0, 0)
    shutil.rmtree(other / "xray")
    assert run(other, tmp_path / "i", prune=True).removed == 0  # the first archive still has them
    assert len(rows(tmp_path / "i")) == 17


def test_a_copy_that_changes_in_one_archive_leaves_the_others_item_alone(copy: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(copy, tmp_path / "other"))
    run(other, tmp_path / "i")
    before = {row["item_id"]: row["uri"] for row in rows(tmp_path / "i")}
    assert run(copy, tmp_path / "i").indexed == 0
    assert {row["item_id"]: row["uri"] for row in rows(tmp_path / "i")} == before
    series = next(folder for folder in sorted(other.glob("ct/*")) if folder.is_dir())
    changed = [next(other.glob("xray/*.dcm")), next(other.glob("ecg/*.dat")), sorted(series.iterdir())[1]]
    for path in changed:
        path.write_bytes(path.read_bytes()[:-2] + b"\x07\x00")
    next(other.glob("ecg/*.dcm")).unlink()
    assert run(other, tmp_path / "i").indexed == 3
    for archive in (other, copy, other):
        report = run(archive, tmp_path / "i", prune=True)
        assert (report.indexed, report.gone, report.removed) == (0, 0, 0)
    after = {row["item_id"]: row["uri"] for row in rows(tmp_path / "i")}
    assert before.keys() < after.keys()
    assert len(after) == len(before) + 3
    for item_id, uri in before.items():  # those whose copy in the first archive changed are named after the second's
        assert after[item_id] in {uri, f"@1/{uri}"}
    assert sum(uri.startswith("@1/") for uri in after.values()) == 4


def test_undescribed_rasters_take_the_option_then_the_folder_then_the_encoders_word(
    phantoms: Phantoms, tmp_path: Path
) -> None:
    source = next(phantoms[0] / phantom.path for phantom in phantoms[1] if phantom.format == "raster")
    archive = tmp_path / "archive"
    for folder in ("plain", "Fundus photos 2019"):
        (archive / folder).mkdir(parents=True)
    shutil.copy(source, archive / "plain" / "a.png")
    shutil.copy(source, archive / "Fundus photos 2019" / "b.png")
    (archive / "plain" / "a.png").write_bytes(source.read_bytes() + b"\0")  # other bytes, another item
    run(archive, tmp_path / "by-folder")
    said = {row["uri"]: (row["modality"], row["modality_from"]) for row in rows(tmp_path / "by-folder")}
    assert said["Fundus photos 2019/b.png"] == ("retina", "folder")
    assert said["plain/a.png"][1] == "encoder"
    run(archive, tmp_path / "by-option", modality="xray")
    assert {(row["modality"], row["modality_from"]) for row in rows(tmp_path / "by-option")} == {("xray", "option")}


def test_another_encoder_is_refused(indexed: Path, phantoms: Phantoms, tmp_path: Path) -> None:
    from m3search.stores.folder import Manifest

    IndexFolder.create(tmp_path / "i", Manifest(encoder="fake", fingerprint="0" * 64, dim=64))
    with pytest.raises(EncoderMismatch, match="was built with"):
        run(phantoms[0], tmp_path / "i")


def test_a_second_run_at_once_is_refused(phantoms: Phantoms, indexed: Path) -> None:
    with IndexFolder.open(indexed).lock(), pytest.raises(IndexLocked, match="being written by"):
        run(phantoms[0].parent, indexed)
    assert IndexFolder.open(indexed).manifest.archives == (str(phantoms[0]),)


RUN = """
import sys
from m3search.indexer import Options, index
if __name__ == "__main__":
    index(sys.argv[1], sys.argv[2], model="fake", options=Options(workers=1, shard_items=2))
"""


@pytest.mark.parametrize("shards", [0, 1, 4])
def test_kill_9_loses_nothing_that_was_stored_and_duplicates_nothing(
    phantoms: Phantoms, indexed: Path, tmp_path: Path, shards: int
) -> None:
    script = tmp_path / "run.py"
    script.write_text(RUN)
    path = tmp_path / "i"
    process = subprocess.Popen(
        [sys.executable, script, phantoms[0], path], start_new_session=True, stderr=subprocess.DEVNULL
    )
    wait_for_items(path, 2 * shards, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    stored = len(rows(path)) if (path / "manifest.json").exists() else 0
    report = run(phantoms[0], path)
    assert report.indexed == len(phantoms[1]) - stored
    assert rows(path) == rows(indexed)


def wait_for_items(path: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if (path / "manifest.json").exists() and len(rows(path)) >= count:
            return
        time.sleep(0.02)


def test_no_planted_identifier_is_in_anything_written_or_shown(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    phi = Phi(in_paths=True)
    archive, path = tmp_path / "archive", tmp_path / "i"
    written = write_archive(archive, patients=2, seed=3, phi=phi)
    broken = next(file for file in archive.rglob("*.dcm"))
    (broken.parent / "broken.dcm").write_bytes(broken.read_bytes()[:-50])
    (broken.parent / f"{phi.family_name}-2.dcm").write_bytes(broken.read_bytes()[:150])  # its header is lost
    picture = next(file for file in archive.rglob("*.png"))
    (archive / "export").mkdir()
    shutil.copy(picture, archive / "export" / f"{phi.of(0).patient_id} fundus.png")
    # Names in the paths of what is not DICOM, and numbers that no DICOM file states, cannot be told from other words.
    dicom = [phantom for phantom in written if phantom.format == "dicom"]
    assert dicom
    run(archive, path)
    assert run(archive, path).indexed == 0  # masked files are recognised
    assert all(row["text"] for row in rows(path))
    engine = Engine.open(path)
    shown = [repr(engine.failures()), repr(engine.status())]
    for row in rows(path):
        if row["format"] == "dicom" or any(file["path"].startswith("export/") for file in row["files"]):
            shown += [repr(row), repr(engine.show(row["item_id"]))]
    shown.append(engine.search("chest x-ray", k=50, where="format = 'dicom'").to_json())
    named = next(path for path in archive.rglob(f"{phi.accession_number}*.dcm"))
    hits = engine.search(image=named, k=1)
    shown += [hits.to_json(), hits.save_html(tmp_path / "sheet.html").read_text()]
    out, err = capfd.readouterr()
    text = "\n".join([*shown, out, err]).casefold()
    for value in phi.values():
        assert value.casefold() not in text, value


def test_no_planted_identifier_lies_in_the_bytes_of_an_index(tmp_path: Path) -> None:
    phi = Phi()
    write_archive(tmp_path / "archive", patients=1, seed=3, phi=phi)
    run(tmp_path / "archive", tmp_path / "i")
    everything = b"".join(file.read_bytes() for file in (tmp_path / "i").rglob("*") if file.is_file())
    for value in phi.values():
        assert value.encode() not in everything, value
