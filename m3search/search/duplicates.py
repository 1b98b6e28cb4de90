"""Near-identical items: copies that were recompressed, resized or slightly changed. Reported, never dropped.

Identical bytes are one item from the start. Here, two items count as the same image where their vectors are alike
(SIMILARITY) and their thumbnails nearly the same (LOOKS). Vectors only choose whom to compare: an encoder takes other
slices and equal findings for the same. Measured with m3bind-small on 128 images of four modalities and a copy of each:
every copy that was saved anew, made smaller or brighter has a cosine of .903 and looks of .991 or more; other pairs of
a modality, cosines up to .9999 and looks up to .989. Of copies with 2% cut off each side most are missed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from m3search import filters
from m3search.stores import schema

if TYPE_CHECKING:
    from m3search.stores.reader import Reader
    from m3search.types import Float32

SIMILARITY = 0.90  # least cosine of the vectors
LOOKS = 0.99  # least correlation of the thumbnails, SIDE pixels square
SIDE = 32
NEIGHBOURS = 100  # of each item that are looked at: a copy with so many items nearer than it is not found
CHUNK = 1024  # items asked for at once


@dataclass(frozen=True, slots=True)
class NearIdentical:
    """Items that show nearly the same image."""

    item_ids: tuple[str, ...]  # sorted
    uris: tuple[str, ...]  # in the same order
    modality: str
    similarity: float  # cosine of the least alike pair that was linked
    looks: float  # correlation of the thumbnails of that pair
    patients: int  # different patient keys: above 1, an image is filed under two persons


def find(reader: Reader, similarity: float = SIMILARITY, where: str | None = None) -> list[NearIdentical]:
    """Groups of items that show nearly the same, the largest first, ties by id."""
    chosen = filters.parse(where) if where else None
    groups: list[NearIdentical] = []
    for modality in sorted(reader.tally("modality", chosen)):
        condition = filters.equals("modality", modality)
        if chosen is not None:
            condition = filters.all_of([condition, chosen])
        groups += _of_modality(reader, modality, condition, similarity)
    return sorted(groups, key=lambda group: (-len(group.item_ids), group.item_ids))


def looks_alike(first: bytes, second: bytes) -> float:
    """Correlation of two thumbnails, [-1, 1]; 0 where one cannot be drawn or is of one colour."""
    one, other = _small(first), _small(second)
    return float(one @ other) if one is not None and other is not None else 0.0


def _of_modality(
    reader: Reader, modality: str, condition: filters.Filter, similarity: float
) -> Iterator[NearIdentical]:
    linked: dict[str, str] = {}  # union-find: towards the root
    weakest: dict[str, tuple[float, float]] = {}
    ids = reader.matching(condition)
    for start in range(0, len(ids), CHUNK):
        for pair, cosine, looks in _pairs(reader, ids[start : start + CHUNK], condition, similarity):
            roots = [_root(linked, one) for one in pair]
            bound = min((cosine, looks), *(weakest.pop(root, (1.0, 1.0)) for root in set(roots)))
            linked[max(roots)] = min(roots)
            weakest[min(roots)] = bound
    members = defaultdict(list)
    for one in {*linked, *weakest}:
        members[_root(linked, one)].append(one)
    for root, group in members.items():
        rows = reader.rows(sorted(group), ["item_id", "uri", "patient_key"]).to_pylist()
        patients = {row["patient_key"] for row in rows if row["patient_key"]}
        uris = tuple(row["uri"] for row in rows)
        cosine, looks = weakest[root]
        yield NearIdentical(tuple(sorted(group)), uris, modality, cosine, looks, len(patients))


def _pairs(
    reader: Reader, ids: Sequence[str], condition: filters.Filter, similarity: float
) -> Iterator[tuple[tuple[str, str], float, float]]:
    """Pairs that are alike in both ways, one of each pair among `ids`; the lesser id first."""
    vectors = schema.matrix(reader.rows(ids, ["item_id", "vector"])["vector"])
    found = reader.search(vectors, NEIGHBOURS + 1, condition)
    near = {
        (min(item, other), max(item, other)): float(score)
        for item, neighbours in zip(ids, found, strict=True)
        for other, score in zip(neighbours.ids, neighbours.scores, strict=True)
        if item != other and score >= similarity
    }
    shown = sorted({one for pair in near for one in pair})
    rows = reader.rows(shown, ["item_id", "thumbnail"]).to_pylist() if shown else []
    small = {row["item_id"]: _small(row["thumbnail"] or b"") for row in rows}
    for (item, other), cosine in near.items():
        one, two = small.get(item), small.get(other)
        looks = float(one @ two) if one is not None and two is not None else 0.0
        if looks >= LOOKS:
            yield (item, other), min(cosine, 1.0), min(looks, 1.0)


def _small(thumbnail: bytes) -> Float32 | None:
    """A thumbnail as SIDE x SIDE grey values, their mean taken away, of unit length."""
    from PIL import Image

    try:
        with Image.open(BytesIO(thumbnail)) as picture:
            grey = picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    except OSError:
        return None
    values = np.asarray(grey, dtype=np.float32).ravel()
    values -= values.mean()
    length = float(np.linalg.norm(values))
    return values / length if length > SIDE else None


def _root(linked: dict[str, str], one: str) -> str:
    while one in linked and linked[one] != one:
        one = linked[one]
    return one
