"""Parts of items (slices, tiles, windows): which of them a query is nearest to, and items ranked anew by them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from m3search.search.fuse import in_order
from m3search.stores import schema

if TYPE_CHECKING:
    from m3search.search.calibrate import Scale
    from m3search.search.fuse import Ranked
    from m3search.stores.reader import Reader
    from m3search.types import Float32

DEPTH = 100  # items that are ranked anew


def best_parts(store: Reader, item_ids: Sequence[str], vector: Float32) -> dict[str, str]:
    """The locator of each item's part nearest to the query (D,), of equal ones the first."""
    if not item_ids:
        return {}
    parts = store.parts_of(item_ids)
    scores = schema.matrix(parts["vector"]) @ vector
    best: dict[str, str] = {}
    ids, locators = parts["item_id"].to_pylist(), parts["locator"].to_pylist()
    for row in np.argsort(-scores, kind="stable"):
        best.setdefault(ids[row], locators[row])
    return best


def by_parts(
    store: Reader, ranked: Ranked, modality_of: Mapping[str, str], scale: Scale, query_parts: Float32 | None = None
) -> Ranked:
    """The first DEPTH items in the order of their late interaction with the query; the others stay behind them.

    Late interaction: the mean over the query's parts of the score of the item's part nearest to each (Khattab and
    Zaharia, ColBERT, SIGIR 2020). An item's score becomes the mean of that and of what it was, so that one odd tile
    does not decide alone. The best of many parts scores higher than a whole: within each modality, scores are shifted
    back to the mean they had, or modalities whose items have parts would be favoured.

    Args:
        modality_of: of each ranked item.
        scale: the query's; parts are scored like items.
        query_parts: float32 (P, D), where the query is an item with parts; else its direction is its one part.
    """
    head, tail = ranked[:DEPTH], ranked[DEPTH:]
    asked = scale.direction[None] if query_parts is None else query_parts
    parts = store.parts_of([item_id for item_id, _ in head])
    scores = schema.matrix(parts["vector"]) @ asked.T  # (parts, P)
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for row, item_id in enumerate(parts["item_id"].to_pylist()):
        rows[item_id].append(row)
    late = {
        item_id: float(scale.of(modality_of[item_id])(scores[rows[item_id]].max(axis=0).mean()))
        if item_id in rows
        else score
        for item_id, score in head
    }
    members: defaultdict[str, list[tuple[str, float]]] = defaultdict(list)
    for item_id, score in head:
        members[modality_of[item_id]].append((item_id, score))
    moved: Ranked = []
    for own in members.values():
        shift = float(np.mean([late[item_id] - score for item_id, score in own]))
        moved += [(item_id, (score + late[item_id] - shift) / 2) for item_id, score in own]
    return in_order(moved) + tail
