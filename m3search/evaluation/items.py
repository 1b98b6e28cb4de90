"""Embedded items whose labels are known, and how they are grouped and compared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from m3search.types import Float32

Rows = npt.NDArray[np.intp]
EncodeText = Callable[[Sequence[str]], npt.NDArray[np.float32]]

Scope = Literal["all", "modality", "source"]
"""What a gallery holds: every item, those of one modality, or those of one modality and source."""

MIN_RELEVANT = 3  # a label with fewer items says more about those items than about the encoder
DIGITS = 7  # similarities are rounded to: vectors that are equal tie, whatever order a product was summed in


@dataclass(frozen=True, slots=True)
class Label:
    """What is known about one item of an evaluation set."""

    item_id: str
    modality: str
    labels: frozenset[str]
    text: str = ""
    group: str = ""  # items of one group are of one patient or case; "" stands alone
    source: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledItems:
    """An evaluation set: what is known about its items, and their unit vectors, float32 (N, D)."""

    items: tuple[Label, ...]
    vectors: Float32

    def __post_init__(self) -> None:
        if len(self.items) != len(self.vectors):
            raise ValueError(f"{len(self.items)} items and {len(self.vectors)} vectors")

    def __len__(self) -> int:
        return len(self.items)

    def names(self, rows: Rows) -> tuple[str, ...]:
        """Ids of these rows."""
        return tuple(self.items[row].item_id for row in rows)

    def groups(self) -> npt.NDArray[np.str_]:
        """(N,) the group of each item; one without is a group of its own."""
        return np.array([item.group or f"alone {item.item_id}" for item in self.items], dtype=np.str_)

    def by_id(self, rows: Rows) -> Rows:
        """Rows sorted by item_id: equal scores are ranked in this order."""
        return np.array(sorted(rows, key=lambda row: self.items[row].item_id), dtype=np.intp)

    def strata(self, by_source: bool) -> dict[tuple[str, str], Rows]:
        """Rows by (modality, source); source is "" unless asked for. Ordered by first appearance."""
        rows: dict[tuple[str, str], list[int]] = defaultdict(list)
        for row, item in enumerate(self.items):
            rows[item.modality, item.source if by_source else ""].append(row)
        return {stratum: np.array(members, dtype=np.intp) for stratum, members in rows.items()}

    def labels(self, rows: Rows | None = None) -> list[str]:
        """Every label that some item (of these rows) carries, sorted."""
        chosen = self.items if rows is None else [self.items[row] for row in rows]
        return sorted({label for item in chosen for label in item.labels})

    def carries(self, labels: Sequence[str]) -> npt.NDArray[np.bool_]:
        """(N, labels), true where an item has a label."""
        rows = [[label in item.labels for label in labels] for item in self.items]
        return np.array(rows, dtype=bool).reshape(len(self), len(labels))


def similarity(queries: Float32, vectors: Float32) -> npt.NDArray[np.float64]:
    """Cosines of unit vectors, (Q, D) and (N, D) -> (Q, N)."""
    return np.round(queries.astype(np.float64) @ vectors.astype(np.float64).T, DIGITS)
