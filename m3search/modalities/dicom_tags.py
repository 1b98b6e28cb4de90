"""The allow-list: which DICOM attributes become tags, and which identify a person and never leave memory."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from m3search.formats.dicom import functional_group, identifiers_of
from m3search.types import Identity, Tags

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

OLDEST_BAND = 90  # ages from here on are one band: few people are that old, so the age alone may identify them
SEXES = {"F", "M", "O"}
LATERALITIES = {"L", "R", "B"}
CODE_STRING = re.compile(r"[A-Z0-9 _]{1,16}")  # PS3.5 6.2, value representation CS; anything else is not repeated
AGE_STRING = re.compile(r"(\d{1,3})([DWMY]?)")  # PS3.5 6.2, value representation AS: "064Y"; "64" is met too
# ViewCodeSequence, which digital radiography must state, to ViewPosition, which it may: PS3.16 CID 4010, in SNOMED CT
# and in the older SNOMED RT.
VIEWS = {
    "272479007": "PA", "399348003": "AP", "399173006": "LL", "399198007": "RL",
    "R-10214": "PA", "R-10206": "AP", "R-10236": "LL", "R-10232": "RL",
}  # fmt: skip
DATES = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")
YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}


def tags_of(dataset: Dataset) -> Tags:
    """Sex, age band, body part, view, laterality and year: nothing else of a header is kept."""
    sex = _code(dataset, "PatientSex")
    anatomy = functional_group(dataset, 0, "FrameAnatomySequence")
    side = _code(dataset, "ImageLaterality") or _code(dataset, "Laterality") or _code(anatomy, "FrameLaterality")
    study_date = next((str(date) for keyword in DATES if (date := dataset.get(keyword))), "")
    return Tags(
        sex=sex if sex in SEXES else "",
        age_band=_age_band(dataset, study_date),
        body_part=_code(dataset, "BodyPartExamined"),
        view=_code(dataset, "ViewPosition") or _view(dataset),
        laterality=side if side in LATERALITIES else "",
        year=int(study_date[:4]) if study_date[:4].isdigit() else None,
    )


def identity_of(dataset: Dataset) -> Identity:
    """The direct identifiers of a header, for pseudonyms and for masking. In memory only."""
    return Identity(
        patient_id=_text(dataset, "PatientID"),
        study_uid=_text(dataset, "StudyInstanceUID"),
        series_uid=_text(dataset, "SeriesInstanceUID"),
        secrets=identifiers_of(dataset),
    )


def age_band(years: float) -> str:
    """The decade of an age: "60-69"; "90+" from 90 on; "" for what cannot be an age."""
    if not 0 <= years < 130:
        return ""
    if years >= OLDEST_BAND:
        return f"{OLDEST_BAND}+"
    decade = int(years // 10) * 10
    return f"{decade}-{decade + 9}"


def _age_band(dataset: Dataset, study_date: str) -> str:
    if found := AGE_STRING.fullmatch(_text(dataset, "PatientAge")):
        return age_band(int(found[1]) * YEARS[found[2] or "Y"])
    birth = str(dataset.get("PatientBirthDate") or "")
    if len(birth) == len(study_date) == 8 and (birth + study_date).isdigit():
        had_birthday = study_date[4:] >= birth[4:]
        return age_band(int(study_date[:4]) - int(birth[:4]) - (not had_birthday))
    return ""


def _view(dataset: Dataset) -> str:
    codes = (_text(code, "CodeValue") for code in dataset.get("ViewCodeSequence") or ())
    return next((VIEWS[code] for code in codes if code in VIEWS), "")


def _text(dataset: Dataset, keyword: str) -> str:
    value: Any = dataset.get(keyword)
    return str(value).strip() if value is not None else ""


def _code(dataset: Dataset, keyword: str) -> str:
    value = _text(dataset, keyword).upper()
    return value if CODE_STRING.fullmatch(value) else ""
