"""`m3search train`: all stages of M3Bind from warm starts to a bundle. Reads top to bottom.

    stage 0  a specialist per modality                              pretrain.py
    stage 1  their text encoders learn to agree                     rotate.py, bind.py
    stage 2  one text encoder learns what all of them say           distil.py, tune.py
    export   graphs, weights, calibration, model card               export.py

Beside it a baseline is trained: one text encoder tuned against the unbound specialists' towers, without binding.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from m3search.evaluation.tables import mean_ratio
from m3search.trainer import parallel
from m3search.trainer.bind import Bind, disagreement, merged
from m3search.trainer.centres import centre_texts_of_all
from m3search.trainer.config import RunConfig, TrainConfig, load_config
from m3search.trainer.corpus import Corpus, Say, load_corpus
from m3search.trainer.distil import Distil
from m3search.trainer.loop import Stage, checkpoint_path, fit
from m3search.trainer.measure import Measured, measure_shared, measure_specialists
from m3search.trainer.memory import keep_freed_memory
from m3search.trainer.model import Specialist, build_specialist
from m3search.trainer.pretrain import Pretrain
from m3search.trainer.rotate import rotate
from m3search.trainer.text_encoder import FrozenText, UpperText, build_text, encoder
from m3search.trainer.tune import Shared, Tune, with_head
from m3search.trainer.validate import Figures, table

BASELINE_SPECIALISTS, BASELINE_JOINT = "specialists", "joint text encoder"
BASELINE_BOUND, BASELINE_DISTILLED = "bound specialists", "distilled"
DRAWS = 1  # texts drawn for each item for stage 2, beside its report and caption


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What every stage needs."""

    config: TrainConfig
    corpus: Corpus
    frozen: FrozenText
    checkpoints: Checkpoints
    say: Say

    def fit(self, stage: Stage, checkpoint: Path) -> nn.Module:
        """Train one stage, or read it where it is done."""
        return fit(stage, self.config.run, checkpoint, self.say)


@dataclass(frozen=True, slots=True, eq=False)
class Shareable:
    """Towers and the one text encoder that serves them."""

    text: UpperText
    towers: Mapping[str, nn.Module]


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What a run ends with, before it is exported."""

    shared: Shareable
    measured: Measured
    baselines: Mapping[str, Measured]  # stages before, and what is not bound
    alignment: Mapping[str, float]  # mean squared distance of unit embeddings between encoders, by stage


def train(
    config_path: Path, out: Path, *, image_tower: str = "", text_tower: str = "", say: Say = print
) -> dict[str, Figures]:
    """Train as the configuration says and export the bundle to the folder `out`; figures on held-out groups.

    A killed run goes on where it was when it is started again, and finished stages are not repeated.

    Args:
        image_tower: open_clip model that all image towers start from, instead of what the configuration says.
        text_tower: likewise of the specialists' text encoders.

    Raises:
        TrainingError: the configuration or its data is wrong.
        MissingExtra: a package with a warm start is not installed.
    """
    from m3search.trainer.export import write_bundle

    config, started = starting_from(load_config(Path(config_path)), image_tower, text_tower), time.monotonic()
    with parallel.processes():
        run = prepare(config, say if parallel.is_first() else lambda _message: None)
        trained = run_stages(run)
        if parallel.is_first():
            write_bundle(trained, run, out, seconds=time.monotonic() - started)
    return dict(trained.measured.figures)


def starting_from(config: TrainConfig, image_tower: str, text_tower: str) -> TrainConfig:
    """The configuration with other starts; "" leaves what it says."""
    modalities = {
        name: replace(
            settings,
            image_tower=image_tower if image_tower and settings.input.kind == "image" else settings.image_tower,
            text_tower=text_tower or settings.text_tower,
        )
        for name, settings in config.modalities.items()
    }
    return replace(config, modalities=modalities)


def prepare(config: TrainConfig, say: Say) -> Run:
    """Read and decode the data."""
    keep_freed_memory()
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    with parallel.first_alone():
        corpus = load_corpus(config, say)
    return Run(config, corpus, FrozenText(config), Checkpoints(config, corpus), say)


def run_stages(run: Run) -> Trained:
    """All stages, each from its checkpoint where that is there."""
    specialists = pretrain(run)
    baselines = {BASELINE_SPECIALISTS: measure_specialists(specialists, run.frozen, run.corpus)}
    run.say("specialists, each with its own text encoder\n" + table(baselines[BASELINE_SPECIALISTS].figures))
    if run.config.tune:
        joint = tune("joint", build_text(run.config), specialists, run)
        baselines[BASELINE_JOINT] = measure(joint, run)
        run.say(
            "baseline: one text encoder trained jointly, nothing bound\n" + table(baselines[BASELINE_JOINT].figures)
        )
    bound, alignment = bind(specialists, run)
    baselines[BASELINE_BOUND] = measure_specialists(bound, run.frozen, run.corpus)
    run.say("bound specialists\n" + table(baselines[BASELINE_BOUND].figures))
    shared = distil(bound, run)
    measured = measure(shared, run)
    if run.config.tune:
        baselines[BASELINE_DISTILLED] = measured
        run.say("distilled into one text encoder\n" + table(measured.figures))
        shared = tune("tune", shared.text, bound, run)
        measured = measure(shared, run)
    ratios = mean_ratio(measured.within, baselines[BASELINE_SPECIALISTS].within)
    told = ", ".join(f"{name} {found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]" for name, found in ratios.items())
    run.say(f"the result\n{table(measured.figures)}\nrelative to the specialists, with 95% intervals: {told}")
    return Trained(shared, measured, baselines, alignment)


def pretrain(run: Run) -> dict[str, Specialist]:
    """Stage 0."""
    specialists: dict[str, Specialist] = {}
    for name in run.config.modalities:
        specialist = build_specialist(name, run.config, len(run.corpus.phrasebook(name).labels))
        stage = Pretrain(name, specialist, run.frozen, run.corpus, run.config)
        average = run.fit(stage, run.checkpoints.specialist(name))
        assert isinstance(average, Specialist)
        specialists[name] = average
    return specialists


def bind(specialists: Mapping[str, Specialist], run: Run) -> tuple[dict[str, Specialist], dict[str, float]]:
    """Stage 1: bound copies of the specialists, and how far apart their text encoders are, before and after."""
    config, frozen = run.config, run.frozen
    specialists = copy.deepcopy(dict(specialists))
    centres = centres_of(run)
    alignment = {"specialists": disagreement(specialists, frozen, centres)}
    if config.bind.rotate:
        rotate(specialists, frozen, centres)
        alignment["turned"] = disagreement(specialists, frozen, centres)
    stage = Bind(specialists, frozen, run.corpus, centres, config)
    bound = merged(run.fit(stage, run.checkpoints.of("bind")))
    alignment["bound"] = disagreement(bound, frozen, centres)
    run.say("alignment of centre texts: " + ", ".join(f"{name} {value:.5f}" for name, value in alignment.items()))
    return bound, alignment


def distil(bound: Mapping[str, Specialist], run: Run) -> Shareable:
    """Stage 2: one text encoder for the towers of all."""
    own = {name: own_texts(run.corpus, name) for name in bound}
    student = run.fit(Distil(bound, own, centres_of(run), run.frozen, run.config), run.checkpoints.of("distil"))
    assert isinstance(student, UpperText)
    return Shareable(student, {name: specialist.tower for name, specialist in bound.items()})


def tune(name: str, text: UpperText, specialists: Mapping[str, Specialist], run: Run) -> Shareable:
    """A copy of the text encoder tuned against the specialists' towers, and these with the heads tuned beside it."""
    stage = Tune(name, copy.deepcopy(text), specialists, run.frozen, run.corpus, run.config, run.say)
    shared = run.fit(stage, run.checkpoints.of(name))
    assert isinstance(shared, Shared)
    return Shareable(shared.text, {m: with_head(s.tower, shared.heads[m]) for m, s in specialists.items()})


def measure(shared: Shareable, run: Run) -> Measured:
    """Retrieval on the held-out items."""
    return measure_shared(shared.towers, encoder(shared.text, run.frozen), run.corpus)


def centres_of(run: Run) -> list[str]:
    """Centre texts of all modalities, as many of each."""
    by_modality = centre_texts_of_all(run.corpus.rows("training"), list(run.config.modalities), run.config.bind.pool)
    return [text.words for texts in by_modality.values() for text in texts]


def own_texts(corpus: Corpus, modality: str) -> list[str]:
    """Everything the modality's training items are described with: reports, captions, and all that may be drawn."""
    book, rng, rows = corpus.phrasebook(modality), np.random.default_rng(0), corpus.training[modality].rows
    drawn = [book.draw(row, rng) for row in rows for _ in range(DRAWS)]
    texts = [text.words for text in [*drawn, *book.contrasts(drawn)]]
    return [*book.labels, *texts, *(row.text for row in rows), *(row.caption for row in rows)]


class Checkpoints:
    """Names of the checkpoints: each depends on all settings that its stage and those before it were run with."""

    def __init__(self, config: TrainConfig, corpus: Corpus) -> None:
        self.folder = config.resolve(config.data.cache) / "runs" / config.name
        self._config = config
        self._common = [loop_settings(config.run), asdict(config.text), asdict(config.loss), config.dim]
        self._data = {
            name: [(row.path.name, row.text, row.labels) for row in inputs.rows]
            for name, inputs in corpus.training.items()
        }

    def specialist(self, modality: str) -> Path:
        """Of stage 0."""
        settings = [asdict(self._config.pretrain), asdict(self._config.modalities[modality])]
        share = self._config.data.phantom_share
        return checkpoint_path(self.folder, f"pretrain-{modality}", self._common, settings, share, self._data[modality])

    def of(self, stage: str) -> Path:
        """Of a later stage."""
        config = self._config
        before = [self.specialist(name).name for name in config.modalities]
        settings = {
            "joint": [config.tune],
            "bind": [config.bind],
            "distil": [config.bind, config.distil],
            "tune": [config.bind, config.distil, config.tune],
        }[stage]
        return checkpoint_path(self.folder, stage, before, self._common, settings)


def loop_settings(run: RunConfig) -> dict[str, object]:
    """Of the loop, what changes the outcome."""
    settings = asdict(run)
    for name in ("evaluate_every", "checkpoint_every", "device", "threads", "tensorboard"):
        del settings[name]
    return settings
