"""Figures on held-out items at every stage: of specialists with their own text encoders, of one shared encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from m3search.encoders.base import normalise
from m3search.trainer.model import Specialist, item_embeddings
from m3search.trainer.text_encoder import FrozenText, text_vectors
from m3search.trainer.validate import Figures, evaluate

if TYPE_CHECKING:
    from m3search.trainer.corpus import Corpus
    from m3search.types import Float32


def shared_figures(
    towers: Mapping[str, nn.Module], encode: Callable[[Sequence[str]], Float32], corpus: Corpus, dim: int | None = None
) -> dict[str, Figures]:
    """Of towers that one text encoder serves; `encode` gives unit vectors of texts. `dim`: leading dimensions only."""
    labels = _labels(corpus)
    whole = {name: item_embeddings(tower, corpus.validation[name]) for name, tower in towers.items()}
    vectors = {name: normalise(own[:, :dim]) for name, own in whole.items()}
    return _evaluate(corpus, vectors, dict(zip(labels, encode(labels), strict=True)))


def specialist_figures(specialists: Mapping[str, Specialist], frozen: FrozenText, corpus: Corpus) -> dict[str, Figures]:
    """Of specialists as they are: an item is compared with what its own specialist makes of the query.

    Each specialist is given its own block of a larger space, items zero elsewhere, texts in all: the inner product of
    a text and an item is then that of the item's specialist, and items of two specialists have nothing in common.
    """
    labels, blocks = _labels(corpus), list(specialists)
    vectors: dict[str, Float32] = {}
    for place, (name, specialist) in enumerate(specialists.items()):
        own = item_embeddings(specialist.tower, corpus.validation[name])
        dim = own.shape[1]
        vectors[name] = np.zeros((len(own), dim * len(blocks)), dtype=np.float32)
        vectors[name][:, place * dim : (place + 1) * dim] = own
    texts = np.concatenate([text_vectors(s.text, frozen, labels) for s in specialists.values()], axis=1)
    return _evaluate(corpus, vectors, dict(zip(labels, texts, strict=True)))


def _evaluate(corpus: Corpus, vectors: Mapping[str, Float32], names: Mapping[str, Float32]) -> dict[str, Figures]:
    return evaluate({name: corpus.validation[name].rows for name in vectors}, vectors, names)


def _labels(corpus: Corpus) -> list[str]:
    return sorted({label for inputs in corpus.validation.values() for row in inputs.rows for label in row.labels})


def mean_ratio(found: Mapping[str, Figures], reference: Mapping[str, Figures]) -> dict[str, float]:
    """Retrieval within each modality relative to the reference, mean of text→image and image→image; "mean" over all."""
    ratios = {
        name: (
            found[name].text_to_image_within / reference[name].text_to_image_within
            + found[name].image_to_image / reference[name].image_to_image
        )
        / 2
        for name in reference
    }
    return ratios | {"mean": sum(ratios.values()) / len(ratios)} if ratios else {}
