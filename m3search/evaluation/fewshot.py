"""Few-shot classification: a linear probe on 1, 2, 4, 8, 16 examples per label, several times with other examples.

Support and query never share a group. In each draw the examples of the largest number of shots are chosen first, from
as many groups as there are to choose from; smaller numbers take the first of them, and the queries, all items of the
groups that are left, are the same for every number of shots. A label never gives more than half of its groups away, so
rare ones may have fewer examples than asked for; labels weigh alike in the probe all the same. An item with several
labels is an example of the one it was drawn for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np

from m3search.evaluation.classification import Classification, Round
from m3search.evaluation.items import MIN_RELEVANT, LabelledItems, Rows
from m3search.evaluation.probe import fit_probe

if TYPE_CHECKING:
    import numpy.typing as npt

SHOTS = (1, 2, 4, 8, 16)
DRAWS = 5
MIN_GROUPS = 2  # of a label: one to learn from, one to ask


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """Examples, in the order in which they are taken, and what is left to ask."""

    support: dict[str, Rows]  # by label
    queries: Rows


def few_shot(
    items: LabelledItems,
    by_source: bool = False,
    shots: Sequence[int] = SHOTS,
    draws: int = DRAWS,
    min_relevant: int = MIN_RELEVANT,
    seed: int = 0,
) -> dict[int, list[Classification]]:
    """By number of shots: a classification per modality (and source) with two labels that can be learned and asked."""
    tasks: dict[int, list[Classification]] = {count: [] for count in shots}
    groups = items.groups()
    for (modality, source), unsorted in items.strata(by_source).items():
        rows = items.by_id(unsorted)
        labels = _labels(items, rows, groups, min_relevant)
        if len(labels) < 2:
            continue
        names, group = np.unique(groups[rows], return_inverse=True)
        place = dict(zip(rows.tolist(), group.tolist(), strict=True))
        carries = items.carries(labels)
        chosen = [
            draw(items, rows, labels, max(shots), np.random.default_rng([seed, number])) for number in range(draws)
        ]
        for count in shots:
            rounds = []
            for one in chosen:
                scores = _scores(items, labels, one, count)
                of_queries = np.array([place[row] for row in one.queries.tolist()], dtype=np.intp)
                rounds.append(Round(scores, carries[one.queries], of_queries))
            tasks[count].append(Classification(modality, source, tuple(labels), tuple(names.tolist()), tuple(rounds)))
    return tasks


def draw(items: LabelledItems, rows: Rows, labels: Sequence[str], shots: int, rng: np.random.Generator) -> Draw:
    """Up to `shots` examples per label, from half of its groups at most, and all items of groups without examples."""
    groups = items.groups()
    support: dict[str, Rows] = {}
    for label in labels:
        own = rows[items.carries([label])[rows, 0]]
        names = rng.permutation(np.unique(groups[own]))
        piles = [rng.permutation(own[groups[own] == name]) for name in names[: len(names) // 2]]
        dealt = [row for turn in zip_longest(*piles) for row in turn if row is not None]  # one of each group in turn
        support[label] = np.array(dealt[:shots], dtype=np.intp)
    used = np.unique(groups[np.concatenate(list(support.values()))])
    return Draw(support, rows[~np.isin(groups[rows], used)])


def _labels(items: LabelledItems, rows: Rows, groups: npt.NDArray[np.str_], min_relevant: int) -> list[str]:
    """Those that enough items and groups carry, and not all."""
    chosen = []
    for label in items.labels(rows):
        own = rows[items.carries([label])[rows, 0]]
        if min_relevant <= len(own) < len(rows) and len(np.unique(groups[own])) >= MIN_GROUPS:
            chosen.append(label)
    return chosen


def _scores(items: LabelledItems, labels: Sequence[str], one: Draw, shots: int) -> npt.NDArray[np.float64]:
    taken = [one.support[label][:shots] for label in labels]
    target = np.repeat(np.arange(len(labels)), [len(rows) for rows in taken])
    weights, bias = fit_probe(items.vectors[np.concatenate(taken)], target, len(labels))
    return np.asarray(items.vectors[one.queries].astype(np.float64) @ weights + bias)
