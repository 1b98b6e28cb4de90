"""The best items under a calibration, from a store that knows inner products only.

Within a modality the calibrated order is the order of inner products; between modalities it is not. So one search over
everything is made first. An item that it does not list has at most the inner product of the last one listed: where
that cannot carry an item of a modality among the best, the modality is done; else its own best are asked for. For most
queries, which are about one modality, the first search is all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from m3search import filters
from m3search.search.fuse import Ranked, in_order

if TYPE_CHECKING:
    from m3search.filters import Filter
    from m3search.search.calibrate import Scale
    from m3search.stores.base import Neighbours
    from m3search.stores.reader import Reader

Candidates = tuple[Ranked, bool]
"""The best items of a query, and whether these surely are the best: no part of the index was passed over."""

SPARE = 16  # items asked for beyond those wanted, where modalities differ in their lines


def candidates(
    store: Reader, scales: Sequence[Scale], depth: int, where: Filter | None, modalities: Sequence[str]
) -> list[Candidates]:
    """For each query the min(depth, matching) best items and their calibrated scores, equal ones by id.

    Args:
        modalities: those that items may be of.
    """
    directions = np.stack([scale.direction for scale in scales])
    alike = not any(scale.lines for scale in scales) or len(modalities) == 1
    fetch = depth if alike else depth + SPARE
    found = store.search(directions, fetch, where)
    return [
        (_listed(neighbours, scale, modalities), neighbours.exact)
        if alike
        else _merged(store, neighbours, scale, fetch, depth, where, modalities)
        for neighbours, scale in zip(found, scales, strict=True)
    ]


def modalities_of(store: Reader, item_ids: Sequence[str]) -> dict[str, str]:
    """The modality of each item."""
    rows = store.rows(item_ids, ["item_id", "modality"])
    return dict(zip(rows["item_id"].to_pylist(), rows["modality"].to_pylist(), strict=True))


def _listed(neighbours: Neighbours, scale: Scale, modalities: Sequence[str]) -> Ranked:
    """A list whose items share one line."""
    line = scale.of(modalities[0]) if len(modalities) == 1 else scale.line
    return list(zip(neighbours.ids, line(neighbours.scores).tolist(), strict=True))


def _merged(
    store: Reader,
    everything: Neighbours,
    scale: Scale,
    fetch: int,
    depth: int,
    where: Filter | None,
    modalities: Sequence[str],
) -> Candidates:
    modality_of = modalities_of(store, everything.ids)
    ranked = in_order(
        [
            (item_id, float(scale.of(modality_of[item_id])(score)))
            for item_id, score in zip(everything.ids, everything.scores, strict=True)
        ]
    )
    if len(everything) < fetch:  # there are no others
        return ranked[:depth], everything.exact
    best = dict(ranked)
    wanted = ranked[depth - 1][1]
    exact = everything.exact
    for modality in modalities:
        line = scale.of(modality)
        if float(line(everything.scores[-1])) < wanted:
            continue
        itself = filters.equals("modality", modality)
        both = itself if where is None else filters.all_of([where, itself])
        own = store.search(scale.direction[None], depth, both)[0]
        exact = exact and own.exact
        best |= dict(zip(own.ids, line(own.scores).tolist(), strict=True))
    return in_order(list(best.items()))[:depth], exact
