"""The training loop of every stage: draw, losses, step, average, log, validate, checkpoint. Reads top to bottom.

A run that is killed goes on from its last checkpoint as if nothing had happened: weights, their moving average, the
optimiser and every source of randomness are in it. A stage that is done is read from its checkpoint and not run again.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from m3search.trainer import parallel
from m3search.trainer.config import RunConfig

LOG_EVERY = 25  # steps
CLIP_NORM = 5.0
BETAS = (0.9, 0.98)

Say = Callable[[str], None]


class Draw:
    """Every random choice of a stage comes from here, so that a checkpoint can hold all of it."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)  # dropout

    def state(self) -> dict[str, Any]:
        """What `restore` takes."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return {
            "numpy": json.dumps(self.rng.bit_generator.state),
            "torch": self.generator.get_state(),
            "global": torch.get_rng_state(),
            "cuda": cuda,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on drawing where `state` was taken."""
        self.rng.bit_generator.state = json.loads(state["numpy"])
        self.generator.set_state(state["torch"])
        torch.set_rng_state(state["global"])
        if state["cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["cuda"])


class Stage(ABC):
    """What one stage of the training learns, and from what."""

    name: str  # also of its checkpoint
    steps: int
    warmup: int
    module: nn.Module  # everything that learns; parameters that do not require gradients are not saved

    @abstractmethod
    def groups(self) -> list[dict[str, Any]]:
        """Groups of parameters for AdamW, each with "lr" (its peak) and "weight_decay"."""

    @abstractmethod
    def terms(self, draw: Draw) -> dict[str, Tensor]:
        """One batch's terms of the loss, each already weighted: their sum is minimised."""

    def validate(self, average: nn.Module) -> str:  # noqa: ARG002
        """Lines to print about the averaged weights; "" where there is nothing to say."""
        return ""

    def mode(self, training: bool) -> None:
        """Dropout on or off."""
        self.module.train(training)


def fit(stage: Stage, run: RunConfig, checkpoint: Path, say: Say) -> nn.Module:
    """Train `stage.module` and return the moving average of its weights, which retrieves better than the last ones.

    Args:
        checkpoint: file that a killed run goes on from and that a finished stage is read from.
    """
    groups = [{**group, "peak": group["lr"]} for group in stage.groups()]
    optimiser = torch.optim.AdamW(groups, betas=BETAS)
    average = copy.deepcopy(stage.module)
    draw, running = Draw(run.seed), Counter[str]()
    first = 1
    if checkpoint.exists():
        first = _resume(checkpoint, stage, average, optimiser, draw, running) + 1
        say(f"{stage.name}: " + ("done before" if first > stage.steps else f"going on after step {first - 1}"))
    board = _board(run, checkpoint)
    stage.mode(training=True)
    started = time.monotonic()
    for step in range(first, stage.steps + 1):
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * schedule(step, stage.warmup, stage.steps)
        optimiser.zero_grad(set_to_none=True)
        for _ in range(run.accumulate):
            terms = stage.terms(draw)
            torch.autograd.backward(torch.stack(list(terms.values())).sum() / run.accumulate)
            running.update({name: term.item() for name, term in terms.items()} | {"draws": 1})
        parallel.average_gradients(stage.module)
        torch.nn.utils.clip_grad_norm_(stage.module.parameters(), CLIP_NORM)
        optimiser.step()
        follow(average, stage.module, min(run.average, step / (step + 9)))
        last = step == stage.steps
        if step % LOG_EVERY == 0 or last:
            means = {name: total / running["draws"] for name, total in running.items() if name != "draws"}
            left = (time.monotonic() - started) / (step - first + 1) * (stage.steps - step) / 60
            told = "  ".join(f"{name} {value:.3f}" for name, value in means.items())
            say(f"{stage.name} {step}/{stage.steps}  {told}  about {left:.0f} min left")
            for name, value in means.items():
                board(f"{stage.name}/{name}", value, step)
            running.clear()
        if last or step % run.checkpoint_every == 0:
            _save(checkpoint, step, stage, average, optimiser, draw, running)
        if last or (run.evaluate_every and step % run.evaluate_every == 0):
            stage.mode(training=False)
            if lines := stage.validate(average):
                say(lines)
            stage.mode(training=True)
    stage.mode(training=False)
    return average.eval()


def schedule(step: int, warmup: int, steps: int) -> float:
    """Share of the peak learning rate: linear up, cosine down to 2%."""
    if step < warmup:
        return step / warmup
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


@torch.no_grad()
def follow(average: nn.Module, module: nn.Module, decay: float) -> None:
    """Moves the average a little towards the module; what does not learn is the same in both, or copied."""
    now = module.state_dict(keep_vars=True)
    for name, tensor in average.state_dict().items():
        source = now[name]
        if tensor.is_floating_point() and (source.requires_grad or not isinstance(source, nn.Parameter)):
            tensor.lerp_(source.detach(), 1 - decay)
        elif not isinstance(source, nn.Parameter):
            tensor.copy_(source)


def learned(module: nn.Module) -> dict[str, Tensor]:
    """The parameters that learn, and the buffers."""
    return {
        name: tensor.detach()
        for name, tensor in module.state_dict(keep_vars=True).items()
        if not isinstance(tensor, nn.Parameter) or tensor.requires_grad
    }


def checkpoint_path(folder: Path, stage: str, *settings: object) -> Path:
    """Where the stage keeps its checkpoint: another file for every other setting, so that none is mistaken."""
    content = json.dumps(settings, sort_keys=True, default=str)
    return folder / f"{stage}-{hashlib.blake2b(content.encode(), digest_size=6).hexdigest()}.pt"


def _save(
    path: Path,
    step: int,
    stage: Stage,
    average: nn.Module,
    optimiser: torch.optim.Optimizer,
    draw: Draw,
    running: Mapping[str, float],
) -> None:
    """Atomically: a kill while it is written leaves the one before."""
    if not parallel.is_first():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    content = {"step": step, "average": learned_like(average, stage.module)}
    if step < stage.steps:  # a finished stage is only read again, not gone on with
        content |= {"module": learned(stage.module), "optimiser": optimiser.state_dict(), "draw": draw.state()}
        content["running"] = dict(running)
    with partial.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def learned_like(average: nn.Module, module: nn.Module) -> dict[str, Tensor]:
    """Of `average`, what `learned` gives of `module`."""
    state = average.state_dict()
    return {name: state[name] for name in learned(module)}


def _resume(
    path: Path,
    stage: Stage,
    average: nn.Module,
    optimiser: torch.optim.Optimizer,
    draw: Draw,
    running: Counter[str],
) -> int:
    """The step the checkpoint was taken after."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    average.load_state_dict(content["average"], strict=False)
    stage.module.load_state_dict(content.get("module", content["average"]), strict=False)
    if "optimiser" in content:
        optimiser.load_state_dict(content["optimiser"])
        draw.restore(content["draw"])
        running.update(content["running"])
    return int(content["step"])


def _board(run: RunConfig, checkpoint: Path) -> Callable[[str, float, int], None]:
    """Writes scalars for TensorBoard where that is asked for and installed."""
    if not run.tensorboard or not parallel.is_first():
        return lambda _name, _value, _step: None
    from torch.utils.tensorboard import SummaryWriter

    add: Callable[[str, float, int], None] = SummaryWriter(str(checkpoint.parent / "tensorboard")).add_scalar
    return add
