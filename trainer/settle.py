"""The end of stage 0: single towers learn on against texts that no longer move.

The joint run is paced by its image towers, and a tower that starts from scratch (the ECG's) has not seen enough when
they have. With the text tower held still every text is embedded once, and such a tower can go on alone at little cost.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from m3search.trainer import losses
from m3search.trainer.augment import IMAGE_AUGMENTATIONS
from m3search.trainer.config import SettleConfig, TrainConfig
from m3search.trainer.data import Row
from m3search.trainer.model import FrozenText, Towers, embed_texts
from m3search.trainer.pretrain import LOG_EVERY, Corpus, Sampler, Say, follow, schedule, table, validate
from m3search.trainer.texts import Text, overlap, truths


class Texts:
    """Embeddings of texts by a text tower that does not learn: each is computed once."""

    def __init__(self, towers: Towers, frozen: FrozenText) -> None:
        self._towers, self._frozen = towers, frozen
        self._known: dict[str, Tensor] = {}

    @torch.no_grad()
    def __call__(self, words: list[str]) -> Tensor:
        """(N, D)."""
        new = [word for word in words if word not in self._known]
        if new:
            vectors = embed_texts(self._towers, self._frozen, new)[0].float()
            self._known.update(zip(new, vectors, strict=True))
        return torch.stack([self._known[word] for word in words])


def settle(towers: Towers, frozen: FrozenText, corpus: Corpus, config: TrainConfig, say: Say) -> Towers:
    """Let the towers of `config.settle` learn on, one after the other. Changes and returns `towers`."""
    towers.eval()
    texts = Texts(towers, frozen)
    for name, settings in config.settle.items():
        say(f"{name}: {settings.steps} steps alone, texts held still")
        towers.items[name] = _settle_one(name, settings, towers, texts, corpus, config, say)
        figures = validate(towers, frozen, corpus.validation)
        say(table({modality: found for modality, found in figures.items() if modality == name}))
    return towers


def _settle_one(
    name: str, settings: SettleConfig, towers: Towers, texts: Texts, corpus: Corpus, config: TrainConfig, say: Say
) -> nn.Module:
    sampler = Sampler(
        corpus.training[name],
        config.modalities[name],
        IMAGE_AUGMENTATIONS.get(name),
        config.data.phantom_share,
        settings.batch,
    )
    rng, generator = np.random.default_rng(config.run.seed), torch.Generator().manual_seed(config.run.seed)
    tower = towers.items[name]
    average = copy.deepcopy(tower)
    learning = [parameter for parameter in tower.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=settings.lr, weight_decay=settings.weight_decay)
    for step in range(1, settings.steps + 1):
        towers.train()  # not tower.train(): image trunks keep their batch statistics
        for group in optimiser.param_groups:
            group["lr"] = settings.lr * schedule(step, config.run.warmup, settings.steps)
        rows, inputs = sampler.draw(rng, generator)
        drawn = {text.words: text for text in (corpus.phrasebook.draw(row, rng) for row in rows)}
        terms = _terms(towers, towers.embed(name, inputs), rows, drawn, texts, corpus.phrasebook.labels)
        loss = torch.stack([getattr(config.loss, term) * value for term, value in terms.items()]).sum()
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(learning, 5.0)
        optimiser.step()
        follow(average, tower, config.run.average)
        if step % LOG_EVERY == 0:
            say(
                f"{name} {step}/{settings.steps}  "
                + "  ".join(f"{term} {value.item():.3f}" for term, value in terms.items())
            )
    towers.eval()
    return average.eval()


def _terms(
    towers: Towers, items: Tensor, rows: list[Row], drawn: Mapping[str, Text], texts: Texts, labels: list[str]
) -> dict[str, Tensor]:
    """As in the joint run, but for `keep_text`: the texts do not move."""
    scale, bias = towers.scale.detach(), towers.label_bias.detach()
    weights = torch.from_numpy(truths(rows, list(drawn.values())))
    truth = torch.from_numpy(truths(rows, [Text(label, frozenset([label])) for label in labels]))
    return {
        "contrastive": losses.soft_contrastive(items, texts(list(drawn)), weights, scale),
        "labels": losses.label_scores(items, texts(labels), truth, scale, bias),
        "within": losses.within_modality(items, torch.from_numpy(overlap(rows)), scale),
    }
