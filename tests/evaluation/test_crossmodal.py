"""Concepts shared between modalities, and retrieval by them."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from made import labelled

from m3search.datasets import read_manifests
from m3search.evaluation.concepts import CONCEPTS, concepts_of, is_finding
from m3search.evaluation.crossmodal import concept_trials, crossmodal_trials
from m3search.evaluation.trials import score
from m3search.vocabulary import FINDINGS


def test_every_label_of_the_map_is_a_label_of_the_vocabulary() -> None:
    for concept, labels in CONCEPTS.items():
        assert set(labels) <= set(FINDINGS), concept


def test_every_concept_is_shared_by_modalities() -> None:
    for concept, labels in CONCEPTS.items():
        assert len({modality for label in labels for modality in FINDINGS[label].on}) > 1, concept


def test_what_excludes_each_other_is_under_no_common_concept() -> None:
    for one, other in combinations(("normal", "benign", "malignant"), 2):
        assert not set(CONCEPTS[one]) & set(CONCEPTS[other])
    for concept in set(CONCEPTS) - {"normal"}:
        assert not set(CONCEPTS["normal"]) & set(CONCEPTS[concept]), concept


@pytest.mark.parametrize(
    ("labels", "concepts"),
    [
        (("sinus rhythm", "normal ECG"), {"normal"}),
        (("sinus rhythm",), set()),
        (("normal ECG", "sinus bradycardia"), {"sinus bradycardia"}),
        (("Normal", "Chest CT without contrast"), {"normal"}),
        (("No diabetic retinopathy", "Diabetic maculopathy"), {"Diabetic maculopathy"}),
        (("COVID-19",), {"COVID-19", "lung infection"}),
        (("Lipoid pneumonia",), {"Lipoid pneumonia"}),
        (("Lung cancer",), {"Lung cancer", "lung cancer", "malignant", "lung nodule or tumour"}),
        (("Lung mass",), {"Lung mass", "lung nodule or tumour"}),
        ((), set()),
    ],
)
def test_concepts_of_an_item(labels: tuple[str, ...], concepts: set[str]) -> None:
    assert concepts_of(labels) == concepts


def test_what_can_be_denied() -> None:
    assert is_finding("Pleural effusion")
    assert is_finding("a label nobody has heard of")
    for label in ("No Finding", "sinus rhythm", "Chest CT without contrast", "Colorectal adipose tissue"):
        assert not is_finding(label)


@pytest.mark.shared_data
def test_the_five_modalities_of_the_real_data_meet(shared_data: Path) -> None:
    rows = read_manifests([shared_data / "train/*/manifest.csv"])
    found = {modality: set() for modality in ("xray", "ct", "retina", "ecg", "pathology")}
    for row in rows:
        found[row.modality] |= concepts_of(row.labels)
    assert all("normal" in concepts for concepts in found.values())
    for concept in ("haemorrhage", "lung infection", "malignant", "enlarged or thickened heart"):
        assert sum(concept in concepts for concepts in found.values()) == 2, concept


ITEMS = (
    ("xray", "No Finding", "a"),
    ("xray", "Pneumonia", "b"),
    ("ct", "Normal", "c"),
    ("ct", "COVID-19", "d"),
    ("ct", "Intracranial haemorrhage", "e"),
    ("ct", "COVID-19", "b"),  # the very patient of the second X-ray
)
VECTORS = ([1, 0, 0], [0, 1, 0], [1, 0.2, 0], [0.1, 1, 0.5], [0, 0.9, 0.1], [0, 1, 0])


def test_queries_of_one_modality_rank_the_other_by_shared_concepts() -> None:
    found = labelled(*ITEMS, vectors=VECTORS)
    trials = {trial.modality: trial for trial in crossmodal_trials(found, min_relevant=1)}
    assert set(trials) == {"xray→ct", "ct→xray"}
    scores = {(scored.modality, scored.query): scored for scored in score(trials.values())}
    assert scores["xray→ct", "item-000"].value == 1
    pneumonia = scores["xray→ct", "item-001"]  # haemorrhage, then COVID-19; its own patient's CT is not there
    assert (pneumonia.value, pneumonia.relevant, pneumonia.gallery) == (1 / 2, 1, 3)
    assert pneumonia.chance == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    assert ("ct→xray", "item-004") not in scores, "no X-ray shows a haemorrhage"


def test_each_concept_by_itself() -> None:
    found = labelled(*ITEMS, vectors=VECTORS)
    assert {trial.modality for trial in concept_trials(found, min_relevant=1)} == {
        "normal: xray→ct", "normal: ct→xray", "lung infection: xray→ct", "lung infection: ct→xray"
    }  # fmt: skip
    assert {trial.modality for trial in concept_trials(found, min_relevant=2)} == {"lung infection: xray→ct"}


def test_modalities_that_share_nothing_are_not_asked() -> None:
    found = labelled(("ecg", "atrial flutter", "a"), ("retina", "Drusen", "b"), vectors=np.eye(2))
    assert crossmodal_trials(found, min_relevant=1) == []
