"""What of a DICOM header becomes a tag, and what never does."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom.dataset import Dataset

from m3search.modalities.dicom_tags import age_band, identity_of, tags_of
from m3search.types import Tags


def header(**elements: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def test_nothing_stated_gives_no_tags() -> None:
    assert tags_of(header()) == Tags()


def test_tags_are_the_allow_list() -> None:
    tags = tags_of(
        header(
            PatientSex="f ", PatientAge="064Y", BodyPartExamined="chest", ViewPosition="PA", ImageLaterality="L",
            StudyDate="20200102", PatientName="Doe^Jane", InstitutionName="Somewhere", StudyDescription="Doe, Jane",
        )
    )  # fmt: skip
    assert tags == Tags("F", "60-69", "CHEST", "PA", "L", 2020)


@pytest.mark.parametrize(
    ("elements", "band"),
    [
        ({"PatientAge": "064Y"}, "60-69"),
        ({"PatientAge": "64"}, "60-69"),
        ({"PatientAge": "018M"}, "0-9"),
        ({"PatientAge": "003W"}, "0-9"),
        ({"PatientAge": "000D"}, "0-9"),
        ({"PatientAge": "090Y"}, "90+"),
        ({"PatientAge": "107Y"}, "90+"),
        ({"PatientAge": "999Y"}, ""),
        ({"PatientAge": "born 1950"}, ""),
        ({"PatientBirthDate": "19500615", "StudyDate": "20200614"}, "60-69"),
        ({"PatientBirthDate": "19500615", "StudyDate": "20200615"}, "70-79"),
        ({"PatientBirthDate": "19500615", "ContentDate": "20200615"}, "70-79"),
        ({"PatientBirthDate": "19500615"}, ""),
        ({"PatientBirthDate": "20500615", "StudyDate": "20200615"}, ""),
        ({"PatientAge": "", "PatientBirthDate": "19500615", "StudyDate": "20200615"}, "70-79"),
    ],
)
def test_age_is_a_decade(elements: dict[str, str], band: str) -> None:
    assert tags_of(header(**elements)).age_band == band


def test_old_age_is_one_band() -> None:
    assert [age_band(years) for years in (0, 9.99, 10, 89.9, 90, 129, -1, 130)] == [
        "0-9", "0-9", "10-19", "80-89", "90+", "90+", "", "",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "view"),
    [("399348003", "AP"), ("272479007", "PA"), ("R-10214", "PA"), ("R-10206", "AP"), ("399173006", "LL"), ("1", "")],
)
def test_view_by_its_code_where_no_position_is_stated(code: str, view: str) -> None:
    codes = [header(CodeValue=code, CodingSchemeDesignator="SCT", CodeMeaning="whatever")]
    assert tags_of(header(ViewCodeSequence=codes)).view == view
    assert tags_of(header(ViewCodeSequence=codes, ViewPosition="LLO")).view == "LLO"


@pytest.mark.parametrize("value", ["Doe, Jane", "CHEST; CALL 555-1234", "X" * 17, "<b>"])
def test_what_is_no_code_string_is_not_repeated(value: str) -> None:
    dataset = header()
    dataset.add_new("BodyPartExamined", "LO", value)
    dataset.add_new("PatientSex", "LO", value)
    assert tags_of(dataset) == Tags()


def test_identity_holds_what_is_to_be_masked_and_does_not_print_it() -> None:
    identity = identity_of(
        header(
            PatientID="ID-77", StudyInstanceUID="1.2", SeriesInstanceUID="1.3", PatientName="Doe^Jane",
            PatientBirthDate="19431207", AccessionNumber="ACC-4711", ReferringPhysicianName="Strange^Stephen",
        )
    )  # fmt: skip
    assert (identity.patient_id, identity.study_uid, identity.series_uid) == ("ID-77", "1.2", "1.3")
    assert {"ID-77", "Doe", "Jane", "19431207", "1943-12-07", "ACC-4711", "Strange"} <= set(identity.secrets)
    assert not [secret for secret in identity.secrets if secret in repr(identity)]


@pytest.mark.parametrize("level", ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"])
def test_laterality_of_multi_frame_images(level: str) -> None:
    """PS3.3 C.7.6.16.2.8: enhanced images state it in a functional group."""
    anatomy, group, dataset = Dataset(), Dataset(), Dataset()
    anatomy.FrameLaterality, group.FrameAnatomySequence = "R", [anatomy]
    setattr(dataset, level, [group])
    assert tags_of(dataset).laterality == "R"
    dataset.ImageLaterality = "L"
    assert tags_of(dataset).laterality == "L"
