"""What is said about an item while training, and how far each text is true of each item."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from m3search.vocabulary import TEMPLATES, names_for, words_for

if TYPE_CHECKING:
    from m3search.datasets import Row
    from m3search.types import Float32

# How often each kind of text is drawn for an item: the source's own text, the sentence of its labels, one label's name
# (or everyday words for it), such words inside a phrase, and the mere name of the examination.
KINDS = ("text", "caption", "label", "phrase", "examination")
ODDS = (0.2, 0.1, 0.35, 0.25, 0.1)
EXAMINATION_WEIGHT = 0.3  # "chest X-ray" is true of every chest X-ray, but says less of it than its findings


@dataclass(frozen=True, slots=True)
class Text:
    """A text and what it claims."""

    words: str
    labels: frozenset[str] = frozenset()  # () claims the modality only
    modality: str = ""  # "" claims no modality
    either: bool = False  # True: any of the labels makes it true; False: the more of them, the truer


def truth(row: Row, text: Text) -> float:
    """How far the text is true of the item, in [0, 1]."""
    if text.modality and text.modality != row.modality:
        return 0.0
    if not text.labels:
        return EXAMINATION_WEIGHT
    shared = len(text.labels.intersection(row.labels))
    return float(shared > 0) if text.either else shared / len(text.labels)


def truths(rows: Sequence[Row], texts: Sequence[Text]) -> Float32:
    """(N, M) float32: `truth` of each text for each item."""
    return np.array([[truth(row, text) for text in texts] for row in rows], dtype=np.float32).reshape(len(rows), -1)


def overlap(rows: Sequence[Row]) -> Float32:
    """(N, N) float32: Jaccard index of the labels, NaN between modalities."""
    out = np.full((len(rows), len(rows)), np.nan, dtype=np.float32)
    for i, a in enumerate(rows):
        for j, b in enumerate(rows):
            if a.modality == b.modality:
                union = set(a.labels) | set(b.labels)
                out[i, j] = len(set(a.labels) & set(b.labels)) / len(union) if union else 0.0
    return out


class Phrasebook:
    """Draws a text for an item."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.labels = sorted({label for row in rows for label in row.labels})
        self._meanings: dict[str, set[str]] = defaultdict(set)  # word -> labels that are called so
        for label in self.labels:
            for word in words_for(label):
                self._meanings[word.lower()].add(label)

    def draw(self, row: Row, rng: np.random.Generator) -> Text:
        """One text that is true of the item."""
        kind = KINDS[rng.choice(len(KINDS), p=ODDS)]
        name = _pick(names_for(row.modality, row.caption), rng)
        if kind == "examination" or (kind in ("label", "phrase") and not row.labels):
            return Text(name, modality=row.modality)
        if kind in ("text", "caption"):
            return Text(row.text if kind == "text" else row.caption, frozenset(row.labels), row.modality)
        label = _pick(row.labels, rng)
        words = words_for(label)
        word = words[0] if rng.random() < 0.6 else _pick(words, rng)
        meanings = frozenset(self._meanings[word.lower()])
        if kind == "label":
            return Text(word, meanings, either=True)
        phrase = _pick(TEMPLATES, rng).format(name=name, label=word)
        return Text(phrase, meanings, row.modality, either=True)

    def contrasts(self, texts: Sequence[Text]) -> list[Text]:  # noqa: ARG002
        return []


def _pick(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]
