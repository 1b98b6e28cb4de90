"""Histology phantoms: how much is nucleus, how large the nuclei are, how much is empty."""

from __future__ import annotations

import numpy as np
import pytest

from m3search.phantoms import pathology
from m3search.phantoms.findings import Finding


def patch(kind: str, seed: int = 0) -> np.ndarray:
    return pathology.render(np.random.default_rng(seed), (Finding(kind),))


def nuclei(image: np.ndarray) -> np.ndarray:
    """Mask of dark blue: haematoxylin takes red light away, eosin does not."""
    return image[..., 0] < 140


def mean_nucleus(image: np.ndarray) -> float:
    """Typical depth of the nuclei, pixels: the distance from a nuclear pixel to the nearest edge, 95th percentile."""
    from scipy.ndimage import distance_transform_edt

    mask = nuclei(image)
    return float(np.percentile(distance_transform_edt(mask)[mask], 95))


@pytest.mark.parametrize("seed", range(2))
def test_tissues_differ_as_described(seed: int) -> None:
    image = {kind: patch(kind, seed) for kind in pathology.KINDS}
    area = {kind: nuclei(one).mean() for kind, one in image.items()}
    empty = {kind: (one.min(axis=-1) > 215).mean() for kind, one in image.items()}
    assert area["tumour"] > 2 * area["normal glands"] > 4 * area["adipose"]
    assert area["lymphocytes"] > 2 * area["normal glands"]
    assert mean_nucleus(image["tumour"]) > 1.4 * mean_nucleus(image["lymphocytes"])
    assert empty["adipose"] > 0.5
    assert empty["tumour"] < 0.05


def test_nuclei_are_purple_and_the_rest_is_pink() -> None:
    image = patch("tumour").astype(float)
    red, green, blue = image[nuclei(image)].mean(axis=0)
    assert blue > red > green
    walls = patch("adipose").astype(float)
    red, green, blue = walls[(walls[..., 1] < 200) & ~nuclei(walls)].mean(axis=0)
    assert red > blue > green


def test_slide_is_tissue_on_white_glass() -> None:
    section = pathology.slide(np.random.default_rng(0), (Finding("lymphocytes"),), size=512)
    border = np.concatenate([section[:5].reshape(-1, 3), section[-5:].reshape(-1, 3), section[:, :5].reshape(-1, 3)])
    assert border.min() > 225
    assert nuclei(section[206:306, 206:306]).mean() > 0.2


def test_unknown_tissue_is_refused() -> None:
    with pytest.raises(ValueError, match="bark"):
        pathology.choose(np.random.default_rng(0), "bark")
