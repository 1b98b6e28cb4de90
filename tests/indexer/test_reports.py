"""DICOM reports as the text of the items of their study, in one run and over several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m3search.formats.dicom_report import ENCAPSULATED_PDF
from m3search.indexer import Options, Report, index
from m3search.stores.folder import IndexFolder
from tests.formats.test_dicom_report import content, pdf, write_report
from tests.references.rules import RAMP, WINDOW, image

STUDY, OTHER_STUDY = "1.2.826.0.1.3680043.10.2", "1.2.826.0.1.3680043.10.7"
WORDS = "Pneumothorax on the left. Discussed with Dr. Weiss; Erika Mustermann was told on 12 March 2019."


def film(path: Path, number: int, study: str = STUDY) -> Path:
    dataset = image(RAMP + np.uint16(number), **WINDOW)
    dataset.Modality, dataset.StudyInstanceUID = "DX", study
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.3680043.10.5.{number}"
    dataset.save_as(path, enforce_file_format=True)
    return path


def report(path: Path, words: str = WORDS, study: str = STUDY) -> Path:
    return write_report(path, [content("TEXT", "Finding", TextValue=words)], StudyInstanceUID=study)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    folder.mkdir()
    film(folder / "a.dcm", 1)
    film(folder / "b.dcm", 2)
    film(folder / "other.dcm", 3, OTHER_STUDY)
    return folder


def run(archive: Path, **options: Any) -> Report:
    return index(archive, archive.parent / "index", model="fake", options=Options(workers=0, **options))


def texts(archive: Path) -> dict[str, str]:
    record = IndexFolder.open(archive.parent / "index").record()
    return {row["uri"]: row["text"] or "" for row in record.rows(record.matching()).to_pylist()}


def failures(archive: Path) -> dict[str, str]:
    rows = IndexFolder.open(archive.parent / "index").record().failures().to_pylist()
    return {row["uri"]: row["reason"] for row in rows}


def test_a_report_is_the_text_of_all_items_of_its_study(archive: Path) -> None:
    report(archive / "sr.dcm")
    done = run(archive)
    assert (done.indexed, done.failed) == (3, 0)
    found = texts(archive)
    assert (
        found["a.dcm"]
        == found["b.dcm"]
        == ("Finding: Pneumothorax on the left. Discussed with Dr. [removed]; [removed] [removed] was told on 2019.")
    )
    assert found["other.dcm"] == ""


def test_what_did_not_change_is_not_read_again(archive: Path) -> None:
    report(archive / "sr.dcm")
    run(archive)
    again = run(archive)
    assert (again.indexed, again.unchanged, again.failed) == (0, 3, 0)


def test_a_report_that_comes_later_changes_or_goes_brings_its_items_back(archive: Path) -> None:
    run(archive)
    before = set(texts(archive))
    path = report(archive / "sr.dcm", "Clear lungs.")
    assert (run(archive).indexed, texts(archive)["a.dcm"]) == (2, "Finding: Clear lungs.")
    report(path, "Clear lungs, large heart.")
    assert (run(archive).indexed, texts(archive)["b.dcm"]) == (2, "Finding: Clear lungs, large heart.")
    path.unlink()
    assert (run(archive).indexed, texts(archive)["a.dcm"]) == (2, "")
    assert set(texts(archive)) == before
    assert run(archive).indexed == 0


def test_an_image_that_comes_later_has_the_report_of_its_study(archive: Path) -> None:
    report(archive / "sr.dcm", "Clear lungs.")
    run(archive)
    film(archive / "c.dcm", 9)
    done = run(archive)
    assert (done.indexed, done.unchanged) == (1, 3)
    assert texts(archive)["c.dcm"] == "Finding: Clear lungs."


def test_several_reports_are_joined_and_a_manifest_says_it_better(archive: Path) -> None:
    report(archive / "1.dcm", "Preliminary: clear.")
    document = pdf("Final: small effusion.")
    write_report(archive / "2.dcm", [], ENCAPSULATED_PDF, EncapsulatedDocument=document, StudyInstanceUID=STUDY)
    (archive / "manifest.csv").write_text("path,text\nb.dcm,By hand.\n")
    run(archive)
    assert texts(archive)["a.dcm"] == "Finding: Preliminary: clear.\n\nFinal: small effusion."
    assert texts(archive)["b.dcm"] == "By hand."


def test_a_report_without_items_or_text_is_named(archive: Path) -> None:
    report(archive / "sr.dcm", study="1.2.826.0.1.3680043.10.99")
    write_report(archive / "scan.dcm", [], ENCAPSULATED_PDF, EncapsulatedDocument=pdf())
    for _ in range(2):
        assert (run(archive).failed, failures(archive)) == (2, {"sr.dcm": "unsupported", "scan.dcm": "unsupported"})
    film(archive / "late.dcm", 5, "1.2.826.0.1.3680043.10.99")
    assert (run(archive).indexed, failures(archive)) == (1, {"scan.dcm": "unsupported"})


def test_no_name_of_a_report_reaches_the_index(archive: Path) -> None:
    names = [content("PNAME", "Person Observer Name", "HAS OBS CONTEXT", PersonName="Zwackelmann^Otto")]
    words = "Zwackelmann saw Mustermann, 4711-X, born 1950-01-31."
    write_report(archive / "sr.dcm", [*names, content("TEXT", TextValue=words)], PatientBirthDate="19500131")
    run(archive)
    stored = b"".join(path.read_bytes() for path in (archive.parent / "index").rglob("*") if path.is_file())
    assert not [secret for secret in (b"Zwackelmann", b"Mustermann", b"4711-X", b"1950-01-31") if secret in stored]
