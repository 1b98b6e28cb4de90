"""The networks: an image tower, a signal tower and the shared text tower, in plain torch.

Only training, export and the GPU runtime import this module; on the CPU the exported graphs run without torch.
Every tower scales its own input, so that all callers hand over the same thing (`InputSpec`) and nothing can disagree.

EfficientNet-Lite0: Tan and Le, arXiv 1905.11946, in its "Lite" form (no squeeze-and-excitation, ReLU6, fixed stem and
head); BERT: Devlin et al., arXiv 1810.04805, weights of all-MiniLM-L6-v2; residual 1-D network for twelve-lead ECGs in
the manner of Ribeiro et al., Nature Communications 11:1760 (2020).
"""

from __future__ import annotations

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
LEADS = 12


class SamePadConv(nn.Sequential):
    """Convolution with TensorFlow's "SAME" padding (the weights come from there), batch norm, optionally ReLU6.

    For stride 2 the odd pixel of padding goes to the right and below, which holds for even input sizes: those are all
    that the towers take.
    """

    def __init__(self, channels: int, out: int, kernel: int, *, stride: int = 1, groups: int = 1, act: bool = True):
        total = kernel - stride
        before = total // 2
        layers: list[nn.Module] = []
        if before != total - before:
            layers.append(nn.ZeroPad2d((before, total - before, before, total - before)))
            before = 0
        self.pads = bool(layers)
        super().__init__()
        if layers:
            self.add_module("pad", layers[0])
        self.add_module("conv", nn.Conv2d(channels, out, kernel, stride, before, groups=groups, bias=False))
        self.add_module("norm", nn.BatchNorm2d(out, eps=1e-3, momentum=0.01))
        if act:
            self.add_module("act", nn.ReLU6(inplace=True))
