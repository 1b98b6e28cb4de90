"""BEIR's layout (Thakur 2021, arXiv 2104.08663), with files as documents.

    corpus.jsonl     {"_id": "d1", "path": "images/d1.dcm", "modality": "xray", "patient_id": "p7", "labels": ["…"]}
    corpus.csv       the same, one column per key, labels joined by "|"; instead of corpus.jsonl
    queries.jsonl    {"_id": "q1", "text": "pleural effusion"}  or  {"_id": "q2", "path": "q2.png", "modality": "xray"}
    qrels/test.tsv   query-id, corpus-id, score; tab-separated, with or without that header

Of a document only `_id` and `path` (relative to the folder) are needed; `modality` is recognised where it is not said,
`group` or `patient_id` keep a query's own patient out of its gallery, `source`, `text` and `labels` serve the other
protocols. Keys may also stand in BEIR's `metadata` object.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m3search.datasets import Row
from m3search.errors import DataError
from m3search.modalities import MODALITIES

Qrels = Mapping[str, Mapping[str, int]]
"""By query and document, how relevant the document is: 0 or less is not."""


@dataclass(frozen=True, slots=True)
class Question:
    """A query that is a text, a file, or a document of the corpus: one of the first three."""

    text: str = ""
    path: Path | None = None
    document: str = ""
    modality: str = ""  # of the file, where it does not say itself
    group: str = ""  # of the file: what is of the same group is not in its gallery


def is_folder(path: Path) -> bool:
    """Whether a path has BEIR's layout."""
    return (path / "queries.jsonl").is_file() and any((path / f"corpus.{kind}").is_file() for kind in ("jsonl", "csv"))


def read(folder: Path, part: str = "") -> tuple[tuple[Row, ...], dict[str, Question], dict[str, dict[str, int]]]:
    """Documents as rows (their id is `Row.name`), queries, and the judgements of qrels/<part>.tsv or of all files.

    Raises:
        DataError: naming the file and line that is wrong, or what a judgement refers to that is not there.
    """
    rows: dict[str, Row] = {}
    for entry, place in _corpus(folder):
        if (name := _needed(entry, "_id", place)) in rows:
            raise DataError(f"{place}: document {name!r} is there twice")
        rows[name] = parse_document(folder, entry, place)
    questions = {
        _needed(entry, "_id", place): parse_question(folder, entry, place)
        for entry, place in _json_lines(folder / "queries.jsonl")
    }
    files = sorted((folder / "qrels").glob("*.tsv"))
    chosen = [file for file in files if part in ("", "all", file.stem)]
    if not chosen:
        there = ", ".join(file.stem for file in files) or "none"
        raise DataError(f"{folder}/qrels has no {part or '*'}.tsv; there: {there}")
    qrels: dict[str, dict[str, int]] = {}
    for file in chosen:
        for query, document, relevance, place in _judgements(file):
            if query not in questions:
                raise DataError(f"{place}: there is no query {query!r} in queries.jsonl")
            if document not in rows:
                raise DataError(f"{place}: there is no document {document!r} in the corpus")
            qrels.setdefault(query, {})[document] = relevance
    return tuple(rows.values()), {query: asked for query, asked in questions.items() if query in qrels}, qrels


def write(
    folder: Path, rows: Sequence[Row], questions: Mapping[str, Question], qrels: Qrels, part: str = "test"
) -> None:
    """A data set in BEIR's layout; files stay where they are and are named relative to the folder."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as stream:
        for row in rows:
            entry = {
                "_id": row.name, "title": "", "text": row.text, "path": _relative(row.path, folder),
                "modality": row.modality, "group": row.group, "labels": list(row.labels), "source": row.source,
            }  # fmt: skip
            stream.write(json.dumps(entry, ensure_ascii=False) + "\n")
    with (folder / "queries.jsonl").open("w", encoding="utf-8") as stream:
        for query, asked in questions.items():
            about = {"path": _relative(asked.path, folder)} if asked.path else {"text": asked.text}
            about |= {"document": asked.document, "modality": asked.modality, "group": asked.group}
            kept = {key: value for key, value in about.items() if value}
            stream.write(json.dumps({"_id": query} | kept, ensure_ascii=False) + "\n")
    with (folder / "qrels" / f"{part}.tsv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(["query-id", "corpus-id", "score"])
        writer.writerows(
            (query, document, gain) for query, judged in qrels.items() for document, gain in judged.items()
        )


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def _corpus(folder: Path) -> Iterator[tuple[dict[str, Any], str]]:
    if (folder / "corpus.jsonl").is_file():
        yield from _json_lines(folder / "corpus.jsonl")
        return
    file = folder / "corpus.csv"
    with file.open(newline="", encoding="utf-8-sig") as stream:
        for number, line in enumerate(csv.DictReader(stream), start=2):
            yield {key: value for key, value in line.items() if value}, f"{file}, line {number}"


def _json_lines(file: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """Each line's object, with what `metadata` holds, and its place."""
    with file.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            place = f"{file}, line {number}"
            try:
                entry = json.loads(line)
            except ValueError as error:
                raise DataError(f"{place} is not JSON: {error}") from None
            if not isinstance(entry, dict):
                raise DataError(f"{place} is no object such as {{'_id': …}}")
            yield {**(entry.get("metadata") or {}), **{key: value for key, value in entry.items() if value}}, place


def parse_document(folder: Path, entry: Mapping[str, Any], place: str) -> Row:
    """A line of the corpus as a row.

    Raises:
        DataError: it lacks an id or a path, or names an unknown modality; `place` says where it stands.
    """
    name = _needed(entry, "_id", place)
    labels = entry.get("labels") or ()
    text = str(entry.get("text") or entry.get("title") or "")
    return Row(
        path=(folder / _needed(entry, "path", place)).absolute(),
        modality=_modality(entry, place),
        group=str(entry.get("group") or entry.get("patient_id") or name),
        text=text,
        caption=text,
        labels=tuple(label for label in (labels.split("|") if isinstance(labels, str) else map(str, labels)) if label),
        source=str(entry.get("source") or ""),
        name=name,
    )


def parse_question(folder: Path, entry: Mapping[str, Any], place: str) -> Question:
    """A line of the queries.

    Raises:
        DataError: it has neither text nor path nor document, or names an unknown modality.
    """
    path, text, document = entry.get("path"), str(entry.get("text") or ""), str(entry.get("document") or "")
    if not (path or text or document):
        raise DataError(f"{place}: a query needs a text, a path, or the id of a document")
    return Question(
        text="" if path or document else text,
        path=(folder / str(path)).absolute() if path and not document else None,
        document=document,
        modality=_modality(entry, place),
        group=str(entry.get("group") or entry.get("patient_id") or ""),
    )


def _judgements(file: Path) -> Iterator[tuple[str, str, int, str]]:
    """(query, document, relevance, place) of each line: three columns, or TREC's four with an unused second one."""
    with file.open(newline="", encoding="utf-8") as stream:
        for number, line in enumerate(csv.reader(stream, delimiter="\t"), start=1):
            place = f"{file}, line {number}"
            if not line or (number == 1 and not _is_number(line[-1])):
                continue
            if len(line) not in (3, 4) or not _is_number(line[-1]):
                raise DataError(f"{place} must be query, document and relevance, separated by tabs")
            yield line[0], line[-2], int(float(line[-1])), place


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _needed(entry: Mapping[str, Any], key: str, place: str) -> str:
    if not entry.get(key):
        raise DataError(f"{place} has no {key!r}")
    return str(entry[key])


def _modality(entry: Mapping[str, Any], place: str) -> str:
    name = str(entry.get("modality") or "")
    if name and name not in MODALITIES:
        raise DataError(f"{place}: there is no modality {name!r}; choose from {', '.join(MODALITIES)}")
    return name
