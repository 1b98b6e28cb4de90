"""From composed queries to ranked items: candidates, calibrated, corrected, fused, grouped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from m3search import filters
from m3search.search import group, hubness, lexical, rerank
from m3search.search.calibrate import Calibration, Method, Scale
from m3search.search.candidates import Candidates, candidates, modalities_of
from m3search.search.compose import Composed, Composer
from m3search.search.fuse import Ranked, fuse, in_order
from m3search.stores import schema
from m3search.stores.fulltext import FullText

if TYPE_CHECKING:
    from m3search.encoders.base import Encoder
    from m3search.filters import Filter
    from m3search.search.query import Options
    from m3search.stores.folder import IndexFolder
    from m3search.stores.reader import Reader
    from m3search.types import Float32

FUSED = 100  # items of each ranking that are fused, at least
PER_GROUP = 4  # items asked for per group wanted, at first

Scored = Literal["cosine", "calibrated", "bm25", "fused"]
"""What scores are: inner products, these made comparable, BM25 of words, or shares of what the first of both has."""


@dataclass(frozen=True, slots=True)
class Listed:
    """The answer to one query."""

    ranked: Ranked
    exact: bool = True  # whether every item that may be found was looked at
    spent: bool = False  # whether there are no more
    scale: Scale | None = None  # what the scores are on; None: they were made otherwise, by words or corrections
    scored: Scored = "cosine"


@dataclass(frozen=True, slots=True)
class _Asked:
    """Options as this room needs them."""

    options: Options
    where: Filter | None
    modalities: Sequence[str]


class Search:
    """Ranks items of one index. Statistics, the bank of queries and the texts are loaded when first needed."""

    def __init__(self, index: IndexFolder, store: Reader, encoder: Encoder) -> None:
        self._store = store
        self._encoder = encoder
        self._index = index

    @cached_property
    def calibration(self) -> Calibration:
        """The encoder's statistics."""
        return Calibration.of(self._encoder)

    @cached_property
    def composer(self) -> Composer:
        """Makes the queries of `ranked`."""
        return Composer(self._index, self._store, self._encoder, self.calibration)

    @cached_property
    def _texts(self) -> FullText:
        return FullText(self._index.tables)

    @cached_property
    def _bank(self) -> Float32:
        return hubness.bank_of(self._encoder)

    def ranked(
        self, queries: Sequence[Composed], options: Options, where: Filter | None, method: Method | None
    ) -> list[Listed]:
        """The k best of each query, best first, equal scores by id. `method` is for options that name none."""
        if not queries:
            return []
        method = options.calibration or method
        methods = [self.calibration.method(method, query.texts != 0) for query in queries]
        scales = [self.calibration.scale(query, one) for query, one in zip(queries, methods, strict=True)]
        asked = _Asked(options, where, self._modalities(options))
        depth = _depth(options, max(len(query.left_out) for query in queries))
        while True:
            found = self._to_depth(queries, scales, asked, depth)
            enough = all(len(one.ranked) >= options.k or one.spent for one in found)
            if enough or options.group is None:
                return [
                    replace(
                        one, ranked=one.ranked[: options.k], scale=_scale(scale, options), scored=_scored(how, options)
                    )
                    for one, scale, how in zip(found, scales, methods, strict=True)
                ]
            depth *= 4

    def _to_depth(
        self, queries: Sequence[Composed], scales: Sequence[Scale], asked: _Asked, depth: int
    ) -> list[Listed]:
        """What `depth` candidates of each query come to."""
        options = asked.options
        near: list[Candidates] = [([], True) for _ in queries]
        if options.mode != "text":
            near = candidates(self._store, scales, depth, asked.where, asked.modalities)
        found = []
        for query, scale, (ranked, exact) in zip(queries, scales, near, strict=True):
            spent = len(ranked) < depth
            ranked = self._corrected(ranked, query, scale, options)
            if options.mode != "vector":
                words = lexical.by_words(self._texts, query.said, depth, asked.where)
                spent = spent and len(words) < depth
                ranked = words if options.mode == "text" else fuse([ranked, words])
            ranked = [one for one in ranked if one[0] not in query.left_out]
            if query.itself and options.mode != "text":
                ranked = self._led_by(query.itself, ranked, asked.where)
            if options.group is not None:
                ranked = group.best_of_each(self._store, ranked, options.group)
            found.append(Listed(ranked, exact, spent))
        return found

    def _corrected(self, ranked: Ranked, query: Composed, scale: Scale, options: Options) -> Ranked:
        """After what needs a look at the candidates' vectors or parts."""
        if not ranked or not (options.hubness or options.rerank):
            return ranked
        item_ids = [item_id for item_id, _ in ranked]
        modality_of = modalities_of(self._store, item_ids)
        if options.hubness:
            vectors = schema.matrix(self._store.rows(item_ids, ["item_id", "vector"])["vector"])
            lowered = hubness.lowering(vectors, self._bank).tolist()
            ranked = in_order(
                [
                    (item_id, score - scale.of(modality_of[item_id]).slope * lower)
                    for (item_id, score), lower in zip(ranked, lowered, strict=True)
                ]
            )
        if options.rerank:
            ranked = rerank.by_parts(self._store, ranked, modality_of, scale, query.parts)
        return ranked

    def _led_by(self, item_id: str, ranked: Ranked, where: Filter | None) -> Ranked:
        """The item that the query is comes first where it passes the filter, also before others with its very vector:
        the same picture in another compression.
        """
        itself = filters.equals("item_id", item_id)
        if not ranked or not self._store.count(itself if where is None else filters.all_of([where, itself])):
            return ranked
        score = max(dict(ranked).get(item_id, 0.0), ranked[0][1])
        return [(item_id, score), *(one for one in ranked if one[0] != item_id)]

    def _modalities(self, options: Options) -> Sequence[str]:
        if options.modality is None:
            return sorted(self._encoder.inputs)
        return [options.modality] if isinstance(options.modality, str) else sorted(set(options.modality))


def _scale(scale: Scale, options: Options) -> Scale | None:
    return scale if options.mode == "vector" and not (options.hubness or options.rerank) else None


def _scored(method: Method, options: Options) -> Scored:
    if options.mode != "vector":
        return "bm25" if options.mode == "text" else "fused"
    return "cosine" if method == "none" else "calibrated"


def _depth(options: Options, left_out: int) -> int:
    """How many candidates to ask for."""
    depth = options.k + left_out
    if options.group is not None:
        depth *= PER_GROUP
    if options.mode != "vector":
        depth = max(depth, FUSED)
    if options.hubness:
        depth = max(depth, hubness.DEPTH)
    if options.rerank:
        depth = max(depth, rerank.DEPTH)
    return depth
