"""Protocols of retrieval, on embedded items whose labels and texts are known:

- text to image: each label's name is a query; items that carry the label are relevant.
- image to image: each item is a query; items that share a label with it, or have its very text, are relevant. The
  query itself and everything of its group (other slices of the case, the other eye) are not in its gallery. Leaving
  out the query alone is also offered: it flatters, since near-duplicates are found, but others report it so.
- image to text: each item is a query, the distinct texts of its modality are the gallery, its own text is relevant.
  Items with the same text have one text between them, so a text that fits is never counted as a miss.
- text to own image: each distinct text is a query; every item with that text is relevant.

A query's gallery is all items ("all"), those of one modality ("modality") or those of one modality and source
("source"): where source and label are confounded, only the last shows that findings and not cameras are told apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np

from m3search.evaluation.figures import QueryScore
from m3search.evaluation.items import MIN_RELEVANT, EncodeText, LabelledItems, Rows, Scope, similarity
from m3search.evaluation.trials import BLOCK, Trial, score, trial

if TYPE_CHECKING:
    import numpy.typing as npt


def text_to_image(
    items: LabelledItems, encode_text: EncodeText, scope: Scope = "all", min_relevant: int = MIN_RELEVANT
) -> list[QueryScore]:
    """Average precision of label names as queries; see `text_to_image_trials`."""
    return score(text_to_image_trials(items, encode_text, scope, min_relevant))


def image_to_image(
    items: LabelledItems, scope: Scope = "modality", left_out: Literal["group", "query"] = "group"
) -> list[QueryScore]:
    """Average precision of items as queries; those without a relevant item in their gallery are not asked."""
    return score(image_to_image_trials(items, scope, left_out))


def text_to_image_trials(
    items: LabelledItems, encode_text: EncodeText, scope: Scope = "all", min_relevant: int = MIN_RELEVANT
) -> list[Trial]:
    """Label names as queries, one per modality (and source) that has at least `min_relevant` items of the label."""
    labels = items.labels()
    if not labels:
        return []
    scores = similarity(encode_text(labels), items.vectors)  # (labels, N)
    carries = items.carries(labels).T
    trials = []
    for (modality, source), own, gallery in galleries(items, scope):
        asked = np.flatnonzero(carries[:, own].sum(axis=1) >= min_relevant)
        queries = [(labels[row], source, labels[row]) for row in asked]
        cells = np.ix_(asked, gallery)
        trials.append(trial(modality, queries, items.names(gallery), scores[cells], carries[cells]))
    return trials


def image_to_image_trials(
    items: LabelledItems, scope: Scope = "modality", left_out: Literal["group", "query", "nothing"] = "group"
) -> list[Trial]:
    """Items as queries. `left_out` of their gallery: the group, the query alone, or (a known flaw) nothing."""
    groups = items.groups()
    trials = []
    for (modality, source), own, gallery in galleries(items, scope):
        for start in range(0, len(own), BLOCK):
            asked = own[start : start + BLOCK]
            apart = groups[asked][:, None] == groups[gallery][None, :]
            if left_out != "group":
                apart = (asked[:, None] == gallery[None, :]) & (left_out == "query")
            scores = similarity(items.vectors[asked], items.vectors[gallery])
            queries = _as_queries(items, asked, groups, source)
            relevance = shared(items, asked, gallery)
            trials.append(trial(modality, queries, items.names(gallery), scores, relevance, apart))
    return trials


def image_to_text_trials(
    items: LabelledItems, encode_text: EncodeText, scope: Literal["modality", "source"] = "modality"
) -> list[Trial]:
    """Items with a text as queries, distinct texts as the gallery; a stratum needs two texts to tell apart.

    A text goes by the id of the first item that has it.
    """
    groups = items.groups()
    trials = []
    for (modality, source), own, _ in galleries(items, scope):
        texts, first, of_text = distinct_texts(items, own)
        if len(texts) < 2:
            continue
        asked = own[of_text >= 0]
        relevance = of_text[of_text >= 0][:, None] == np.arange(len(texts))[None, :]
        scores = similarity(items.vectors[asked], encode_text(texts))
        queries = _as_queries(items, asked, groups, source)
        trials.append(trial(modality, queries, items.names(first), scores, relevance))
    return trials


def text_to_own_image_trials(
    items: LabelledItems, encode_text: EncodeText, scope: Literal["modality", "source"] = "modality"
) -> list[Trial]:
    """Distinct texts as queries, the items that have the text as what is to be found."""
    trials = []
    for (modality, source), own, gallery in galleries(items, scope):
        texts, first, _ = distinct_texts(items, own)
        if len(texts) < 2:
            continue
        relevance = np.array([[items.items[row].text == text for row in gallery] for text in texts])
        scores = similarity(encode_text(texts), items.vectors[gallery])
        queries = [(name, source, name) for name in items.names(first)]
        trials.append(trial(modality, queries, items.names(gallery), scores, relevance))
    return trials


def galleries(items: LabelledItems, scope: Scope) -> Iterator[tuple[tuple[str, str], Rows, Rows]]:
    """Each stratum, (modality, source), its own rows, and the rows of its gallery, sorted by id."""
    everything = items.by_id(np.arange(len(items)))
    for stratum, own in items.strata(by_source=scope == "source").items():
        yield stratum, own, everything if scope == "all" else items.by_id(own)


def distinct_texts(items: LabelledItems, rows: Rows) -> tuple[list[str], Rows, Rows]:
    """Texts that differ, the first row (by id) of each, and for each of `rows` the place of its text, -1 for none."""
    place: dict[str, int] = {}
    first: list[int] = []
    for row in items.by_id(rows):
        text = items.items[row].text
        if text and text not in place:
            place[text] = len(first)
            first.append(int(row))
    of_text = np.array([place.get(items.items[row].text, -1) for row in rows], dtype=np.intp)
    return list(place), np.array(first, dtype=np.intp), of_text


def shared(items: LabelledItems, rows: Rows, columns: Rows) -> npt.NDArray[np.bool_]:
    """(rows, columns), true where two items share a label or their whole text; without either they share nothing."""
    labels = items.labels()
    carries = items.carries(labels).astype(np.float32)
    numbers: dict[str, int] = {"": 0}
    texts = np.array([numbers.setdefault(item.text, len(numbers)) for item in items.items], dtype=np.intp)
    same_text = (texts[rows][:, None] == texts[columns][None, :]) & (texts[rows] != 0)[:, None]
    return np.asarray((carries[rows] @ carries[columns].T > 0) | same_text)


def _as_queries(
    items: LabelledItems, rows: Rows, groups: npt.NDArray[np.str_], source: str
) -> list[tuple[str, str, str]]:
    return [(items.items[row].item_id, source or items.items[row].source, str(groups[row])) for row in rows]
