from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path

import pytest

from m3search.phantoms.examination import ALL, examine
from m3search.vocabulary import (
    EXCLUSIVE,
    FINDINGS,
    GROUPS,
    NAMES,
    SYNONYMS,
    TEMPLATES,
    american,
    british,
    denials_in,
    groups_of,
    inside,
    kinds_of,
    meaning,
    names_for,
    region_claimed,
    region_of,
    templates_for,
    words_for,
)
from m3search.vocabulary.examinations import REGIONS, with_age
from m3search.vocabulary.templates import BARE_PAIRS, PAIRS

# Labels of the training data that are called by nothing but their own name. None is left; a new one is written here
# only with the reason why nobody says it otherwise.
WITHOUT_OTHER_WORDS: dict[str, str] = {}


@pytest.mark.shared_data
def test_every_label_of_the_training_data_has_other_words(shared_data: Path) -> None:
    labels: set[str] = set()
    for manifest in sorted(shared_data.glob("train/*/manifest.csv")):
        with manifest.open(newline="", encoding="utf-8") as stream:
            labels.update(label for line in csv.DictReader(stream) for label in line["labels"].split("|") if label)
    assert len(labels) > 100
    assert {label for label in labels if not SYNONYMS.get(label)} == set(WITHOUT_OTHER_WORDS)


def test_every_finding_of_the_phantoms_is_known() -> None:
    labels = {label for modality in ALL for number in range(60) for label in examine(modality, number).labels}
    assert {"Drusen", "Kidney cyst", "ST elevation", "Tumour-rich tissue"} <= labels <= set(FINDINGS)


def test_a_label_is_described_once() -> None:
    from m3search.vocabulary import chest, ct, ecg, pathology, retina

    tables = (*chest.CHEST, *ct.CT, *retina.RETINA, *ecg.ECG, *pathology.PATHOLOGY)
    assert [label for label, count in Counter(finding.label for finding in tables).items() if count > 1] == []
    assert {finding.label for finding in tables} == set(FINDINGS)


def test_the_tables_refer_only_to_what_is_in_them() -> None:
    names = {group.words[0] for group in GROUPS} | set(FINDINGS)
    for finding in FINDINGS.values():
        assert finding.on
        assert set(finding.on) <= set(NAMES), finding.label
        regions = {region for modality in finding.on for region in REGIONS.get(modality, ("chest",))}
        assert finding.region in ("", *regions), finding.label
        assert set(finding.is_a) <= set(FINDINGS), finding.label
        assert all(meaning(word) <= set(FINDINGS) for word in finding.may_show), finding.label
        assert not finding.opposite or finding.opposite in names, finding.label
        assert finding.label not in kinds_of(finding.label) - {finding.label}
    for group in GROUPS:
        assert set(group.members) <= names, group.words[0]
        assert not group.opposite or FINDINGS[group.opposite].kind == "normal"
    assert set().union(*EXCLUSIVE) <= set(FINDINGS)


def test_no_word_is_written_twice_for_one_finding() -> None:
    for label in FINDINGS:
        words = [word.lower() for word in words_for(label)]
        assert len(words) == len(set(words)), label
    for group in GROUPS:
        assert len(group.words) == len(set(group.words)), group.words[0]


def test_words_are_clean_phrases() -> None:
    words = [word for label in FINDINGS for word in words_for(label)] + [
        word for group in GROUPS for word in group.words
    ]
    parts = [part for f in FINDINGS.values() for part in (*f.places, *f.degrees)]
    for phrase in (*words, *parts, *(name for names in NAMES.values() for name in names)):
        assert phrase == " ".join(phrase.split())
        assert not re.search(r"[{}|;]|[.,]$", phrase), phrase
        assert len(phrase) > 1


@pytest.mark.parametrize(
    ("word", "some", "none"),
    [
        ("heart attack", {"inferior myocardial infarction", "posterior myocardial infarction"}, {"ST elevation"}),
        ("myocardial infarction", {"anteroseptal myocardial infarction"}, {"non-specific ischemia"}),
        ("conduction disorder", {"left bundle branch block", "first degree AV block"}, {"prolonged QT interval"}),
        ("diabetic retinopathy", {"Mild diabetic retinopathy", "Diabetic maculopathy"}, {"No diabetic retinopathy"}),
        ("lung cancer", {"Lung cancer", "Lung adenocarcinoma"}, {"Benign lung tumour", "Lung nodule"}),
        ("colorectal cancer", {"Colon adenocarcinoma", "Colorectal adenocarcinoma epithelium"}, {"Colorectal mucus"}),
        ("lung infection", {"Pneumonia", "COVID-19", "Klebsiella pneumonia"}, {"Atelectasis"}),
        ("Pneumonia", {"Klebsiella pneumonia", "Influenza pneumonia"}, {"COVID-19"}),
        ("collapsed lung", {"Pneumothorax", "Atelectasis"}, {"Pleural effusion"}),
        ("brain bleed", {"Intracranial haemorrhage", "Subdural haematoma"}, {"Ischaemic stroke"}),
        ("cancer", {"Lung cancer", "Breast ductal carcinoma", "Osteosarcoma viable tumour"}, {"Breast fibroadenoma"}),
    ],
)  # fmt: skip
def test_what_a_word_means(word: str, some: set[str], none: set[str]) -> None:
    assert some <= meaning(word)
    assert not none & meaning(word)


def test_a_word_that_nobody_knows_is_a_label_of_its_own() -> None:
    assert meaning("Blue sclera") == {"Blue sclera"}
    assert words_for("Blue sclera") == ("Blue sclera",)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("pulmonary oedema", "pulmonary edema"), ("intracranial haemorrhage", "intracranial hemorrhage"),
        ("papilloedema", "papilledema"), ("brain tumour", "brain tumor"), ("ischaemic stroke", "ischemic stroke"),
        ("inferior ischaemia", "inferior ischemia"), ("hyperkalaemia", "hyperkalemia"),
        ("benign breast tumour", "benign breast tumor"), ("neovascularisation", "neovascularization"),
    ],
)  # fmt: skip
def test_both_spellings_mean_the_same(one: str, other: str) -> None:
    assert american(one) == other
    assert british(other) == one
    assert meaning(one) == meaning(other)
    assert meaning(one) <= set(FINDINGS)


def test_spelling_leaves_other_words_alone() -> None:
    assert british("colorectal adenocarcinoma, Color fundus photo") == "colorectal adenocarcinoma, Colour fundus photo"
    for text in ("Tumour with oedema", "Tumor with edema"):
        assert american(american(text)) == american(text) == "Tumor with edema"
        assert british(british(text)) == british(text) == "Tumour with oedema"


def test_groups_speak_of_their_modality_only() -> None:
    assert "abnormal CT findings" not in {group.words[0] for group in groups_of("Pneumonia", "xray")}
    assert "abnormal CT findings" in {group.words[0] for group in groups_of("Pneumonia", "ct")}
    assert groups_of("Blue sclera", "retina") == ()


def test_names_and_regions() -> None:
    assert "brain CT" in names_for("ct", "Axial head CT slice without haemorrhage.")
    assert "chest CT" not in names_for("ct", "Axial head CT slice without haemorrhage.")
    assert "breast biopsy" in names_for("pathology", "H&E-stained breast histopathology image")
    assert names_for("ultrasound", "Anything") == ("ultrasound",)
    assert region_claimed("ct", "brain CT") == "head"
    assert region_claimed("ct", "CT scan") == ""
    assert region_of("ct", "A slice.", "Intracranial haemorrhage") == "head"
    assert region_of("pathology", "H&E-stained histopathology image showing lung adenocarcinoma.") == "lung"
    assert region_of("ct", "Axial chest CT slice. Study: brain and neck.") == "chest"
    assert region_of("xray", "chest") == ""
    for key, names in NAMES.items():
        modality, _, region = key.partition(" ")
        assert {region_claimed(modality, name) for name in names} == {region}


@pytest.mark.parametrize(
    ("word", "within"),
    [
        ("Pleural effusion", "pleural effusion"), ("No Finding", "no finding"), ("COVID-19", "COVID-19"),
        ("Klebsiella pneumonia", "Klebsiella pneumonia"), ("E. coli pneumonia", "E. coli pneumonia"),
        ("Q waves", "Q waves"), ("Wolff-Parkinson-White syndrome", "Wolff-Parkinson-White syndrome"),
        ("SARS-CoV-2 pneumonia", "SARS-CoV-2 pneumonia"), ("AFib", "AFib"),
        ("Chest CT without contrast", "chest CT without contrast"),
    ],
)  # fmt: skip
def test_capitals_within_a_sentence(word: str, within: str) -> None:
    assert inside(word) == within


@pytest.mark.parametrize(
    ("age", "article"), [(8, "an"), (11, "an"), (18, "an"), (80, "an"), (89, "an"), (1, "a"), (71, "a")]
)
def test_the_article_of_an_age(age: int, article: str) -> None:
    assert with_age(age, "man").startswith(f"{article} {age}-")


def test_pairs_differ_only_by_their_denial() -> None:
    negation = re.compile(r"\b(no|without|negative for|absence of|free of)\b")
    for said, denied in (*PAIRS, *BARE_PAIRS):
        assert not negation.search(said)
        assert negation.search(denied)
        assert said.count("{label}") == denied.count("{label}") == 1
        assert ("{name}" in said) == ("{name}" in denied)


def test_adjectives_stand_before_the_name() -> None:
    assert all("showing" not in template for template in templates_for("normal", "Normal"))
    assert templates_for("abnormal", "Pneumonia") == TEMPLATES


@pytest.mark.parametrize(
    ("text", "denied"),
    [
        ("Normal chest radiograph without effusion, pneumothorax or consolidation.",
         {"Pleural effusion", "Pneumothorax", "Tension pneumothorax", "Consolidation"}),
        ("No pleural effusions or lobar consolidation.", {"Pleural effusion", "Consolidation"}),
        ("Moderate diabetic retinopathy without maculopathy.", {"Diabetic maculopathy"}),
        ("No haemorrhage, no exudate, no drusen.",
         {"Drusen", "Hard exudates"} | meaning("haemorrhage")),
        ("Cardiomegaly. Without fever.", set()),
        ("No definite pathology. Atrial fibrillation.", set()),
        ("No evidence of pneumothorax. There is a pleural effusion.", {"Pneumothorax", "Tension pneumothorax"}),
        ("Axial head CT slice without hemorrhage", meaning("haemorrhage")),
        ("A known case. Pleural effusion", set()),
        ("Without fever but with pneumothorax", set()),
        ("Negative for COVID-19", {"COVID-19"}),
        ("No PE, E. coli pneumonia or acute pancreatitis", {"Pulmonary embolism", "E. coli pneumonia", "Pancreatitis"}),
        ("No electrolyte disturbance or drug effect, AF or pneumothorax is evident.",
         {"electrolyte disturbance or drug effect", "atrial fibrillation", "Pneumothorax", "Tension pneumothorax"}),
    ],
)  # fmt: skip
def test_what_a_text_denies(text: str, denied: set[str]) -> None:
    assert denials_in(text) == denied


@pytest.mark.parametrize("word", sorted({label for label in FINDINGS if FINDINGS[label].kind == "abnormal"}))
def test_every_denial_is_read_back(word: str) -> None:
    for said, denied in BARE_PAIRS:
        assert denials_in(denied.format(label=word)) == meaning(word), denied
        assert denials_in(said.format(label=word)) == set()
    for said, denied in PAIRS:
        assert denials_in(denied.format(label=word, name="scan")) == meaning(word), denied
        assert denials_in(said.format(label=word, name="scan")) == set()
