"""A trial: queries put to one gallery. What every retrieval protocol makes, and every measure is computed from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from m3search.evaluation.figures import QueryScore
from m3search.metrics import Measure, expected, rank

if TYPE_CHECKING:
    import numpy.typing as npt

BLOCK = 512  # queries scored at a time: 200 MB with a gallery of 50,000


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """Q queries of one stratum and G documents, sorted by id. Queries to which nothing is relevant are not in it."""

    modality: str
    queries: tuple[str, ...]  # (Q,) names, unique within a modality and source
    sources: tuple[str, ...]  # (Q,) of the query, or of the gallery; "" where neither has one
    clusters: tuple[str, ...]  # (Q,) queries of one cluster are resampled together
    documents: tuple[str, ...]  # (G,) ids
    scores: npt.NDArray[np.float64]  # (Q, G)
    relevance: npt.NDArray[np.bool_]  # (Q, G)
    exclude: npt.NDArray[np.bool_]  # (Q, G) what is not in the query's gallery: itself, its patient


def trial(
    modality: str,
    queries: Iterable[tuple[str, str, str]],
    documents: Iterable[str],
    scores: npt.NDArray[np.float64],
    relevance: npt.NDArray[np.bool_],
    exclude: npt.NDArray[np.bool_] | None = None,
) -> Trial:
    """A trial of the queries, (name, source, cluster) each, to which something in their gallery is relevant."""
    exclude = np.zeros(scores.shape, dtype=bool) if exclude is None else exclude
    relevance = relevance & ~exclude
    asked = np.flatnonzero(relevance.any(axis=1))
    known = list(queries)
    names, sources, clusters = zip(*(known[row] for row in asked), strict=True) if len(asked) else ((), (), ())
    return Trial(modality, names, sources, clusters, tuple(documents), scores[asked], relevance[asked], exclude[asked])


def score(trials: Iterable[Trial], measure: str = "AP") -> list[QueryScore]:
    """Every query's value, in the order of the trials."""
    how = Measure.parse(measure)
    return [scored for one in trials for scored in _score(one, how)]


def _score(one: Trial, measure: Measure) -> Iterator[QueryScore]:
    values = measure(rank(one.scores, one.relevance, one.exclude))
    relevant, gallery = one.relevance.sum(axis=1), (~one.exclude).sum(axis=1)
    chance = {
        (r, g): expected(measure, np.ones(r), g) for r, g in set(zip(relevant.tolist(), gallery.tolist(), strict=True))
    }
    for place, query in enumerate(one.queries):
        found, size = int(relevant[place]), int(gallery[place])
        yield QueryScore(
            query,
            one.modality,
            one.sources[place],
            one.clusters[place],
            float(values[place]),
            chance[found, size],
            found,
            size,
        )
