"""Stage 0: towers of all modalities and one text tower, trained together from warm starts. Reads top to bottom."""

from __future__ import annotations

import copy
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m3search.errors import TrainingError
from m3search.trainer import losses
from m3search.trainer.augment import IMAGE_AUGMENTATIONS, ImageAugmentation, augment_images, augment_signals
from m3search.trainer.config import ModalityConfig, TrainConfig, load_config
from m3search.trainer.data import Inputs, Row, join_series, load_inputs, read_manifests, split
from m3search.trainer.model import FrozenText, Towers, embed_texts, parameter_groups
from m3search.trainer.texts import Phrasebook, Text, overlap, truths
from m3search.trainer.validate import Figures, evaluate, item_vectors

if TYPE_CHECKING:
    from m3search.types import Float32

LOG_EVERY = 25  # steps
MARGIN = 32  # pixels by which cached training images are larger than the input: room to turn and shift
BALANCE = 0.5  # items are drawn with the power -BALANCE of their labels' frequency: 0 as they are, 1 all labels alike

PHANTOM_SOURCE = "m3search phantom"  # what `m3search.phantoms` writes into its manifests

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """Decoded items of both sides, by modality."""

    training: Mapping[str, Inputs]
    validation: Mapping[str, Inputs]
    phrasebook: Phrasebook  # of the training side

    def rows(self, side: str) -> list[Row]:
        """All rows of "training" or "validation"."""
        return [row for inputs in getattr(self, side).values() for row in inputs.rows]


def train(config_path: Path, out: Path, *, say: Say = print) -> dict[str, Figures]:
    """Train as the configuration says and export the bundle to the folder `out`; figures on held-out groups.

    Raises:
        TrainingError: the configuration or its data is wrong.
        MissingExtra: a package with a warm start is not installed.
    """
    from m3search.trainer.export import write_bundle
    from m3search.trainer.settle import settle

    config = load_config(Path(config_path))
    _settle(config)
    started = time.monotonic()
    corpus = load_corpus(config, say)
    frozen = FrozenText(config)
    towers = Towers(config, len(corpus.phrasebook.labels))
    kept = settle(fit(towers, frozen, corpus, config, say), frozen, corpus, config, say)
    state = config.resolve(config.data.cache) / f"{config.name}.pt"
    torch.save({"towers": kept.state_dict(), "labels": corpus.phrasebook.labels}, state)
    say(f"weights before rounding: {state}")
    figures = validate(kept, frozen, corpus.validation)
    say(table(figures))
    write_bundle(kept, frozen, corpus, config, figures, out, seconds=time.monotonic() - started, say=say)
    return figures


def _settle(config: TrainConfig) -> None:
    """Everything that is drawn at random is drawn from this seed."""
    torch.manual_seed(config.run.seed)
    if config.run.threads:
        torch.set_num_threads(config.run.threads)


def load_corpus(config: TrainConfig, say: Say) -> Corpus:
    """Rows, split, decoded. Training images are cached a little larger than the towers take them."""
    rows = read_manifests(config.resolve(pattern) for pattern in config.data.manifests)
    seen, held_out = split(rows)
    cache = config.resolve(config.data.cache)
    if config.data.phantoms:
        seen += phantom_rows(cache, config.data.phantoms, config.data.phantom_seed, say)
    sides: dict[str, dict[str, Inputs]] = {"training": {}, "validation": {}}
    for name, modality in config.modalities.items():
        roomy = replace(modality.input, size=modality.input.size + MARGIN)
        for side, chosen, spec in (("training", seen, roomy), ("validation", held_out, modality.input)):
            own = [row for row in chosen if row.modality == name]
            if not own:
                raise TrainingError(f"no {name} item on the {side} side; check data.manifests")
            sides[side][name] = load_inputs(own, spec, cache, say=say)
        say(f"{name:10s} {len(sides['training'][name]):5d} to learn from, {len(sides['validation'][name]):4d} held out")
    return Corpus(
        sides["training"],
        sides["validation"],
        Phrasebook(row for inputs in sides["training"].values() for row in inputs.rows),
    )


def phantom_rows(cache: Path, patients: int, seed: int, say: Say) -> list[Row]:
    """Synthetic patients, written once."""
    from m3search.phantoms import write_archive

    folder = cache / f"phantoms-{patients}-{seed}"
    if not (folder / "done").exists():
        say(f"writing {patients} synthetic patients")
        write_archive(folder, patients, seed)
        (folder / "done").touch()
    return join_series(read_manifests(sorted(folder.glob("*/manifest.csv"))))


class Sampler:
    """Draws items of one modality, rarer labels more often than they occur, synthetic patients as often as asked."""

    def __init__(
        self,
        inputs: Inputs,
        config: ModalityConfig,
        how: ImageAugmentation | None,
        phantom_share: float,
        batch: int = 0,
    ) -> None:
        """`batch`: items per draw; 0 is the modality's share of a joint batch."""
        self.inputs, self.config, self.how, self.batch = inputs, config, how, batch or config.batch
        counts = Counter(label for row in inputs.rows for label in row.labels or ("",))
        weight = np.array(
            [np.mean([counts[label] ** -BALANCE for label in row.labels or ("",)]) for row in inputs.rows]
        )
        drawn = np.array([row.source == PHANTOM_SOURCE for row in inputs.rows])
        if drawn.any() and not drawn.all():
            weight[drawn] *= phantom_share / weight[drawn].sum()
            weight[~drawn] *= (1 - phantom_share) / weight[~drawn].sum()
        self.odds = weight / weight.sum()

    def draw(self, rng: np.random.Generator, generator: torch.Generator) -> tuple[list[Row], Tensor]:
        """`batch` items and one augmented part of each."""
        chosen = rng.choice(len(self.inputs), self.batch, p=self.odds)
        first, last = self.inputs.first[chosen], self.inputs.first[chosen + 1]
        parts = torch.from_numpy(np.array(self.inputs.parts[rng.integers(first, last)]))
        rows = [self.inputs.rows[i] for i in chosen]
        if self.how is None:
            return rows, augment_signals(parts, self.config.input.rate_hz, generator)
        return rows, augment_images(parts, self.config.input.size, self.how, generator)


def fit(towers: Towers, frozen: FrozenText, corpus: Corpus, config: TrainConfig, say: Say) -> Towers:
    """The loop. Returns a moving average of the weights, which retrieves better than the last weights."""
    run = config.run
    rng, generator = np.random.default_rng(run.seed), torch.Generator().manual_seed(run.seed)
    samplers = {
        name: Sampler(inputs, config.modalities[name], IMAGE_AUGMENTATIONS.get(name), config.data.phantom_share)
        for name, inputs in corpus.training.items()
    }
    names = corpus.phrasebook.labels
    optimiser = torch.optim.AdamW(parameter_groups(towers, config), betas=(0.9, 0.98))
    average = copy.deepcopy(towers)
    towers.train()
    started, running = time.monotonic(), Counter[str]()
    for step in range(1, run.steps + 1):
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * schedule(step, run.warmup, run.steps)
        terms = step_losses(towers, frozen, samplers, names, corpus.phrasebook, config, rng, generator)
        weights = asdict(config.loss)
        loss = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(towers.parameters(), 5.0)
        optimiser.step()
        follow(average, towers, run.average)
        running.update({name: term.item() for name, term in terms.items()} | {"steps": 1})
        if step % LOG_EVERY == 0 or step == run.steps:
            spent = time.monotonic() - started
            mean = "  ".join(f"{name} {running[name] / running['steps']:.3f}" for name in terms)
            left = spent / step * (run.steps - step) / 60
            say(f"step {step}/{run.steps}  {mean}  scale {towers.scale.item():.1f}  about {left:.0f} min left")
            running.clear()
        if step % run.evaluate_every == 0 or step == run.steps:
            say(table(validate(average, frozen, corpus.validation)))
            towers.train()
    return average.eval()


@torch.no_grad()
def follow(average: nn.Module, towers: nn.Module, decay: float) -> None:
    """Moves the average a little towards the towers; what is not a floating-point number is copied."""
    now = towers.state_dict()
    for name, tensor in average.state_dict().items():
        if tensor.is_floating_point():
            tensor.lerp_(now[name], 1 - decay)
        else:
            tensor.copy_(now[name])


def schedule(step: int, warmup: int, steps: int) -> float:
    """Share of the peak learning rate: linear up, cosine down to 2%."""
    if step < warmup:
        return step / warmup
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def step_losses(
    towers: Towers,
    frozen: FrozenText,
    samplers: Mapping[str, Sampler],
    names: list[str],
    phrasebook: Phrasebook,
    config: TrainConfig,
    rng: np.random.Generator,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """One mixed batch through all towers, and the terms of the loss on it."""
    rows: list[Row] = []
    embedded: list[Tensor] = []
    for name, sampler in samplers.items():
        own, inputs = sampler.draw(rng, generator)
        rows += own
        embedded.append(towers.embed(name, inputs))
    drawn = {text.words: text for text in (phrasebook.draw(row, rng) for row in rows)}
    # Depthwise convolutions are no faster in bfloat16 on a CPU; the matrices of the text tower are.
    with torch.autocast("cpu", torch.bfloat16, enabled=config.run.bf16):
        texts, sentences, before = embed_texts(towers, frozen, [*drawn, *names])
    items, texts, sentences = torch.cat(embedded), texts.float(), sentences.float()
    weights = torch.from_numpy(truths(rows, list(drawn.values())))  # (N, M)
    truth = torch.from_numpy(truths(rows, [Text(name, frozenset([name])) for name in names]))  # (N, L)
    return {
        "contrastive": losses.soft_contrastive(items, texts[: len(drawn)], weights, towers.scale),
        "labels": losses.label_scores(items, texts[len(drawn) :], truth, towers.scale, towers.label_bias),
        "within": losses.within_modality(items, torch.from_numpy(overlap(rows)), towers.scale),
        "keep_text": losses.keep_close(sentences, before),
    }


@torch.no_grad()
def validate(towers: Towers, frozen: FrozenText, held_out: Mapping[str, Inputs]) -> dict[str, Figures]:
    """Figures per modality on held-out items."""
    towers.eval()
    vectors = {name: embed_items(towers, name, inputs) for name, inputs in held_out.items()}
    rows = {name: inputs.rows for name, inputs in held_out.items()}
    labels = sorted({label for own in rows.values() for row in own for label in row.labels})
    names = F.normalize(embed_texts(towers, frozen, labels)[0], dim=1).numpy()
    return evaluate(rows, vectors, dict(zip(labels, names, strict=True)))


@torch.no_grad()
def embed_items(towers: Towers, modality: str, inputs: Inputs, size: int = 0) -> Float32:
    """(R, D) unit vectors; images are brought to `size` pixels where that is given and they are larger."""

    def embed(parts: np.ndarray) -> Float32:
        tensor = torch.from_numpy(np.array(parts))
        if size and tensor.ndim == 4 and tensor.shape[-1] != size:
            smaller = F.interpolate(tensor.float(), (size, size), mode="bilinear", antialias=True)
            tensor = smaller.round().clamp(0, 255).to(torch.uint8)
        vectors: Float32 = towers.embed(modality, tensor).numpy()
        return vectors

    return item_vectors(inputs, embed)


def table(figures: Mapping[str, Figures]) -> str:
    """Figures as lines for a terminal."""
    lines = ["  modality   items  text→image   within  (chance)   image→image (chance)"]
    lines += [
        f"  {name:10s} {f.items:5d}  {f.text_to_image:10.3f} {f.text_to_image_within:8.3f} {f.text_chance:9.3f} "
        f"{f.image_to_image:12.3f} {f.image_chance:8.3f}"
        for name, f in figures.items()
    ]
    return "\n".join(lines)


def as_dict(figures: Mapping[str, Figures]) -> dict[str, Any]:
    """Figures as they stand in bundle.json."""
    return {name: {k: round(v, 4) for k, v in asdict(f).items()} for name, f in figures.items()}
