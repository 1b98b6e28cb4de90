from __future__ import annotations

import re
import time
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from m3search.datasets import Row, read_manifests
from m3search.trainer.texts import (
    DENIAL_WEIGHT,
    ODDS,
    UNKNOWN_ABSENCE,
    Phrasebook,
    Text,
    overlap,
    own_text,
    truth,
    truths,
)
from m3search.vocabulary import FINDINGS, meaning

NIH = "NIH ChestX-ray8/14 subset"


def row(*labels: str, modality: str = "xray", text: str = "", source: str = "") -> Row:
    name = "-".join([modality, *labels, source[:4]])
    caption = text or {"ct": "Axial chest CT slice.", "xray": "Chest X-ray."}.get(modality, modality)
    return Row(Path(f"{name}.png"), modality, name, text or caption, caption, labels, source)


ROWS = [
    row("Pneumonia", "Pleural effusion", source=NIH), row("Cardiomegaly", source=NIH), row("No Finding", source=NIH),
    row("Atelectasis", source=NIH), row("COVID-19", source="covid-chestxray"), row("Klebsiella pneumonia"),
    row("Lung cancer", modality="ct", source="IQ-OTH/NCCD"), row("Normal", modality="ct", source="IQ-OTH/NCCD"),
    row("Normal", modality="ct", text="Axial head CT slice without haemorrhage.", source="Head CT - hemorrhage"),
    row("Intracranial haemorrhage", modality="ct", text="Axial head CT slice.", source="Head CT - hemorrhage"),
    row("Contrast-enhanced chest CT", modality="ct"), row("Chest CT without contrast", modality="ct"),
    row("Mild diabetic retinopathy", "Diabetic maculopathy", modality="retina", source="DR-image-dataset"),
    row("Mild diabetic retinopathy", modality="retina", text="Mild diabetic retinopathy without maculopathy.",
        source="DR-image-dataset"),
    row("No diabetic retinopathy", modality="retina", source="DR-image-dataset"),
    row("inferior myocardial infarction", "sinus rhythm", modality="ecg", source="PTB-XL"),
    row("normal ECG", "sinus rhythm", modality="ecg", source="PTB-XL"),
    row("normal ECG", "atrial fibrillation", modality="ecg", source="PTB-XL"),
    row("Colon adenocarcinoma", modality="pathology", source="LC25000"),
    row("Benign lung tissue", modality="pathology", source="LC25000"),
    row("Colorectal adipose tissue", modality="pathology", source="CRC-VAL-HE-7K"),
    row("Wholly new label", modality="retina"), row(modality="xray"),
]  # fmt: skip


def draws(count: int, seed: int = 0) -> list[tuple[Row, Text]]:
    phrasebook, rng = Phrasebook(ROWS), np.random.default_rng(seed)
    return [(item, phrasebook.draw(item, rng)) for item in ROWS for _ in range(count)]


def test_a_text_that_denies_is_true_where_the_absence_is_known() -> None:
    none = Text("no pleural effusion", denied=meaning("pleural effusion"))
    ill, other, unknown = ROWS[0], ROWS[1], ROWS[4]
    assert truth(ill, none) == 0.0
    assert truth(other, none) == DENIAL_WEIGHT
    assert truth(unknown, none) == 0.0
    assert truth(other, replace(none, modality="ct")) == 0.0


def test_a_claim_beside_a_denial() -> None:
    without = Text("pneumonia without effusion", meaning("Pneumonia"), either=True, denied=meaning("pleural effusion"))
    assert truth(ROWS[0], without) == 0.0
    assert truth(row("Pneumonia", text="Pneumonia. No pleural effusion."), without) == 1.0
    assert truth(row("Pneumonia"), without) == UNKNOWN_ABSENCE


def test_words_of_a_group_are_true_of_all_its_members() -> None:
    heart = Text("myocardial infarction", meaning("myocardial infarction"), either=True)
    for wall in ("inferior", "anteroseptal", "posterior"):
        assert truth(row(f"{wall} myocardial infarction", modality="ecg"), heart) == 1.0
    assert truth(row("non-specific ischemia", modality="ecg"), heart) == 0.0


def test_a_region_is_claimed_only_by_names_that_say_it() -> None:
    brain = Text("brain CT", modality="ct", region="head")
    assert truth(ROWS[8], brain) > 0
    assert truth(ROWS[7], brain) == 0.0


def test_the_own_caption_denies_what_it_says_is_not_there() -> None:
    with_maculopathy, without = ROWS[12], ROWS[13]
    caption = own_text(without, without.caption)
    assert truth(without, caption) == 1.0
    assert truth(with_maculopathy, caption) == 0.0


def test_truths_is_truth_of_each_pair() -> None:
    phrasebook = Phrasebook(ROWS)
    texts = [text for _, text in draws(8)]
    texts += phrasebook.contrasts(texts)
    slow = np.array([[truth(item, text) for text in texts] for item in ROWS], dtype=np.float32)
    np.testing.assert_allclose(truths(ROWS, texts), slow, atol=1e-6)
    assert truths(ROWS, texts).dtype == np.float32
    assert {DENIAL_WEIGHT, UNKNOWN_ABSENCE, 1.0, 0.0} <= {round(float(value), 3) for value in np.unique(slow)}
    assert truths(ROWS, []).shape == (len(ROWS), 0)
    assert truths([], texts).shape == (0, len(texts))


def test_every_drawn_text_is_true_and_its_opposite_is_not() -> None:
    for item, text in draws(150):
        assert truth(item, text) > 0, (item.labels, text)
        if text.opposite is not None:
            assert truth(item, text.opposite) == 0.0, (item.labels, text)


def test_no_text_claims_what_it_denies() -> None:
    for _, text in draws(100):
        for one in (text, text.opposite or text):
            assert not one.labels & one.denied, one


def test_draws_are_the_same_for_the_same_seed() -> None:
    assert draws(20, seed=3) == draws(20, seed=3)
    assert draws(20, seed=3) != draws(20, seed=4)


def test_draws_do_not_depend_on_what_was_drawn_before() -> None:
    warm, cold = Phrasebook(ROWS), Phrasebook(ROWS)
    for _ in range(50):
        warm.draw(ROWS[0], np.random.default_rng(1))
    assert warm.draw(ROWS[0], np.random.default_rng(2)) == cold.draw(ROWS[0], np.random.default_rng(2))


def test_drawn_words_are_clean() -> None:
    for _, text in draws(100):
        for words in (text.words, text.opposite.words if text.opposite else "x"):
            assert words == " ".join(words.split())
            assert not any(mark in words for mark in "{}|")
            assert "no no " not in words


@pytest.mark.parametrize(
    ("item", "word"),
    [
        (ROWS[5], "lung infection"), (ROWS[12], "diabetic retinopathy"), (ROWS[15], "myocardial infarction"),
        (ROWS[15], "heart attack"), (ROWS[18], "colorectal cancer"), (ROWS[6], "Lung cancer"), (ROWS[9], "brain CT"),
    ],
)  # fmt: skip
def test_own_names_and_words_of_groups_and_of_regions_are_drawn(item: Row, word: str) -> None:
    phrasebook, rng = Phrasebook(ROWS), np.random.default_rng(0)
    assert any(phrasebook.draw(item, rng).words == word for _ in range(4000))


def test_denials_are_drawn_as_often_as_is_said() -> None:
    drawn = [text for _, text in draws(300)]
    assert any(text.words.startswith("no ") and "Pleural effusion" in text.denied for text in drawn)
    assert 0.03 < sum(bool(text.denied) and not text.labels for text in drawn) / len(drawn) < 0.12


def test_contrasts_are_the_opposites_that_were_not_said() -> None:
    phrasebook = Phrasebook(ROWS)
    no = Text("no effusion", denied=meaning("effusion"))
    yes = Text("effusion", meaning("effusion"), either=True, opposite=no)
    assert phrasebook.contrasts([yes, yes, Text("chest film", modality="xray")]) == [no]
    assert phrasebook.contrasts([yes, no]) == []


def test_opposites_of_statements_of_absence_and_of_techniques() -> None:
    def opposites(*labels: str) -> frozenset[str]:
        found = (text.opposite for item, text in draws(200) if item.labels == labels and text.opposite is not None)
        return frozenset[str]().union(*(text.labels for text in found))

    assert opposites("No diabetic retinopathy") >= meaning("diabetic retinopathy")
    assert opposites("Chest CT without contrast") == {"Contrast-enhanced chest CT"}
    assert "Pneumonia" in opposites("No Finding")
    assert opposites("Wholly new label") == frozenset()  # nobody knows what it would be without it


def test_abnormal_is_not_said_of_what_a_source_calls_normal() -> None:
    said = {text.words for item, text in draws(300) if {"normal ECG", "atrial fibrillation"} <= set(item.labels)}
    assert not any(re.search("abnormal E[CK]G|pathological ECG|abnormal electro", words) for words in said)
    assert any("AFib" in words for words in said)


def test_overlap_of_no_labels_is_zero() -> None:
    np.testing.assert_array_equal(overlap([row(), row()]), np.zeros((2, 2), dtype=np.float32))


def test_truths_of_a_training_step_takes_milliseconds() -> None:
    items = [ROWS[i % len(ROWS)] for i in range(100)]
    texts = [text for _, text in draws(7)][:150]
    truths(items, texts)
    best = min(_seconds(items, texts) for _ in range(20))
    assert best < 0.02  # 2 to 4 ms on one core of a small machine; ten times that before it was made of arrays


def _seconds(items: list[Row], texts: list[Text]) -> float:
    started = time.thread_time()
    truths(items, texts)
    return time.thread_time() - started


@pytest.mark.shared_data
def test_texts_of_the_real_data_are_true(shared_data: Path) -> None:
    rows = read_manifests([shared_data / "train/*/manifest.csv"])
    phrasebook, rng = Phrasebook(rows), np.random.default_rng(0)
    for item in rows:
        text = phrasebook.draw(item, rng)
        assert truth(item, text) > 0 or not item.labels, (item.labels, text)
        assert text.opposite is None or truth(item, text.opposite) == 0.0, (item.labels, text)
        assert not text.labels & text.denied


def test_labels_that_can_be_denied_are_illness() -> None:
    for item, text in draws(100):
        if text.denied and not text.labels and item.labels:
            assert {FINDINGS[label].kind for label in text.denied} == {"abnormal"}, text


def test_rows_and_texts_meet_in_every_modality() -> None:
    weights = truths(ROWS, [text for _, text in draws(20)])
    for i, item in product(range(len(ROWS)), ROWS):
        assert weights[i].sum() > 0, item


def test_own_texts_are_drawn_as_often_as_asked() -> None:
    item = row("Pneumonia", text="A film of the chest, taken lying down.", source=NIH)
    rng = np.random.default_rng(0)

    def share(book: Phrasebook) -> float:
        return float(np.mean([book.draw(item, rng).words == item.text for _ in range(2000)]))

    assert share(Phrasebook([item], {"xray": 0.6})) == pytest.approx(0.6, abs=0.04)
    assert share(Phrasebook([item], {"ct": 0.6})) == pytest.approx(sum(ODDS[:2]), abs=0.04)
    assert share(Phrasebook([item], {"xray": 0.0})) == pytest.approx(sum(ODDS[:2]), abs=0.04)
