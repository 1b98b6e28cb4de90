"""Operations of a training step, and the ablations' shortened stages."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.ablations import shortened
from benchmarks.step import operations
from m3search.trainer.config import load_config


@pytest.mark.parametrize("groups", [1, 4, 8])
def test_a_convolution_costs_its_forward_pass_three_times(groups: int) -> None:
    convolution = torch.nn.Conv2d(8, 8, 3, padding=1, groups=groups)
    inputs = torch.randn(2, 8, 10, 10, requires_grad=True)
    forward = 2 * (2 * 8 * 10 * 10) * (8 // groups * 3 * 3)
    assert operations(lambda: convolution(inputs).sum().backward()) == 3 * forward


def test_a_share_of_the_steps_of_stages_1_and_2() -> None:
    config = load_config(Path("trainer/configs/m3bind-small.toml"))
    fewer = shortened(config, 0.5)
    assert fewer.tune is not None
    assert config.tune is not None
    for stage in ("bind", "distil", "tune"):
        assert getattr(fewer, stage).steps == round(getattr(config, stage).steps / 2)
    assert fewer.modalities == config.modalities
