"""Zip and tar files as archives, and within one."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from m3search.errors import Reason
from m3search.indexer import Options, index, retry_failures
from m3search.indexer.archives import containers
from m3search.indexer.archives.containers import Unpacking, list_members
from m3search.phantoms import write_archive
from m3search.search import Engine


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DICOM series, a film, a WFDB record and a NIfTI volume, with manifests."""
    folder = tmp_path_factory.mktemp("packed") / "files"
    write_archive(folder, patients=2, seed=3, modalities=["xray", "ct", "ecg"])
    return folder


def pack_zip(files: Path, to: Path) -> None:
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(files.rglob("*")):
            packed.write(path, path.relative_to(files))


def pack_tar(files: Path, to: Path) -> None:
    modes = {".gz": "w:gz", ".tgz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}
    mode = modes.get(to.suffix.casefold(), "w")
    with tarfile.open(to, mode) as packed:  # type: ignore[call-overload]
        for path in sorted(files.iterdir()):
            packed.add(path, path.name)


def stored(path: Path) -> dict[str, dict[str, object]]:
    """Items by the end of their uri, without what depends on where files lie."""
    record = Engine.open(path).store.record
    rows = record.rows(record.matching()).select(["item_id", "uri", "text", "labels", "parts", "modality"]).to_pylist()
    return {"/".join(row.pop("uri").split("/")[-2:]): row for row in rows}


@pytest.fixture(scope="module")
def unpacked(files: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    path = tmp_path_factory.mktemp("unpacked") / "index"
    index(files, path, model="fake", options=Options(workers=0))
    return stored(path)


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.TAR.XZ", "a.tar.bz2"])
def test_members_are_the_items_of_the_unpacked_files(
    name: str, files: Path, unpacked: dict[str, dict[str, object]], tmp_path: Path
) -> None:
    place = tmp_path / "archive" / name
    place.parent.mkdir()
    (pack_zip if name.endswith(".zip") else pack_tar)(files, place)
    alone, within = tmp_path / "alone", tmp_path / "within"
    first = index(place, alone, model="fake", options=Options(workers=0))
    assert (first.indexed, first.failed) == (len(unpacked), 0)
    assert stored(alone) == unpacked
    assert all(row["text"] for row in unpacked.values())  # of manifests inside
    assert index(place, alone, model="fake", options=Options(workers=0)).unchanged == len(unpacked)
    index(place.parent, within, model="fake", options=Options(workers=0))
    assert stored(within) == unpacked
    uris = Engine.open(within).store.record.tally("uri")
    assert all(uri.startswith(f"{name}/") for uri in uris)
    assert not list(alone.glob("*.tmp"))


def test_in_worker_processes(files: Path, unpacked: dict[str, dict[str, object]], tmp_path: Path) -> None:
    pack_tar(files, tmp_path / "a.tgz")
    index(tmp_path / "a.tgz", tmp_path / "index", model="fake", options=Options(workers=2))
    assert stored(tmp_path / "index") == unpacked


def test_a_changed_zip_file_is_read_anew_and_what_is_in_it_still_is_not(files: Path, tmp_path: Path) -> None:
    place = tmp_path / "archive" / "a.zip"
    place.parent.mkdir()
    pack_zip(files / "xray", place)
    index(place.parent, tmp_path / "index", model="fake", options=Options(workers=0))
    with zipfile.ZipFile(place, "a") as packed:
        packed.writestr("more.dcm", damaged_film(files))
    report = index(place.parent, tmp_path / "index", model="fake", options=Options(workers=0))
    assert (report.indexed, report.unchanged, report.failed) == (1, 2, 0)
    place.unlink()
    gone = index(place.parent, tmp_path / "index", model="fake", options=Options(workers=0, prune=True))
    assert (gone.removed, gone.by_modality) == (3, {})


def damaged_film(files: Path) -> bytes:
    """A film unlike every other."""
    content = bytearray(next((files / "xray").glob("*.dcm")).read_bytes())
    content[-1] ^= 1
    return bytes(content)


def failures(path: Path) -> dict[str, tuple[str, str]]:
    return {row["uri"]: (row["reason"], row["message"]) for row in Engine.open(path).failures()}


def write_zip(to: Path, members: Iterable[tuple[str, bytes]]) -> None:
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members:
            packed.writestr(name, content)


def write_tar(to: Path, members: Iterable[tuple[str, bytes]]) -> None:
    with tarfile.open(to, "w:gz" if to.suffix == ".gz" else "w") as packed:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize(("name", "write"), [("a.zip", write_zip), ("a.tar", write_tar), ("a.tar.gz", write_tar)])
def test_names_that_lead_elsewhere_are_left_out_and_overwrite_nothing(
    name: str, write: Callable[[Path, Iterable[tuple[str, bytes]]], None], files: Path, tmp_path: Path
) -> None:
    place = tmp_path / "archive" / name
    place.parent.mkdir()
    film = damaged_film(files)
    write(place, [
        ("../Jane_Doe.dcm", film), ("/tmp/Jane_Doe.dcm", film), ("x/../../Jane_Doe.dcm", film), ("..\\Jane.dcm", film),
        ("good/film.dcm", film), ("good/.hidden.dcm", film), ("__MACOSX/._film.dcm", film), ("inner.zip", b"PK"),
    ])  # fmt: skip
    before = sorted(tmp_path.rglob("*"))
    report = index(place.parent, tmp_path / "index", model="fake", options=Options(workers=0))
    assert (report.indexed, report.failed) == (1, 1)
    ((reason, message),) = failures(tmp_path / "index").values()
    assert reason == Reason.UNSUPPORTED
    assert "4 members have names that lead out of it" in message
    assert "1 members are zip or tar files themselves" in message
    assert "Jane" not in message
    assert [path for path in sorted(tmp_path.rglob("*")) if tmp_path / "index" not in (path, *path.parents)] == before


def test_links_and_devices_in_a_tar_file_are_no_members(files: Path, tmp_path: Path) -> None:
    place = tmp_path / "a.tar"
    with tarfile.open(place, "w") as packed:
        packed.add(next((files / "xray").glob("*.dcm")), "film.dcm")
        for name, kind in (("link.dcm", tarfile.SYMTYPE), ("device.dcm", tarfile.CHRTYPE), ("pipe", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/hostname"
            packed.addfile(info)
    listing = list_members(place, tmp_path / "scratch")
    assert [one.path.name for one in listing.members] == ["film.dcm"]
    assert listing.failures == ()


def test_an_encrypted_member_is_named_with_what_to_do(files: Path, tmp_path: Path) -> None:
    place = tmp_path / "a.zip"
    write_zip(place, [("a.dcm", damaged_film(files))])
    content = bytearray(place.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + flags] |= containers.ENCRYPTED
    place.write_bytes(content)
    index(place, tmp_path / "index", model="fake", options=Options(workers=0))
    assert failures(tmp_path / "index") == {
        ".": ("unsupported", "1 members are encrypted; unpack it with its password")
    }


def test_what_inflates_beyond_measure_is_never_inflated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "SUSPICIOUS_BYTES", 1 << 20)
    write_zip(tmp_path / "a.zip", [("bomb.dcm", bytes(4 << 20)), ("small.txt", b"harmless")])
    listing = list_members(tmp_path / "a.zip", tmp_path / "scratch")
    assert [(one.reason, one.path.name) for one in listing.failures] == [(Reason.TOO_LARGE, "a.zip")]
    assert [one.path.name for one in listing.members] == ["small.txt"]
    write_tar(tmp_path / "a.tar.gz", [("bomb.dcm", bytes(4 << 20))])
    with pytest.raises(containers.UnreadableFile) as caught:
        list_members(tmp_path / "a.tar.gz", tmp_path / "scratch")
    assert caught.value.reason is Reason.TOO_LARGE


def test_members_that_overlap_are_refused(files: Path, tmp_path: Path) -> None:
    place = tmp_path / "a.zip"
    film = damaged_film(files)
    with zipfile.ZipFile(place, "w") as packed:
        packed.writestr("0.dcm", film)
        for number in range(1, 4):  # the same bytes again, under other names
            packed.filelist.append(packed.filelist[0].__class__(f"{number}.dcm"))
            for attribute in ("CRC", "compress_size", "file_size", "header_offset", "external_attr"):
                setattr(packed.filelist[-1], attribute, getattr(packed.filelist[0], attribute))
        packed._didModify = True  # type: ignore[attr-defined]
    with pytest.raises(containers.UnreadableFile, match="overlap"):
        list_members(place, tmp_path / "scratch")


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
def test_a_truncated_one_is_named_and_what_is_whole_in_it_is_read(name: str, files: Path, tmp_path: Path) -> None:
    place = tmp_path / "archive" / name
    place.parent.mkdir()
    (pack_zip if name.endswith(".zip") else pack_tar)(files, place)
    whole = place.read_bytes()
    place.write_bytes(whole[: len(whole) * 2 // 3])
    report = index(place.parent, tmp_path / "index", model="fake", options=Options(workers=0))
    found = failures(tmp_path / "index")
    assert found[name][0] in ("truncated", "corrupt")
    assert (report.indexed > 0) == (name != "a.zip")  # whose list is at its end
    place.write_bytes(whole)
    (again,) = retry_failures(tmp_path / "index", options=Options(workers=0))
    assert again.failed == 0
    assert index(place.parent, tmp_path / "index", model="fake", options=Options(workers=0)).failed == 0
    assert sum(Engine.open(tmp_path / "index").status().by_modality.values()) == 6


def test_damage_inside_costs_one_member(files: Path, tmp_path: Path) -> None:
    place = tmp_path / "a.zip"
    pack_zip(files / "xray", place)
    content = bytearray(place.read_bytes())
    content[len(content) // 4] ^= 0xFF
    place.write_bytes(content)
    report = index(place, tmp_path / "index", model="fake", options=Options(workers=0))
    assert (report.indexed, report.failed) == (1, 1)
    ((reason, message),) = failures(tmp_path / "index").values()
    assert reason == "corrupt"
    assert "its zip or tar file is damaged" in message


def test_what_is_no_zip_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "a.zip").write_bytes(b"no zip file")
    (tmp_path / "archive" / "a.tar.gz").write_bytes(b"no tar file")
    (tmp_path / "archive" / "empty.zip").write_bytes(b"")
    report = index(tmp_path / "archive", tmp_path / "index", model="fake", options=Options(workers=0))
    assert report.failed == 3
    assert {reason for reason, _ in failures(tmp_path / "index").values()} <= {"corrupt", "truncated"}


def test_copies_are_the_members_bytes(files: Path, tmp_path: Path) -> None:
    pack_tar(files, tmp_path / "a.tar.gz")
    access = Unpacking(tmp_path / "scratch")
    for stat in list_members(tmp_path / "a.tar.gz", tmp_path / "scratch").members:
        access.copy(stat.path, tmp_path / "copy")
        original = files / stat.path.relative_to(tmp_path / "a.tar.gz")
        assert (tmp_path / "copy").read_bytes() == original.read_bytes()
        assert access.stat(stat.path) == stat
        assert access.on_disk(stat.path) is None
    assert access.on_disk(tmp_path / "a.tar.gz") == tmp_path / "a.tar.gz"
    with pytest.raises(FileNotFoundError):
        access.copy(tmp_path / "a.tar.gz" / "nothing.dcm", tmp_path / "copy")
