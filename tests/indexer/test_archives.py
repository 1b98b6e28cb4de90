"""Folders and manifests as archives."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from m3search.errors import Reason, UnreadableFile, UsageError
from m3search.indexer.archives import open_archive
from m3search.indexer.archives.base import FileStat
from m3search.stores.folder import IndexFolder, Manifest


def scanned(location: Path) -> tuple[list[str], list[UnreadableFile]]:
    archive = open_archive(location)
    found = list(archive.scan())
    files = [str(one.path.relative_to(archive.root)) for one in found if isinstance(one, FileStat)]
    return files, [one for one in found if isinstance(one, UnreadableFile)]


def test_a_folder_gives_every_file_in_order_and_no_hidden_ones(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/1.png", "a.png", ".hidden/x.png", ".m3search/y"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert scanned(tmp_path) == (["a.png", "b/1.png", "b/2.png"], [])


def test_links_are_followed_and_loops_are_cut(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").write_bytes(b"x")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    files, errors = scanned(tmp_path)
    assert files == ["a/1.png"]
    assert [error.reason for error in errors] == [Reason.MISSING_FILE]


def test_a_folder_that_may_not_be_listed_is_one_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locked").mkdir()
    (tmp_path / "open.png").write_bytes(b"x")
    import os

    listing = os.scandir

    def refuse(path: Path) -> object:  # root may list everything, so the refusal is played
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return listing(path)

    monkeypatch.setattr(os, "scandir", refuse)
    files, errors = scanned(tmp_path)
    assert files == ["open.png"]
    assert [(error.path.name, error.reason) for error in errors] == [("locked", Reason.PERMISSION)]


def test_manifests_describe_files_wherever_they_lie(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "1.png").write_bytes(b"x")
    (tmp_path / "site" / "manifest.csv").write_text(
        "path,modality,text,labels,sex,unknown\n1.png,XRAY,Effusion.,Pleural effusion|Cardiomegaly,female,?\n"
    )
    archive = open_archive(tmp_path)
    assert [one.path.name for one in archive.scan() if isinstance(one, FileStat)] == ["1.png"]
    row = archive.rows[tmp_path / "site" / "1.png"]
    assert (row.modality, row.sex, row.labels) == ("xray", "F", ("Pleural effusion", "Cardiomegaly"))


def test_a_foreign_manifest_is_a_failure_and_the_scan_goes_on(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("colour,weight\nred,1\n")
    (tmp_path / "z.png").write_bytes(b"x")
    files, errors = scanned(tmp_path)
    assert files == ["z.png"]
    assert "no column 'path'" in errors[0].message


def test_a_line_that_cannot_be_right_costs_its_own_file_and_no_other(tmp_path: Path) -> None:
    folder = tmp_path / "Doe_Jane"
    folder.mkdir()
    for name in ("1.png", "2.png", "3.png", "a.png"):
        (folder / name).write_bytes(b"x")
    (folder / "manifest.csv").write_text(
        "path,modality,text\n1.png,xray,One.\n2.png,Jane Doe,Two.\n"
        "../4.png,ct,Out.\n../5.png,ct,Out.\n3.png,ct,Three.\n"
    )
    files, errors = scanned(tmp_path)
    assert files == ["Doe_Jane/1.png", "Doe_Jane/3.png", "Doe_Jane/a.png"]
    assert [(error.path.name, error.reason) for error in errors] == [
        ("manifest.csv", Reason.CORRUPT),
        ("2.png", Reason.UNSUPPORTED),
    ]
    assert "line 4: its path leads out" in errors[0].message
    assert "1 more" in errors[0].message
    assert "line 3: its modality is none of" in errors[1].message
    assert not any("Doe" in error.message for error in errors)
    archive = open_archive(tmp_path)
    list(archive.scan())
    assert [row.text for row in archive.rows.values()] == ["One.", "Three."]


def test_a_manifest_that_stops_being_text_is_believed_up_to_there(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"x")
    (tmp_path / "manifest.csv").write_bytes(b"path,text\n1.png,One.\n2.png," + "Größe".encode("latin-1") + b"\n")
    files, errors = scanned(tmp_path)
    assert files == ["1.png"]
    assert "UTF-8" in errors[0].message


def test_an_index_inside_an_archive_is_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    IndexFolder.create(tmp_path / "my index", Manifest(encoder="fake", fingerprint="0", dim=8))
    assert scanned(tmp_path) == (["a.png"], [])


def test_a_manifest_as_archive_lists_only_its_files(tmp_path: Path) -> None:
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_bytes(b"x")
    listing = tmp_path / "some.csv"
    listing.write_text("path,modality\n1.png,retina\ngone.png,retina\n")
    files, errors = scanned(listing)
    assert files == ["1.png"]
    assert [error.reason for error in errors] == [Reason.MISSING_FILE]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path,modality\n1.png,mri\n", "line 2: its modality is none of xray"),
        ("path\n../1.png\n", "leads out of the manifest's folder"),
        ("path\n/etc/hostname\n", "leads out of the manifest's folder"),
    ],
)
def test_a_wrong_manifest_names_the_line_and_what_is_wrong(tmp_path: Path, content: str, message: str) -> None:
    listing = tmp_path / "some.csv"
    listing.write_text(content)
    with pytest.raises(UsageError, match=message):
        list(open_archive(listing).scan())


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(UsageError, match="neither a folder, a zip or tar file, nor a manifest"):
        open_archive(tmp_path / "a.png")
    with pytest.raises(UsageError, match="no folder or manifest"):
        open_archive(tmp_path / "nothing")


def test_pipes_and_devices_are_never_opened(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    os.mkfifo(tmp_path / "a" / "scan.dcm")
    os.mkfifo(tmp_path / "a" / "manifest.csv")
    (tmp_path / "zero.dcm").symlink_to("/dev/zero")
    (tmp_path / "z.png").write_bytes(b"x")
    files, errors = scanned(tmp_path)
    assert files == ["z.png"]
    assert [(error.path.name, error.reason) for error in errors] == [("manifest.csv", Reason.UNSUPPORTED)]
    listing = tmp_path / "some.csv"
    listing.write_text("path\na/scan.dcm\nz.png\n")
    files, errors = scanned(listing)
    assert files == ["z.png"]
    assert [error.reason for error in errors] == [Reason.UNSUPPORTED]


def test_folders_nested_deeper_than_calls_may_be(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):  # step by step: the whole path may be longer than the system takes
        os.mkdir("d", dir_fd=here)
        here, above = os.open("d", os.O_RDONLY, dir_fd=here), here
        os.close(above)
    os.close(os.open("deep.png", os.O_CREAT, dir_fd=here))
    os.close(here)
    files, errors = scanned(tmp_path)
    subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)  # deeper than pytest can clean up
    assert (len(files), errors) == (1, [])


def test_folders_that_link_to_each_other_do_not_multiply_without_end(tmp_path: Path) -> None:
    count = 7  # 7! ways to walk through them all
    for one in range(count):
        (tmp_path / f"{one}").mkdir()
        (tmp_path / f"{one}" / "x.png").write_bytes(b"x")
        for other in range(count):
            (tmp_path / f"{one}" / f"to{other}").symlink_to(tmp_path / f"{other}")
    (tmp_path / "itself").symlink_to(tmp_path / "itself")
    files, errors = scanned(tmp_path)
    assert {f"{one}/x.png" for one in range(count)} <= set(files)
    assert len(files) <= count * 17
    assert {error.path.name for error in errors} <= {"itself"}


def test_a_report_beside_a_file_is_its_text_where_no_manifest_says_more(tmp_path: Path) -> None:
    for name in ("a.dcm", "b.nii.gz", "c.hea", "c.dat", "d.png", "e.png", "f.png"):
        (tmp_path / name).write_bytes(b"x")
    for name, report in {
        "a.dcm.txt": b"of a", "b.txt": "\ufeffof b".encode(), "c.txt": "caf\xe9".encode("latin-1"),
        "d.txt": b"beside", "f.txt": b"\0\1", "nothing.txt": b"of nothing",
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(report)
    (tmp_path / "manifest.csv").write_text("path,text,patient_id\nd.png,listed,\na.dcm,,P7\n")
    archive = open_archive(tmp_path)
    list(archive.scan())
    texts = {path.name: row.text for path, row in archive.rows.items()}
    assert texts == {"a.dcm": "of a", "b.nii.gz": "of b", "c.hea": "café", "d.png": "listed"}
    assert archive.rows[tmp_path / "a.dcm"].patient_id == "P7"
