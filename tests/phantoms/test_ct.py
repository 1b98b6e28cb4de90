"""CT phantoms: Hounsfield units, sides, and findings that can be measured."""

from __future__ import annotations

import numpy as np
import pytest

from m3search.phantoms import ct
from m3search.phantoms.findings import Finding

CONTRAST = Finding("contrast")


def volume(*findings: Finding, seed: int = 0) -> ct.Volume:
    return ct.render(np.random.default_rng(seed), findings)


def millilitres(mask: np.ndarray, scan: ct.Volume) -> float:
    return float(mask.sum() * np.prod(scan.spacing_mm) / 1000)


def half(scan: ct.Volume, side: str) -> np.ndarray:
    """The volume of one side of the patient: x grows to the patient's left."""
    middle = scan.hu.shape[2] // 2
    return scan.hu[:, :, middle:] if side == "left" else scan.hu[:, :, :middle]


@pytest.mark.parametrize("kind", ct.KINDS)
def test_every_kind_is_a_small_volume_of_plausible_hounsfield_units(kind: str) -> None:
    rng = np.random.default_rng(1)
    scan = ct.render(rng, ct.choose(rng, kind))
    assert scan.hu.shape == (20, 128, 128)
    assert scan.hu.dtype == np.int16
    assert scan.hu.min() >= -1024
    corner = scan.hu[:, :6, :6]
    assert -1020 < corner.mean() < -980  # air around the patient
    assert (scan.hu > 300).any()  # bone


def test_tissues_have_their_densities() -> None:
    chest = volume(Finding("normal chest"))
    lung = chest.hu[(chest.hu > -930) & (chest.hu < -750)]
    assert lung.size > 0.05 * chest.hu.size
    abdomen = volume(Finding("normal abdomen"))
    liver = abdomen.hu[16:18, 55:65, 38:46]  # upper slices, on the patient's right
    assert liver.mean() == pytest.approx(58, abs=6)


def test_contrast_brightens_the_aorta_only_when_given() -> None:
    plain, enhanced = volume(Finding("normal abdomen")), volume(Finding("normal abdomen"), CONTRAST)
    assert enhanced.contrast
    assert not plain.contrast
    between = [((scan.hu > 130) & (scan.hu < 230)).sum() for scan in (plain, enhanced)]
    assert between[1] > 2 * between[0]


@pytest.mark.parametrize("side", ["left", "right"])
def test_effusion_is_fluid_on_its_side(side: str) -> None:
    scan = volume(Finding("pleural effusion", side=side, extent="moderate"))
    healthy = volume(Finding("normal chest"))
    aerated = {
        name: [((half(one, name) > -940) & (half(one, name) < -700)).sum() for one in (scan, healthy)]
        for name in ("left", "right")
    }
    other = "left" if side == "right" else "right"
    assert aerated[side][0] < 0.9 * aerated[side][1]
    assert aerated[other][0] == pytest.approx(aerated[other][1], rel=0.05)


def test_nodule_is_a_solid_ball_in_the_lung() -> None:
    from scipy.ndimage import gaussian_filter

    finding = Finding("lung nodule", side="left", extent="moderate", place="upper")
    added = gaussian_filter(volume(finding).hu.astype(float) - volume(Finding("normal chest")).hu, (0.5, 2, 2))
    z, _, x = np.unravel_index(np.argmax(added), added.shape)
    assert added.max() > 300
    assert x > 64  # the patient's left
    assert z > 10  # upper zone: slices run from the feet to the head


@pytest.mark.parametrize("side", ["left", "right"])
def test_kidney_cyst_is_water_on_its_side(side: str) -> None:
    from scipy.ndimage import gaussian_filter

    scan = volume(Finding("kidney cyst", side=side, extent="large"), CONTRAST)
    healthy = volume(Finding("normal abdomen"), CONTRAST)
    water = [gaussian_filter(one.hu.astype(float), (0, 1.5, 1.5)) for one in (scan, healthy)]
    flank = [(np.abs(smooth[:, 60:85] - 6) < 12) for smooth in water]
    flank = [mask[..., 64:] if side == "left" else mask[..., :64] for mask in flank]
    assert millilitres(flank[0], scan) > millilitres(flank[1], healthy) + 25


@pytest.mark.parametrize("seed", range(3))
def test_haemorrhage_is_brighter_than_brain(seed: int) -> None:
    from scipy.ndimage import gaussian_filter

    scan = volume(Finding("intracranial haemorrhage", side="left", extent="moderate"), seed=seed)
    smooth = gaussian_filter(scan.hu.astype(float), (0, 1, 1))
    blood = (smooth > 56) & (smooth < 85)
    extra = [blood[:, 15:113, 64:113].sum(), blood[:, 15:113, 15:64].sum()]
    assert extra[0] > 1.3 * extra[1]


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="twins"):
        ct.choose(np.random.default_rng(0), "twins")
