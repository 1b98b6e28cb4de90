"""Retrieval on held-out items: the figures a run reports while it trains and writes into the model card."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from m3search.trainer.data import Inputs, Row
    from m3search.types import Float32


@dataclass(frozen=True, slots=True)
class Figures:
    """Mean average precision of one modality's items. Chance is the share of relevant items, averaged alike."""

    items: int
    labels: int
    text_to_image: float  # label names as queries, items of all modalities as the gallery
    text_to_image_within: float  # the same, gallery of this modality only
    text_chance: float
    image_to_image: float  # within the modality; relevant is what shares a label
    image_chance: float


def average_precision(scores: Float32, relevant: np.ndarray) -> float:
    """Of one ranking, best first, ties by position; NaN where nothing is relevant."""
    if not relevant.any():
        return float("nan")
    hits = relevant[np.argsort(-scores, kind="stable")]
    ranks = np.flatnonzero(hits) + 1
    return float((np.arange(1, len(ranks) + 1) / ranks).mean())


def item_vectors(inputs: Inputs, embed: Callable[[np.ndarray], Float32], batch: int = 32) -> Float32:
    """(R, D) unit vectors: the mean of each item's part vectors."""
    parts = np.concatenate([_unit(embed(inputs.parts[i : i + batch])) for i in range(0, len(inputs.parts), batch)])
    return _unit(np.add.reduceat(parts, inputs.first[:-1], axis=0))


def _unit(vectors: Float32) -> Float32:
    unit: Float32 = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)).astype(np.float32)
    return unit


def evaluate(
    rows: Mapping[str, Sequence[Row]], vectors: Mapping[str, Float32], names: Mapping[str, Float32]
) -> dict[str, Figures]:
    """Figures per modality.

    Args:
        rows: held-out items by modality.
        vectors: their unit vectors, (R, D).
        names: unit vector (D,) of each label's name.
    """
    gallery = np.concatenate(list(vectors.values()))
    of = np.concatenate([[modality] * len(v) for modality, v in vectors.items()])
    carries = [set(row.labels) for modality in vectors for row in rows[modality]]
    figures = {}
    for modality, own in vectors.items():
        here = of == modality
        labels = sorted({label for row in rows[modality] for label in row.labels})
        whole, within, chance = [], [], []
        for label in labels:
            scores, relevant = gallery @ names[label], np.array([label in labels_of for labels_of in carries])
            whole.append(average_precision(scores, relevant))
            within.append(average_precision(scores[here], relevant[here]))
            chance.append(relevant.mean())
        truth = np.array([[label in row.labels for label in labels] for row in rows[modality]], dtype=np.float32)
        same = truth @ truth.T > 0
        similar = own @ own.T
        others = ~np.eye(len(own), dtype=bool)
        image = [average_precision(similar[i][others[i]], same[i][others[i]]) for i in range(len(own))]
        figures[modality] = Figures(
            items=len(own),
            labels=len(labels),
            text_to_image=float(np.mean(whole)),
            text_to_image_within=float(np.mean(within)),
            text_chance=float(np.mean(chance)),
            image_to_image=float(np.nanmean(image)),
            image_chance=float(same[others].mean()),
        )
    return figures
