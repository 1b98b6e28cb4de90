"""Adapters change nothing when put in, learn alone, and leave nothing behind but changed weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from m3search.encoders.signal_tower import SignalTower
from m3search.encoders.towers import TextConfig, TextTower
from m3search.trainer.adapters import add_adapters, merge_adapters, text_targets, tower_targets
from m3search.trainer.config import BindConfig, load_config
from m3search.trainer.model import Specialist, build_specialist
from m3search.trainer.text_encoder import UpperText

pytestmark = pytest.mark.usefixtures("warm_starts")
IMAGES = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
SIGNALS = torch.randn(3, 12, 200, generator=torch.Generator().manual_seed(0))


def image_specialist(toy: Path) -> tuple[Specialist, torch.Tensor]:
    return build_specialist("xray", load_config(toy / "toy.toml"), 2).eval(), IMAGES


def signal_specialist(_toy: Path) -> tuple[Specialist, torch.Tensor]:
    torch.manual_seed(0)
    text = UpperText(TextTower(16, TextConfig(vocabulary=30, layers=2)), lower=1)
    return Specialist(SignalTower(16, widths=(8, 8)), text, 2).eval(), SIGNALS


@pytest.mark.parametrize("build", [image_specialist, signal_specialist])
def test_put_in_learned_and_merged(toy: Path, build) -> None:  # type: ignore[no-untyped-def]
    specialist, inputs = build(toy)
    names = set(specialist.state_dict())
    with torch.no_grad():
        before = specialist.tower(inputs)
    add_adapters(specialist, BindConfig(steps=1, dropout=0.0))
    learning = {name for name, p in specialist.named_parameters() if p.requires_grad}
    assert {name for name in learning if "lora" not in name} == {"log_scale", "label_bias"}
    assert any(name.startswith("text.") for name in learning)
    assert any(name.startswith("tower.") for name in learning)
    with torch.no_grad():
        torch.testing.assert_close(specialist.tower(inputs), before)
        for name, parameter in specialist.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.05, generator=torch.Generator().manual_seed(1))
        adapted = specialist.tower(inputs)
        assert not torch.allclose(adapted, before)
        merge_adapters(specialist)
        torch.testing.assert_close(specialist.tower(inputs), adapted, atol=1e-4, rtol=1e-4)
    assert set(specialist.state_dict()) == names
    assert all(type(module).__module__.split(".")[0] != "peft" for module in specialist.modules())


def test_the_paper_adapts_query_and_value_of_text_and_we_adapt_what_mixes_channels(toy: Path) -> None:
    specialist, _ = image_specialist(toy)
    assert set(text_targets(specialist)) == {"layers.0.query", "layers.0.value"}
    targets = tower_targets(specialist)
    assert "trunk.head.conv" in targets
    assert "trunk.blocks.15.project.conv" in targets
    assert not any("depthwise" in name or name.startswith("trunk.blocks.14.") for name in targets)  # 15 are frozen
    assert all(isinstance(specialist.tower.get_submodule(name), nn.Conv2d) for name in targets)


def test_heads_learn_where_the_configuration_says_so(toy: Path) -> None:
    specialist, _ = image_specialist(toy)
    add_adapters(specialist, replace(BindConfig(steps=1), heads=True))
    assert specialist.tower.head[1].weight.requires_grad
    assert specialist.text.head.weight.requires_grad
    assert not specialist.tower.trunk.head.conv.base_layer.weight.requires_grad
