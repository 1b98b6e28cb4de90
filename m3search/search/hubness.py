"""Hubs: items that are near to whatever is asked. Each item's score is lowered by how near a bank of queries is to it.

Half of cross-domain similarity local scaling (Conneau et al., Word translation without parallel data, ICLR 2018): the
query's own neighbourhood is the same for all items and changes no order. The bank is the names of all findings of the
vocabulary, embedded once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from m3search.vocabulary import FINDINGS

if TYPE_CHECKING:
    from m3search.encoders.base import Encoder
    from m3search.types import Float32

NEIGHBOURS = 10  # queries of the bank that are nearest to an item
DEPTH = 200  # candidates whose scores are corrected, at least


def bank_of(encoder: Encoder) -> Float32:
    """float32 (B, D), unit length."""
    return encoder.encode_text([label.lower() for label in sorted(FINDINGS)])


def lowering(vectors: Float32, bank: Float32) -> Float32:
    """By how much the inner product of each item is to be lowered, (N, D) -> (N,): half its mean with its nearest
    queries.
    """
    scores = vectors @ bank.T
    nearest = min(NEIGHBOURS, scores.shape[1])
    lowered: Float32 = np.sort(scores, axis=1)[:, scores.shape[1] - nearest :].mean(axis=1) / 2
    return lowered
