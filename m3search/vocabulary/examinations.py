"""What people call an examination, and which part of the body it shows."""

from __future__ import annotations

import re
from functools import lru_cache

# By modality, and by modality and region where the name says which.
NAMES: dict[str, tuple[str, ...]] = {
    "xray": (
        "chest X-ray", "chest radiograph", "chest film", "CXR", "X-ray of the chest", "frontal chest radiograph",
        "plain film of the lungs", "lung X-ray", "radiograph of the thorax", "X-ray picture of the chest",
        "chest roentgenogram", "plain chest film",
    ),
    "ct": (
        "CT", "CT scan", "computed tomography", "CAT scan", "axial CT slice", "CT image", "cross-sectional CT",
        "tomography scan",
    ),
    "ct chest": (
        "chest CT", "axial chest CT", "CT scan of the lungs", "CT thorax", "computed tomography of the chest",
        "lung CT scan", "thoracic CT slice", "CT scan of the chest", "CT chest",
    ),
    "ct head": (
        "head CT", "CT scan of the head", "brain CT", "axial head CT", "computed tomography of the brain",
        "CT of the skull", "cranial CT", "CT brain",
    ),
    "ct abdomen": (
        "abdominal CT", "CT scan of the abdomen", "CT abdomen", "axial abdominal CT",
        "computed tomography of the abdomen", "belly CT scan",
    ),
    "retina": (
        "fundus photograph", "colour fundus photograph", "retinal photograph", "eye photo", "picture of the retina",
        "retina image", "ophthalmoscopy image", "back of the eye", "fundus image", "diabetic eye screening photograph",
        "color fundus photo", "retinal image",
    ),
    "ecg": (
        "ECG", "EKG", "12-lead ECG", "electrocardiogram", "heart tracing", "heart rhythm strip", "cardiac tracing",
        "12-lead electrocardiogram", "electrical recording of the heart", "ECG signal", "12-lead EKG",
    ),
    "pathology": (
        "histopathology", "tissue slide", "H&E", "H&E-stained tissue", "microscope slide", "biopsy slide",
        "histology image", "pathology slide", "haematoxylin and eosin section", "microscopy of stained tissue",
        "hematoxylin and eosin slide",
    ),
    "pathology colon": ("colon histology", "colorectal biopsy", "bowel tissue slide", "H&E section of the colon"),
    "pathology lung": ("lung histology", "lung biopsy", "lung tissue slide", "H&E section of the lung"),
    "pathology breast": ("breast histology", "breast biopsy", "breast tissue slide", "H&E section of the breast"),
    "pathology mouth": ("oral mucosa histology", "oral biopsy", "mouth tissue slide", "H&E section of oral mucosa"),
    "pathology skin": ("skin histology", "skin biopsy", "skin tissue slide"),
    "pathology stomach": ("gastric histology", "stomach biopsy", "gastric tissue slide"),
    "pathology prostate": ("prostate histology", "prostate biopsy", "prostate tissue slide"),
    "pathology lymph node": ("lymph node histology", "lymph node biopsy", "lymph node slide"),
    "pathology bone": ("bone histology", "bone biopsy", "bone tissue slide", "H&E section of bone"),
}  # fmt: skip

# Parts of the body that change what an examination is called, and the words of a caption or label that give them away.
REGIONS: dict[str, dict[str, str]] = {
    "ct": {
        "head": r"\b(head|brain|skull|cranial|intracranial)\b",
        "abdomen": r"\b(abdom\w*|kidney|liver|renal|hepatic)\b",
        "chest": r"\b(chest|thora\w*|lungs?|pulmonary|pleural)\b",
    },
    "pathology": {
        "colon": r"\b(colon\w*|colorectal|bowel)\b",
        "breast": r"\bbreast\b",
        "mouth": r"\b(oral|mouth)\b",
        "skin": r"\b(skin|cutaneous)\b",
        "stomach": r"\b(stomach|gastric)\b",
        "prostate": r"\bprostat\w*\b",
        "lymph node": r"\blymph nodes?\b",
        "bone": r"\b(bone|osteosarcoma)\b",
        "lung": r"\blungs?\b",
    },
}


def region_of(modality: str, *descriptions: str) -> str:
    """The part of the body that the first telling description names first; "" where none does, or none matters."""
    for description in descriptions:
        found = (
            (match.start(), region)
            for region, words in REGIONS.get(modality, {}).items()
            if (match := re.search(words, description, re.IGNORECASE))
        )
        if first := min(found, default=None):
            return first[1]
    return ""


@lru_cache(maxsize=1 << 16)
def names_for(modality: str, caption: str) -> tuple[str, ...]:
    """What an examination with this caption may be called."""
    region = region_of(modality, caption)
    return NAMES.get(modality, (modality,)) + NAMES.get(f"{modality} {region}", ())


def region_claimed(modality: str, name: str) -> str:
    """The part of the body that a name of an examination speaks of: "head" for "brain CT", "" for "CT scan"."""
    own = (region for region in REGIONS.get(modality, {}) if name in NAMES.get(f"{modality} {region}", ()))
    return next(own, "")


def with_age(age: int, who: str) -> str:
    """A person of that age in years.

    >>> with_age(80, "man"), with_age(11, "girl"), with_age(63, "woman")
    ('an 80-year-old man', 'an 11-year-old girl', 'a 63-year-old woman')
    """
    vowel = str(age).startswith("8") or age in (11, 18)
    return f"{'an' if vowel else 'a'} {age}-year-old {who}"
