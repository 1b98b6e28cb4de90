"""Several processes under torchrun, each embedding its share of one batch; without torchrun, one process and no change.

Every process draws the same batch, embeds a slice of it and receives the vectors of all slices, so that everyone's
items are everyone's negatives. All compute the whole loss. The backward pass of the gathering adds up the gradients
that all processes have for a slice, so towers get `world` times their share and the texts, embedded by everyone, once
each: averaging the parameters' gradients over processes makes both right, and equal to one process with the same
batch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from m3search.errors import TrainingError


def world() -> int:
    """Processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_first() -> bool:
    """True in the one process that prints, writes and validates."""
    return world() == 1 or dist.get_rank() == 0


@contextmanager
def processes() -> Iterator[None]:
    """Joins the processes that torchrun started, if it did, for the time of the context."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield
        return
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextmanager
def first_alone() -> Iterator[None]:
    """What is inside is done by the first process, then by the others: it fills the caches that they find filled."""
    if not is_first():
        dist.barrier()
    yield
    if is_first() and world() > 1:
        dist.barrier()


def embed(function: Callable[[Tensor], Tensor], inputs: Tensor, chunk: int = 0) -> Tensor:
    """`function` of all inputs (B, ...): (B, D), computed by all processes together.

    Args:
        chunk: inputs whose activations are held at once; 0 holds all. With a chunk, the activations are computed a
            second time in the backward pass (cached gradients, Gao et al., arXiv 2101.06983), so that the size of a
            contrastive batch costs no memory.

    Raises:
        TrainingError: the batch cannot be divided among the processes.
    """
    if world() == 1:
        return _in_chunks(function, inputs, chunk)
    if len(inputs) % world():
        raise TrainingError(f"a batch of {len(inputs)} cannot be divided among {world()} processes; change the batch")
    own = _in_chunks(function, inputs.chunk(world())[dist.get_rank()], chunk)
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(own))  # type: ignore[no-untyped-call]


def average_gradients(module: nn.Module) -> None:
    """Every parameter's gradient becomes its mean over the processes."""
    if world() == 1:
        return
    for parameter in module.parameters():
        if parameter.requires_grad:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            dist.all_reduce(parameter.grad)
            parameter.grad /= world()


def _in_chunks(function: Callable[[Tensor], Tensor], inputs: Tensor, chunk: int) -> Tensor:
    if not chunk or len(inputs) <= chunk or not torch.is_grad_enabled():
        return function(inputs)
    return torch.cat([checkpoint(function, part, use_reentrant=False) for part in torch.split(inputs, chunk)])
