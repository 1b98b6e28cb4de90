"""The router: which image modality a raster shows that nobody described. One linear layer on the X-ray tower's trunk.

It shares that trunk's weights in the bundle, so it costs a few kilobytes. It sees a picture as `router_input` makes it,
without any of the modalities' own preparation, since the modality is what is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from m3search.encoders.routing import router_input
from m3search.encoders.towers import ImageTower, Router
from m3search.trainer.augment import ImageAugmentation, augment_images

if TYPE_CHECKING:
    from m3search.datasets import Row

ROUTER_SIZE = 160  # pixels
PER_MODALITY = 200  # pictures to learn from
VIEWS = 2  # the picture as it is, and changed versions of it
STEPS = 300
CHANGES = ImageAugmentation(turn=8.0, zoom=0.25, shift=0.1, brightness=0.15, contrast=0.3, gamma=0.4)


def pictures(rows: Sequence[Row], limit: int) -> torch.Tensor:
    """uint8 (N, 3, ROUTER_SIZE, ROUTER_SIZE) of at most `limit` rows that are plain pictures, evenly spread."""
    suffixes = (".png", ".jpg", ".jpeg")
    rasters = [row for row in rows if row.path.suffix.lower() in suffixes]
    chosen = rasters[:: max(1, len(rasters) // limit)][:limit]
    views = []
    for row in chosen:
        with Image.open(row.path) as picture:
            views.append(router_input(np.asarray(picture.convert("RGB")), ROUTER_SIZE))
    return torch.from_numpy(np.stack(views))


@torch.no_grad()
def _features(tower: ImageTower, inputs: torch.Tensor) -> torch.Tensor:
    return torch.cat([tower.features(inputs[i : i + 32]) for i in range(0, len(inputs), 32)])


def train_router(
    tower: ImageTower, training: Mapping[str, Sequence[Row]], held_out: Mapping[str, Sequence[Row]], seed: int
) -> tuple[Router, dict[str, float]]:
    """The router, and its accuracy per modality on held-out pictures. Its logits are in the order of `training`."""
    generator = torch.Generator().manual_seed(seed)
    router = Router(tower, len(training))
    features, targets = [], []
    for index, rows in enumerate(training.values()):
        plain = pictures(rows, PER_MODALITY)
        for view in range(VIEWS):
            seen = plain if view == 0 else augment_images(plain, ROUTER_SIZE, CHANGES, generator)
            features.append(_features(tower, seen))
            targets.append(torch.full((len(plain),), index))
    x, y = torch.cat(features), torch.cat(targets)
    weight = 1.0 / torch.bincount(y).float()
    optimiser = torch.optim.AdamW(router.classify.parameters(), lr=3e-3, weight_decay=0.05)
    for _ in range(STEPS):
        optimiser.zero_grad()
        torch.autograd.backward(torch.nn.functional.cross_entropy(router.classify(x), y, weight))
        optimiser.step()
    accuracy = {}
    with torch.no_grad():
        for index, (name, rows) in enumerate(held_out.items()):
            guesses = router.classify(_features(tower, pictures(rows, 10**6))).argmax(1)
            accuracy[name] = float((guesses == index).float().mean())
    return router.eval(), accuracy
