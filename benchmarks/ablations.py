"""What does each part of M3Bind do for retrieval?

    python -m benchmarks.ablations [--config FILE] [--rows NAME ...] [--steps SHARE] [--json]

Each row changes one setting of stages 1 and 2 and runs them again from the same specialists (stage 0 is read from its
checkpoints, or trained where there are none), and prints retrieval on the held-out items: means over the modalities of
text to image (gallery of all modalities, and of one), image to image, and image to image between modalities by concept,
with the alignment of the text encoders.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from m3search.encoders.base import normalise
from m3search.trainer import train
from m3search.trainer.config import TrainConfig, load_config
from m3search.trainer.measure import Measured, measure_shared, measure_specialists
from m3search.trainer.model import Specialist
from m3search.trainer.text_encoder import build_text, encoder

CONFIGURATION = Path("trainer/configs/m3bind-small.toml")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: the figures, and how far apart the text encoders were when they were distilled."""

    measured: Measured
    alignment: float | None = None

    def means(self) -> dict[str, float]:
        """Over modalities, and over pairs of them."""
        names = ("text_to_image", "text_to_image_within", "image_to_image")
        found = {name: float(np.mean([getattr(f, name) for f in self.measured.figures.values()])) for name in names}
        return found | {"crossmodal": float(np.mean(list(self.measured.crossmodal.values())))}


Measure = Callable[[train.Run, Mapping[str, Specialist]], Row]


def bound(change: Callable[[TrainConfig], TrainConfig] = lambda config: config, *, tuned: bool = True) -> Measure:
    """Stages 1 and 2 with a changed configuration."""

    def measure(run: train.Run, specialists: Mapping[str, Specialist]) -> Row:
        config = change(run.config)
        run = replace(run, config=config, checkpoints=train.Checkpoints(config, run.corpus))
        together, alignment = train.bind(specialists, run)
        shared = train.distil(together, run)
        if tuned:
            shared = train.tune("tune", shared.text, together, run)
        return Row(train.measure(shared, run), alignment["bound"])

    return measure


def binding(**changes: Any) -> Measure:
    """Stages 1 and 2 with other settings of stage 1."""
    return bound(lambda config: replace(config, bind=replace(config.bind, **changes)))


def loss(**changes: Any) -> Measure:
    """Stages 1 and 2 with other settings of the loss."""
    return bound(lambda config: replace(config, loss=replace(config.loss, **changes)))


def apart(run: train.Run, specialists: Mapping[str, Specialist]) -> Row:
    """Five specialists, each with its own text encoder."""
    return Row(measure_specialists(specialists, run.frozen, run.corpus))


def joint(run: train.Run, specialists: Mapping[str, Specialist]) -> Row:
    """One text encoder trained against the specialists' towers, nothing bound."""
    return Row(train.measure(train.tune("joint", build_text(run.config), specialists, run), run))


def leading(dim: int) -> Measure:
    """The released recipe, searched with the leading dimensions only."""

    def measure(run: train.Run, specialists: Mapping[str, Specialist]) -> Row:
        together, alignment = train.bind(specialists, run)
        shared = train.tune("tune", train.distil(together, run).text, together, run)
        encode = encoder(shared.text, run.frozen)
        found = measure_shared(shared.towers, lambda texts: normalise(encode(texts)[:, :dim]), run.corpus, dim)
        return Row(found, alignment["bound"])

    return measure


ROWS: dict[str, Measure] = {
    "released recipe": bound(),
    "specialists (five text encoders)": apart,
    "joint text encoder, no binding": joint,
    "distilled, not tuned": bound(tuned=False),
    "align raw mse": binding(align="mse"),
    "align cosine": binding(align="cosine"),
    "align relational": binding(align="relational"),
    "lambda 0": binding(weight=0.0),
    "lambda 0.3": binding(weight=0.3),
    "lambda 3": binding(weight=3.0),
    "spaces not turned first": binding(rotate=False),
    "adapters only, no heads": binding(heads=False),
    "hard targets (InfoNCE) in stages 1 and 2": loss(kind="infonce"),
    "sigmoid (SigLIP) in stages 1 and 2": loss(kind="sigmoid"),
    "queue of 512 in stage 2": loss(queue=512),
    "first 64 dimensions": leading(64),
    "first 128 dimensions": leading(128),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, train, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablations", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--config", type=Path, default=CONFIGURATION, help="training configuration")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="NAME", help="some only")
    parser.add_argument("--steps", type=float, default=1.0, help="share of the steps of stages 1 and 2, in all rows")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    options = parser.parse_args(arguments)
    config = shortened(load_config(options.config), options.steps)
    run = train.prepare(config, lambda message: print(message, file=sys.stderr, flush=True))
    specialists = train.pretrain(run)
    results: dict[str, Row] = {}
    for name in options.rows:
        results[name] = ROWS[name](run, specialists)
        print(table({name: results[name]}).splitlines()[-1], file=sys.stderr, flush=True)  # a killed run told something
    print(
        json.dumps({name: asdict(row) for name, row in results.items()}, indent=2) if options.json else table(results)
    )


def shortened(config: TrainConfig, share: float) -> TrainConfig:
    """The configuration with that share of the steps of stages 1 and 2."""
    stages = {name: getattr(config, name) for name in ("bind", "distil", "tune")}
    fewer = {name: replace(stage, steps=max(1, round(share * stage.steps))) for name, stage in stages.items() if stage}
    return replace(config, **fewer)


def table(results: Mapping[str, Row]) -> str:
    """Markdown."""
    lines = [
        "| | text→image, all | text→image, within | image→image | between modalities | alignment |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in results.items():
        cells = " | ".join(f"{value:.3f}" for value in row.means().values())
        lines.append(f"| {name} | {cells} | {'' if row.alignment is None else f'{row.alignment:.4f}'} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
