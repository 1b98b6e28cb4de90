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
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from m3search.trainer import parallel
from m3search.trainer.bind import Bind, bound, disagreement
from m3search.trainer.centres import centre_texts
from m3search.trainer.config import RunConfig, TrainConfig, load_config
from m3search.trainer.corpus import Corpus, Say, load_corpus
from m3search.trainer.distil import Distil
from m3search.trainer.loop import checkpoint_path, fit
from m3search.trainer.measure import mean_ratio, shared_figures, specialist_figures
from m3search.trainer.model import FrozenText, Specialist, UpperText, build_specialist, build_text, encoder
from m3search.trainer.pretrain import Pretrain
from m3search.trainer.rotate import rotate
from m3search.trainer.tune import Shared, Tune, with_head
from m3search.trainer.validate import Figures, table

BASELINE_SPECIALISTS, BASELINE_JOINT = "specialists", "joint text encoder"
DRAWS = 4  # texts drawn for each item for stage 2


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What a run ends with, before it is exported."""

    text: UpperText
    towers: dict[str, torch.nn.Module]
    figures: Mapping[str, Figures]
    baselines: Mapping[str, Mapping[str, Figures]]
    alignment: Mapping[str, float]  # mean squared distance of unit embeddings between encoders, by stage


def train(config_path: Path, out: Path, *, say: Say = print) -> dict[str, Figures]:
    """Train as the configuration says and export the bundle to the folder `out`; figures on held-out groups.

    A killed run goes on where it was when it is started again, and finished stages are not repeated.

    Raises:
        TrainingError: the configuration or its data is wrong.
        MissingExtra: a package with a warm start is not installed.
    """
    from m3search.trainer.export import write_bundle

    config, started = load_config(Path(config_path)), time.monotonic()
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    with parallel.processes():
        say = say if parallel.is_first() else lambda _message: None
        corpus = load_corpus(config, say)
        frozen = FrozenText(config)
        trained = run_stages(config, corpus, frozen, say)
        if parallel.is_first():
            write_bundle(trained, frozen, corpus, config, out, seconds=time.monotonic() - started, say=say)
    return dict(trained.figures)


def run_stages(config: TrainConfig, corpus: Corpus, frozen: FrozenText, say: Say) -> Trained:
    """All stages, each from its checkpoint where that is there."""
    checkpoints = Checkpoints(config, corpus)
    specialists: dict[str, Specialist] = {}
    for name in config.modalities:
        labels = len(corpus.phrasebook(name).labels)
        stage = Pretrain(name, build_specialist(name, config, labels), frozen, corpus, config)
        average = fit(stage, config.run, checkpoints.specialist(name), say)
        assert isinstance(average, Specialist)
        specialists[name] = average
    baselines = {BASELINE_SPECIALISTS: specialist_figures(specialists, frozen, corpus)}
    say("specialists, each with its own text encoder\n" + table(baselines[BASELINE_SPECIALISTS]))

    if config.tune:
        text, towers = tuned("joint", build_text(config), specialists, frozen, corpus, config, checkpoints, say)
        baselines[BASELINE_JOINT] = shared_figures(towers, encoder(text, frozen), corpus)
        say("baseline: one text encoder trained jointly, nothing bound\n" + table(baselines[BASELINE_JOINT]))

    centres = [text.words for text in centre_texts(corpus.rows("training"), seed=config.run.seed)]
    alignment = {"specialists": disagreement(specialists, frozen, centres)}
    if config.bind.rotate:
        rotate(specialists, frozen, centres)
        alignment["turned"] = disagreement(specialists, frozen, centres)
    stage1 = Bind(specialists, frozen, corpus, centres, config)
    specialists = bound(fit(stage1, config.run, checkpoints.of("bind"), say))
    alignment["bound"] = disagreement(specialists, frozen, centres)
    say("alignment of centre texts: " + ", ".join(f"{stage} {value:.5f}" for stage, value in alignment.items()))
    baselines["bound specialists"] = specialist_figures(specialists, frozen, corpus)
    say("bound specialists\n" + table(baselines["bound specialists"]))

    own = {name: own_texts(corpus, name) for name in specialists}
    student = fit(Distil(specialists, own, centres, frozen, config), config.run, checkpoints.of("distil"), say)
    assert isinstance(student, UpperText)
    towers = {name: specialist.tower for name, specialist in specialists.items()}
    baselines["distilled"] = shared_figures(towers, encoder(student, frozen), corpus)
    say("distilled into one text encoder\n" + table(baselines["distilled"]))
    if config.tune:
        student, towers = tuned("tune", student, specialists, frozen, corpus, config, checkpoints, say)
    figures = shared_figures(towers, encoder(student, frozen), corpus)
    ratios = mean_ratio(figures, baselines[BASELINE_SPECIALISTS])
    say("bound and distilled, to specialists: " + ", ".join(f"{name} {ratio:.3f}" for name, ratio in ratios.items()))
    return Trained(student, towers, figures, baselines, alignment)


def tuned(
    name: str,
    text: UpperText,
    specialists: Mapping[str, Specialist],
    frozen: FrozenText,
    corpus: Corpus,
    config: TrainConfig,
    checkpoints: Checkpoints,
    say: Say,
) -> tuple[UpperText, dict[str, torch.nn.Module]]:
    """The text encoder after tuning against the specialists' towers, and the towers with the heads tuned with it."""
    stage = Tune(name, copy.deepcopy(text), specialists, frozen, corpus, config, say)
    shared = fit(stage, config.run, checkpoints.of(name), say)
    assert isinstance(shared, Shared)
    return shared.text, {m: with_head(s.tower, shared.heads[m]) for m, s in specialists.items()}


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
        return checkpoint_path(self.folder, stage, before, settings)


def loop_settings(run: RunConfig) -> dict[str, object]:
    """Of the loop, what changes the outcome."""
    settings = asdict(run)
    for name in ("evaluate_every", "checkpoint_every", "device", "threads", "tensorboard"):
        del settings[name]
    return settings
