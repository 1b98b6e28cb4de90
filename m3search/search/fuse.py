"""Several rankings as one, by reciprocal ranks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

Ranked = list[tuple[str, float]]
"""Item ids and scores, best first; equal scores by id."""

CONSTANT = 60  # of Cormack, Clarke and Büttcher, Reciprocal rank fusion (SIGIR 2009)


def in_order(ranked: Ranked) -> Ranked:
    """Best first, equal scores by id."""
    return sorted(ranked, key=lambda one: (-one[1], one[0]))


def fuse(rankings: Sequence[Ranked], constant: int = CONSTANT) -> Ranked:
    """Sum of 1 / (constant + rank) over the rankings, as a share of what the first of all of them would have: (0, 1].

    Equal scores have ranks of their own, by id. Cormack et al. 2009.
    """
    sums: defaultdict[str, float] = defaultdict(float)
    for ranking in rankings:
        for rank, (item_id, _) in enumerate(ranking, start=1):
            sums[item_id] += 1 / (constant + rank)
    best = len(rankings) / (constant + 1)
    return in_order([(item_id, total / best) for item_id, total in sums.items()])
