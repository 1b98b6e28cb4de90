"""Reports inside DICOM: what is read of structured reports and of PDF, and what is not."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from m3search.errors import Reason, UnreadableFile
from m3search.formats import dicom_report
from m3search.formats.dicom_report import DEEPEST, ENCAPSULATED_PDF, MOST_ITEMS, read_report

BASIC_TEXT = "1.2.840.10008.5.1.4.1.1.88.11"
PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"


def content(kind: str, concept: str = "", relation: str = "CONTAINS", **elements: Any) -> Dataset:
    """One item of a content tree."""
    item = Dataset()
    item.RelationshipType, item.ValueType = relation, kind
    if concept:
        item.ConceptNameCodeSequence = [code(concept)]
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def code(meaning: str, value: str = "1") -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "99TEST", meaning
    return item


def write_report(path: Path, items: list[Dataset], storage: str = BASIC_TEXT, **elements: Any) -> Path:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = storage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.826.0.1.3680043.10.9"
    dataset.SpecificCharacterSet, dataset.Modality = "ISO_IR 192", "DOC" if storage == ENCAPSULATED_PDF else "SR"
    dataset.StudyInstanceUID = "1.2.826.0.1.3680043.10.2"
    dataset.PatientName, dataset.PatientID = "Mustermann^Erika", "4711-X"
    if items:
        dataset.ValueType, dataset.ContentSequence = "CONTAINER", items
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


def pdf(*lines: str) -> bytes:
    """A PDF of one page, its text not compressed."""
    words = "".join(f"({line}) Tj 0 -14 Td " for line in lines)
    stream = f"BT /F1 12 Tf 50 700 Td {words} ET".encode()
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    document, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        places.append(len(document))
        document += b"%d 0 obj%s endobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    start = len(document)
    return document + b"xref\n0 6\n0000000000 65535 f \n%strailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (
        table, start,
    )  # fmt: skip


def reason_of(path: Path) -> Reason:
    with pytest.raises(UnreadableFile) as caught:
        read_report(path)
    assert "Mustermann" not in str(caught.value)
    return caught.value.reason


def test_sentences_codes_and_measurements_in_reading_order(tmp_path: Path) -> None:
    measured = Dataset()
    measured.NumericValue, measured.MeasurementUnitsCodeSequence = "12", [code("millimetre", "mm")]
    findings = content("CONTAINER", "Findings", ContentSequence=[
        content("TEXT", "Finding", TextValue="Nodule in the left\r\nupper lobe."),
        content("NUM", "Diameter", MeasuredValueSequence=[measured]),
        content("IMAGE", "Key image"),
    ])  # fmt: skip
    path = write_report(tmp_path / "a.dcm", [
        content("PNAME", "Recording Observer's Name", "HAS OBS CONTEXT", PersonName="Müller^Hans"),
        content("TEXT", "Recording Observer's Organization Name", "HAS OBS CONTEXT", TextValue="St. Elsewhere"),
        findings,
        content("CODE", "Conclusion", ConceptCodeSequence=[code("Malignant neoplasm")]),
    ])  # fmt: skip
    report = read_report(path)
    assert report.text.splitlines() == [
        "Findings:", "Finding: Nodule in the left", "upper lobe.", "Diameter: 12 mm", "Conclusion: Malignant neoplasm",
    ]  # fmt: skip
    assert {"Müller", "Hans", "Mustermann", "4711-X"} <= set(report.identifiers)
    assert "Müller" not in repr(report)
    assert "Nodule" not in repr(report)


def test_words_of_a_pdf(tmp_path: Path) -> None:
    document = pdf("Left ventricular hypertrophy.", "No ischaemia.")
    path = write_report(tmp_path / "a.dcm", [], ENCAPSULATED_PDF, EncapsulatedDocument=document)
    assert read_report(path).text == "Left ventricular hypertrophy.\nNo ischaemia."


def test_damaged_pdf_is_named(tmp_path: Path) -> None:
    whole = pdf("Sinus rhythm.")
    for number, document in enumerate(
        (b"%PDF-1.4\n" + b"\0" * 99, b"no PDF at all", whole.replace(b"2 0 R", b"9 9 R"))
    ):
        path = write_report(tmp_path / f"{number}.dcm", [], ENCAPSULATED_PDF, EncapsulatedDocument=document)
        assert reason_of(path) is Reason.CORRUPT


@pytest.mark.parametrize("seed", range(30))
def test_flipped_bytes_of_a_pdf_raise_nothing_else(seed: int, tmp_path: Path) -> None:
    import numpy as np

    rng = np.random.default_rng(seed)
    document = bytearray(pdf("Atrial fibrillation.", "Rate 120 per minute."))
    for place in rng.integers(0, len(document), 1 + seed % 8):
        document[place] = rng.integers(0, 256)
    path = write_report(tmp_path / "a.dcm", [], ENCAPSULATED_PDF, EncapsulatedDocument=bytes(document))
    with suppress(UnreadableFile):
        read_report(path)


def test_a_tree_without_end_is_refused(tmp_path: Path) -> None:
    wide = write_report(tmp_path / "wide.dcm", [content("TEXT", TextValue="a")] * (MOST_ITEMS + 1))
    assert reason_of(wide) is Reason.TOO_LARGE
    item = content("TEXT", TextValue="deepest")
    for _ in range(DEEPEST + 5):
        item = content("TEXT", TextValue="x", ContentSequence=[item])
    assert "deepest" not in read_report(write_report(tmp_path / "deep.dcm", [item])).text


def test_pydicoms_reports_have_text_and_images_have_none() -> None:
    assert read_report(PYDICOM_FILES / "reportsi.dcm").text == "Section Heading:\nReport Text: Enter text"
    assert "Diameter: 3 cm" in read_report(PYDICOM_FILES / "test-SR.dcm").text
    assert reason_of(PYDICOM_FILES / "CT_small.dcm") is Reason.UNSUPPORTED
    assert not dicom_report.is_report("1.2.840.10008.5.1.4.1.1.88.67")  # a dose report
