"""Figures on held-out items at every stage: of specialists with their own text encoders, of one shared encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from m3search.encoders.base import normalise
from m3search.evaluation import summarise
from m3search.evaluation.crossmodal import crossmodal_trials
from m3search.evaluation.dataset import item_vectors
from m3search.evaluation.trials import score
from m3search.trainer.model import Specialist, item_embeddings
from m3search.trainer.text_encoder import FrozenText, text_vectors
from m3search.trainer.validate import Figures, evaluate, labelled

if TYPE_CHECKING:
    from m3search.encoders.base import Encoder
    from m3search.evaluation.figures import Part
    from m3search.trainer.corpus import Corpus
    from m3search.types import Float32


@dataclass(frozen=True, slots=True)
class Measured:
    """What one stage retrieves on the held-out items."""

    figures: Mapping[str, Figures]  # by modality
    within: Mapping[str, tuple[Part, ...]]  # what the figures within each modality are computed from
    crossmodal: Mapping[str, float]  # mean average precision by pair, "xray→ct": see evaluation/crossmodal.py


def measure_shared(
    towers: Mapping[str, nn.Module], encode: Callable[[Sequence[str]], Float32], corpus: Corpus, dim: int | None = None
) -> Measured:
    """Of towers that one text encoder serves; `encode` gives unit vectors of texts. `dim`: leading dimensions only."""
    labels = _labels(corpus)
    vectors = {name: normalise(own[:, :dim]) for name, own in _embed(towers, corpus).items()}
    return _measure(corpus, vectors, vectors, dict(zip(labels, encode(labels), strict=True)))


def measure_encoder(encoder: Encoder, corpus: Corpus) -> Measured:
    """Of a finished encoder, whose inputs are those that the corpus was decoded for."""
    labels = _labels(corpus)
    vectors = {name: item_vectors(encoder, name, inputs) for name, inputs in corpus.validation.items()}
    return _measure(corpus, vectors, vectors, dict(zip(labels, encoder.encode_text(labels), strict=True)))


def measure_specialists(specialists: Mapping[str, Specialist], frozen: FrozenText, corpus: Corpus) -> Measured:
    """Of specialists as they are: an item is compared with what its own specialist makes of the query.

    Each specialist is given its own block of a larger space, items zero elsewhere, texts in all: the inner product of
    a text and an item is then that of the item's specialist, and items of two specialists have nothing in common.
    Between modalities items are compared as if all specialists had one space, which they have not before binding.
    """
    labels, blocks = _labels(corpus), list(specialists)
    whole = _embed({name: specialist.tower for name, specialist in specialists.items()}, corpus)
    vectors: dict[str, Float32] = {}
    for place, (name, own) in enumerate(whole.items()):
        dim = own.shape[1]
        vectors[name] = np.zeros((len(own), dim * len(blocks)), dtype=np.float32)
        vectors[name][:, place * dim : (place + 1) * dim] = own
    texts = np.concatenate([text_vectors(s.text, frozen, labels) for s in specialists.values()], axis=1)
    return _measure(corpus, vectors, whole, dict(zip(labels, texts, strict=True)))


def _embed(towers: Mapping[str, nn.Module], corpus: Corpus) -> dict[str, Float32]:
    return {name: item_embeddings(tower, corpus.validation[name]) for name, tower in towers.items()}


def _measure(
    corpus: Corpus, vectors: Mapping[str, Float32], between: Mapping[str, Float32], names: Mapping[str, Float32]
) -> Measured:
    """`between`: the vectors by which items of two modalities are compared."""
    rows = {name: corpus.validation[name].rows for name in vectors}
    pairs = summarise(score(crossmodal_trials(labelled(rows, between))))
    figures, within = evaluate(rows, vectors, names)
    return Measured(figures, within, {pair: figure.value for pair, figure in pairs.items() if "→" in pair})


def _labels(corpus: Corpus) -> list[str]:
    return sorted({label for inputs in corpus.validation.values() for row in inputs.rows for label in row.labels})
