"""The engine: a query becomes a vector, the vector finds items, items become ranked hits."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from m3search import filters, modalities
from m3search.encoders import load_encoder
from m3search.errors import UsageError
from m3search.search.results import Mode, Results
from m3search.stores.base import Neighbours
from m3search.stores.folder import IndexFolder, locate
from m3search.types import Hit

if TYPE_CHECKING:
    import pyarrow as pa

    from m3search.encoders.base import Encoder
    from m3search.filters import Filter
    from m3search.stores.reader import Reader
    from m3search.types import Float32

HIT_COLUMNS = ("item_id", "modality", "uri", "text", "labels", "study_key", "patient_key", "parts")


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
    last_run: datetime | None  # end of the last run; None if it was killed, or before the first
    bytes_on_disk: int


@dataclass(frozen=True, slots=True, eq=False)
class _Query:
    words: str  # how results name the query
    vector: Float32  # (D,), unit length
    item_id: str = ""  # of the stored item that the query is


class Engine:
    """Searches one index. Safe to share between threads once its encoder and store have been used."""

    def __init__(self, index: IndexFolder, encoder: Encoder | None = None) -> None:
        """`encoder`: the one to search with; None loads the one the index was built with, when first needed.

        Raises:
            EncoderMismatch: `encoder` is not the one the index was built with.
        """
        self.index = index
        if encoder is not None:
            index.check_encoder(encoder.name, encoder.fingerprint)
            self.__dict__["encoder"] = encoder

    @classmethod
    def open(cls, path: Path | str | None = None, model: str | Path | None = None) -> Engine:
        """The engine of the index at `path`; see `stores.folder.locate` for the default.

        Raises:
            IndexNotFound: there is no index.
            EncoderMismatch: `model` is not the one the index was built with.
        """
        index = IndexFolder.open(locate(path))
        return cls(index, load_encoder(model) if model is not None else None)

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
        """What is read from: the published segment where it is fresh, else the tables."""
        return self.index.reader()

    def search(
        self,
        text: str | None = None,
        *,
        image: Path | str | None = None,
        item: str | None = None,
        k: int = 10,
        modality: str | Sequence[str] | None = None,
        where: str | None = None,
    ) -> Results:
        """The k items nearest to a text, to a file, or to a stored item.

        Args:
            text: a finding in plain words: "pleural effusion".
            image: an image, DICOM or ECG file, prepared as for indexing. A file that the index holds is recognised by
                its bytes and stands for its item; so does a slice for its series.
            item: the `item_id` of a stored item.
            modality: only hits of this modality or these. It does not say what `image` shows: see `encode_files`.
            where: a filter expression such as "sex = 'F' and year >= 2015"; see `m3search.filters`.

        Raises:
            UsageError: none or several of text, image and item; no such item, modality or file; k < 1; a blank text.
            FilterError: `where` cannot be understood.
            UnreadableFile: `image` cannot be read.
            EncoderMismatch: the encoder at hand is not the one the index was built with.
        """
        if k < 1:
            raise UsageError(f"k must be at least 1, not {k}")
        started = time.perf_counter()
        where_filter = _filter(modality, where)
        query = self._query(text, image, item)
        neighbours = self.store.search(query.vector[np.newaxis], k, where_filter)[0]
        if query.item_id:
            neighbours = self._led_by(query, neighbours, where_filter)
        hits = self._hits(neighbours, query.vector)
        mode: Mode = "exact" if where_filter is None else "filtered-exact"
        return Results(query.words, mode, (time.perf_counter() - started) * 1000, hits, self._thumbnails)

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
        return row

    def thumbnail(self, item_id: str) -> bytes:
        """JPEG or PNG bytes of a stored item.

        Raises:
            UsageError: no such item.
        """
        item_id = self._resolve(item_id)
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
            last_run=runs[-1]["finished_at"] if runs else None,
            bytes_on_disk=sum(file.stat().st_size for file in self.index.path.rglob("*") if file.is_file()),
        )

    def failures(self) -> list[dict[str, Any]]:
        """One mapping per file that could not be read: uri, reason, message, attempts and more, sorted by uri."""
        rows: list[dict[str, Any]] = self.store.record.failures().to_pylist()
        return rows

    def _query(self, text: str | None, image: Path | str | None, item: str | None) -> _Query:
        given = [value for value in (text, image, item) if value is not None]
        if len(given) != 1:
            raise UsageError("a query is one of: a text, a file (--image), a stored item (--item)")
        if text is not None:
            if not text.strip():
                raise UsageError("the query text is empty; say what to look for")
            return _Query(text, self.encoder.encode_text([text])[0])
        if image is not None:
            return self._query_by_file(Path(image))
        item_id = self._resolve(str(item))
        return _Query(item_id, self._vector(item_id), item_id)

    def _query_by_file(self, path: Path) -> _Query:
        if not path.is_file():
            raise UsageError(
                f"{path} is a folder: query with one of its files"
                if path.is_dir()
                else f"there is no file {path} to query with"
            )
        from m3search.search.recognise import recognise

        file = recognise(path, self.index, self.store)
        if file.item_id:
            return _Query(file.name, self._vector(file.item_id), file.item_id)
        return _Query(file.name, self.encoder.encode_files([path])[0])

    def _vector(self, item_id: str) -> Float32:
        from m3search.encoders.base import normalise
        from m3search.stores import schema

        return normalise(schema.matrix(self.store.rows([item_id], ["item_id", "vector"])["vector"])[0])

    def _led_by(self, query: _Query, neighbours: Neighbours, where: Filter | None) -> Neighbours:
        """The item that the query is comes first where it passes the filter, also before others with its very vector:
        the same picture in another compression.
        """
        itself = filters.equals("item_id", query.item_id)
        if not self.store.count(itself if where is None else filters.all_of([where, itself])):
            return neighbours
        others = [row for row, item_id in enumerate(neighbours.ids) if item_id != query.item_id][: len(neighbours) - 1]
        ids = (query.item_id, *(neighbours.ids[row] for row in others))
        return Neighbours(ids, np.concatenate([neighbours.scores[:1], neighbours.scores[others]]))

    def _resolve(self, item_id: str) -> str:
        found = self.store.matching(filters.starts_with("item_id", item_id))
        if len(found) == 1 or item_id in found:
            return item_id if item_id in found else found[0]
        if found:
            raise UsageError(f"{len(found)} items begin with {item_id!r}; give more of the id")
        raise UsageError(f"index {self.index.path} has no item {item_id!r}")

    def _hits(self, neighbours: Neighbours, vector: Float32) -> tuple[Hit, ...]:
        rows = self.store.rows(neighbours.ids, HIT_COLUMNS).to_pylist()
        best = self._best_parts([row["item_id"] for row in rows if (row["parts"] or 0) > 1], vector)
        score_of = dict(zip(neighbours.ids, neighbours.scores.tolist(), strict=True))
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

    def _thumbnails(self, item_ids: Sequence[str]) -> dict[str, bytes]:
        rows = self.store.rows(item_ids, ["item_id", "thumbnail"]).to_pylist()
        return {row["item_id"]: row["thumbnail"] or b"" for row in rows}

    def _best_parts(self, item_ids: Sequence[str], vector: Float32) -> Mapping[str, str]:
        """The locator of each item's part nearest to the query."""
        if not item_ids:
            return {}
        from m3search.stores import schema

        parts: pa.Table = self.store.parts_of(item_ids)
        scores = schema.matrix(parts["vector"]) @ vector
        best: dict[str, str] = {}
        ids, locators = parts["item_id"].to_pylist(), parts["locator"].to_pylist()
        for row in np.argsort(-scores, kind="stable"):
            best.setdefault(ids[row], locators[row])
        return best


def _filter(modality: str | Sequence[str] | None, where: str | None) -> Filter | None:
    """Both conditions as one filter, or None."""
    names = [modality] if isinstance(modality, str) else list(modality or ())
    for name in names:
        modalities.get(name)
    conditions = [filters.one_of("modality", names)] if names else []
    if where:
        conditions.append(filters.parse(where))
    return filters.all_of(conditions) if conditions else None
