"""Random changes an examination may undergo without meaning something else.

Left and right matter in chest X-rays, CT and fundus photographs, so only tissue is mirrored or turned over. All
randomness comes from the generators that are handed in, which are the CPU's: the same draws on every device. Batches
are changed on the device that they are on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from m3search.modalities.ecg_layout import Layout
from m3search.modalities.ecg_measures import LEAD_MEASURES, RHYTHM, VOLTAGES


@dataclass(frozen=True, slots=True)
class ImageAugmentation:
    """How much; every amount is the largest, drawn evenly around no change."""

    turn: float = 10.0  # degrees
    zoom: float = 0.12  # of the size
    shift: float = 0.06  # of the size
    brightness: float = 0.15  # of the full range
    contrast: float = 0.25  # of the contrast
    gamma: float = 0.3  # of the exponent's logarithm
    colour: float = 0.0  # of each channel's gain
    stain: float = 0.0  # of the strength of each stain, and of a shift of it: see `_restain`
    any_side_up: bool = False  # mirrored, turned by right angles
    erase: float = 0.25  # probability that a square of a quarter of the side is blanked


STAINS = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))  # optical density of H, E, DAB in R, G, B

IMAGE_AUGMENTATIONS = {
    "xray": ImageAugmentation(),
    "ct": ImageAugmentation(gamma=0.5, contrast=0.35),  # windows differ between sources
    "retina": ImageAugmentation(turn=15.0, colour=0.08, gamma=0.2),
    "pathology": ImageAugmentation(turn=20.0, zoom=0.25, colour=0.1, stain=0.3, any_side_up=True),
}


def augment_images(images: Tensor, size: int, how: ImageAugmentation, generator: torch.Generator) -> Tensor:
    """uint8 (B, 3, H, W) to uint8 (B, 3, size, size), each image changed on its own."""
    count = len(images)
    x = images.float() / 255.0

    def even(amount: float) -> Tensor:
        return ((torch.rand(count, generator=generator) * 2 - 1) * amount).to(x.device)

    angle = even(how.turn) * math.pi / 180
    zoom = torch.exp(even(how.zoom))
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    affine = torch.stack(
        [torch.stack([cos, -sin, even(2 * how.shift)], 1), torch.stack([sin, cos, even(2 * how.shift)], 1)], 1
    )  # (B, 2, 3)
    grid = F.affine_grid(affine, [count, 3, size, size], align_corners=False)
    x = F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    if how.any_side_up:
        x = _any_side_up(x, generator)
    column = (count, 1, 1, 1)
    x = x.clamp(0, 1) ** torch.exp(even(how.gamma)).view(column)
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * (1 + even(how.contrast)).view(column) + mean + even(how.brightness).view(column)
    if how.stain:
        x = _restain(x, how.stain, generator)
    if how.colour:
        gains = 1 + (torch.rand(count, 3, 1, 1, generator=generator) * 2 - 1) * how.colour
        x = x * gains.to(x.device)
    if how.erase:
        x = _erase(x, how.erase, generator)
    return (x.clamp(0, 1) * 255).round().to(torch.uint8)


def _any_side_up(x: Tensor, generator: torch.Generator) -> Tensor:
    turns = torch.randint(0, 4, (len(x),), generator=generator).tolist()
    mirrored = (torch.rand(len(x), generator=generator) < 0.5).tolist()
    return torch.stack(
        [torch.rot90(image.flip(2) if m else image, t, (1, 2)) for image, t, m in zip(x, turns, mirrored, strict=True)]
    )


def _restain(x: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Haematoxylin, eosin and the rest made stronger or weaker apart: laboratories differ in little else.

    Optical density is linear in the stains (Ruifrok and Johnston, 2001); as augmentation, Tellez et al., 2018.
    """
    mix = torch.tensor(STAINS, device=x.device)
    density = -torch.log(x.clamp(min=1 / 255))
    stains = torch.einsum("bchw,cs->bshw", density, torch.linalg.inv(mix))

    def even(size: float) -> Tensor:
        return ((torch.rand(len(x), 3, 1, 1, generator=generator) * 2 - 1) * size).to(x.device)

    changed = stains * (1 + even(amount)) + even(amount / 10)
    return torch.exp(-torch.einsum("bshw,sc->bchw", changed, mix)).clamp(0, 1)


def _erase(x: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    size, side = x.shape[-1], x.shape[-1] // 4
    corners = torch.randint(0, size - side, (len(x), 2), generator=generator).tolist()
    chosen = (torch.rand(len(x), generator=generator) < probability).tolist()
    for image, (top, left), erased in zip(x, corners, chosen, strict=True):
        if erased:
            image[:, top : top + side, left : left + side] = 0.5
    return x


MEASURE_NOISE = 0.05  # of a measure's usual range


def augment_signals(
    signals: Tensor, rate_hz: float, generator: torch.Generator, layout: Layout | None = None
) -> Tensor:
    """float32 (B, 12, columns), NaN where absent: shifted, rescaled, with wander and noise, leads dropped.

    Without a layout all columns are signal. Beats and measures beside it change with it: gain and missing leads are the
    same for both, and what means voltage goes where voltage goes.
    """
    count, leads, _ = signals.shape
    device = signals.device

    def even(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator).to(device)

    def chance(probability: float) -> Tensor:
        return (even(count, 1, 1) < probability).float()

    x = signals if layout is None else signals[:, :, layout.signal]
    length = x.shape[2]
    shifts = torch.randint(0, length, (count,), generator=generator).tolist()
    # Rolling joins the record's end to its beginning: one false beat, in exchange for every phase of the rhythm.
    x = torch.stack([record.roll(shift, 1) for record, shift in zip(x, shifts, strict=True)])
    spread = torch.nan_to_num(x).std(2, keepdim=True).clamp(min=1e-3)  # (B, 12, 1)
    # Some archives hold leads scaled one by one to unit spread, so that voltage means nothing: make some more of them.
    unit = chance(0.3)
    gain = torch.exp((even(count, 1, 1) * 2 - 1) * 0.4)
    factor = (1 - unit + unit / spread) * gain  # (B, 12, 1)
    x = x * factor
    spread = torch.nan_to_num(x).std(2, keepdim=True).clamp(min=1e-3)
    time = torch.arange(length, device=device) / rate_hz
    frequency = 0.05 + 0.35 * even(count, leads, 1)  # Hz: breathing and electrodes
    phase = 2 * math.pi * even(count, leads, 1)
    wander = torch.sin(2 * math.pi * frequency * time + phase) * spread * 0.3 * chance(0.4)
    noise = torch.randn(x.shape, generator=generator).to(device) * spread * 0.08 * chance(0.5)
    x = x + wander + noise
    dropped = (even(count, leads, 1) < 0.15).float() * chance(0.3)
    dropped = dropped * (dropped.sum(1, keepdim=True) < leads)
    if layout is not None and layout.has_beats:
        beats = signals[:, :, layout.usual.start : layout.other.stop] * factor
        measures = _augment_measures(signals[:, :, layout.measures], LEAD_MEASURES, unit, gain, generator)
        rhythm = _augment_measures(_rhythm_rows(signals, layout), RHYTHM, unit, gain, generator)
        x = torch.cat([x, beats, measures], 2)
        x = torch.where(dropped.bool(), torch.nan, x)
        return torch.cat([x, rhythm.view(count, -1, leads).transpose(1, 2)], 2)
    return torch.where(dropped.bool(), torch.nan, x)


def _rhythm_rows(signals: Tensor, layout: Layout) -> Tensor:
    """(B, 1, 36): the rhythm's measures in their order."""
    return signals[:, :, layout.rhythm].transpose(1, 2).flatten(1)[:, None]


def _augment_measures(
    measures: Tensor, ranges: Mapping[str, tuple[float, float]], unit: Tensor, gain: Tensor, generator: torch.Generator
) -> Tensor:
    """(B, L, F) with noise; voltages follow the gain and vanish where leads were scaled one by one."""
    device = measures.device
    width = torch.tensor([high - low for low, high in ranges.values()], device=device)
    volts = torch.tensor([name in VOLTAGES for name in ranges], device=device)
    x = measures + torch.randn(measures.shape, generator=generator).to(device) * MEASURE_NOISE * width
    x = torch.where(volts, x + gain.log(), x)
    return torch.where(volts & unit.bool(), torch.nan, x)
