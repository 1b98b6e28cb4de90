"""What can answer judged queries: an index through its engine, or a corpus of files through an encoder alone.

Both keep a query's own patient out of its gallery: the query item itself, what is of its group or patient, and a query
file that is one of the documents.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from m3search.errors import UsageError
from m3search.evaluation.figures import stratum_name
from m3search.evaluation.items import similarity

if TYPE_CHECKING:
    from m3search.datasets import Row
    from m3search.encoders.base import Encoder
    from m3search.evaluation.beir import Question
    from m3search.evaluation.items import LabelledItems
    from m3search.search import Engine
    from m3search.types import Float32

Ranked = list[tuple[str, float]]  # documents and scores, best first
EVERYTHING = ("all", "")
Subset = tuple[str, str]
"""A part of the documents: EVERYTHING, ("modality", "ct") or ("source", "ct/hospital A")."""


class Backend(Protocol):
    """Answers queries from one set of documents."""

    name: str

    def ids(self, document: str) -> Sequence[str]:
        """What a judgement means by this name: the id itself, ids of items of this uri, or nothing."""
        ...

    def parts(self, document: str) -> Sequence[Subset]:
        """The modality and the source a document is of, where they are known."""
        ...

    def left_out(self, asked: Question) -> frozenset[str]:
        """Documents that do not belong in this query's gallery."""
        ...

    def cluster(self, query: str, asked: Question) -> str:
        """Queries of one patient are of one cluster."""
        ...

    def search(self, asked: Question, part: Subset, left_out: frozenset[str]) -> tuple[Ranked, int]:
        """The part of the documents in order, cut at some depth, and how many there are to be found."""
        ...


class CorpusBackend:
    """Files embedded beforehand, ranked whole."""

    def __init__(self, items: LabelledItems, rows: Sequence[Row], encoder: Encoder) -> None:
        self.name = encoder.name
        self._encoder = encoder
        self._items = items
        self._of_id = {item.item_id: row for row, item in enumerate(items.items)}
        self._groups = items.groups()
        self._files = {file.resolve(): row.name for row in rows for file in (row.path, *row.series)}
        order = items.by_id(np.arange(len(items)))
        self._parts: dict[Subset, list[int]] = defaultdict(list)
        for row in order:
            for part in (EVERYTHING, *self.parts(items.items[row].item_id)):
                self._parts[part].append(int(row))

    def ids(self, document: str) -> Sequence[str]:
        """See `Backend`."""
        return [document] if document in self._of_id else []

    def parts(self, document: str) -> Sequence[Subset]:
        """See `Backend`."""
        item = self._items.items[self._of_id[document]]
        source = [("source", stratum_name(item.modality, item.source))] if item.source else []
        return [("modality", item.modality), *source]

    def left_out(self, asked: Question) -> frozenset[str]:
        """See `Backend`."""
        document, groups = self._document(asked), {asked.group} - {""}
        if document:
            groups.add(str(self._groups[self._of_id[document]]))
        return frozenset(self._items.names(np.flatnonzero(np.isin(self._groups, list(groups)))))

    def cluster(self, query: str, asked: Question) -> str:
        """See `Backend`."""
        document = self._document(asked)
        return str(self._groups[self._of_id[document]]) if document else asked.group or query

    def search(self, asked: Question, part: Subset, left_out: frozenset[str]) -> tuple[Ranked, int]:
        """See `Backend`."""
        rows = np.array([row for row in self._parts[part] if self._items.items[row].item_id not in left_out], dtype=int)
        scores = similarity(self._vector(asked), self._items.vectors[rows])[0]
        order = np.argsort(-scores, kind="stable")
        return [(self._items.items[rows[place]].item_id, float(scores[place])) for place in order], len(rows)

    def _document(self, asked: Question) -> str:
        name = asked.document or (self._files.get(asked.path.resolve(), "") if asked.path else "")
        return name if name in self._of_id else ""

    def _vector(self, asked: Question) -> Float32:
        vectors: Float32
        if document := self._document(asked):
            vectors = self._items.vectors[[self._of_id[document]]]
        elif asked.path is not None:
            vectors = self._encoder.encode_files([asked.path], asked.modality or None)
        else:
            vectors = self._encoder.encode_text([asked.text])
        return vectors


class IndexBackend:
    """An index, asked through its engine: what is measured is what a user gets. Documents are items."""

    def __init__(self, engine: Engine, depth: int) -> None:
        """`depth`: how many hits are taken of each query; what is relevant below counts as missed."""
        self.name = engine.encoder.name
        self._engine = engine
        self._depth = depth
        table = engine.store.rows(engine.store.matching(None), ["item_id", "uri", "modality", "patient_key"])
        rows = table.to_pylist()
        self._modality = {row["item_id"]: row["modality"] for row in rows}
        self._patient = {row["item_id"]: row["patient_key"] or "" for row in rows}
        self._sizes = Counter(self._modality.values())
        self._patients: dict[Question, str] = {}  # of queries asked before: a file is read once
        self._of_uri: dict[str, list[str]] = defaultdict(list)
        for row in rows:
            self._of_uri[row["uri"]].append(row["item_id"])

    def ids(self, document: str) -> Sequence[str]:
        """See `Backend`."""
        return [document] if document in self._modality else sorted(self._of_uri.get(document, ()))

    def parts(self, document: str) -> Sequence[Subset]:
        """See `Backend`: an index does not know where its items come from."""
        return [("modality", self._modality[document])]

    def left_out(self, asked: Question) -> frozenset[str]:
        """See `Backend`."""
        own, patient = self._items(asked), self._patient_of(asked)
        return frozenset([*own, *(item for item, key in self._patient.items() if patient and key == patient)])

    def cluster(self, query: str, asked: Question) -> str:
        """See `Backend`."""
        return self._patient_of(asked) or query

    def search(self, asked: Question, part: Subset, left_out: frozenset[str]) -> tuple[Ranked, int]:
        """See `Backend`."""
        modality = part[1] or None
        size = self._sizes[modality] if modality else len(self._modality)
        size -= sum(modality in (None, self._modality[item]) for item in left_out)
        item = next(iter(self._items(asked)), None)
        hits = self._engine.search(
            asked.text if not (asked.document or asked.path) else None,
            image=asked.path if item is None else None,
            item=item,
            k=min(self._depth, size) + max(len(left_out), 1),
            modality=modality,
        )
        found = [(hit.item_id, hit.score) for hit in hits if hit.item_id not in left_out]
        return found[: self._depth], size

    def _items(self, asked: Question) -> Sequence[str]:
        """The items that the query is: the one it names, or those that were read from its file, or a copy of it."""
        if asked.document:
            return self.ids(asked.document)
        return self._of_digest.get(_digest(asked.path), []) if asked.path else []

    def _patient_of(self, asked: Question) -> str:
        """The pseudonym of the query's patient: of its item, else as `group` or its file states it."""
        if asked not in self._patients:
            items = self._items(asked)
            self._patients[asked] = self._patient[items[0]] if items else self._stated_patient(asked)
        return self._patients[asked]

    def _stated_patient(self, asked: Question) -> str:
        from m3search.modalities.reading import read_item, source_of
        from m3search.privacy import Pseudonyms

        patient, encoder = asked.group, self._engine.encoder
        if not patient and asked.path is not None:
            source = source_of(asked.path, asked.modality or None, guess=encoder.guess_modality)
            patient = read_item(source, encoder.input_of(source.modality)).identity.patient_id
        key = self._engine.index.key_file
        return Pseudonyms.load(key).of(patient) if patient and key.is_file() else ""

    @cached_property
    def _of_digest(self) -> Mapping[str, list[str]]:
        """Items by the digest of each of their files, copies included."""
        table = self._engine.store.rows(list(self._modality), ["item_id", "files"])
        items: dict[str, list[str]] = defaultdict(list)
        for row in table.to_pylist():
            for file in row["files"] or ():
                items[file["digest"]].append(row["item_id"])
        return items


def _digest(path: Path) -> str:
    from blake3 import blake3

    try:
        return blake3().update_mmap(path).hexdigest()
    except OSError as error:
        raise UsageError(f"query file {path} cannot be read: {error.strerror}") from error
