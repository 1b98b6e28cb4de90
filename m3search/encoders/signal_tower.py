"""The tower of twelve-lead ECGs, in plain torch: the signal, and where they lie beside it, its beats and measures.

Residual 1-D network in the manner of Ribeiro et al., Nature Communications 11:1760 (2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m3search.encoders.towers import Head
from m3search.modalities.ecg_layout import Layout
from m3search.modalities.ecg_measures import LEAD_MEASURES, RHYTHM

LEADS = 12


class SignalBlock(nn.Module):
    """Two 1-D convolutions with batch norm and a short cut; the first may halve the length."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(channels, out, kernel, stride, kernel // 2, bias=False)
        self.norm1: nn.Module = nn.BatchNorm1d(out)
        self.conv2 = nn.Conv1d(out, out, kernel, 1, kernel // 2, bias=False)
        self.norm2: nn.Module = nn.BatchNorm1d(out)
        self.short = nn.Conv1d(channels, out, 1, stride, bias=False) if stride > 1 or channels != out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.short(x) + self.norm2(self.conv2(y)))


class Steps(nn.Module):
    """Numbers (B, F) to (B, F * STEPS): how far each has come through every sixth of its usual range, -0.5 to 0.5.

    So a linear layer can bend and break at any of them, and no outlier counts more than the end of the range
    (piecewise linear encoding: Gorishniy et al., arXiv 2203.05556). 0 where a number is NaN.
    """

    STEPS = 6
    low: Tensor  # (F, 1)
    width: Tensor  # (F, 1)
    number: Tensor  # (STEPS,)

    def __init__(self, ranges: Sequence[tuple[float, float]]) -> None:
        super().__init__()
        low, high = torch.tensor(ranges).T
        self.register_buffer("low", low[:, None], persistent=False)
        self.register_buffer("width", (high - low)[:, None] / self.STEPS, persistent=False)
        self.register_buffer("number", torch.arange(float(self.STEPS)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        there = ~torch.isnan(x)
        x = torch.where(there, x, torch.zeros_like(x))
        steps = ((x[:, :, None] - self.low) / self.width - self.number).clamp(0.0, 1.0) - 0.5
        return (steps * there[:, :, None]).flatten(1)


class BeatFeatures(nn.Module):
    """The usual beat, its spread and the odd beat, (B, 36, n) of unit height, to features (B, F); places are kept."""

    def __init__(self, samples: int, width: int = 32) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(3 * LEADS, width, 7, 2, 3, bias=False)
        self.norm1: nn.Module = nn.BatchNorm1d(width)
        self.conv2 = nn.Conv1d(width, width, 5, 2, 2, bias=False)
        self.norm2: nn.Module = nn.BatchNorm1d(width)
        self.features = width * ((samples + 3) // 4)

    def forward(self, beats: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.conv1(beats)))
        return F.relu(self.norm2(self.conv2(x))).flatten(1)


class SignalHead(nn.Module):
    """Features of the signal, of what was measured and of the beat, side by side (B, F), to the shared space (B, D)."""

    def __init__(self, signal: int, measures: int, beat: int, dim: int, dropout: float = 0.0) -> None:
        """
        Args:
            signal, measures, beat: how many features each of the three has.
        """
        super().__init__()
        width = 192
        self.sizes = [signal, measures, beat]
        self.signal = nn.Sequential(nn.LayerNorm(signal), nn.Linear(signal, dim), nn.GELU(), nn.Dropout(dropout))
        self.measures = nn.Sequential(
            nn.Dropout(dropout / 2),
            nn.Linear(measures, width),
            nn.LayerNorm(width),
            nn.GELU(),
            nn.Dropout(dropout),
        )
        self.beat = nn.Sequential(nn.LayerNorm(beat), nn.Dropout(dropout))
        self.last = nn.Linear(dim + width + beat, dim)

    def forward(self, features: Tensor) -> Tensor:
        signal, measures, beat = torch.split(features, self.sizes, 1)
        hidden = torch.cat([self.signal(signal), self.measures(measures), self.beat(beat)], 1)
        return cast("Tensor", self.last(hidden))


class SignalTower(nn.Module):
    """Twelve leads in millivolts, float32 (B, 12, columns), NaN where absent, to embedding (B, D), not normalised.

    The network sees each lead without its mean and divided by the record's own spread, which samples are present, and
    the logarithm of that spread: so shape and voltage are apart, and records without physical units still work. Where
    the layout has beats, features of them and what was measured on them lie beside those of the signal.
    """

    def __init__(
        self,
        dim: int = 256,
        widths: Sequence[int] = (48, 96, 144, 192),
        dropout: float = 0.0,
        layout: Layout | None = None,
    ) -> None:
        super().__init__()
        self.stem = nn.Conv1d(2 * LEADS + 1, widths[0], 15, 2, 7, bias=False)
        self.norm: nn.Module = nn.BatchNorm1d(widths[0])
        blocks = []
        channels = widths[0]
        for width in widths:
            blocks += [SignalBlock(channels, width, 7, 2), SignalBlock(width, width, 7, 1)]
            channels = width
        self.blocks = nn.Sequential(*blocks)
        self.layout = layout if layout is not None and layout.has_beats else None
        self.head: nn.Module = Head(2 * channels, dim, dropout)
        if self.layout is not None:
            ranges = [*LEAD_MEASURES.values()] * LEADS + [*RHYTHM.values()]
            self.steps = Steps(ranges)
            self.beat = BeatFeatures(self.layout.usual.stop - self.layout.usual.start)
            self.head = SignalHead(2 * channels, len(ranges) * Steps.STEPS, self.beat.features, dim, dropout)

    @staticmethod
    def channels(inputs: Tensor) -> Tensor:
        """(B, 25, T): 12 scaled leads, 12 of presence (0 or 1), 1 of log amplitude."""
        present = (~torch.isnan(inputs)).float()
        x = torch.where(torch.isnan(inputs), torch.zeros_like(inputs), inputs)
        mean = x.sum(2, keepdim=True) / present.sum(2, keepdim=True).clamp(min=1.0)
        x = (x - mean) * present
        count = present.sum((1, 2), keepdim=True).clamp(min=1.0)
        spread = ((x * x).sum((1, 2), keepdim=True) / count + 1e-8).sqrt()  # (B, 1, 1) mV
        x = (x / spread).clamp(-12.0, 12.0)
        log_amplitude = spread.log().clamp(-5.0, 3.0) * torch.ones_like(x[:, :1])
        return torch.cat([x, present, log_amplitude], 1)

    @staticmethod
    def beats(inputs: Tensor, layout: Layout) -> Tensor:
        """(B, 36, n): the usual beat of each lead at unit height, its spread and the odd beat on the same scale."""
        usual = torch.nan_to_num(inputs[:, :, layout.usual])
        height = (usual.amax(2, keepdim=True) - usual.amin(2, keepdim=True)).clamp(min=1e-3)
        others = [torch.nan_to_num(inputs[:, :, part]) for part in (layout.spread, layout.other)]
        return torch.cat([part / height for part in (usual, *others)], 1).clamp(-3.0, 3.0)

    def features(self, inputs: Tensor) -> Tensor:
        """(B, F): what the head sees."""
        layout = self.layout
        x = F.relu(self.norm(self.stem(self.channels(inputs if layout is None else inputs[:, :, layout.signal]))))
        x = self.blocks(x)  # (B, C, T / 32)
        pooled = torch.cat([x.mean(2), x.amax(2)], 1)
        if layout is None:
            return pooled
        rhythm = inputs[:, :, layout.rhythm].transpose(1, 2).flatten(1)[:, : len(RHYTHM)]
        measured = self.steps(torch.cat([inputs[:, :, layout.measures].flatten(1), rhythm], 1))
        return torch.cat([pooled, measured, self.beat(self.beats(inputs, layout))], 1)

    def forward(self, inputs: Tensor) -> Tensor:
        return cast("Tensor", self.head(self.features(inputs)))
