"""Queries with judgements: how well an engine, or an encoder alone, answers them. `m3search.evaluate`."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from m3search.errors import UsageError
from m3search.evaluation import beir
from m3search.evaluation.backends import EVERYTHING, Backend, CorpusBackend, IndexBackend, Ranked, Subset
from m3search.evaluation.dataset import embed
from m3search.evaluation.figures import Figure, Part, QueryScore, figure_of
from m3search.evaluation.report import Report
from m3search.metrics import Measure, Ranking, expected

if TYPE_CHECKING:
    from m3search.encoders.base import Encoder
    from m3search.search import Engine

    Asked = str | Path | Mapping[str, str] | beir.Question
    Document = str | Path | Mapping[str, str]

MEASURES = ("R@1", "R@10", "AP", "nDCG@10", "RR")
DEPTH = 1000  # hits taken from an engine per query: what is relevant below counts as missed, as in TREC


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    """One query over one part of the documents."""

    query: str
    cluster: str
    ranked: Ranked
    judged: Mapping[str, int]
    gallery: int  # documents that could be found

    def score(self, measure: Measure, backend: Backend) -> QueryScore:
        gains = np.array([max(self.judged.get(document, 0), 0) for document, _ in self.ranked], dtype=np.float64)
        known = np.array([gain for document, gain in self.judged.items() if backend.ids(document)], dtype=np.float64)
        missing = np.array([gain for document, gain in self.judged.items() if not backend.ids(document)], dtype=float)
        judged = np.sort(np.maximum(np.concatenate([known, missing]), 0))[::-1]
        value = measure(Ranking(gains[None], judged[None]))[0]
        chance = expected(measure, known, self.gallery, missing)
        relevant = int((judged > 0).sum())
        return QueryScore(self.query, "", "", self.cluster, float(value), chance, relevant, self.gallery)


def evaluate(
    engine_or_encoder: Engine | Encoder,
    queries: Mapping[str, Asked],
    qrels: Mapping[str, Mapping[str, int]],
    metrics: Sequence[str] = MEASURES,
    *,
    corpus: Mapping[str, Document] | None = None,
    depth: int = DEPTH,
) -> Report:
    """Ask every judged query and measure the answers, with 95% bootstrap intervals and chance beside them.

    A query's own item and everything else of its patient are left out of its gallery. Relevant documents that are not
    there, or below `depth`, count as missed. A query to which nothing is relevant is left out.

    Args:
        engine_or_encoder: an index through its engine, or an encoder, which needs a `corpus`.
        queries: by id, a text, a file (a path, or a string that names an existing file), an item (a string that is an
            id of the index or corpus, or the uri of an indexed item); or a mapping with one of "text", "path",
            "document", and "modality" or "patient_id" where a file does not say itself.
        qrels: by query id and document, how relevant the document is; 0 or less is not. A document is an item_id or a
            uri of the index (a uri stands for all its items), or a key of `corpus`.
        metrics: names of ir_measures or trec_eval: "R@10", "P@5", "Success@1", "AP", "RR", "nDCG@10", …
        corpus: by id, a file, or a mapping with "path" and any of "modality", "patient_id", "source".
        depth: how many hits are taken from an engine.

    Raises:
        UsageError: no query is judged or a judged one is missing, no document is known, nothing is relevant to any
            query, an encoder without a corpus, an unknown measure.
        DataError: a corpus of which nothing can be read.
    """
    from m3search.encoders.base import Encoder

    if not isinstance(engine_or_encoder, Encoder):
        if corpus is not None:
            raise UsageError("an engine searches its index; a corpus is for an encoder")
        return judge(IndexBackend(engine_or_encoder, depth), queries, qrels, metrics)
    if not corpus:
        raise UsageError("an encoder has no documents; give corpus={id: path}, or an engine")
    rows = [beir.parse_document(Path(), _described(name, entry), f"corpus[{name!r}]") for name, entry in corpus.items()]
    said: list[str] = []
    with tempfile.TemporaryDirectory(prefix="m3search-") as cache:  # decoded images of patients are not left behind
        items = embed(rows, engine_or_encoder, Path(cache), say=said.append)
    return judge(CorpusBackend(items, rows, engine_or_encoder), queries, qrels, metrics, said)


def judge(
    backend: Backend,
    queries: Mapping[str, Asked],
    qrels: Mapping[str, Mapping[str, int]],
    metrics: Sequence[str] = MEASURES,
    notes: Sequence[str] = (),
) -> Report:
    """`evaluate` for documents that are ready to be searched."""
    measures = _parse(metrics)
    asked = {query: _question(queries, query, backend) for query in qrels}
    judgements = {query: _by_id(judged, backend) for query, judged in qrels.items()}
    _check(judgements, backend)
    answers: dict[Subset, list[_Answer]] = defaultdict(list)
    for query, judged in judgements.items():
        left_out = backend.left_out(asked[query])
        kept = {document: gain for document, gain in judged.items() if document not in left_out}
        for part, own in _parts(kept, backend):
            ranked, gallery = backend.search(asked[query], part, left_out)
            cluster = backend.cluster(query, asked[query])
            answers[part].append(_Answer(query, cluster, ranked, own, gallery))
    if not answers:
        raise UsageError("no query has anything relevant in its gallery")
    whole = answers[EVERYTHING]
    figures = {part: _figures(answers[part], measures, backend) for part in sorted(answers)}
    return Report(
        encoder=backend.name,
        overall=figures[EVERYTHING][0],
        by_modality={name: figures[kind, name][0] for kind, name in figures if kind == "modality"},
        by_source={name: figures[kind, name][0] for kind, name in figures if kind == "source"},
        per_query=figures[EVERYTHING][1],
        run={answer.query: answer.ranked for answer in whole},
        qrels={answer.query: answer.judged for answer in whole},
        notes=(*notes, *_notes(queries, judgements, whole, backend)),
    )


def _parse(metrics: Sequence[str]) -> list[Measure]:
    try:
        return [Measure.parse(name) for name in ([metrics] if isinstance(metrics, str) else metrics)]
    except ValueError as error:
        raise UsageError(str(error)) from None


def _question(queries: Mapping[str, Asked], query: str, backend: Backend) -> beir.Question:
    if query not in queries:
        raise UsageError(f"query {query!r} is judged but not among the queries")
    value = queries[query]
    if isinstance(value, beir.Question):
        return value
    if isinstance(value, Mapping):
        return beir.parse_question(Path(), value, f"queries[{query!r}]")
    if isinstance(value, Path):
        return beir.Question(path=value)
    if backend.ids(value):
        return beir.Question(document=value)
    # A bare word is a text even where a file has that name: "ecg" asks for ECGs.
    if Path(value).suffix and len(value) < 1024 and Path(value).is_file():
        return beir.Question(path=Path(value))
    return beir.Question(text=value)


def _by_id(judged: Mapping[str, int], backend: Backend) -> dict[str, int]:
    """Judgements by the ids of the documents that are there, and by their own names of those that are not."""
    return {name: gain for document, gain in judged.items() for name in backend.ids(document) or [document]}


def _check(judgements: Mapping[str, Mapping[str, int]], backend: Backend) -> None:
    documents = {document for judged in judgements.values() for document in judged}
    if not documents:
        raise UsageError("no query is judged: qrels is {query: {document: relevance}}")
    if not any(backend.ids(document) for document in documents):
        raise UsageError(
            f"none of the {len(documents)} judged documents is there; name them by item_id or uri (of an index), or by "
            f"the keys of the corpus; one of them is {min(documents)!r}"
        )


def _parts(judged: Mapping[str, int], backend: Backend) -> Iterable[tuple[Subset, dict[str, int]]]:
    """Everything, and each part that holds something relevant, with the judgements of its documents."""
    parts: dict[Subset, dict[str, int]] = {EVERYTHING: dict(judged)}
    for document, gain in judged.items():
        for part in backend.parts(document) if backend.ids(document) else ():
            parts.setdefault(part, {})[document] = gain
    return [(part, own) for part, own in parts.items() if any(gain > 0 for gain in own.values())]


def _figures(
    answers: Sequence[_Answer], measures: Sequence[Measure], backend: Backend
) -> tuple[dict[str, Figure], dict[str, dict[str, float]]]:
    """By measure, and by query and measure."""
    scores = {measure.name: [answer.score(measure, backend) for answer in answers] for measure in measures}
    per_query = {
        answer.query: {name: scored[place].value for name, scored in scores.items()}
        for place, answer in enumerate(answers)
    }
    return {name: figure_of([Part.of(scored)]) for name, scored in scores.items()}, per_query


def _notes(
    queries: Mapping[str, Any], judgements: Mapping[str, Mapping[str, int]], asked: Sequence[_Answer], backend: Backend
) -> list[str]:
    unjudged, empty = len(set(queries) - set(judgements)), len(judgements) - len(asked)
    documents = {document for judged in judgements.values() for document, gain in judged.items() if gain > 0}
    missing = sum(not backend.ids(document) for document in documents)
    return [
        *([f"{unjudged} queries have no judgement and were not asked"] if unjudged else []),
        *([f"{empty} queries have nothing relevant in their gallery and are left out"] if empty else []),
        *([f"{missing} relevant documents are not there and count as missed"] if missing else []),
    ]


def _described(name: str, entry: Document) -> dict[str, Any]:
    return {"_id": name, **(entry if isinstance(entry, Mapping) else {"path": str(entry)})}
