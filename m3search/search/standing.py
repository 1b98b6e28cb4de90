"""Where a hit's score stands among all items of its modality: what a score by itself does not say.

"Higher than 99.8% of the X-rays" is told from a sample of each modality.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from m3search import filters
from m3search.stores import schema

if TYPE_CHECKING:
    from m3search.search.calibrate import Scale
    from m3search.stores.reader import Reader
    from m3search.types import Float32, Hit

SAMPLE = 1000  # items of each modality: shares are told to a tenth of a percent
LEAST = 20  # items of a modality, below which a share of them says nothing


class Sample:
    """Vectors of some items of each modality, float32 (S, D) each."""

    def __init__(self, vectors: Mapping[str, Float32]) -> None:
        self._vectors = dict(vectors)

    @classmethod
    def of(cls, store: Reader) -> Sample:
        """From what the index holds now."""
        vectors = {}
        for modality in store.tally("modality"):
            chosen = store.spread(SAMPLE, filters.equals("modality", modality))
            vectors[modality] = schema.matrix(store.rows(chosen, ["item_id", "vector"])["vector"])
        return cls(vectors)

    def standings(self, hits: Sequence[Hit], scale: Scale) -> list[float | None]:
        """For each hit the share of its modality's items that score lower under the scale; None where none is known."""
        ordered = {}
        for modality in {hit.modality for hit in hits} & self._vectors.keys():
            scores = scale.of(modality)(self._vectors[modality] @ scale.direction)
            ordered[modality] = np.sort(scores)
        found: list[float | None] = []
        for hit in hits:
            scores = ordered.get(hit.modality, np.zeros(0))
            below = float(np.searchsorted(scores, hit.score - 1e-6))  # itself and its equals are not below it
            found.append(round(below / len(scores), 4) if len(scores) >= LEAST else None)
        return found
