"""LoRA (Hu et al., arXiv 2106.09685) on specialists, by peft: low-rank changes beside frozen weights.

They are merged into the weights afterwards. Text encoders get it on query and value, as M3Bind does it. Convolutional
towers have neither; what mixes channels there is adapted: pointwise convolutions of an image trunk's learning blocks,
all convolutions of a signal tower.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import nn

from m3search.encoders.signal_tower import SignalTower
from m3search.trainer.model import OpenClipTower, Specialist
from m3search.trainer.torchvision_shim import ensure_torchvision

if TYPE_CHECKING:
    from m3search.trainer.config import BindConfig

TEXT_TARGETS = ("query", "value", "q_proj", "v_proj")
FUSED = ("qkv", "attn")  # transformers that keep query, key and value in one matrix have all of it adapted


def add_adapters(specialist: Specialist, config: BindConfig) -> None:
    """Put adapters in, in place. After this only they learn, and the heads where the configuration says so."""
    ensure_torchvision()
    from peft import LoraConfig, inject_adapter_in_model

    specialist.requires_grad_(False)
    for part, targets in ((specialist.text, text_targets(specialist)), (specialist.tower, tower_targets(specialist))):
        lora = LoraConfig(
            r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=targets, bias="none"
        )
        inject_adapter_in_model(lora, part)
    if config.heads:
        specialist.text.head.requires_grad_(True)
        specialist.tower.head.requires_grad_(True)
    specialist.log_scale.requires_grad_(True)
    specialist.label_bias.requires_grad_(True)


def text_targets(specialist: Specialist) -> list[str]:
    """Names, within the text encoder, of what is adapted."""
    return _attention(specialist.text)


def tower_targets(specialist: Specialist) -> list[str]:
    """Names, within the tower, of what is adapted."""
    tower = specialist.tower
    if isinstance(tower, OpenClipTower):
        return _attention(tower)
    if isinstance(tower, SignalTower):
        return [name for name, module in tower.named_modules() if isinstance(module, nn.Conv1d)]
    return [
        f"trunk.{name}"
        for name, module in tower.trunk.named_modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and not _frozen(name, tower.trunk.frozen)
    ]


def _attention(network: nn.Module) -> list[str]:
    """Query and value of a transformer, by their names; where they are fused, the layer that holds them."""
    names = [name for name, module in network.named_modules() if isinstance(module, nn.Linear | nn.MultiheadAttention)]
    apart = [name for name in names if name.rpartition(".")[2] in TEXT_TARGETS]
    return apart or [name for name in names if name.rpartition(".")[2] in FUSED]


def _frozen(name: str, blocks: int) -> bool:
    return name.startswith("blocks.") and int(name.split(".")[1]) < blocks


def merge_adapters(module: nn.Module) -> None:
    """Add the adapters' changes to the weights beside them and take the adapters out, in place."""
    from peft.tuners.lora import LoraLayer

    adapted = {name: part for name, part in module.named_modules() if isinstance(part, LoraLayer)}
    for name, part in adapted.items():
        part.merge()
        parent, _, leaf = name.rpartition(".")
        setattr(module.get_submodule(parent), leaf, part.get_base_layer())


def learning(specialists: Mapping[str, Specialist]) -> list[nn.Parameter]:
    """All parameters that learn."""
    return [p for specialist in specialists.values() for p in specialist.parameters() if p.requires_grad]
