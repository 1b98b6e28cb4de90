"""The end of stage 2, optional: the shared text encoder is tuned against the towers, which it now serves alone.

The towers do not move (their last layers may), so the features of some augmented views of every item are computed once,
and a step costs only texts. Batches hold all modalities, so that items of the others are negatives too: only here does
a text learn to stay away from another modality's items.

Starting from the untrained text encoder and unbound towers instead, the same stage is the baseline without binding: a
single text encoder trained jointly.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from m3search.trainer import losses, objective
from m3search.trainer.corpus import Corpus, Sampler, Say
from m3search.trainer.device import autocast, device_of
from m3search.trainer.loop import Draw, Stage
from m3search.trainer.measure import measure_shared
from m3search.trainer.model import Specialist, decayed
from m3search.trainer.text_encoder import FrozenText, UpperText, encoder
from m3search.trainer.validate import table

if TYPE_CHECKING:
    from m3search.datasets import Row
    from m3search.trainer.config import TrainConfig, TuneConfig


class Shared(nn.Module):
    """The shared text encoder and the heads of the towers."""

    def __init__(self, text: UpperText, specialists: Mapping[str, Specialist], labels: int, heads: bool) -> None:
        super().__init__()
        self.text = text.requires_grad_(True)
        self.heads = nn.ModuleDict({name: copy.deepcopy(s.tower.head) for name, s in specialists.items()})
        self.heads.requires_grad_(heads)
        scales = [specialist.log_scale.detach() for specialist in specialists.values()]
        self.log_scale = nn.Parameter(torch.stack(scales).mean())
        self.label_bias = nn.Parameter(torch.full((labels,), -2.0))


class Tune(Stage):
    """One text encoder, five towers."""

    def __init__(
        self,
        name: str,
        text: UpperText,
        specialists: Mapping[str, Specialist],
        frozen: FrozenText,
        corpus: Corpus,
        config: TrainConfig,
        say: Say,
    ) -> None:
        assert config.tune is not None
        self.name, self.frozen, self.corpus, self.config = name, frozen, corpus, config
        self.settings: TuneConfig = config.tune
        self.steps, self.warmup = config.tune.steps, config.tune.warmup
        self.device = device_of(config.run)
        self.before = copy.deepcopy(text).eval().requires_grad_(False).to(self.device)
        self.towers = {modality: specialist.tower.eval() for modality, specialist in specialists.items()}
        self.phrasebook = corpus.phrasebook()
        heads = config.tune.heads
        self.module: Shared = Shared(text, specialists, len(self.phrasebook.labels), heads).to(self.device)
        self.samplers = {
            modality: Sampler(
                modality, corpus.training[modality], config.modalities[modality], config.data.phantom_share,
                self.device, config.tune.batch,
            )
            for modality in specialists
        }  # fmt: skip
        self.queue = objective.Queue(config.loss.queue) if config.loss.queue else None
        self.features = {
            modality: self._features(modality, sampler, say) for modality, sampler in self.samplers.items()
        }

    def _features(self, modality: str, sampler: Sampler, say: Say) -> Tensor:
        """(V, R, F) float16: what the head sees of each item, in V augmented views."""
        draw, tower = Draw(self.config.run.seed), self.towers[modality]
        say(f"{self.name}: features of {len(sampler.inputs)} {modality} items in {self.settings.views} views")
        views = []
        for _ in range(self.settings.views):
            parts = []
            for chosen in np.array_split(np.arange(len(sampler.inputs)), -(-len(sampler.inputs) // 32)):
                _, inputs = sampler.view(chosen, draw.rng, draw.generator)
                with torch.no_grad(), autocast(self.config.run, self.device):
                    parts.append(features(tower, inputs).half().cpu())
            views.append(torch.cat(parts))
        return torch.stack(views)

    def groups(self) -> list[dict[str, Any]]:
        """Heads learn ten times as fast as the text layers."""
        settings, shared = self.settings, self.module
        fast = [*shared.text.head.parameters(), *shared.heads.parameters(), shared.log_scale, shared.label_bias]
        return decayed(fast, settings.lr, settings.weight_decay) + decayed(
            shared.text.layers.parameters(), settings.lr / 10, settings.weight_decay
        )

    def terms(self, draw: Draw) -> dict[str, Tensor]:
        """One mixed batch."""
        shared = self.module
        rows: list[Row] = []
        embedded = []
        for modality, sampler in self.samplers.items():
            chosen = sampler.choose(draw.rng)
            rows += [sampler.inputs.rows[i] for i in chosen]
            view = draw.rng.integers(self.settings.views, size=len(chosen))
            seen = self.features[modality][torch.from_numpy(view), torch.from_numpy(chosen)]
            embedded.append(shared.heads[modality](seen.float().to(self.device)))
        sentences = objective.draw_sentences(rows, self.phrasebook, draw.rng)
        words = [*sentences.words, *self.phrasebook.labels]
        with autocast(self.config.run, self.device):
            found = shared.text.embed(self.frozen, words)
            with torch.no_grad():
                before = self.before.embed(self.frozen, words)
        own, names = found.parts(len(sentences.words), len(self.phrasebook.labels))
        batch = objective.Batch(
            rows, torch.cat(embedded), sentences, own, names, self.phrasebook.labels, self.corpus.opinions
        )
        scale = shared.log_scale.exp().clamp(max=100.0)
        terms = objective.terms(batch, self.config.loss, scale, shared.label_bias, self.settings.dims, self.queue)
        if self.settings.keep:
            terms["keep"] = self.settings.keep * losses.keep_close(found.embeddings.float(), before.embeddings.float())
        return terms

    def validate(self, average: nn.Module) -> str:
        """Retrieval on held-out items, all modalities in one gallery."""
        assert isinstance(average, Shared)
        average.eval()
        towers = {name: with_head(tower, average.heads[name]) for name, tower in self.towers.items()}
        return table(measure_shared(towers, encoder(average.text, self.frozen), self.corpus).figures)


def features(tower: nn.Module, inputs: Tensor) -> Tensor:
    """(B, F): what the tower's head sees."""
    return tower.features(inputs)  # type: ignore[operator,no-any-return]


def with_head(tower: nn.Module, head: nn.Module) -> nn.Module:
    """The tower with another head; its trunk is shared, not copied."""
    changed = copy.copy(tower)
    changed._modules = {**tower._modules, "head": head}
    return changed.eval()
