"""Everything a run learns from: decoded items of both sides of the split, checked, and drawn from in balance."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from m3search.datasets import Inputs, Row, join_series, load_inputs, read_manifests, split
from m3search.errors import TrainingError
from m3search.modalities.ecg_layout import layout_of
from m3search.trainer.augment import IMAGE_AUGMENTATIONS, augment_images, augment_signals
from m3search.trainer.config import ModalityConfig, TrainConfig
from m3search.trainer.teacher import Opinions, opinions
from m3search.trainer.texts import Phrasebook

MARGIN = 32  # pixels by which cached training images are larger than the input: room to turn and shift
BALANCE = 0.5  # items are drawn with the power -BALANCE of their labels' frequency: 0 as they are, 1 all labels alike

PHANTOM_SOURCE = "m3search phantom"  # what `m3search.phantoms` writes into its manifests

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class Corpus:
    """Decoded items of both sides, by modality."""

    training: Mapping[str, Inputs]
    validation: Mapping[str, Inputs]
    opinions: Opinions = field(default_factory=dict)  # of training items
    own_text: Mapping[str, float] = field(default_factory=dict)  # by modality: see `Phrasebook`

    def phrasebook(self, *modalities: str) -> Phrasebook:
        """Of the training side of these modalities; of all where none is named."""
        rows = (row for name in modalities or self.training for row in self.training[name].rows)
        return Phrasebook(rows, self.own_text)

    def rows(self, side: str) -> list[Row]:
        """All rows of "training" or "validation"."""
        return [row for inputs in getattr(self, side).values() for row in inputs.rows]


def load_corpus(config: TrainConfig, say: Say) -> Corpus:
    """Rows, split, decoded. Training images are cached a little larger than the towers take them."""
    rows = read_manifests(config.resolve(pattern) for pattern in config.data.manifests)
    seen, held_out = split(rows)
    check_rows(seen, held_out)
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
    told: dict[Row, Mapping[str, float]] = {}
    for name, modality in config.modalities.items():
        if modality.teacher:
            told |= opinions(sides["training"][name], modality.input, modality.teacher, config.run.seed)
    own_text = {name: modality.own_text for name, modality in config.modalities.items()}
    return Corpus(sides["training"], sides["validation"], told, own_text)


def check_rows(training: Sequence[Row], held_out: Sequence[Row]) -> None:
    """Refuses data that would train or judge something else than is meant.

    Raises:
        TrainingError: an item without text, a file that is missing, a modality of one class, a group on both sides.
    """
    classes: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for row in (*training, *held_out):
        if not row.text.strip():
            raise TrainingError(f"{row.path}: its text is empty; write one into the manifest, or remove the row")
        if not row.path.exists():
            raise TrainingError(f"{row.path}: the manifest names it, but there is no such file; restore it or its row")
        classes[row.modality].add(tuple(sorted(row.labels)))
    for modality, found in classes.items():
        if len(found) == 1:
            labels = "|".join(next(iter(found))) or "none"
            raise TrainingError(f"all {modality} items have the same labels ({labels}); there is nothing to tell apart")
    both = {row.group for row in training} & {row.group for row in held_out}
    if both:
        raise TrainingError(f"group {min(both)!r} is on both sides of the split; its items would be judged as unseen")


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
        modality: str,
        inputs: Inputs,
        config: ModalityConfig,
        phantom_share: float,
        device: torch.device,
        batch: int = 0,
    ) -> None:
        """
        Args:
            device: where views are made.
            batch: items per draw; 0 is that of stage 0.
        """
        self.inputs, self.config, self.device, self.batch = inputs, config, device, batch or config.batch
        self.how = IMAGE_AUGMENTATIONS[modality] if config.input.kind == "image" else None
        self.layout = layout_of(config.input)
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
        return self.view(self.choose(rng), rng, generator)

    def choose(self, rng: np.random.Generator) -> np.ndarray:
        """Indices of `batch` items, int64."""
        return rng.choice(len(self.inputs), self.batch, p=self.odds)

    def view(
        self, chosen: np.ndarray, rng: np.random.Generator, generator: torch.Generator
    ) -> tuple[list[Row], Tensor]:
        """These items, and one augmented part of each."""
        first, last = self.inputs.first[chosen], self.inputs.first[chosen + 1]
        parts = torch.from_numpy(np.array(self.inputs.parts[rng.integers(first, last)])).to(self.device)
        rows = [self.inputs.rows[i] for i in chosen]
        if self.how is None:
            return rows, augment_signals(parts, self.config.input.rate_hz, generator, self.layout)
        return rows, augment_images(parts, self.config.input.size, self.how, generator)
