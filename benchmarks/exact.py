"""Exact neighbours of data larger than memory, and how many of them were found.

Rows are streamed in blocks, as in faiss/contrib/exhaustive_search.py. Single precision decides who is compared, doubles
who is nearer: equal vectors tie, and a tie with the last of the true neighbours counts as found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.types import Float32

BLOCK = 8192  # rows compared at a time: 64 MB of scores for 2,000 queries
SPARE = 16  # neighbours kept beyond k, among which doubles decide
TIE = 1e-9  # more than doubles err by


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The true neighbours of Q queries, best first, equal ones by row; row -1 and score -inf where fewer match."""

    rows: npt.NDArray[np.int64]  # (Q, k)
    scores: npt.NDArray[np.float64]  # (Q, k), inner products


def exact(
    vectors: npt.NDArray[np.float16], queries: Float32, k: int, allowed: npt.NDArray[np.bool_] | None = None
) -> Truth:
    """The k nearest of vectors (N, D), or of the allowed rows (N,), to queries (Q, D), by inner product."""
    chosen = None if allowed is None else np.flatnonzero(allowed)
    total = len(vectors) if chosen is None else len(chosen)
    kept = np.full((len(queries), k + SPARE), -1, dtype=np.int64)
    best = np.full(kept.shape, -np.inf, dtype=np.float32)
    for start in range(0, total, BLOCK):
        stop = min(start + BLOCK, total)
        rows = np.arange(start, stop) if chosen is None else chosen[start:stop]
        scores = queries @ (vectors[start:stop] if chosen is None else vectors[rows]).astype(np.float32).T
        better = np.flatnonzero((scores > best.min(axis=1, keepdims=True)).any(axis=0))  # soon only a few are
        both = np.concatenate([best, scores[:, better]], axis=1)
        names = np.concatenate([kept, np.broadcast_to(rows[better], (len(queries), len(better)))], axis=1)
        places = np.argpartition(-both, k + SPARE - 1, axis=1)[:, : k + SPARE]
        best, kept = np.take_along_axis(both, places, 1), np.take_along_axis(names, places, 1)
    return _settled(vectors, queries, kept, k)


def _settled(vectors: npt.NDArray[np.float16], queries: Float32, kept: npt.NDArray[np.int64], k: int) -> Truth:
    rows, scores = np.full((len(queries), k), -1, dtype=np.int64), np.full((len(queries), k), -np.inf)
    for number, (query, candidates) in enumerate(zip(queries, kept, strict=True)):
        candidates = np.sort(candidates[candidates >= 0])
        exactly = _scores(vectors, query, candidates)
        order = np.argsort(-exactly, kind="stable")[:k]
        rows[number, : len(order)], scores[number, : len(order)] = candidates[order], exactly[order]
    return Truth(rows, scores)


def found_of(
    vectors: npt.NDArray[np.float16],
    queries: Float32,
    truth: Truth,
    answers: npt.NDArray[np.int64],
    allowed: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.float64]:
    """Recall of each query (Q,): the share of the min(k, matching) nearest that answers (Q, k) hold.

    Args:
        answers: row numbers, -1 where a page is short. A row named twice counts once, one that is not allowed never.
    """
    recalls = np.ones(len(answers))
    for number, answer in enumerate(answers):
        there = int((truth.rows[number] >= 0).sum())
        if there:
            rows = np.unique(answer[answer >= 0])
            rows = rows if allowed is None else rows[allowed[rows]]
            near = _scores(vectors, queries[number], rows) >= truth.scores[number, there - 1] - TIE
            recalls[number] = min(int(near.sum()), there) / there
    return recalls


def short_pages(truth: Truth, answers: npt.NDArray[np.int64]) -> int:
    """Queries with fewer answers than there are rows to answer with, up to k."""
    return int(((answers >= 0).sum(axis=1) < (truth.rows[: len(answers)] >= 0).sum(axis=1)).sum())


def _scores(vectors: npt.NDArray[np.float16], query: Float32, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    # A sum along each row gives equal vectors equal scores, which a matrix product may not.
    return np.asarray((vectors[rows].astype(np.float64) * query.astype(np.float64)).sum(axis=1))
