"""What labels of different modalities have in common: the concepts that cross-modal retrieval is judged by.

A label stands under a concept only where whoever has the label has the concept, by the label's own definition. What is
usual but not certain is left out: a lung mass on an X-ray is not called malignant, pulmonary oedema no heart failure,
an ECG with sinus rhythm alone not normal. A label that two modalities use word for word is a concept of its own.
"""

from __future__ import annotations

from collections.abc import Iterable

from m3search.vocabulary import FINDINGS

CONCEPTS: dict[str, tuple[str, ...]] = {
    # Nothing wrong was found in what was examined. Of retinas: no retinopathy, in eyes that were screened for it.
    "normal": (
        "No Finding",
        "Normal",
        "No diabetic retinopathy",
        "normal ECG",
        "Normal oral epithelium",
        "Colorectal normal colon mucosa",
    ),
    # A benign tumour, lesion or tissue, as the label says.
    "benign": (
        "Benign lung tumour",
        "Benign breast tumour",
        "Breast adenosis",
        "Breast fibroadenoma",
        "Breast tubular adenoma",
        "Benign colonic tissue",
        "Benign lung tissue",
    ),
    # A cancer. Osteosarcoma that therapy has killed is still seen as osteosarcoma; the stroma beside a cancer is none.
    "malignant": (
        "Lung cancer",
        "Lung adenocarcinoma",
        "Lung squamous cell carcinoma",
        "Colon adenocarcinoma",
        "Colorectal adenocarcinoma epithelium",
        "Oral squamous cell carcinoma",
        "Malignant breast tumour",
        "Breast ductal carcinoma",
        "Breast mucinous carcinoma",
        "Breast papillary carcinoma",
        "Osteosarcoma viable tumour",
        "Osteosarcoma non-viable tumour",
    ),
    "lung cancer": ("Lung cancer", "Lung adenocarcinoma", "Lung squamous cell carcinoma"),
    # A focal growth in the lung, whatever its nature.
    "lung nodule or tumour": (
        "Lung nodule",
        "Lung mass",
        "Lung cancer",
        "Benign lung tumour",
        "Lung adenocarcinoma",
        "Lung squamous cell carcinoma",
    ),
    # Blood outside its vessels. Moderate and severe non-proliferative retinopathy are graded by their haemorrhages
    # (ETDRS levels 43 to 53); mild has microaneurysms only.
    "haemorrhage": (
        "Intracranial haemorrhage",
        "Retinal haemorrhage",
        "Moderate diabetic retinopathy",
        "Severe diabetic retinopathy",
    ),
    # An infection of the lungs. Lipoid pneumonia is inhaled oil and no infection; infiltrates may be anything.
    "lung infection": (
        "Pneumonia",
        "COVID-19",
        "Bacterial pneumonia",
        "E. coli pneumonia",
        "Influenza pneumonia",
        "Klebsiella pneumonia",
        "Legionella pneumonia",
        "Pneumocystis pneumonia",
        "Streptococcus pneumonia",
        "Varicella pneumonia",
    ),
    # A heart, or a part of it, that is too large or too thick. Voltage criteria alone do not make a hypertrophy.
    "enlarged or thickened heart": (
        "Cardiomegaly",
        "left ventricular hypertrophy",
        "right ventricular hypertrophy",
        "septal hypertrophy",
        "left atrial enlargement",
        "right atrial enlargement",
    ),
}

NORMAL = frozenset(CONCEPTS["normal"])

# Labels that say how an examination was made, or what goes with health and disease alike.
NEUTRAL = frozenset({"sinus rhythm", *(label for label, known in FINDINGS.items() if known.kind == "technique")})


def concepts_of(labels: Iterable[str]) -> frozenset[str]:
    """The concepts of an item with these labels; "normal" only where no other finding stands beside it."""
    labels = frozenset(labels)
    found = {concept for concept, members in CONCEPTS.items() if not labels.isdisjoint(members)}
    others = labels - NORMAL - NEUTRAL
    if others:
        found.discard("normal")
    return frozenset(found | others)


def is_finding(label: str) -> bool:
    """Whether an item can be said to be without it: not so of "normal", of a kind of tissue, of how a scan was made."""
    return label not in NORMAL and (label not in FINDINGS or FINDINGS[label].kind == "abnormal")
