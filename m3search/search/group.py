"""One hit per study or patient: its best item stands for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from m3search.search.fuse import Ranked
    from m3search.search.query import Grouping
    from m3search.stores.reader import Reader


def best_of_each(store: Reader, ranked: Ranked, by: Grouping) -> Ranked:
    """The first item of each study or patient, in order. An item of no known study or patient stands alone."""
    column = f"{by}_key"
    rows = store.rows([item_id for item_id, _ in ranked], ["item_id", column])
    key_of = dict(zip(rows["item_id"].to_pylist(), rows[column].to_pylist(), strict=True))
    first: dict[str, tuple[str, float]] = {}
    for item_id, score in ranked:
        first.setdefault(key_of.get(item_id) or f"alone {item_id}", (item_id, score))
    return list(first.values())
