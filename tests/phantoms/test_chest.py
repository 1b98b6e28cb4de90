"""Findings of the drawn chest radiographs can be measured on the picture."""

from __future__ import annotations

import numpy as np
import pytest

from m3search.phantoms import chest
from m3search.phantoms.findings import Finding

SIZE = 256
SIGN = {"right": -1, "left": 1}  # of x: image left is the patient's right


def film(finding: Finding | None, seed: int) -> np.ndarray:
    return chest.film(np.random.default_rng(seed), (finding,) if finding else (), SIZE)


def window(image: np.ndarray, side: str, x: tuple[float, float], y: tuple[float, float]) -> np.ndarray:
    """The pixels between |x| bounds on one side and y bounds, in the coordinates of `canvas.grid`."""
    columns = sorted((SIGN[side] * edge + 1) / 2 * SIZE for edge in x)
    rows = [(edge + 1) / 2 * SIZE for edge in y]
    return image[int(rows[0]) : int(rows[1]), int(columns[0]) : int(columns[1])]


def cardiothoracic_ratio(image: np.ndarray) -> float:
    """Widest heart over widest thorax, from rows across the heart: the heart is the bright run around the midline."""
    ratios = []
    for y in np.linspace(0.05, 0.25, 9):
        row = image[int((y + 1) / 2 * SIZE)]
        row = np.convolve(row, np.ones(5) / 5, mode="same")
        inside = row[int(0.2 * SIZE) : int(0.8 * SIZE)]
        bright = row > (inside.min() + np.percentile(inside, 95)) / 2
        middle = SIZE // 2
        left = middle - np.argmin(bright[:middle][::-1])
        right = middle + np.argmin(bright[middle:])
        ratios.append((right - left) / (0.7 * SIZE))
    return float(np.max(ratios))


def change(finding: Finding, seed: int) -> np.ndarray:
    """What an effusion or a pneumothorax changes in a patient who is otherwise the same, pixel for pixel."""
    return film(finding, seed) - film(None, seed)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("extent", list(chest.EXTENT))
def test_effusion_whitens_its_own_base(side: str, extent: str) -> None:
    other = "left" if side == "right" else "right"
    added = change(Finding("pleural effusion", side=side, extent=extent), seed=3)
    assert window(added, side, (0.5, 0.75), (0.35, 0.65)).max() > 0.2
    assert np.abs(window(added, other, (0.2, 0.75), (-0.9, 0.9))).max() < 0.02


def test_larger_effusions_reach_higher() -> None:
    tops = []
    for extent in ("small", "moderate", "large"):
        added = change(Finding("pleural effusion", side="right", extent=extent), seed=5)
        white = window(added, "right", (0.45, 0.7), (-0.9, 0.9)).mean(axis=1) > 0.1
        tops.append(np.argmax(white))
    assert tops[0] > tops[1] + 20 > tops[2] + 40


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("extent", list(chest.EXTENT))
def test_pneumothorax_is_a_dark_rim_without_markings_behind_a_pleural_line(side: str, extent: str) -> None:
    other = "left" if side == "right" else "right"
    added = change(Finding("pneumothorax", side=side, extent=extent), seed=4)
    upper = window(added, side, (0.2, 0.65), (-0.8, 0.0))
    assert (upper < -0.03).mean() > 0.1  # darker along the wall
    assert upper.max() > 0.04  # the line
    assert np.abs(window(added, other, (0.2, 0.75), (-0.9, 0.9))).max() < 0.02


def test_cardiomegaly_widens_the_heart() -> None:
    normal = [cardiothoracic_ratio(film(None, seed)) for seed in range(4)]
    wide = [cardiothoracic_ratio(film(Finding("cardiomegaly", extent="moderate"), seed)) for seed in range(4)]
    assert max(normal) < 0.55
    assert min(wide) > max(normal) + 0.04


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("place", ["upper", "middle", "lower"])
@pytest.mark.parametrize("kind", ["lung nodule", "pneumonia"])
def test_opacities_lie_in_the_stated_zone(kind: str, side: str, place: str) -> None:
    """The brightest spot that the finding adds, compared with the same patient without it, lies where the text says."""
    finding = Finding(kind, side=side, place=place)
    added = film(finding, 9) - film(None, 9)
    # both draw the same pose; vessels and noise differ, so look at a smooth version
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(added, 6)
    row, column = np.unravel_index(np.argmax(smooth), smooth.shape)
    x, y = column / SIZE * 2 - 1, row / SIZE * 2 - 1
    expected = {"upper": -0.45, "middle": -0.08, "lower": 0.22}[place]
    assert smooth.max() > 0.08
    assert np.sign(x) == SIGN[side]
    assert abs(y - expected) < 0.2


def test_render_is_the_film_in_eight_bits() -> None:
    image = chest.render(np.random.default_rng(1), (), SIZE)
    assert image.dtype == np.uint8
    assert image.shape == (SIZE, SIZE)
    assert np.abs(image / 255 - film(None, 1)).max() <= 0.5 / 255 + 1e-6


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="broken leg"):
        chest.choose(np.random.default_rng(0), "broken leg")
