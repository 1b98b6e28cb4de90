"""The engine: a query becomes a vector, the vector finds items, items become ranked hits."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from m3search import filters, modalities
from m3search.encoders import load_encoder
from m3search.errors import UsageError
from m3search.privacy import LINK, OTHER_ARCHIVE, Sealed
from m3search.search.compose import Composed, of_vector, resolve
from m3search.search.query import HowAsked, Options, Query, Weights
from m3search.search.ranking import Search
from m3search.search.rerank import best_parts
from m3search.search.results import Mode, Results
from m3search.search.standing import Sample
from m3search.stores import audit
from m3search.stores.folder import IndexFolder, locate
from m3search.stores.place import sizes
from m3search.types import Hit

if TYPE_CHECKING:
    from m3search.encoders.base import Encoder
    from m3search.filters import Filter
    from m3search.search.calibrate import Method, Scale
    from m3search.search.fuse import Ranked
    from m3search.stores.reader import Reader
    from m3search.stores.view import View
    from m3search.types import Float32

HIT_COLUMNS = ("item_id", "modality", "uri", "text", "labels", "study_key", "patient_key", "parts")


@dataclass(frozen=True, slots=True)
class SegmentStatus:
    """The copy that searches read."""

    kind: str  # of the FAISS index, "Flat" or a factory string; "" where numpy compares all vectors
    items: int
    changed: int  # rows written or deleted since it was made, which each search looks at apart
    bytes: int
    target: float | None  # recall that is promised; None: searches are exact
    recall_items: float | None  # measured when it was made: recall@10 of items, and of texts, as queries
    recall_texts: float | None

    @classmethod
    def of(cls, view: View | None) -> SegmentStatus | None:
        """From what a store reads; None for none."""
        if view is None:
            return None
        segment, tuning = view.segment, view.segment.tuning
        return cls(
            kind=segment.kind,
            items=len(segment),
            changed=view.changed,
            bytes=sum(file.stat().st_size for file in segment.path.iterdir()),
            target=tuning.target if tuning else None,
            recall_items=tuning.recall_items if tuning else None,
            recall_texts=tuning.recall_texts if tuning else None,
        )


@dataclass(frozen=True, slots=True)
class Status:
    """An index at a glance: the keys of `m3search status --json`."""

    index: str
    encoder: str
    fingerprint: str
    dim: int
    archives: tuple[str, ...]
    items: int
    by_modality: dict[str, int]
    failures: int
    runs: int
    segment: SegmentStatus | None  # what searches read; None: the tables themselves
    last_run: datetime | None  # end of the last run; None if it was killed, or before the first
    bytes_on_disk: int


class Engine:
    """Searches one index. Safe to share between threads once its encoder and store have been used."""

    def __init__(
        self,
        index: IndexFolder,
        encoder: Encoder | None = None,
        calibration: Method | None = None,
        device: str | None = None,
        store: str | None = None,
    ) -> None:
        """
        Args:
            encoder: the one to search with; None loads the one the index was built with, when first needed.
            calibration: for queries that do not say; see `search`.
            device: a torch device such as "cuda" on which all vectors are compared; None searches on the CPU.
            store: address of a copy that was published from this index, such as "milvus://host:19530/chest".

        Raises:
            EncoderMismatch: `encoder` is not the one the index was built with.
        """
        self.index = index
        self._method = calibration
        self._device = device
        self._address = store
        self._sampled: tuple[Path | None, Sample] | None = None
        if encoder is not None:
            index.check_encoder(encoder.name, encoder.fingerprint)
            self.__dict__["encoder"] = encoder

    @classmethod
    def open(
        cls,
        path: Path | str | None = None,
        model: str | Path | None = None,
        calibration: Method | None = None,
        device: str | None = None,
        store: str | None = None,
    ) -> Engine:
        """The engine of the index at `path`; see `stores.folder.locate` for the default, and `Engine` for the rest.

        Raises:
            IndexNotFound: there is no index.
            EncoderMismatch: `model` is not the one the index was built with.
        """
        index = IndexFolder.open(locate(path))
        return cls(index, load_encoder(model) if model is not None else None, calibration, device, store)

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder the index was built with.

        Raises:
            EncoderMismatch: a bundle of that name exists here, but it is another one.
        """
        encoder = load_encoder(self.index.manifest.encoder)
        self.index.check_encoder(encoder.name, encoder.fingerprint)
        return encoder

    @cached_property
    def store(self) -> Reader:
        """What is read from: the published segment and what was committed since, else the tables; or a published copy.

        Raises:
            StoreUnreachable: the copy cannot be reached.
            EncoderMismatch: it was published from another index.
        """
        return self.index.reader(self._device, self._address)

    def search(
        self,
        text: str | None = None,
        *,
        image: Path | str | Sequence[Path | str] | None = None,
        item: str | Sequence[str] | None = None,
        like: str | Sequence[str] = (),
        unlike: str | Sequence[str] = (),
        weights: Weights | None = None,
        **how: Unpack[HowAsked],
    ) -> Results:
        """The k items nearest to a text, to files, to stored items, or to any mixture of them.

        Args:
            text: a finding in plain words: "pleural effusion". What it denies ("no effusion", "without", "excluding",
                "is absent", …) is taken away from the query.
            image: an image, DICOM or ECG file, or several of any modalities, prepared as for indexing. A file that the
                index holds is recognised by its bytes and stands for its item; so does a slice for its series.
            item: the `item_id` of a stored item, or several, or unique beginnings.
            like, unlike: stored items that hits should resemble more, or less (Rocchio). They are not hits themselves.
            weights: of "text", "image", "item", "like", "unlike" and "not" (what the text denies): a number each, or a
                list with one for each value. Negative ones turn away. Default: `query.WEIGHTS`.

        Keyword arguments that tell how to search:
            k: how many hits.
            modality: only hits of this modality or these. It does not say what `image` shows: see `encode_files`.
            where: a filter expression such as "sex = 'F' and year >= 2015"; see `m3search.filters`.
            mode: "vector"; "text" ranks by the words of the items' texts; "hybrid" fuses both by reciprocal ranks.
            group: "study" or "patient": one hit for each, its best item.
            calibration: "none", "mean", "standard" or "both"; see `m3search.search.calibrate`. Default: "mean" for
                queries with words where the encoder has statistics; items are compared with items by cosine.
            hubness: lower items that are near to whatever is asked.
            rerank: order the first 100 anew by their parts (slices, tiles, windows).
            standing: also tell which share of each hit's modality scores lower; see `m3search.search.standing`.

        Raises:
            UsageError: nothing to search for; no such item, modality, file or option; k < 1; a blank text.
            FilterError: `where` cannot be understood.
            UnreadableFile: `image` cannot be read.
            EncoderMismatch: the encoder at hand is not the one the index was built with.
        """
        return self.search_many([Query.of(text, image, item, like, unlike, weights)], **how)[0]

    def search_many(self, queries: Sequence[str | Query] | Float32, **how: Unpack[HowAsked]) -> list[Results]:
        """Results of many queries, in their order; texts are embedded together and scored together.

        Args:
            queries: texts, `Query` values, or vectors of one's own, float32 (Q, D).
            how: as for `search`.

        Raises:
            UsageError: as for `search`; vectors of another dimension.
        """
        started = time.perf_counter()
        options = Options(**how)
        where = _filter(options.modality, options.where)
        composed = self._composed(queries)
        listed = self._search.ranked(composed, options, where, self._method)
        hits = [self._hits(one.ranked, query.vector) for one, query in zip(listed, composed, strict=True)]
        if options.standing:
            hits = [self._standing(some, one.scale) for some, one in zip(hits, listed, strict=True)]
        self._log("search", *zip((query.name for query in composed), map(_ids, hits), strict=True))
        took = (time.perf_counter() - started) * 1000 / max(len(composed), 1)
        return [
            Results(query.name, _mode(one.exact, where), took, found, self._thumbnails, one.scored)
            for query, one, found in zip(composed, listed, hits, strict=True)
        ]

    def warm(self) -> None:
        """Load all that a first search would wait for: encoder, segment, and the sample that tells standings."""
        vector = self.encoder.encode_text(["a"])
        self.store.search(vector, 1)
        self._sample()

    def show(self, item_id: str) -> dict[str, Any]:
        """Everything stored of one item, but for its vectors and thumbnail. `item_id` may be a unique beginning.

        Raises:
            UsageError: no such item, or several that begin so.
        """
        row: dict[str, Any] = (
            self.store.record.rows([self._resolve(item_id)])
            .drop_columns(["vector", "text_vector", "thumbnail"])
            .to_pylist()[0]
        )
        self._log("show", ("", [row["item_id"]]))
        return row

    def link(self, item_id: str) -> str:
        """The address of an item's study on the PACS that it came from; "" for an item of another archive.

        The study's UID is stored sealed: the index's key opens it. `item_id` may be a unique beginning.

        Raises:
            UsageError: no such item; the key is not the one it was sealed with.
            MissingExtra: the package that opens it is not installed.
        """
        row = self.store.record.rows([self._resolve(item_id)], ["item_id", "uri", "provenance"]).to_pylist()[0]
        sealed = json.loads(row["provenance"] or "{}").get(LINK)
        if not sealed:
            return ""
        study = Sealed(self.index.key_file).open(sealed)
        self._log("show", ("", [row["item_id"]]))
        prefix = OTHER_ARCHIVE.match(row["uri"])
        archive = self.index.manifest.archives[int(prefix.group().strip("@/")) if prefix else 0]
        return f"{archive}/studies/{study}"

    def thumbnail(self, item_id: str) -> bytes:
        """JPEG or PNG bytes of a stored item.

        Raises:
            UsageError: no such item.
        """
        item_id = self._resolve(item_id)
        self._log("thumbnail", ("", [item_id]))
        return self._thumbnails([item_id]).get(item_id, b"")

    def status(self) -> Status:
        """What the index holds and what it was built with."""
        manifest = self.index.manifest
        runs = self.store.record.runs().to_pylist()
        return Status(
            index=str(self.index.path),
            encoder=manifest.encoder,
            fingerprint=manifest.fingerprint,
            dim=manifest.dim,
            archives=manifest.archives,
            items=self.store.count(),
            by_modality=self.store.tally("modality"),
            failures=self.store.record.failures().num_rows,
            runs=len(runs),
            segment=SegmentStatus.of(self.store.view),
            last_run=runs[-1]["finished_at"] if runs else None,
            bytes_on_disk=sum(sizes(self.index.path)),
        )

    def failures(self) -> list[dict[str, Any]]:
        """One mapping per file that could not be read: uri, reason, message, attempts and more, sorted by uri."""
        rows: list[dict[str, Any]] = self.store.record.failures().to_pylist()
        return rows

    @cached_property
    def _search(self) -> Search:
        return Search(self.index, self.store, self.encoder)

    def _composed(self, queries: Sequence[str | Query] | Float32) -> list[Composed]:
        if isinstance(queries, np.ndarray):
            if queries.ndim != 2 or queries.shape[1] != self.index.manifest.dim:
                raise UsageError(f"query vectors must be (Q, {self.index.manifest.dim}), not {queries.shape}")
            return [of_vector(vector, str(row)) for row, vector in enumerate(queries, start=1)]
        if isinstance(queries, str):
            raise UsageError("search_many takes a list of queries, not one text")
        return self._search.composer.compose([Query.of(one) if isinstance(one, str) else one for one in queries])

    def _log(self, action: audit.Action, *done: tuple[str, Sequence[str]]) -> None:
        if done:
            audit.record(self.index, action, *done)

    def _resolve(self, item_id: str) -> str:
        return resolve(self.store, self.index, item_id)

    def _hits(self, ranked: Ranked, vector: Float32) -> tuple[Hit, ...]:
        rows = self.store.rows([item_id for item_id, _ in ranked], HIT_COLUMNS).to_pylist()
        best = best_parts(self.store, [row["item_id"] for row in rows if (row["parts"] or 0) > 1], vector)
        score_of = dict(ranked)
        return tuple(
            Hit(
                rank=rank,
                item_id=row["item_id"],
                modality=row["modality"],
                score=score_of[row["item_id"]],
                uri=row["uri"],
                text=row["text"] or "",
                labels=tuple(row["labels"] or ()),
                study_key=row["study_key"] or "",
                patient_key=row["patient_key"] or "",
                best_part=best.get(row["item_id"], ""),
            )
            for rank, row in enumerate(rows, start=1)
        )

    def _standing(self, hits: tuple[Hit, ...], scale: Scale | None) -> tuple[Hit, ...]:
        """The hits with their standings."""
        if scale is None or not hits:
            return hits
        return tuple(map(_with_standing, hits, self._sample().standings(hits, scale)))

    def _sample(self) -> Sample:
        """Of what the index holds, drawn anew when there is a new segment."""
        segment = None if (view := self.store.view) is None else view.segment.path
        if (sampled := self._sampled) is None or sampled[0] != segment:
            sampled = self._sampled = segment, Sample.of(self.store)
        return sampled[1]

    def _thumbnails(self, item_ids: Sequence[str]) -> dict[str, bytes]:
        rows = self.store.rows(item_ids, ["item_id", "thumbnail"]).to_pylist()
        return {row["item_id"]: row["thumbnail"] or b"" for row in rows}


def _with_standing(hit: Hit, standing: float | None) -> Hit:
    return replace(hit, standing=standing)


def _mode(exact: bool, where: Filter | None) -> Mode:
    if where is None:
        return "exact" if exact else "ann"
    return "filtered-exact" if exact else "filtered-ann"


def _ids(hits: Sequence[Hit]) -> list[str]:
    return [hit.item_id for hit in hits]


def _filter(modality: str | Sequence[str] | None, where: str | None) -> Filter | None:
    """Both conditions as one filter, or None."""
    names = [modality] if isinstance(modality, str) else list(modality or ())
    for name in names:
        modalities.get(name)
    conditions = [filters.one_of("modality", names)] if names else []
    if where:
        conditions.append(filters.parse(where))
    return filters.all_of(conditions) if conditions else None
