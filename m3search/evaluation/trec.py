"""TREC's files: runs (query Q0 document rank score tag) and judgements (query 0 document relevance).

trec_eval orders a run by its scores, in single precision, and breaks ties by the document's name backwards. So that it
sees the order that was measured, a score that is not below the one before it is lowered to the next smaller number of
single precision: the sixth digit or beyond.

Ids may not hold white space there: it is written as in URLs (%20), and so is the percent sign itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import numpy as np

from m3search.errors import DataError

if TYPE_CHECKING:
    Run = Mapping[str, Sequence[tuple[str, float]]]  # documents and scores of each query, best first
    Qrels = Mapping[str, Mapping[str, int]]

DEPTH = 1000  # documents per query in a run, as is usual


def write_run(path: Path | str, run: Run, tag: str, depth: int = DEPTH) -> None:
    """A run file. `tag` names the system."""
    with Path(path).open("w", encoding="utf-8") as file:
        for query, ranked in run.items():
            last = np.float32(np.inf)
            for rank, (document, score) in enumerate(ranked[:depth], start=1):
                last = min(np.float32(score), np.nextafter(last, np.float32(-np.inf)))
                file.write(f"{_escape(query)} Q0 {_escape(document)} {rank} {last:.9g} {_escape(tag)}\n")


def write_qrels(path: Path | str, qrels: Qrels) -> None:
    """A file of judgements."""
    with Path(path).open("w", encoding="utf-8") as file:
        for query, judged in qrels.items():
            for document, relevance in judged.items():
                file.write(f"{_escape(query)} 0 {_escape(document)} {relevance}\n")


def read_qrels(path: Path | str) -> dict[str, dict[str, int]]:
    """The inverse of `write_qrels`.

    Raises:
        DataError: a line is not "query 0 document relevance".
    """
    qrels: dict[str, dict[str, int]] = {}
    for place, (query, _, document, relevance) in _fields(Path(path), 4):
        try:
            qrels.setdefault(unquote(query), {})[unquote(document)] = int(relevance)
        except ValueError:
            raise DataError(f"{place}: the relevance {relevance!r} is no whole number") from None
    return qrels


def read_run(path: Path | str) -> dict[str, list[tuple[str, float]]]:
    """The inverse of `write_run`: documents and scores of each query, in the order of their ranks.

    Raises:
        DataError: a line is not "query Q0 document rank score tag".
    """
    found: dict[str, list[tuple[int, str, float]]] = {}
    for place, (query, _, document, rank, score, _) in _fields(Path(path), 6):
        try:
            found.setdefault(unquote(query), []).append((int(rank), unquote(document), float(score)))
        except ValueError:
            raise DataError(f"{place}: rank {rank!r} and score {score!r} must be numbers") from None
    return {query: [(document, score) for _, document, score in sorted(rows)] for query, rows in found.items()}


def _fields(path: Path, count: int) -> Iterable[tuple[str, list[str]]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            fields = line.split()
            if len(fields) != count:
                raise DataError(f"{path}, line {number} has {len(fields)} fields, not {count}")
            yield f"{path}, line {number}", fields


def _escape(name: str) -> str:
    return "".join(quote(letter) if letter.isspace() or letter == "%" else letter for letter in name)
