"""A forest's opinion on ECGs, as a softer target than the labels alone.

Few hundred records are labelled by many hands: what one cardiologist wrote and another would have left out is noise to
a network. A random forest (Breiman, 2001) on what was measured of the beats learns from so few what they have in
common. It is asked of records it has not seen, so that its opinion is not the label again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from m3search.modalities.ecg_layout import layout_of
from m3search.modalities.ecg_measures import RHYTHM

if TYPE_CHECKING:
    from m3search.datasets import Inputs, Row
    from m3search.types import Float32, InputSpec

FOLDS, TREES, LEAF = 5, 300, 2  # parts of the items, trees of each forest, least items of a leaf
RARE = 5  # labels of fewer items are nobody's opinion

Opinions = Mapping["Row", Mapping[str, float]]  # item -> label -> how far it is to be believed, in [0, 1]


def opinions(inputs: Inputs, spec: InputSpec, share: float, seed: int) -> Opinions:
    """Of every item and each label that is not rare: what the item is labelled, mixed with a forest's probability.

    Args:
        inputs: ECG windows with measures beside them: `spec.beat_seconds` > 0.
        share: of the forests, each of which was grown on other groups than those it is asked of.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import GroupKFold

    x, rows = measures(inputs, spec), inputs.rows
    counts = {label: sum(label in row.labels for row in rows) for row in rows for label in row.labels}
    labels = sorted(label for label, count in counts.items() if count >= RARE)
    y = np.array([[label in row.labels for label in labels] for row in rows], dtype=np.int64)
    found: list[Mapping[str, float]] = [{}] * len(rows)
    for known, asked in GroupKFold(FOLDS).split(x, y, [row.group for row in rows]):
        forest = RandomForestClassifier(TREES, min_samples_leaf=LEAF, random_state=seed)
        forest.fit(x[known], y[known])
        by_label = [
            column @ classes for column, classes in zip(forest.predict_proba(x[asked]), forest.classes_, strict=True)
        ]  # (L,) of (items asked,): the probability of the class 1, also where only one class was seen
        for place, item in enumerate(asked):
            found[item] = {
                label: (1 - share) * (label in rows[item].labels) + share * float(of[place])
                for label, of in zip(labels, by_label, strict=True)
            }
    return dict(zip(rows, found, strict=True))


def measures(inputs: Inputs, spec: InputSpec) -> Float32:
    """(R, F): what was measured on the first window of each item, NaN where there was nothing to measure."""
    layout = layout_of(spec)
    windows = np.asarray(inputs.parts[inputs.first[:-1]])
    rhythm = windows[:, :, layout.rhythm].transpose(0, 2, 1).reshape(len(windows), -1)[:, : len(RHYTHM)]
    both: Float32 = np.concatenate([windows[:, :, layout.measures].reshape(len(windows), -1), rhythm], 1)
    return both


def soften(truth: Float32, rows: Sequence[Row], labels: Sequence[str], told: Opinions) -> Float32:
    """`truth` (N, L) of each label for each item, with the opinions in the place of it where there are any."""
    softer = truth.copy()
    for i, row in enumerate(rows):
        known = told.get(row, {})
        for j, label in enumerate(labels):
            softer[i, j] = known.get(label, softer[i, j])
    return softer
