"""Does the one text encoder retrieve what the five specialists did, each with its own?

    python -m benchmarks.specialists [--config FILE] [--seeds N ...] [--json]   trains the recipe with each seed
    python -m benchmarks.specialists --model BUNDLE [--config FILE] [--json]    trains stage 0 alone, beside a bundle

The ratio to the specialists is the mean over text to image within the modality and image to image, on held-out items;
95% intervals by bootstrap of patients, who are the same draw for both sides and for all seeds. They say what other
patients would change, the rows of several seeds what another run would.

Stages that are done are read from their checkpoints: runs with one seed each can go side by side, on one GPU or on
several, and one with all their seeds then only measures and prints. A bundle is compared with its own specialists where
they reach the figures that its `bundle.json` records of them, and with another run's where they do not.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from m3search.encoders import load_encoder
from m3search.errors import UsageError
from m3search.evaluation.tables import MEAN, mean_ratio
from m3search.metrics import Interval
from m3search.trainer import train
from m3search.trainer.config import load_config
from m3search.trainer.measure import Measured, measure_encoder, measure_specialists

CONFIGURATION = Path("trainer/configs/m3bind-small.toml")
ENDS = ("specialists", "one text encoder")
FIGURES = ("text_to_image", "text_to_image_within", "image_to_image")


@dataclass(frozen=True, slots=True)
class Outcome:
    """Both ends of one run: five text encoders, and one."""

    specialists: Measured
    one: Measured


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, train, print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.specialists", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--config", type=Path, default=CONFIGURATION, help="training configuration")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="one whole run of each")
    which.add_argument(
        "--model", default="", metavar="BUNDLE", help="by name or folder; nothing but stage 0 is trained"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    options = parser.parse_args(arguments)
    if options.model:
        outcomes = {options.model: beside(options.config, options.model)}
    else:
        outcomes = {f"seed {seed}": whole_run(options.config, seed) for seed in dict.fromkeys(options.seeds)}
    ratios = ratios_of(outcomes)
    print(as_json(ratios, outcomes) if options.json else f"{ratio_table(ratios)}\n\n{figure_table(outcomes)}")


def prepared(path: Path, seed: int | None = None) -> train.Run:
    """The configuration's run, with another seed where one is given."""
    config = load_config(path)
    if seed is not None:
        config = replace(config, run=replace(config.run, seed=seed))
    return train.prepare(config, lambda message: print(message, file=sys.stderr, flush=True))


def whole_run(path: Path, seed: int) -> Outcome:
    """All stages with this seed."""
    trained = train.run_stages(prepared(path, seed))
    return Outcome(trained.baselines[train.BASELINE_SPECIALISTS], trained.measured)


def beside(path: Path, model: str) -> Outcome:
    """Stage 0 and, on the same items, a bundle.

    Raises:
        UsageError: the bundle takes other inputs than the configuration says.
    """
    encoder, run = load_encoder(model), prepared(path)
    for name, settings in run.config.modalities.items():
        if encoder.input_of(name) != settings.input:
            raise UsageError(f"{model} and {path} differ in the input of {name}; name the configuration of the bundle")
    specialists = measure_specialists(train.pretrain(run), run.frozen, run.corpus)
    return Outcome(specialists, measure_encoder(encoder, run.corpus))


def ratios_of(outcomes: Mapping[str, Outcome]) -> dict[str, dict[str, Interval]]:
    """By run, and over all runs, by modality: the one text encoder relative to the specialists."""
    found = {name: mean_ratio(outcome.one.within, outcome.specialists.within) for name, outcome in outcomes.items()}
    if len(outcomes) > 1:
        modalities = list(next(iter(outcomes.values())).one.within)
        ones = {name: [part for o in outcomes.values() for part in o.one.within[name]] for name in modalities}
        fives = {name: [part for o in outcomes.values() for part in o.specialists.within[name]] for name in modalities}
        found["all runs"] = mean_ratio(ones, fives)
    return found


def ratio_table(ratios: Mapping[str, Mapping[str, Interval]]) -> str:
    """Markdown: a line for each run, with intervals."""
    names = list(next(iter(ratios.values())))
    lines = [f"| relative to the specialists | {' | '.join(names)} |", "| --- |" + " --- |" * len(names)]
    for run, found in ratios.items():
        cells = (f"{found[name].mean:.3f} [{found[name].low:.3f}, {found[name].high:.3f}]" for name in names)
        lines.append(f"| {run} | {' | '.join(cells)} |")
    return "\n".join(lines)


def figure_table(outcomes: Mapping[str, Outcome]) -> str:
    """Markdown: each figure's mean over the runs with the lowest and the highest, and the mean over modalities."""
    lines = ["| mAP | | text→image, all | text→image, within | image→image |", "| --- | --- | --- | --- | --- |"]
    for end, measured in zip(ENDS, zip(*map(_ends, outcomes.values()), strict=True), strict=True):
        values = {
            name: np.array([[getattr(found.figures[name], key) for key in FIGURES] for found in measured])
            for name in measured[0].figures
        }  # by modality: (runs, figures)
        values[MEAN] = np.mean(list(values.values()), axis=0)
        lines += [f"| {end} | {name} | {' | '.join(map(_spread, own.T))} |" for name, own in values.items()]
    return "\n".join(lines)


def _ends(outcome: Outcome) -> tuple[Measured, Measured]:
    return outcome.specialists, outcome.one


def _spread(values: np.ndarray) -> str:
    spread = f" ({values.min():.3f} to {values.max():.3f})" if len(values) > 1 else ""
    return f"{values.mean():.3f}{spread}"


def as_json(ratios: Mapping[str, Mapping[str, Interval]], outcomes: Mapping[str, Outcome]) -> str:
    """Everything."""
    figures = {
        run: {
            end: {name: asdict(found) for name, found in measured.figures.items()}
            for end, measured in zip(ENDS, _ends(outcome), strict=True)
        }
        for run, outcome in outcomes.items()
    }
    told = {run: {name: asdict(interval) for name, interval in found.items()} for run, found in ratios.items()}
    return json.dumps({"relative to the specialists": told, "figures": figures}, indent=2)


if __name__ == "__main__":
    main()
