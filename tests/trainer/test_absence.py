from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from m3search.datasets import Row, read_manifests
from m3search.trainer.absence import LOOKED_FOR, absence_is_known, facts
from m3search.vocabulary import FINDINGS, meaning

NIH = "NIH ChestX-ray8/14 subset"


def row(*labels: str, modality: str = "xray", text: str = "A text.", source: str = "") -> Row:
    return Row(Path("a.png"), modality, "g", text, text, labels, source)


def test_what_a_source_looked_for_and_did_not_list_is_absent() -> None:
    film = row("Cardiomegaly", source=NIH)
    assert absence_is_known(film, "Pneumothorax")
    assert absence_is_known(film, "Tension pneumothorax")  # a kind of what is absent
    assert not absence_is_known(film, "Rib fracture")  # was not looked for
    assert not absence_is_known(film, "Cardiomegaly")


def test_a_source_that_is_not_known_to_be_complete_leaves_absence_open() -> None:
    film = row("Cardiomegaly", source="our hospital")
    assert not any(absence_is_known(film, label) for label in FINDINGS if FINDINGS[label].kind == "abnormal")
    assert not absence_is_known(row(source=NIH), "Pneumothorax")  # no label at all says nothing


def test_normal_excludes_illness() -> None:
    assert absence_is_known(row("No Finding", source="our hospital"), "Rib fracture")
    assert not absence_is_known(row("No Finding", source=NIH), "Rib fracture")  # one of fourteen was found in none
    assert absence_is_known(row("No Finding", source=NIH), "Pneumonia")
    assert absence_is_known(row("normal ECG", modality="ecg"), "atrial fibrillation")
    assert not absence_is_known(row("normal ECG", modality="ecg"), "sinus arrhythmia")  # goes with a normal ECG


def test_normal_speaks_of_the_part_that_was_seen() -> None:
    head = row("Normal", modality="ct", text="Axial head CT slice without haemorrhage.")
    assert absence_is_known(head, "Subdural haematoma")
    assert not absence_is_known(head, "Lung cancer")


def test_what_comes_unsaid_is_doubtful() -> None:
    film = row("Pneumonia", source=NIH)
    assert not absence_is_known(film, "Consolidation")
    assert not absence_is_known(film, "Bacterial pneumonia")  # it may be one
    assert absence_is_known(film, "Pneumothorax")
    stroma = row("Colorectal cancer-associated stroma", modality="pathology", source="CRC-VAL-HE-7K")
    assert not absence_is_known(stroma, "Colon adenocarcinoma")


def test_the_own_text_says_what_is_absent() -> None:
    film = row("Pneumonia", text="Consolidation on the left. No pleural effusion.")
    assert absence_is_known(film, "Pleural effusion")
    assert not absence_is_known(film, "Pneumothorax")


def test_a_finding_excludes_normal() -> None:
    assert "normal ECG" in facts(row("atrial fibrillation", modality="ecg")).absent
    assert "No diabetic retinopathy" in facts(row("Mild diabetic retinopathy", modality="retina")).absent


def test_the_words_of_the_sources_are_words_of_the_vocabulary() -> None:
    for source, words in LOOKED_FOR.items():
        assert all(meaning(word) <= set(FINDINGS) for word in words), source


@pytest.mark.shared_data
def test_every_listed_source_is_among_the_data(shared_data: Path) -> None:
    rows = read_manifests([shared_data / "train/*/manifest.csv"])
    used = Counter(part for r in rows for part in LOOKED_FOR if part in r.source)
    assert set(used) == set(LOOKED_FOR) - {"m3search phantom"}
    for r in rows:
        known = facts(r)
        assert not known.labels & (known.absent | known.doubtful)
        assert not known.absent & known.doubtful
