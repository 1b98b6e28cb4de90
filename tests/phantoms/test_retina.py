"""Fundus phantoms: laterality, and lesions that can be counted."""

from __future__ import annotations

import numpy as np
import pytest

from m3search.phantoms import retina
from m3search.phantoms.findings import Finding

SIZE = 256


def photograph(kind: str, side: str, extent: str = "", seed: int = 0) -> np.ndarray:
    return retina.render(np.random.default_rng(seed), (Finding(kind, side=side, extent=extent),), SIZE) / 255


def central(image: np.ndarray) -> np.ndarray:
    """The macula and what surrounds it, without the disc: (H', W', 3)."""
    return image[int(0.28 * SIZE) : int(0.72 * SIZE), int(0.33 * SIZE) : int(0.67 * SIZE)]


def yellow(image: np.ndarray) -> float:
    """Share of central pixels that are much greener than their surroundings, as pale yellow deposits are."""
    from scipy.ndimage import gaussian_filter

    green = central(image)[..., 1]
    return float((green - gaussian_filter(green, 12) > 0.08).mean())


def dark_red(image: np.ndarray) -> float:
    """Share of the field where red itself is missing: blood outside vessels."""
    from scipy.ndimage import gaussian_filter

    red = image[..., 0]
    field = red > 0.15
    return float(((red < 0.78 * gaussian_filter(red, 12)) & field).sum() / field.sum())


@pytest.mark.parametrize(("side", "sign"), [("right", 1), ("left", -1)])
def test_disc_lies_on_the_side_of_the_nose(side: str, sign: int) -> None:
    image = photograph("no retinopathy", side)
    pale = image.sum(axis=-1) > np.percentile(image.sum(axis=-1), 99.3)
    assert np.sign(np.nonzero(pale)[1].mean() - SIZE / 2) == sign


def test_outside_the_field_is_black() -> None:
    image = photograph("no retinopathy", "left")
    assert image[:20, :20].max() < 0.02
    assert image[SIZE // 2, SIZE // 2].max() > 0.3


@pytest.mark.parametrize("kind", ["drusen", "hard exudates"])
def test_deposits_are_yellow(kind: str) -> None:
    healthy = max(yellow(photograph("no retinopathy", "right", seed=seed)) for seed in range(3))
    few, many = (yellow(photograph(kind, "right", extent, seed=2)) for extent in ("a few", "many"))
    assert healthy < few < many


def test_haemorrhages_are_dark_red() -> None:
    healthy = max(dark_red(photograph("no retinopathy", "left", seed=seed)) for seed in range(3))
    few, many = (dark_red(photograph("haemorrhages", "left", extent, seed=2)) for extent in ("a few", "many"))
    assert healthy < few < many


def test_severity_follows_the_number_of_haemorrhages() -> None:
    rng = np.random.default_rng(0)
    grades = [
        retina.describe(rng, (Finding("haemorrhages", side="left", extent=extent),))[1] for extent in ("a few", "many")
    ]
    assert grades[0][-1] == "Moderate diabetic retinopathy"
    assert grades[1][-1] == "Severe diabetic retinopathy"
