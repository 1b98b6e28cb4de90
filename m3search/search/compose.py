"""A query as one vector: texts, files and items added up by weight, what is denied or unlike taken away."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from m3search import filters
from m3search.encoders.base import normalise
from m3search.errors import UsageError
from m3search.search.negation import Said, read_denials
from m3search.search.query import WEIGHTS, Encoded, Query
from m3search.stores import schema

if TYPE_CHECKING:
    from pathlib import Path

    from m3search.encoders.base import Encoder
    from m3search.search.calibrate import Calibration
    from m3search.stores.folder import IndexFolder
    from m3search.stores.reader import Reader
    from m3search.types import Float32

    EncodeText = Callable[[Sequence[str]], Float32]

NOTHING = Said("", "")
SHORT_ID = 8  # characters of an item id in the name of a mixed query


@dataclass(frozen=True, slots=True, eq=False)
class Composed:
    """What a search needs to know of a query."""

    name: str  # how results name it: the text, the file's name, the item's id
    vector: Float32  # (D,), unit length
    texts: float = 0.0  # weight of the texts in `vector`
    items: float = 0.0  # weight of the items and files in it
    said: Said = NOTHING
    itself: str = ""  # the stored item that the query is
    left_out: frozenset[str] = frozenset()  # items it was told about with like and unlike: they are no news
    parts: Float32 | None = None  # (P, D) of the query item where it has several


def of_vector(vector: Float32, name: str) -> Composed:
    """A query that comes as a vector; it is taken for that of a text.

    Raises:
        UsageError: it is zero, or not finite.
    """
    if not np.isfinite(vector).all() or not np.any(vector):
        raise UsageError(f"query {name}: a vector must be finite and not zero")
    return Composed(name, normalise(vector), texts=1.0)


@dataclass(frozen=True, slots=True)
class _Ingredient:
    """Something to add to a query vector."""

    name: str
    vector: Float32  # (D,), unit length
    weight: float
    item_id: str = ""  # of a stored item


class Composer:
    """Makes vectors of queries for one index."""

    def __init__(self, index: IndexFolder, store: Reader, encoder: Encoder, calibration: Calibration) -> None:
        self._index = index
        self._store = store
        self._encoder = encoder
        self._calibration = calibration

    def compose(self, queries: Sequence[Query]) -> list[Composed]:
        """All at once, so that the texts of a batch are embedded together.

        Raises:
            UsageError: no such file or item; ingredients that cancel each other out.
            UnreadableFile: a file cannot be read.
        """
        said = [
            read_denials(query.text) if query.weights_of("not")[0] else Said(query.text, query.text)
            for query in queries
        ]
        vector_of = _embedded(self._encoder.encode_text, said)
        return [self._compose(query, one, vector_of) for query, one in zip(queries, said, strict=True)]

    def _compose(self, query: Query, said: Said, vector_of: Mapping[str, Float32]) -> Composed:
        given = [self._file(path) for path in query.images] + list(query.encoded)
        files = [
            _Ingredient(one.name, one.vector, weight, one.item_id)
            for one, weight in zip(given, query.weights_of("image"), strict=True)
        ]
        items, like, unlike = (
            [self._stored(item, weight) for item, weight in zip(given, query.weights_of(kind), strict=True)]
            for kind, given in (("item", query.items), ("like", query.like), ("unlike", query.unlike))
        )
        unlike = [_Ingredient(one.name, one.vector, -one.weight, one.item_id) for one in unlike]
        shown = [*files, *items, *like, *unlike]
        total: Float32 = np.zeros(self._encoder.dim, dtype=np.float32)
        for one in shown:
            total = total + np.float32(one.weight) * one.vector
        weight, length = 0.0, 1.0
        if query.text:
            (weight,) = query.weights_of("text")
            words, length = denying(said, vector_of, self._calibration, query.weights_of("not")[0])
            total = total + np.float32(weight) * words
        norm = float(np.linalg.norm(total))
        if norm < 1e-6:
            raise UsageError("the parts of this query cancel each other out; change their weights")
        itself = shown[0].item_id if query.is_one_item and shown[0].weight > 0 else ""
        return Composed(
            name=_name(query, files, items),
            vector=normalise(total),
            texts=weight / length / norm,
            items=sum(one.weight for one in shown) / norm,
            said=said,
            itself=itself,
            left_out=frozenset(one.item_id for one in (*like, *unlike)),
            parts=self._parts(itself) if itself else None,
        )

    def _file(self, path: Path) -> Encoded:
        if not path.is_file():
            raise UsageError(
                f"{path} is a folder: query with one of its files"
                if path.is_dir()
                else f"there is no file {path} to query with"
            )
        from m3search.search.recognise import recognise

        file = recognise(path, self._index, self._store)
        if file.item_id:
            return Encoded(file.name, self._vector(file.item_id), file.item_id)
        return Encoded(file.name, self._encoder.encode_files([path])[0])

    def _stored(self, item_id: str, weight: float) -> _Ingredient:
        item_id = resolve(self._store, self._index, item_id)
        return _Ingredient(item_id, self._vector(item_id), weight, item_id)

    def _vector(self, item_id: str) -> Float32:
        return normalise(schema.matrix(self._store.rows([item_id], ["item_id", "vector"])["vector"])[0])

    def _parts(self, item_id: str) -> Float32 | None:
        vectors = schema.matrix(self._store.parts_of([item_id])["vector"])
        return normalise(vectors) if len(vectors) > 1 else None


def resolve(store: Reader, index: IndexFolder, item_id: str) -> str:
    """The whole id of the one stored item that begins so.

    Raises:
        UsageError: no such item, or several.
    """
    if store.rows([item_id], ["item_id"]).num_rows:  # a whole id needs no look at the others
        return item_id
    found = store.matching(filters.starts_with("item_id", item_id))
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{len(found)} items begin with {item_id!r}; give more of the id")
    raise UsageError(f"index {index.path} has no item {item_id!r}")


def compose_texts(texts: Sequence[str], encode_text: EncodeText, calibration: Calibration) -> list[Composed]:
    """Queries of words alone, without an index."""
    said = [read_denials(text) for text in texts]
    vector_of = _embedded(encode_text, said)
    found = []
    for one in said:
        vector, length = denying(one, vector_of, calibration)
        found.append(Composed(one.text, vector, texts=1 / length, said=one))
    return found


def denying(
    said: Said, vector_of: Mapping[str, Float32], calibration: Calibration, weight: float = WEIGHTS["not"]
) -> tuple[Float32, float]:
    """The vector of a text, (D,) unit length, with what it denies taken away, and how long it was before.

    Encoders hardly hear a denial: "no effusion" lies beside "effusion". So what is denied is embedded by itself and
    subtracted, but for the share it has in common with what is asked for and with the average item of its modality:
    "chest X-ray without effusion" goes on asking for chest X-rays, and turns away only those more like an effusion
    than most. Where nothing else is asked for, the mean text of that modality is.
    """
    if not said.denied:
        return vector_of[said.text], 1.0
    denied = np.stack([vector_of[words] for words in said.denied])
    topic = calibration.topic_of(vector_of[said.kept] if said.kept else denied.mean(axis=0))
    base = vector_of[said.kept or said.text] if said.kept or topic is None else normalise(topic.text_mean)
    shared = base[:, None] if topic is None else np.stack([base, topic.item_mean], axis=1)
    axes = np.linalg.qr(shared)[0]  # (D, 1 or 2), orthonormal
    vector = base - weight * (denied - denied @ axes @ axes.T).sum(axis=0)
    return normalise(vector), float(np.linalg.norm(vector))


def _embedded(encode_text: EncodeText, said: Sequence[Said]) -> dict[str, Float32]:
    """What `denying` needs of these texts, embedded together."""
    needed = [
        text for one in said for text in ((one.kept or one.text, *one.denied) if one.denied else (one.text,)) if text
    ]
    texts = list(dict.fromkeys(needed))
    return dict(zip(texts, encode_text(texts), strict=True)) if texts else {}


def _name(query: Query, files: Sequence[_Ingredient], items: Sequence[_Ingredient]) -> str:
    if query.is_one_item:
        return (*files, *items)[0].name
    names = [query.text, *(one.name for one in files), *(one.name[:SHORT_ID] for one in items)]
    names += [f"like {item[:SHORT_ID]}" for item in query.like] + [f"unlike {item[:SHORT_ID]}" for item in query.unlike]
    return " + ".join(name for name in names if name)
