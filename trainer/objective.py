"""What a batch of items is taught: its texts, the names of all labels, and its own neighbours."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from m3search.trainer import losses
from m3search.trainer.teacher import Opinions, soften
from m3search.trainer.texts import Phrasebook, Text, overlap, truths

if TYPE_CHECKING:
    import numpy as np

    from m3search.datasets import Row
    from m3search.trainer.config import LossConfig

SIGMOID_BIAS = -10.0  # SigLIP's start; kept, since the label term has biases that learn


@dataclass(frozen=True, slots=True)
class Sentences:
    """The texts of a batch, each once; `own` (N,) says which was drawn for each item."""

    texts: list[Text]
    own: list[int]

    @property
    def words(self) -> list[str]:
        """What is to be embedded."""
        return [text.words for text in self.texts]


def draw_sentences(rows: Sequence[Row], phrasebook: Phrasebook, rng: np.random.Generator) -> Sentences:
    """One text for every item, and for those that can be denied or affirmed the opposite, as a hard negative."""
    drawn = [phrasebook.draw(row, rng) for row in rows]
    distinct = {text.words: text for text in [*drawn, *phrasebook.contrasts(drawn)]}
    place = {words: index for index, words in enumerate(distinct)}
    return Sentences(list(distinct.values()), [place[text.words] for text in drawn])


class Queue:
    """Items and texts of earlier batches, detached, that serve as further negatives (or positives, where true)."""

    def __init__(self, size: int) -> None:
        self.items: deque[tuple[Tensor, Row]] = deque(maxlen=size)
        self.texts: deque[tuple[Tensor, Text]] = deque(maxlen=size)

    def push(self, items: Tensor, rows: Sequence[Row], texts: Tensor, sentences: Sentences) -> None:
        """Remember a batch; the oldest give way."""
        self.items.extend(zip(items.detach(), rows, strict=True))
        self.texts.extend(zip(texts.detach(), sentences.texts, strict=True))

    def beside(
        self, rows: Sequence[Row], sentences: Sentences
    ) -> tuple[tuple[Tensor, Tensor] | None, tuple[Tensor, Tensor] | None]:
        """(further texts for these rows, further items for these texts), each with how far they belong together."""
        if not self.items:
            return None, None
        old_items, old_rows = zip(*self.items, strict=True)
        old_texts, old_sentences = zip(*self.texts, strict=True)
        device = old_items[0].device
        to_texts = torch.from_numpy(truths(rows, old_sentences)).to(device)
        to_items = torch.from_numpy(truths(old_rows, sentences.texts)).to(device)
        return (torch.stack(old_texts), to_texts), (torch.stack(old_items), to_items.T)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Items and what is known of them; vectors of any length."""

    rows: Sequence[Row]
    items: Tensor  # (N, D)
    sentences: Sentences
    texts: Tensor  # (M, D), of `sentences`
    names: Tensor  # (L, D), of the labels' names
    labels: Sequence[str]  # (L,)
    opinions: Opinions = field(default_factory=dict)


def terms(
    batch: Batch,
    config: LossConfig,
    scale: Tensor,
    bias: Tensor,
    dims: Sequence[int] = (),
    queue: Queue | None = None,
) -> dict[str, Tensor]:
    """The weighted terms of `LossConfig` that depend on the items.

    Args:
        scale: inverse temperature.
        bias: (L,) of the label scores.
        dims: leading dimensions that must serve alone; () is all of them.
    """
    device = batch.items.device
    truth = torch.from_numpy(truths(batch.rows, batch.sentences.texts)).to(device)
    carried = [Text(name, frozenset([name])) for name in batch.labels]
    carries = truths(batch.rows, carried)
    believed = torch.from_numpy(soften(carries, batch.rows, batch.labels, batch.opinions)).to(device)
    similar = torch.from_numpy(overlap(batch.rows)).to(device)
    more_texts, more_items = queue.beside(batch.rows, batch.sentences) if queue else (None, None)

    def contrastive(dim: int) -> Tensor:
        items, texts = batch.items[:, :dim], batch.texts[:, :dim]
        if config.kind == "infonce":
            return losses.info_nce(items, texts[batch.sentences.own], scale)
        if config.kind == "sigmoid":
            return losses.sigmoid_pairs(items, texts, truth, scale, SIGMOID_BIAS)
        return losses.soft_contrastive(
            items,
            texts,
            truth,
            scale,
            more_texts and (more_texts[0][:, :dim], more_texts[1]),
            more_items and (more_items[0][:, :dim], more_items[1]),
        )

    dims = dims or (batch.items.shape[1],)
    found = {"contrastive": config.contrastive * losses.nested(dims, contrastive)}
    if config.labels:
        found["labels"] = config.labels * losses.nested(
            dims,
            lambda dim: losses.label_scores(
                batch.items[:, :dim], batch.names[:, :dim], torch.from_numpy(carries).to(device), scale, bias, believed
            ),
        )
    if config.within:
        found["within"] = config.within * losses.nested(
            dims, lambda dim: losses.within_modality(batch.items[:, :dim], similar, scale)
        )
    if queue is not None:
        queue.push(batch.items, batch.rows, batch.texts, batch.sentences)
    return found
