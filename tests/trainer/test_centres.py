from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from m3search.datasets import Row, read_manifests, split
from m3search.trainer.centres import AT_HAND, centre_texts, centre_texts_of_all
from m3search.trainer.texts import Text
from m3search.vocabulary import FINDINGS, american, british, denials_in

MODALITIES = ("xray", "ct", "retina", "ecg", "pathology")
LIMIT = 600


def row(number: int, modality: str, *labels: str) -> Row:
    text = f"A report of {modality} number {number}."
    return Row(Path(f"{number}.png"), modality, str(number), text, text, labels)


ROWS = [
    *(row(i, "xray", "Pneumonia") for i in range(300)),
    row(1, "ct", "Lung cancer"), row(2, "retina", "Drusen"), row(3, "ecg", "sinus rhythm"),
    row(4, "pathology", "Colon adenocarcinoma"), row(5, "ultrasound", "Gallbladder sludge"),
]  # fmt: skip


@pytest.fixture(scope="module")
def texts() -> dict[str, tuple[Text, ...]]:
    return {modality: centre_texts(ROWS, modality, LIMIT) for modality in MODALITIES}


def test_the_same_texts_whatever_the_order_of_the_rows(texts: dict[str, tuple[Text, ...]]) -> None:
    shuffled = random.Random(0).sample(ROWS, len(ROWS))
    for modality in MODALITIES:
        assert centre_texts(shuffled, modality, LIMIT) == texts[modality]


def test_another_seed_writes_other_texts(texts: dict[str, tuple[Text, ...]]) -> None:
    assert centre_texts(ROWS, "ecg", LIMIT, seed=1) != texts["ecg"]


@pytest.mark.parametrize("limit", [0, 1, 50, 600])
def test_never_more_than_the_limit_and_none_twice(limit: int) -> None:
    for modality in MODALITIES:
        words = [text.words for text in centre_texts(ROWS, modality, limit)]
        assert len(words) == limit
        assert len(set(words)) == limit


def test_reports_of_other_modalities_are_not_used(texts: dict[str, tuple[Text, ...]]) -> None:
    at_hand = [text for text in texts["xray"] if text.words.startswith("A report of")]
    assert len(at_hand) == AT_HAND * LIMIT
    assert all("xray" in text.words for text in at_hand)


def test_every_finding_is_spoken_of(texts: dict[str, tuple[Text, ...]]) -> None:
    for modality in MODALITIES:
        claimed = set().union(*(text.labels for text in texts[modality]))
        assert {label for label, finding in FINDINGS.items() if modality in finding.on} <= claimed, modality


def test_sentences_are_grammatical_enough(texts: dict[str, tuple[Text, ...]]) -> None:
    for modality in MODALITIES:
        for text in texts[modality]:
            for words in (text.words, text.opposite.words if text.opposite else "x"):
                assert words == " ".join(words.split())
                assert not re.search(r"[{}|]|\.\.|,\.| \.| ,|:$|: \.|\bno no\b", words), words
                assert not re.search(r"\ba (8\d?|11|18)-year|\ban (?!8|11|18)\d+-year", words), words
            if text.modality and words.endswith("."):
                assert text.words[0].isupper() or text.words[0].isdigit(), text.words
                assert not re.search(r"\b(\w+) \1\b", text.words), text.words


def test_no_text_claims_what_it_denies_and_denials_can_be_read(texts: dict[str, tuple[Text, ...]]) -> None:
    for modality in MODALITIES:
        for text in texts[modality]:
            assert not text.labels & text.denied, text
            # "no retinopathy", a statement of absence, denies without saying which labels; all else is read back.
            said_normal = any(label in FINDINGS and FINDINGS[label].kind == "normal" for label in text.labels)
            assert said_normal or text.denied == denials_in(text.words), text


def test_denials_and_their_opposites_are_both_there(texts: dict[str, tuple[Text, ...]]) -> None:
    for modality in MODALITIES:
        words = {text.words: text for text in texts[modality]}
        pairs = [text for text in texts[modality] if text.opposite is not None]
        assert len(pairs) > LIMIT / 10
        assert sum(text.opposite is not None and text.opposite.words in words for text in pairs) > 0.9 * len(pairs)
        for text in pairs:
            assert text.opposite is not None
            assert text.opposite.denied == text.labels
            assert text.opposite.region == text.region


def test_both_spellings_are_written(texts: dict[str, tuple[Text, ...]]) -> None:
    for modality in ("ct", "retina", "pathology"):
        assert any(american(text.words) != text.words for text in texts[modality])
        assert any(british(text.words) != text.words for text in texts[modality])


def test_a_modality_without_vocabulary_speaks_of_its_labels() -> None:
    words = {text.words for text in centre_texts(ROWS, "ultrasound", 50)}
    assert {"A report of ultrasound number 5.", "Gallbladder sludge"} <= words
    assert len(words) > 4
    assert centre_texts(ROWS, "thermography", 50) == ()


def test_over_all_modalities_no_text_comes_twice() -> None:
    found = centre_texts_of_all(ROWS, MODALITIES, 300)
    words = [text.words for texts in found.values() for text in texts]
    assert list(found) == list(MODALITIES)
    assert len(words) == len(set(words))
    assert all(len(texts) > 200 for texts in found.values())


@pytest.mark.shared_data
def test_the_real_data_yields_all_that_is_asked_for(shared_data: Path) -> None:
    training, held_out = split(read_manifests([shared_data / "train/*/manifest.csv"]))
    reports = {r.text for r in held_out} - {r.text for r in training} - {r.caption for r in training}
    for modality in MODALITIES:
        written = centre_texts(training, modality, 1000)
        assert len(written) == 1000
        assert not reports & {text.words for text in written}
        assert sum(bool(text.denied) for text in written) > 150
