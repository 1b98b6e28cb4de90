"""What a query text denies, and what it goes on asking for."""

from __future__ import annotations

import pytest

from m3search.search.negation import Said, read_denials
from m3search.vocabulary import denials_in, meaning


@pytest.mark.parametrize(
    ("text", "kept", "denied"),
    [
        ("no pleural effusion", "", ["pleural effusion"]),
        ("Pleural effusion is absent.", "", ["Pleural effusion"]),
        ("effusion not seen", "", ["effusion"]),
        ("cardiomegaly without effusion", "cardiomegaly", ["effusion"]),
        ("chest X-ray excluding a pneumothorax", "chest X-ray", ["pneumothorax"]),
        ("cardiomegaly, not post-operative", "cardiomegaly", ["post-operative"]),
        ("no effusion, pneumothorax or consolidation", "", ["effusion", "pneumothorax", "consolidation"]),
        ("no effusion but cardiomegaly", "cardiomegaly", ["effusion"]),
        ("no effusion and no nodule", "", ["effusion", "nodule"]),
        ("X-ray: no evidence of pneumothorax; large heart", "X-ray. large heart", ["pneumothorax"]),
        ("ECG negative for atrial fibrillation with bundle branch block", "ECG. bundle branch block",
         ["atrial fibrillation"]),
        ("Effusion was ruled out on the chest X-ray.", "the chest X-ray", ["Effusion"]),
        ("Large heart, effusion is absent", "Large heart", ["effusion"]),
        ("nodule of 3.5 mm without calcification", "nodule of 3.5 mm", ["calcification"]),
    ],
)  # fmt: skip
def test_a_denial_is_taken_apart(text: str, kept: str, denied: list[str]) -> None:
    assert read_denials(text) == Said(text, kept, tuple(denied))


@pytest.mark.parametrize(
    "text",
    [
        "pleural effusion",
        "cannot exclude effusion",
        "no change in effusion",
        "no longer intubated",
        "CT without contrast",
        "No findings",
        "fundus photograph, no diabetic retinopathy",
        "normal sinus rhythm",
        "nodule",
        "No.",
        "not",
    ],
)
def test_what_denies_nothing_is_kept_whole(text: str) -> None:
    assert read_denials(text) == Said(text, text)


def test_what_the_vocabulary_hears_denied_in_a_report_is_heard_in_a_query() -> None:
    for text in ("Cardiomegaly without pneumothorax or focal consolidation.", "No pleural effusion, no pneumothorax"):
        heard = frozenset[str]().union(*(denials_in(f"no {words}") for words in read_denials(text).denied))
        assert heard == denials_in(text)
        assert heard >= meaning("pneumothorax")
