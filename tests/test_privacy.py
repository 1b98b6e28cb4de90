"""Pseudonyms, path masks, text scrubbing, and that no planted identifier leaves the archive."""

from __future__ import annotations

import csv
import os
import re
import shutil
import stat
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from m3search.cli.commands import app
from m3search.indexer import Options, index
from m3search.phantoms import Phi, write_archive
from m3search.privacy import OTHER_ARCHIVE, PathMask, Pseudonyms, findings, scrub
from m3search.search import Engine
from m3search.stores.folder import IndexFolder


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


def test_a_uid_in_a_name_is_masked_though_no_header_states_it(pseudonyms: Pseudonyms, tmp_path: Path) -> None:
    mask = PathMask(pseudonyms)
    file = tmp_path / "1.2.840.113619.2.55.3" / "scan.nii.gz"
    file.parent.mkdir()
    file.write_bytes(b"x")
    uri = mask.uri(file.relative_to(tmp_path))
    assert re.fullmatch(r"~[0-9a-f]{16}/scan\.nii\.gz", uri)
    assert mask.resolve(tmp_path, uri) == file
    assert mask.uri(Path("v1.2.3/a.png")) == "v1.2.3/a.png"


def test_scrubbing_removes_identifiers_in_any_case_and_leaves_the_rest() -> None:
    assert scrub("Jane DOE: effusion. doe again.", ["Doe", "Jane Doe"]) == "[removed]: effusion. [removed] again."
    assert scrub("effusion", ["", "ion"]) == "effusion"
    assert scrub("Sclerosed. Rose was seen.", ["Rose"]) == "Sclerosed. [removed] was seen."
    assert scrub("Frau Müller; MULLER", ["Müller"]) == "Frau [removed]; [removed]"
    assert scrub("Saint\n  Anne ward 12345, 123456", ["Saint Anne", "12345"]) == "[removed] ward [removed], [removed]"
    assert scrub("QRS 100 ms", ["100"]) == "QRS 100 ms"  # so short a number is not telling


@pytest.mark.parametrize(
    "date", ["12/08/1943", "1943-08-12", "12.8.1943", "12 August 1943", "August 12th, 1943", "19430812", "12/08/43"]
)
def test_a_date_of_birth_goes_in_every_spelling_and_other_dates_become_years(date: str) -> None:
    assert scrub(f"seen {date}.", ["19430812"]) == "seen [removed]."
    assert scrub(f"seen {date}.") == "seen 1943."


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("Compared with 27 January 2020, 14:05 and March 2019.", "Compared with 2020 and 2019."),
        ("Admitted on March 5, worse on 7 May.", "Admitted on [removed], worse on [removed]."),
        ("A 93-year-old woman, aged 91", "A 90+-year-old woman, aged 90+"),
        ("Dr. Anna van Dyk reports to Prof Smith.", "Dr. [removed] reports to Prof [removed]."),
        ("Reported by: SMITH, Anna. Name: Jo Bloggs", "Reported by: [removed]. Name: [removed]"),
        ("call 555-123-4567 or (555) 123 4567, fax: 12345-67", "call [removed] or [removed], fax: [removed]"),
        ("MRN 4471, Accession #: A-1234/5, case no. 77b", "MRN [removed], Accession #: [removed], case no. [removed]"),
        ("mail a.b@c.example, UID 1.2.840.10008.1.2.3", "mail [removed], UID [removed]"),
        ("lives at 17 Nightjar Crescent, seen at Royal Free Hospital", "lives at [removed], seen at [removed]"),
        ("DOB: 1.2.1950, id 20481234", "DOB: [removed], id [removed]"),
    ],
)
def test_what_looks_like_an_identifier_goes(text: str, scrubbed: str) -> None:
    assert scrub(text) == scrubbed
    assert scrub(scrubbed) == scrubbed
    assert findings(text)


@pytest.mark.parametrize(
    "text",
    [
        "Nodule of 12.5 x 8.0 mm in segment 6, ratio 5/5, 3/6 murmur, L4/L5, T2 at 10-12 cm.",
        "this may be due to LV strain, II, aVF, V4,5,6. PR 120 ms, 25.7 pg/ml (0.1-2.9).",
        "WBC 7.9 x10^9/L, platelets 250000/µL, 1200000 copies/ml. MR angiography. Class 2. May be repeated.",
        "An 89-year-old man, day 12 of 14; 45 pack-years; grade 3 of 4; C34.1.",
        "Physician's impression: Normal. Patient: Male, 56 years. PA view, 2020.",
    ],
)
def test_medical_words_and_numbers_stay(text: str) -> None:
    assert scrub(text) == text


@pytest.mark.shared_data
def test_scrubbing_leaves_real_report_texts_as_they_are(shared_data: Path) -> None:
    """But for real dates and ages over 89: 15 of 4,487 texts, 16 of 67,440 words."""
    texts, kinds = 0, Counter[str]()
    for manifest in sorted(shared_data.glob("train/*/manifest.csv")):
        with manifest.open(encoding="utf-8") as file:
            for row in list(csv.DictReader(file))[::5]:
                texts += 1
                kinds += findings(row["text"])
                assert findings(row["labels"].replace("|", "; ")) == {}
    assert kinds.keys() <= {"date", "age over 89"}
    assert kinds.total() < texts / 100


def test_none_of_16_planted_values_is_stored_or_shown(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """DICOM, WFDB and reports, with and without a header beside them, and with identifiers in paths."""
    phi = Phi(in_paths=True)
    archive, index = tmp_path / "archive", tmp_path / "i"
    written = write_archive(archive, patients=2, seed=3, modalities=["xray", "ecg", "retina"], phi=phi)
    assert {phantom.format for phantom in written} == {"dicom", "wfdb", "raster"}
    beside = next(file for file in archive.rglob("*.png"))
    (archive / "export").mkdir()
    shutil.copy(beside, archive / "export" / "a.png")
    (archive / "export" / "a.png").write_bytes(beside.read_bytes() + b"\0")
    (archive / "export" / "a.txt").write_text(phi.of(1).report("No haemorrhage."), encoding="utf-8")
    broken = next(file for file in archive.rglob("*.dcm"))
    (broken.parent / "broken.dcm").write_bytes(broken.read_bytes()[:-50])
    caplog.set_level("INFO")
    run = CliRunner()
    shown = [
        run.invoke(app, [*map(str, arguments), "--index", str(index)]).output
        for arguments in (
            ("index", archive, "--model", "fake", "--workers", 0, "--modality", "retina"),
            ("index", archive, "--workers", 0, "--json"),
            ("failures",), ("failures", "--json"), ("status",), ("audit", "--json"), ("privacy-report", "--json"),
            ("query", "chest x-ray", "-k", 50, "--json"), ("query", "haemorrhage", "--mode", "text", "--csv"),
            ("query", phi.family_name, "--html", tmp_path / "sheet.html", "--csv"),
            ("query", "--image", broken, "--csv"), ("query", "--item", "zzzz"), ("duplicates", "--json"),
            ("export", tmp_path / "items.parquet", "--thumbnails"), ("verify", "--json"),
        )
    ]  # fmt: skip
    assert '"failed": 1' in shown[1]
    sheet = (tmp_path / "sheet.html").read_text().replace(phi.family_name, "the query itself")
    engine = Engine.open(index)
    ids = engine.store.matching()
    assert len(ids) == 7
    items = [engine.show(item_id) for item_id in ids]
    assert all(item["text"] for item in items)
    assert any("No haemorrhage" in item["text"] for item in items)
    exported = pq.read_table(tmp_path / "items.parquet").drop_columns(["vector", "text_vector"]).to_pylist()
    files = b"".join(file.read_bytes() for file in index.rglob("*") if file.is_file())
    everything = "\n".join([*shown, sheet, repr(items), repr(exported), caplog.text, *capfd.readouterr()]).casefold()
    for value in phi.of(0).values() + phi.of(1).values() + phi.values():
        assert value.casefold() not in everything, value
        assert value.encode() not in files, value
    assert not re.search(r"(?<![\d.])\d+(\.\d+){5,}", everything)  # no UID either


def test_what_a_manifest_says_is_remembered_under_the_key(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    write_archive(archive, patients=1, seed=3, modalities=["retina"])
    described = []
    for name in ("i", "j"):
        index(archive, tmp_path / name, model="fake", options=Options(workers=0))
        assert index(archive, tmp_path / name, options=Options(workers=0)).unchanged == 1
        described += IndexFolder.open(tmp_path / name).record().ledger()["described"].to_pylist()
    assert len(set(described)) == 2
