"""Pseudonyms, path masks and text scrubbing."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from m3search.privacy import OTHER_ARCHIVE, PathMask, Pseudonyms, scrub


@pytest.fixture
def pseudonyms() -> Pseudonyms:
    return Pseudonyms(b"k" * 32)


def test_a_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    file = tmp_path / "pseudonym.key"
    first = Pseudonyms.load(file).of("4711")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert Pseudonyms.load(file).of("4711") == first


def test_pseudonyms_differ_between_indexes_and_never_contain_the_identifier(pseudonyms: Pseudonyms) -> None:
    assert pseudonyms.of("4711") != Pseudonyms(b"l" * 32).of("4711")
    assert "4711" not in pseudonyms.of("4711")
    assert pseudonyms.of("") == ""


def test_a_folder_named_after_a_patient_is_masked_for_every_file_below_it(pseudonyms: Pseudonyms) -> None:
    mask = PathMask(pseudonyms)
    mask.learn(Path("77654033/CT2/17106.dcm"), ["77654033", "Doe"])
    uri = mask.uri(Path("77654033/CR1/6154.dcm"))
    assert uri.startswith("~")
    assert uri.endswith("/CR1/6154.dcm")
    assert "77654033" not in uri


@pytest.mark.parametrize("name", ["DOE_JANE.dcm", "scan-doe_jane-1.dcm", "doe_jane"])
def test_names_are_found_inside_file_names_in_any_case(pseudonyms: Pseudonyms, name: str) -> None:
    mask = PathMask(pseudonyms)
    mask.learn(Path(name), ["Doe_Jane"])
    assert "doe" not in mask.uri(Path(name)).casefold()


def test_short_identifiers_mask_only_what_equals_them(pseudonyms: Pseudonyms) -> None:
    mask = PathMask(pseudonyms)
    mask.learn(Path("1/image10.dcm"), ["1"])
    assert mask.uri(Path("1/image10.dcm")).endswith("/image10.dcm")
    assert not mask.uri(Path("1/image10.dcm")).startswith("1/")


def test_a_masked_file_is_found_again(pseudonyms: Pseudonyms, tmp_path: Path) -> None:
    file = tmp_path / "77654033" / "a.dcm"
    file.parent.mkdir()
    file.write_bytes(b"x")
    mask = PathMask(pseudonyms, prefix="@1/")
    mask.learn(Path("77654033/a.dcm"), ["77654033"])
    uri = mask.uri(Path("77654033/a.dcm"))
    assert mask.resolve(tmp_path, uri) == file
    remembered = PathMask(pseudonyms, known=[uri], prefix="@1/")
    assert remembered.uri(Path("77654033/a.dcm")) == uri
    file.unlink()
    file.parent.rmdir()
    with pytest.raises(FileNotFoundError):
        mask.resolve(tmp_path, uri)


def test_names_that_look_like_something_else_are_found_again(pseudonyms: Pseudonyms, tmp_path: Path) -> None:
    odd = Path(os.fsdecode(b"sc\xe4n.png"))  # no UTF-8
    masked = Path("77654033/~tmp/a.png")
    for mask in (PathMask(pseudonyms), PathMask(pseudonyms, prefix="@1/")):
        mask.learn(masked, ["77654033"])
        for name in (odd, Path("~tmp/a.png"), Path("@1/a.png"), masked):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"x")
            uri = mask.uri(name)
            uri.encode()  # can be stored
            assert bool(OTHER_ARCHIVE.match(uri)) == bool(mask.prefix)
            assert mask.resolve(tmp_path, uri) == tmp_path / name


def test_scrubbing_removes_identifiers_in_any_case_and_leaves_the_rest() -> None:
    assert scrub("Jane DOE: effusion. doe again.", ["Doe", "Jane Doe"]) == "[removed]: effusion. doe again."
    assert scrub("effusion", ["", "ion"]) == "effusion"
