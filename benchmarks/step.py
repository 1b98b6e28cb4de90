"""Where does the time of a training step go?

    python -m benchmarks.step [--modality NAME] [--config FILE] [--steps N]

Profiles steps of stage 0 of one modality and prints the share of each part, with the floating-point operations of the
networks. On a GPU it also prints the step's time beside the arithmetic floor: those operations at the card's own
measured rate of a large matrix product in the same precision. On a CPU only shares are printed; times there are noise.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from m3search.trainer import loop, objective, train
from m3search.trainer.config import load_config
from m3search.trainer.device import autocast
from m3search.trainer.model import build_specialist
from m3search.trainer.pretrain import Pretrain

CONFIGURATION = Path("trainer/configs/m3bind-small.toml")
WARM = 3  # steps before measuring: texts are embedded by the frozen layers when they are first seen
PRODUCT = 8192  # rows and columns of the matrix product that stands for the card's arithmetic


class Clock:
    """Seconds by part, waiting for the GPU at the end of each."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.seconds = device, dict[str, float]()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Everything in the context counts for `name`."""
        started = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


def step(stage: Pretrain, draw: loop.Draw, optimiser: torch.optim.Optimizer, clock: Clock) -> None:
    """One step as `loop.fit` does it, part by part."""
    specialist, config = stage.module, stage.config
    with clock.part("draw and augment"):
        rows, inputs = stage.sampler.draw(draw.rng, draw.generator)
        sentences = objective.draw_sentences(rows, stage.phrasebook, draw.rng)
    words = [*sentences.words, *stage.phrasebook.labels]
    with clock.part("frozen text layers (cached)"):
        stage.frozen(words)
    with autocast(config.run, stage.device):
        with clock.part("tower forward"):
            items = specialist.tower(inputs).float()
        with clock.part("text forward"):
            texts = specialist.text.embed(stage.frozen, words)
    with clock.part("losses"):
        own, names = texts.parts(len(sentences.words), len(stage.phrasebook.labels))
        batch = objective.Batch(rows, items, sentences, own, names, stage.phrasebook.labels)
        terms = objective.terms(batch, config.loss, specialist.scale, specialist.label_bias)
    with clock.part("backward"):
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(torch.stack(list(terms.values())).sum())
    with clock.part("clip and optimiser"):
        torch.nn.utils.clip_grad_norm_(specialist.parameters(), loop.CLIP_NORM)
        optimiser.step()


def operations(function: Callable[[], object]) -> float:
    """Floating-point operations of the networks in a call, forward and backward."""
    mapping = {torch.ops.aten.convolution_backward: convolution_backward}
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        function()
    return float(counter.get_total_flops())


def convolution_backward(gradient: torch.Size, _inputs: torch.Size, weight: torch.Size, *rest: Any, **_: Any) -> int:
    """As often as the forward pass for each of the two gradients wanted. torch's own count takes a convolution that
    keeps channels apart for a full one, which is as many times too much as there are channels."""
    wanted: Sequence[bool] = rest[-1]
    return 2 * math.prod(gradient) * math.prod(weight[1:]) * sum(wanted[:2])


def floor_seconds(flops: float, device: torch.device) -> float:
    """What the operations would take at the rate of a large bfloat16 matrix product on this card."""
    a = torch.randn(PRODUCT, PRODUCT, device=device, dtype=torch.bfloat16)
    for _ in range(3):
        a @ a
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(10):
        a @ a
    torch.cuda.synchronize()
    return flops * (time.perf_counter() - started) / (10 * 2 * PRODUCT**3)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, profile, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--config", type=Path, default=CONFIGURATION, help="training configuration")
    parser.add_argument("--modality", default="xray", help="whose specialist")
    parser.add_argument("--steps", type=int, default=10, help="steps to measure")
    options = parser.parse_args(arguments)
    config = load_config(options.config)
    config = replace(config, modalities={options.modality: config.modalities[options.modality]})
    run = train.prepare(config, print)
    specialist = build_specialist(options.modality, config, len(run.corpus.phrasebook(options.modality).labels))
    stage = Pretrain(options.modality, specialist, run.frozen, run.corpus, config)
    draw, optimiser = loop.Draw(config.run.seed), torch.optim.AdamW(stage.groups())
    stage.mode(training=True)
    for _ in range(WARM):
        step(stage, draw, optimiser, Clock(stage.device))
    clock = Clock(stage.device)
    for _ in range(options.steps):
        step(stage, draw, optimiser, clock)
    flops = operations(lambda: step(stage, draw, optimiser, Clock(stage.device)))
    total = sum(clock.seconds.values())
    print(f"\n{options.modality}: {stage.sampler.batch} items a step, {flops / 1e9:.0f} GFLOP in the networks")
    for name, seconds in clock.seconds.items():
        print(f"{name:30} {seconds / total:6.1%}")
    if stage.device.type == "cuda":
        taken, floor = total / options.steps, floor_seconds(flops, stage.device)
        print(f"{torch.cuda.get_device_name()}: {taken * 1e3:.1f} ms a step, arithmetic floor {floor * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
