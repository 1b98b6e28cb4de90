"""How good an encoder retrieves: label names against images, images against images, with intervals and chance.

Protocols, on embedded items whose labels are known:

- text to image: each label's name is a query; items that carry the label are relevant.
- image to image: each item is a query; items that share a label with it, or have its very text, are relevant. The
  query itself and everything of its group (other slices of the case, the other eye) are not in its gallery. Leaving
  out the query alone is also offered: it flatters, since near-duplicates are found, but others report it so.

A query's gallery is all items ("all"), those of one modality ("modality") or those of one modality and source
("source"): where source and label are confounded, only the last shows that findings and not cameras are told apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from m3search import metrics

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.types import Float32

Scope = Literal["all", "modality", "source"]

MIN_RELEVANT = 3  # a label with fewer items says more about those items than about the encoder


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


@dataclass(frozen=True, slots=True)
class QueryScore:
    """The average precision of one query."""

    query: str  # a label's name, or an item_id
    modality: str
    source: str  # "" unless the scope is "source", or the query is an item
    cluster: str  # queries of one cluster are not independent: intervals resample clusters
    average_precision: float
    relevant: int
    gallery: int

    @property
    def chance(self) -> float:
        """What a random order of the same gallery reaches on average."""
        return expected_average_precision(self.relevant, self.gallery)


@dataclass(frozen=True, slots=True)
class Figure:
    """Mean average precision over queries, with its 95% interval."""

    value: float
    low: float | None  # None where all queries are of one cluster: nothing to draw an interval from
    high: float | None
    chance: float
    queries: int
    items: int  # in the largest gallery


def text_to_image(
    items: LabelledItems,
    encode_text: Callable[[Sequence[str]], Float32],
    scope: Scope = "all",
    min_relevant: int = MIN_RELEVANT,
) -> list[QueryScore]:
    """Label names as queries, one per modality (and source) that has at least `min_relevant` items of the label."""
    names = sorted({label for item in items.items for label in item.labels})
    if not names:
        return []
    similarity = encode_text(names) @ items.vectors.T  # (labels, N)
    carries = _carries(items, names).T
    scores = []
    for (modality, source), own in _strata(items, by_source=scope == "source").items():
        gallery = _by_id(items, np.arange(len(items)) if scope == "all" else own)
        asked = np.flatnonzero(carries[:, own].sum(axis=1) >= min_relevant)
        relevant = carries[np.ix_(asked, gallery)]
        precision = metrics.average_precision(similarity[np.ix_(asked, gallery)], relevant)
        for place, label in enumerate(asked):
            name, found = names[label], int(relevant[place].sum())
            scores.append(QueryScore(name, modality, source, name, float(precision[place]), found, len(gallery)))
    return scores


def image_to_image(
    items: LabelledItems, scope: Scope = "modality", left_out: Literal["group", "query"] = "group"
) -> list[QueryScore]:
    """Every item as a query; those without a relevant item in their gallery are not asked."""
    shared = _shared(items)
    groups = np.array([item.group or f"alone {item.item_id}" for item in items.items])
    apart = groups if left_out == "group" else np.arange(len(items))
    scores = []
    for (modality, source), own in _strata(items, by_source=scope == "source").items():
        gallery = _by_id(items, np.arange(len(items)) if scope == "all" else own)
        exclude = apart[own][:, None] == apart[gallery][None, :]
        relevant = shared[np.ix_(own, gallery)] & ~exclude
        precision = metrics.average_precision(items.vectors[own] @ items.vectors[gallery].T, relevant, exclude)
        for place in np.flatnonzero(relevant.any(axis=1)):
            item = items.items[own[place]]
            found, size = int(relevant[place].sum()), int((~exclude[place]).sum())
            scores.append(
                QueryScore(
                    item.item_id,
                    modality,
                    source or item.source,
                    str(groups[own[place]]),
                    float(precision[place]),
                    found,
                    size,
                )
            )
    return scores


def expected_average_precision(relevant: int, gallery: int) -> float:
    """Of a random order of `gallery` items, `relevant` of them relevant: what chance reaches.

    With r relevant among n, an item at rank k is relevant with probability r/n, and each of the k - 1 before it with
    q = (r - 1) / (n - 1): the mean over k of (1 + (k - 1) q) / k is q + (1 - q) H_n / n. A bit above r/n.
    """
    if gallery < 2:
        return float(relevant > 0)
    also_relevant = (relevant - 1) / (gallery - 1)
    harmonic = float((1 / np.arange(1, gallery + 1)).sum())
    return also_relevant + (1 - also_relevant) * harmonic / gallery


def summarise(scores: Iterable[QueryScore], by: Literal["modality", "source"] = "modality") -> dict[str, Figure]:
    """Mean average precision per modality, or per "modality/source", in the order of their first query."""
    strata: dict[str, list[QueryScore]] = defaultdict(list)
    for score in scores:
        strata[score.modality if by == "modality" else f"{score.modality}/{score.source}"].append(score)
    return {name: _figure(members) for name, members in strata.items()}


def _figure(scores: Sequence[QueryScore]) -> Figure:
    values = np.array([score.average_precision for score in scores])
    clusters = [score.cluster for score in scores]
    interval = metrics.bootstrap_interval(values, groups=clusters)
    several = len(set(clusters)) > 1
    return Figure(
        value=interval.mean,
        low=interval.low if several else None,
        high=interval.high if several else None,
        chance=float(np.mean([score.chance for score in scores])),
        queries=len(scores),
        items=max(score.gallery for score in scores),
    )


def _by_id(items: LabelledItems, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Rows sorted by item_id: equal scores are ranked in this order."""
    return np.array(sorted(rows, key=lambda row: items.items[row].item_id), dtype=np.intp)


def _strata(items: LabelledItems, by_source: bool) -> dict[tuple[str, str], npt.NDArray[np.intp]]:
    """Rows by (modality, source); source is "" unless asked for. Ordered by first appearance."""
    rows: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row, item in enumerate(items.items):
        rows[item.modality, item.source if by_source else ""].append(row)
    return {stratum: np.array(members, dtype=np.intp) for stratum, members in rows.items()}


def _carries(items: LabelledItems, names: Sequence[str]) -> npt.NDArray[np.bool_]:
    """(N, labels), true where an item has a label."""
    rows = [[name in item.labels for name in names] for item in items.items]
    return np.array(rows, dtype=bool).reshape(len(items), len(names))


def _shared(items: LabelledItems) -> npt.NDArray[np.bool_]:
    """(N, N), true where two items share a label or their whole text; items without either share nothing."""
    names = sorted({label for item in items.items for label in item.labels})
    carries = _carries(items, names).astype(np.float32)
    texts = np.array([item.text for item in items.items])
    same_text = (texts[:, None] == texts[None, :]) & (texts != "")[:, None]
    shared: npt.NDArray[np.bool_] = (carries @ carries.T > 0) | same_text
    return shared
