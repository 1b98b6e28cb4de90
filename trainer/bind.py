"""Stage 1 of M3Bind (Liu et al., arXiv 2506.18072): the specialists' text encoders learn to agree, all at once.

    loss = sum over modalities of contrastive(items, texts)
         + lambda * sum over pairs of modalities of align(T_m(c), T_n(c))

over centre texts c drawn from all modalities: whatever a text speaks of, every encoder is to put it in the same place,
while each keeps its own items and texts together. Only LoRA adapters learn, and the heads where that is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from m3search.trainer import losses, objective, parallel
from m3search.trainer.adapters import add_adapters, learning, merge_adapters
from m3search.trainer.corpus import Corpus, Sampler
from m3search.trainer.device import autocast, device_of
from m3search.trainer.loop import Draw, Stage
from m3search.trainer.model import Specialist, decayed
from m3search.trainer.text_encoder import FrozenText, text_vectors

if TYPE_CHECKING:
    from m3search.trainer.config import TrainConfig

WATCHED = 256  # centre texts on which the alignment is reported


class Bind(Stage):
    """All specialists together."""

    name = "bind"

    def __init__(
        self,
        specialists: Mapping[str, Specialist],
        frozen: FrozenText,
        corpus: Corpus,
        centres: Sequence[str],
        config: TrainConfig,
    ) -> None:
        """Puts adapters into `specialists`; `merge` takes them out again."""
        self.frozen, self.corpus, self.centres, self.config = frozen, corpus, list(centres), config
        self.settings = config.bind
        self.steps, self.warmup = config.bind.steps, config.bind.warmup
        self.device = device_of(config.run)
        with torch.random.fork_rng(
            devices=[]
        ):  # whatever was drawn before, a resumed run starts from the same adapters
            torch.manual_seed(config.run.seed)
            for specialist in specialists.values():
                add_adapters(specialist, config.bind)
        self.module = nn.ModuleDict(specialists).to(self.device)
        self.phrasebooks = {name: corpus.phrasebook(name) for name in specialists}
        share = config.data.phantom_share
        self.samplers = {
            name: Sampler(name, corpus.training[name], config.modalities[name], share, self.device, config.bind.batch)
            for name in specialists
        }

    def groups(self) -> list[dict[str, Any]]:
        """Adapters and heads alike."""
        return decayed(learning(specialists_of(self.module)), self.settings.lr, self.settings.weight_decay)

    def terms(self, draw: Draw) -> dict[str, Tensor]:
        """The contrastive terms of each modality, summed, and the alignment on centre texts."""
        specialists = specialists_of(self.module)
        drawn = [self.centres[int(i)] for i in draw.rng.integers(len(self.centres), size=self.settings.centres)]
        found: dict[str, Tensor] = {}
        centres: dict[str, Tensor] = {}
        for name, specialist in specialists.items():
            vectors, terms = self._modality(name, specialist, drawn, draw)
            centres[name] = vectors
            found = {term: found.get(term, 0.0) + value for term, value in terms.items()}
        found["align"] = self.settings.weight * losses.alignment(centres, self.settings.align)
        return found

    def _modality(
        self, name: str, specialist: Specialist, drawn: list[str], draw: Draw
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The specialist's embeddings of the centre texts, and its own terms on a batch."""
        book, run = self.phrasebooks[name], self.config.run
        rows, inputs = self.samplers[name].draw(draw.rng, draw.generator)
        sentences = objective.draw_sentences(rows, book, draw.rng)
        with autocast(run, self.device):
            items = parallel.embed(specialist.tower, inputs, run.chunk).float()
            texts = specialist.text.embed(self.frozen, [*sentences.words, *book.labels, *drawn])
        own, names, centres = texts.parts(len(sentences.words), len(book.labels), len(drawn))
        batch = objective.Batch(rows, items, sentences, own, names, book.labels, self.corpus.opinions)
        return centres, objective.terms(batch, self.config.loss, specialist.scale, specialist.label_bias)

    def validate(self, average: nn.Module) -> str:
        """How far apart the encoders are on centre texts."""
        return f"alignment {disagreement(specialists_of(average), self.frozen, self.centres):.5f}"


def specialists_of(module: nn.Module) -> dict[str, Specialist]:
    """The specialists a module dictionary holds."""
    return {name: cast("Specialist", child) for name, child in module.named_children()}


def merged(module: nn.Module) -> dict[str, Specialist]:
    """The specialists after binding, adapters merged into their weights."""
    merge_adapters(module)
    return specialists_of(module)


@torch.no_grad()
def disagreement(specialists: Mapping[str, Specialist], frozen: FrozenText, texts: Sequence[str]) -> float:
    """Mean squared distance, in [0, 4], of two encoders' unit embeddings of a text: all pairs, `WATCHED` texts."""
    watched = list(texts)[:: max(1, len(texts) // WATCHED)][:WATCHED]
    vectors = {
        name: torch.from_numpy(text_vectors(specialist.text, frozen, watched))
        for name, specialist in specialists.items()
    }
    pairs = [(a - b).square().sum(1).mean() for a, b in combinations(vectors.values(), 2)]
    return float(torch.stack(pairs).mean()) if pairs else 0.0
