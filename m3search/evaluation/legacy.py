"""Protocols that are reported elsewhere and are flawed: only to be printed beside the honest figure, never instead.

- A query is left in its own gallery and finds itself first. Every encoder gains, and more the fewer items are relevant.
- A query's other slices, its other eye, stay in the gallery: near-duplicates are found, not findings.
- Reports that are worded alike count as misses: an item whose report many others share is blamed for finding theirs.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from m3search.evaluation.items import EncodeText, LabelledItems, similarity
from m3search.evaluation.protocols import distinct_texts, galleries, image_to_image_trials
from m3search.evaluation.trials import Trial, trial


def query_left_in(items: LabelledItems) -> list[Trial]:
    """Image to image, the query being an item of its own gallery, relevant to itself."""
    return image_to_image_trials(items, left_out="nothing")


def case_left_in(items: LabelledItems) -> list[Trial]:
    """Image to image, the query left out but its case not."""
    return image_to_image_trials(items, left_out="query")


def duplicates_are_misses(items: LabelledItems, encode_text: EncodeText) -> list[Trial]:
    """Image to text with one text per item, equal ones included, of which only the item's own is relevant."""
    return list(_duplicates(items, encode_text))


def _duplicates(items: LabelledItems, encode_text: EncodeText) -> Iterator[Trial]:
    groups = items.groups()
    for (modality, _), _, gallery in galleries(items, "modality"):
        texts, _, of_text = distinct_texts(items, gallery)
        if len(texts) < 2:
            continue
        rows, written = gallery[of_text >= 0], of_text[of_text >= 0]
        queries = [(items.items[row].item_id, items.items[row].source, str(groups[row])) for row in rows]
        scores = similarity(items.vectors[rows], encode_text(texts)[written])
        yield trial(modality, queries, items.names(rows), scores, np.eye(len(rows), dtype=bool))
