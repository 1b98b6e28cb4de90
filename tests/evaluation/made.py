"""Evaluation sets made by hand, for the tests of the judge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from m3search.encoders.base import normalise
from m3search.evaluation import Label, LabelledItems


def labelled(*rows: tuple[str, str, str], vectors: Sequence[Sequence[float]], source: str = "") -> LabelledItems:
    """Items of (modality, labels joined by "|", group)."""
    items = tuple(
        Label(f"item-{number:03}", modality, frozenset(labels.split("|")) - {""}, "", group, source)
        for number, (modality, labels, group) in enumerate(rows)
    )
    return LabelledItems(items, normalise(np.array(vectors, dtype=np.float32)))


def clouds(labels: Sequence[str], groups: int, per_group: int = 2, spread: float = 0.2, seed: int = 0) -> LabelledItems:
    """Items of one modality: a cloud along one axis per label, each label in so many groups of so many items."""
    rng = np.random.default_rng(seed)
    axes = np.eye(max(len(labels), 4))
    rows, vectors = [], []
    for place, label in enumerate(labels):
        for group in range(groups):
            for _ in range(per_group):
                rows.append(("ct", label, f"{label} {group}"))
                vectors.append(axes[place] + spread * rng.standard_normal(axes.shape[1]))
    return labelled(*rows, vectors=vectors)
