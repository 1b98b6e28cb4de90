"""How reports are worded in radiology, ophthalmology, cardiology and pathology.

{study} is an examination, {who} a person ("a 63-year-old man"), {finding} what is there, {negative} one of NEGATIVES or
nothing; {Study} and {Finding} begin a sentence.
"""

from __future__ import annotations

# What was done, by modality, or by modality and region.
STUDIES: dict[str, tuple[str, ...]] = {
    "xray": (
        "PA chest X-ray", "AP chest X-ray", "supine AP chest radiograph", "erect PA chest radiograph",
        "portable AP chest X-ray", "frontal chest radiograph", "posteroanterior chest film", "CXR",
    ),
    "ct": ("axial CT", "CT scan", "CT slice"),
    "ct chest": ("axial chest CT", "CT of the thorax", "chest CT slice", "coronal chest CT"),
    "ct head": ("axial head CT", "CT of the brain", "head CT slice"),
    "ct abdomen": ("axial abdominal CT", "CT of the abdomen", "abdominal CT slice"),
    "retina": (
        "colour fundus photograph of the left eye", "colour fundus photograph of the right eye",
        "fundus photograph of the left eye", "fundus photograph of the right eye", "retinal image of the left eye",
        "retinal image of the right eye", "macula-centred fundus photograph", "diabetic eye screening photograph",
    ),
    "ecg": ("12-lead ECG", "resting 12-lead ECG", "electrocardiogram", "EKG", "10-second ECG"),
    "pathology": (
        "H&E-stained tissue section", "histopathology slide at 200x magnification", "biopsy at 400x magnification",
        "H&E section",
    ),
    "pathology colon": (
        "H&E-stained section of the colon", "colorectal biopsy at 200x magnification", "H&E-stained colorectal tissue",
    ),
    "pathology lung": ("H&E-stained section of the lung", "lung biopsy at 400x magnification"),
    "pathology breast": ("H&E-stained section of the breast", "breast biopsy at 400x magnification"),
    "pathology mouth": ("H&E-stained section of oral mucosa", "oral biopsy at 100x magnification"),
    "pathology skin": ("H&E-stained section of the skin", "skin biopsy at 100x magnification"),
    "pathology stomach": ("H&E-stained section of the stomach", "gastric biopsy at 200x magnification"),
    "pathology prostate": ("H&E-stained section of the prostate", "prostate core biopsy at 200x magnification"),
    "pathology lymph node": ("H&E-stained section of a lymph node", "lymph node biopsy at 200x magnification"),
    "pathology bone": ("H&E-stained section of bone", "bone biopsy at 100x magnification"),
}  # fmt: skip

_RADIOLOGY = (
    "{Study} of {who}. {Finding}. {negative}",
    "{Study} of {who} showing {finding}. {negative}",
    "{Study}: {finding}. {negative}",
    "Findings: {finding}. {negative}",
    "Impression: {finding}.",
    "{Study} of {who}. Appearances in keeping with {finding}. {negative}",
    "{Who}. {Study} shows {finding}. {negative}",
    "{Study} with evidence of {finding}.",
    "Conclusion: {finding}. {negative}",
)
REPORTS: dict[str, tuple[str, ...]] = {
    "xray": _RADIOLOGY,
    "ct": _RADIOLOGY,
    "retina": (
        "{Study} of {who}: {finding}. {negative}",
        "{Study} showing {finding}. {negative}",
        "{Study}: {finding}. {negative}",
        "Fundoscopy: {finding}. {negative}",
        "Ophthalmoscopy shows {finding}. {negative}",
        "{Who}. Eye examination: {finding}.",
    ),
    "ecg": (
        "{Study} of {who} showing {finding}. {negative}",
        "{Study}: {finding}. {negative}",
        "Interpretation: {finding}. {negative}",
        "{Study} of {who}. {Finding}. {negative}",
        "{Finding}. {negative} {Study} of {who}.",
        "ECG diagnosis: {finding}.",
    ),
    # No age or sex: a prostate has no mother.
    "pathology": (
        "{Study} showing {finding}. {negative}",
        "{Study}: {finding}. {negative}",
        "Microscopy: {finding}. {negative}",
        "Diagnosis: {finding}. {negative}",
        "{Study}. Histological picture of {finding}.",
        "Sections show {finding}. {negative}",
    ),
}
# Of what is itself a statement of absence, or of how a scan was taken.
PLAIN_REPORTS = ("{Study}: {finding}. {negative}", "{Finding}. {negative}", "Result: {finding}. {negative}")

NEGATIVES = (
    ("No {0}.", "No evidence of {0}.", "No sign of {0}.", "Negative for {0}."),
    ("No {0} or {1}.", "No evidence of {0} or {1}.", "Negative for {0} and {1}."),
    ("No {0}, {1} or {2}.", "No evidence of {0}, {1} or {2}."),
)

PEOPLE = ("man", "woman", "male patient", "female patient")
AGES = (18, 92)  # years

# Degrees that go together with any place ("small pleural effusion at the left base"); others stand alone.
SEVERITIES = frozenset({"mild", "moderate", "severe", "small", "large", "acute", "old", "chronic", "dense", "early"})
