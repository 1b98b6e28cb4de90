"""Where training computes, and how precisely."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch

from m3search.errors import TrainingError

if TYPE_CHECKING:
    from m3search.trainer.config import RunConfig


def device_of(run: RunConfig) -> torch.device:
    """Where to compute.

    Raises:
        TrainingError: a GPU is asked for and there is none.
    """
    if run.device == "cuda" and not torch.cuda.is_available():
        raise TrainingError('run.device is "cuda", but torch finds no GPU here; set it to "auto"')
    return torch.device("cpu" if run.device == "cpu" or not torch.cuda.is_available() else "cuda")


def autocast(run: RunConfig, device: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 where it is asked for and native. Emulated (on a CPU with AVX2 only) it was 5 to 30 times slower."""
    native = (
        torch.cuda.is_bf16_supported()
        if device.type == "cuda"
        else torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )
    return torch.autocast(device.type, torch.bfloat16, enabled=run.bf16 and native)
