"""Zero-shot classification: labels as prompt ensembles, an item's scores are its cosines to them. Nothing is fitted."""

from __future__ import annotations

import numpy as np

from m3search.evaluation.classification import Classification, Round
from m3search.evaluation.items import MIN_RELEVANT, EncodeText, LabelledItems, Rows, similarity
from m3search.evaluation.prompts import class_vectors


def zero_shot(
    items: LabelledItems, encode_text: EncodeText, by_source: bool = False, min_relevant: int = MIN_RELEVANT
) -> list[Classification]:
    """One classification per modality (and source) with at least two labels that `min_relevant` items carry, and not
    all of them: where a source has one label only, nothing is to be told apart."""
    prompts: dict[str, dict[str, np.ndarray]] = {}  # by modality and label: the same for all its sources
    for (modality, _), rows in items.strata(by_source=False).items():
        labels = items.labels(rows)
        if labels:
            prompts[modality] = dict(zip(labels, class_vectors(modality, labels, encode_text), strict=True))
    tasks = []
    for (modality, source), rows in items.strata(by_source).items():
        chosen = _labels(items, rows, min_relevant)
        if len(chosen) < 2:
            continue
        vectors = np.stack([prompts[modality][label] for label in chosen])
        scores = similarity(items.vectors[rows], vectors)
        names, group = np.unique(items.groups()[rows], return_inverse=True)
        only = Round(scores, items.carries(chosen)[rows], group)
        tasks.append(Classification(modality, source, tuple(chosen), tuple(names.tolist()), (only,)))
    return tasks


def _labels(items: LabelledItems, rows: Rows, min_relevant: int) -> list[str]:
    labels = items.labels(rows)
    counts = items.carries(labels)[rows].sum(axis=0)
    return [label for label, count in zip(labels, counts, strict=True) if min_relevant <= count < len(rows)]
