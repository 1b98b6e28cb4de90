"""Image to image between modalities: does a CT of a haemorrhage find the retina with one? What only binding can give.

Every item of one modality is a query, the items of another are its gallery; relevant is what shares a concept with the
query (concepts.py). The query's own patient is left out. A pair of modalities needs a concept that at least
`MIN_RELEVANT` items of the gallery have.
"""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

from m3search.evaluation.concepts import concepts_of
from m3search.evaluation.items import MIN_RELEVANT, LabelledItems, Rows, similarity
from m3search.evaluation.trials import BLOCK, Trial, trial

if TYPE_CHECKING:
    import numpy.typing as npt


def crossmodal_trials(items: LabelledItems, min_relevant: int = MIN_RELEVANT) -> list[Trial]:
    """One trial per ordered pair of modalities, "xray→ct"; relevant is what shares any concept with the query."""
    carried = [concepts_of(item.labels) for item in items.items]
    return [
        made
        for pair, asked, gallery in _pairs(items)
        if (shared := _shared(carried, asked, gallery, min_relevant))
        for made in _trials(items, pair, asked, gallery, _carries(carried, shared))
    ]


def concept_trials(items: LabelledItems, min_relevant: int = MIN_RELEVANT) -> list[Trial]:
    """One trial per concept and ordered pair, "normal: xray→ct"; relevant is what has the concept."""
    carried = [concepts_of(item.labels) for item in items.items]
    return [
        made
        for pair, asked, gallery in _pairs(items)
        for concept in _shared(carried, asked, gallery, min_relevant)
        for made in _trials(items, f"{concept}: {pair}", asked, gallery, _carries(carried, [concept]))
    ]


def _pairs(items: LabelledItems) -> list[tuple[str, Rows, Rows]]:
    strata = {modality: items.by_id(rows) for (modality, _), rows in items.strata(by_source=False).items()}
    return [(f"{one}→{other}", strata[one], strata[other]) for one, other in permutations(strata, 2)]


def _shared(carried: list[frozenset[str]], asked: Rows, gallery: Rows, min_relevant: int) -> list[str]:
    """Concepts that a query has and enough of the gallery, sorted."""
    here = {concept for row in asked for concept in carried[row]}
    return sorted(concept for concept in here if sum(concept in carried[row] for row in gallery) >= min_relevant)


def _carries(carried: list[frozenset[str]], concepts: list[str]) -> npt.NDArray[np.float32]:
    return np.array([[concept in own for concept in concepts] for own in carried], dtype=np.float32)


def _trials(
    items: LabelledItems, name: str, asked: Rows, gallery: Rows, carries: npt.NDArray[np.float32]
) -> list[Trial]:
    groups = items.groups()
    trials = []
    for start in range(0, len(asked), BLOCK):
        rows = asked[start : start + BLOCK]
        queries = [(items.items[row].item_id, items.items[row].source, str(groups[row])) for row in rows]
        relevance = carries[rows] @ carries[gallery].T > 0
        same = groups[rows][:, None] == groups[gallery][None, :]
        scores = similarity(items.vectors[rows], items.vectors[gallery])
        trials.append(trial(name, queries, items.names(gallery), scores, relevance, same))
    return [made for made in trials if made.queries]
