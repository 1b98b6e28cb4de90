"""Turning spaces changes no specialist's own retrieval and brings those together that differ by a rotation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from m3search.trainer.bind import disagreement
from m3search.trainer.config import load_config
from m3search.trainer.model import build_specialist
from m3search.trainer.rotate import last_linear, rotate, rotations
from m3search.trainer.text_encoder import FrozenText, text_vectors

TEXTS = ["pleural effusion", "no pleural effusion", "heart attack", "colon cancer", "normal", "drusen of the macula"]


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_spaces_that_differ_by_a_rotation_meet_exactly() -> None:
    random = np.random.default_rng(0)
    base = unit(random.standard_normal((40, 6)))
    centres = {str(i): (base @ np.linalg.qr(random.standard_normal((6, 6)))[0]).astype(np.float32) for i in range(4)}
    found = rotations(centres)
    turned = [vectors @ found[name] for name, vectors in centres.items()]
    for other in turned[1:]:
        np.testing.assert_allclose(turned[0], other, atol=1e-5)
    for rotation in found.values():
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(6), atol=1e-5)
    variances = (turned[0] ** 2).sum(0)
    assert (np.diff(variances) <= 1e-4).all()  # principal axes first


@pytest.mark.usefixtures("warm_starts")
def test_a_specialist_scores_as_before_and_disagreement_falls(toy: Path) -> None:
    config = load_config(toy / "toy.toml")
    frozen = FrozenText(config)
    specialists = {name: build_specialist(name, config, 2).eval() for name in config.modalities}
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    def scores(name: str) -> torch.Tensor:
        with torch.no_grad():
            items = torch.nn.functional.normalize(specialists[name].tower(images), dim=1)
        return items @ torch.from_numpy(text_vectors(specialists[name].text, frozen, TEXTS)).T

    before, apart = {name: scores(name) for name in specialists}, disagreement(specialists, frozen, TEXTS)
    rotate(specialists, frozen, TEXTS)
    for name in specialists:
        torch.testing.assert_close(scores(name), before[name], atol=1e-4, rtol=0)
        assert last_linear(specialists[name].tower).out_features == 16
    assert disagreement(specialists, frozen, TEXTS) < apart / 2
