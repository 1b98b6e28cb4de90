"""The networks: an image tower and the shared text tower, in plain torch; the signal tower is in signal_tower.py.

Only training, export and the GPU runtime import this module; on the CPU the exported graphs run without torch.
Every tower scales its own input, so that all callers hand over the same thing (`InputSpec`) and nothing can disagree.

EfficientNet-Lite0: Tan and Le, arXiv 1905.11946, in its "Lite" form (no squeeze-and-excitation, ReLU6, fixed stem and
head); BERT: Devlin et al., arXiv 1810.04805, weights of all-MiniLM-L6-v2.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# (repeats, kernel, stride, expansion, channels out): the seven stages of EfficientNet-Lite0.
LITE0_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
LITE0_STEM, LITE0_FEATURES = 32, 1280
AT_ONCE = 4  # images that go through frozen blocks together on a CPU


class ConvNorm(nn.Module):
    """Convolution with TensorFlow's "SAME" padding (the weights come from there), batch norm, optionally ReLU6.

    At stride 2 the odd pixel of padding goes to the right and below. That is "SAME" for even input sizes, which are all
    that `ImageTower` takes.
    """

    def __init__(
        self, channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True
    ) -> None:
        super().__init__()
        total = kernel - stride
        self.pad = (total // 2, total - total // 2) * 2 if total % 2 else None
        self.conv = nn.Conv2d(channels, out, kernel, stride, 0 if self.pad else total // 2, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(out, eps=1e-3, momentum=0.01)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        if self.pad:
            x = F.pad(x, self.pad)
        x = self.norm(self.conv(x))
        return F.relu6(x) if self.act else x


class InvertedResidual(nn.Module):
    """Expand, filter per channel, project; the input is added where the shape is kept."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        self.expand = ConvNorm(channels, wide, 1) if expansion > 1 else None
        self.depthwise = ConvNorm(wide, wide, kernel, stride, groups=wide)
        self.project = ConvNorm(wide, out, 1, act=False)
        self.keeps_shape = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.expand(x) if self.expand is not None else x
        y = self.project(self.depthwise(y))
        return x + y if self.keeps_shape else y


class Lite0(nn.Module):
    """EfficientNet-Lite0 without its classifier: float (B, 3, S, S) in [-1, 1] to features (B, 1280). S is even."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(3, LITE0_STEM, 3, 2)
        blocks = []
        channels = LITE0_STEM
        for repeats, kernel, stride, expansion, out in LITE0_STAGES:
            for i in range(repeats):
                blocks.append(InvertedResidual(channels, out, kernel, stride if i == 0 else 1, expansion))
                channels = out
        self.blocks = nn.Sequential(*blocks)
        self.head = ConvNorm(channels, LITE0_FEATURES, 1)
        self.frozen = 0  # blocks, counted from the input, that do not learn; the stem is among them where there are any
        self._below: tuple[nn.Module, ...] = ()  # a tuple, so that these copies are not among the parameters
        self.register_load_state_dict_post_hook(lambda trunk, _: trunk.freeze(trunk.frozen))  # type: ignore[no-untyped-call]

    def freeze(self, blocks: int) -> None:
        """The stem and the first blocks do not learn from here on.

        So a copy of them, with norms folded, works in their place, and sees few images at a time, since what it
        computes then stays in the processor's cache: five times as fast on a CPU.
        """
        self.frozen, self._below = blocks, ()
        if blocks:
            self.stem.requires_grad_(False)
            self.blocks[:blocks].requires_grad_(False)
            below = fold_norms(copy.deepcopy(nn.Sequential(self.stem, *list(self.blocks)[:blocks])))
            self._below = (nn.utils.convert_conv2d_weight_memory_format(below, torch.channels_last),)

    def forward(self, x: Tensor) -> Tensor:
        if self._below and not torch.compiler.is_compiling():
            below = self._below[0].to(x.device)
            with torch.no_grad():
                at_once = AT_ONCE if x.device.type == "cpu" else len(x)
                x = torch.cat([below(part) for part in torch.split(x, at_once)])
            x = self.blocks[self.frozen :](x)
        else:
            x = self.blocks(self.stem(x))
        return cast("Tensor", self.head(x).mean((2, 3)))  # the mean of (B, 1280, S / 32, S / 32)


def lite0_state(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights named as `efficientnet-lite-pytorch` names them, renamed for `Lite0`; its classifier is left out."""
    renamed = {}
    block_parts = {
        "_expand_conv": "expand.conv", "_bn0": "expand.norm", "_depthwise_conv": "depthwise.conv",
        "_bn1": "depthwise.norm", "_project_conv": "project.conv", "_bn2": "project.norm",
    }  # fmt: skip
    outer_parts = {"_conv_stem": "stem.conv", "_bn0": "stem.norm", "_conv_head": "head.conv", "_bn1": "head.norm"}
    for name, tensor in published.items():
        first, _, rest = name.partition(".")
        if first == "_blocks":
            index, part, leaf = rest.split(".")
            renamed[f"blocks.{index}.{block_parts[part]}.{leaf}"] = tensor
        elif first in outer_parts:
            renamed[f"{outer_parts[first]}.{rest}"] = tensor
    return renamed


class Head(nn.Sequential):
    """Features (B, F) to the shared space (B, D): two layers."""

    def __init__(self, features: int, dim: int, dropout: float = 0.0) -> None:
        super().__init__(
            nn.LayerNorm(features), nn.Linear(features, dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(dim, dim)
        )


class ImageTower(nn.Module):
    """uint8 (B, 3, S, S), S even, to embedding float32 (B, D), not normalised."""

    def __init__(self, dim: int = 256, dropout: float = 0.0) -> None:
        super().__init__()
        self.trunk = Lite0()
        self.head = Head(LITE0_FEATURES, dim, dropout)

    def features(self, inputs: Tensor) -> Tensor:
        """(B, 1280): what the head and the router see."""
        x = (inputs.float() - 127.0) / 128.0  # the published weights' own scaling
        return cast("Tensor", self.trunk(x.contiguous(memory_format=torch.channels_last)))

    def forward(self, inputs: Tensor) -> Tensor:
        return cast("Tensor", self.head(self.features(inputs)))


class Router(nn.Module):
    """uint8 (B, 3, S, S) to logits over the image modalities: one linear layer on another tower's trunk."""

    def __init__(self, tower: ImageTower, modalities: int) -> None:
        super().__init__()
        self.tower = tower
        self.classify = nn.Linear(LITE0_FEATURES, modalities)

    def forward(self, inputs: Tensor) -> Tensor:
        return cast("Tensor", self.classify(self.tower.features(inputs)))


@dataclass(frozen=True, slots=True)
class TextConfig:
    """Sizes of the BERT encoder: those of all-MiniLM-L6-v2."""

    vocabulary: int = 30522
    width: int = 384
    heads: int = 12
    feed_forward: int = 1536
    positions: int = 512
    layers: int = 6


class TextLayer(nn.Module):
    """One post-norm transformer layer of BERT."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.query = nn.Linear(config.width, config.width)  # apart, since LoRA adapts query and value but not key
        self.key = nn.Linear(config.width, config.width)
        self.value = nn.Linear(config.width, config.width)
        self.out = nn.Linear(config.width, config.width)
        self.norm1 = nn.LayerNorm(config.width, eps=1e-12)
        self.up = nn.Linear(config.width, config.feed_forward)
        self.down = nn.Linear(config.feed_forward, config.width)
        self.norm2 = nn.LayerNorm(config.width, eps=1e-12)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """x (B, L, W); bias (B, 1, 1, L), very negative on padding."""
        length, width = x.shape[1], x.shape[2]
        shape = (-1, length, self.heads, width // self.heads)
        query, key, value = (part(x).view(shape).transpose(1, 2) for part in (self.query, self.key, self.value))
        scores = query @ key.transpose(2, 3) * (width // self.heads) ** -0.5  # (B, H, L, L)
        mixed = (scores + bias).softmax(3) @ value
        x = self.norm1(x + self.out(mixed.transpose(1, 2).reshape(-1, length, width)))
        return cast("Tensor", self.norm2(x + self.down(F.gelu(self.up(x)))))


class TextTower(nn.Module):
    """Token ids and mask, int64 (B, L), to embedding float32 (B, D), not normalised: BERT, mean over tokens, linear."""

    def __init__(self, dim: int = 256, config: TextConfig | None = None) -> None:
        super().__init__()
        config = config or TextConfig()
        self.words = nn.Embedding(config.vocabulary, config.width)
        self.places = nn.Embedding(config.positions, config.width)  # token type 0 is added to it when weights are read
        self.norm = nn.LayerNorm(config.width, eps=1e-12)
        self.layers = nn.ModuleList([TextLayer(config) for _ in range(config.layers)])
        self.head = nn.Linear(config.width, dim)

    def embed(self, input_ids: Tensor) -> Tensor:
        """(B, L, W): what the first layer takes."""
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        return cast("Tensor", self.norm(self.words(input_ids) + self.places(places)))

    @staticmethod
    def pool(x: Tensor, attention_mask: Tensor) -> Tensor:
        """Mean over the tokens that are not padding: (B, W)."""
        mask = attention_mask[:, :, None].to(x.dtype)
        return (x * mask).sum(1) / mask.sum(1).clamp(min=1.0)

    def sentence(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, W): the sentence embedding before the head, comparable with the encoder the weights came from."""
        bias = (1.0 - attention_mask[:, None, None, :].float()) * -1e4
        x = self.embed(input_ids)
        for layer in self.layers:
            x = layer(x, bias)
        return self.pool(x, attention_mask)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return cast("Tensor", self.head(self.sentence(input_ids, attention_mask)))


def text_state(published: Mapping[str, Tensor], layers: Sequence[int]) -> dict[str, Tensor]:
    """Weights named as Hugging Face BERT names them, renamed for `TextTower` without its head; `layers` are kept."""
    renamed = {
        "words.weight": published["embeddings.word_embeddings.weight"],
        "places.weight": published["embeddings.position_embeddings.weight"]
        + published["embeddings.token_type_embeddings.weight"][0],
        "norm.weight": published["embeddings.LayerNorm.weight"],
        "norm.bias": published["embeddings.LayerNorm.bias"],
    }
    parts = {
        "query": "attention.self.query", "key": "attention.self.key", "value": "attention.self.value",
        "out": "attention.output.dense", "norm1": "attention.output.LayerNorm", "up": "intermediate.dense",
        "down": "output.dense", "norm2": "output.LayerNorm",
    }  # fmt: skip
    for new, old in enumerate(layers):
        source, target = f"encoder.layer.{old}", f"layers.{new}"
        for leaf in ("weight", "bias"):
            for ours, theirs in parts.items():
                renamed[f"{target}.{ours}.{leaf}"] = published[f"{source}.{theirs}.{leaf}"]
    return renamed


def fold_norms(network: nn.Module) -> nn.Module:
    """Batch norms folded into the convolutions before them, in place; the network only computes from then on."""
    network.eval()
    for module in network.modules():
        for conv, norm in (("conv", "norm"), ("stem", "norm"), ("conv1", "norm1"), ("conv2", "norm2")):
            c, n = getattr(module, conv, None), getattr(module, norm, None)
            if isinstance(c, (nn.Conv1d, nn.Conv2d)) and isinstance(n, (nn.BatchNorm1d, nn.BatchNorm2d)):
                setattr(module, conv, nn.utils.fusion.fuse_conv_bn_eval(c, n))
                setattr(module, norm, nn.Identity())
    return network.requires_grad_(False)
