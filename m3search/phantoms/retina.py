"""Colour fundus photographs, macula-centred: the optic disc lies on the nose's side, vessels arch around the macula.

A right eye's disc is on the right of the photograph. Coordinates as in `canvas.grid`; the field of view is a circle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from m3search.phantoms.canvas import Point, Stroke, blur, draw, ellipse, grid, smooth_noise, step, to_uint8
from m3search.phantoms.findings import Finding, Sided, find, plain

if TYPE_CHECKING:
    from m3search.types import Float32, UInt8

KINDS = ("no retinopathy", "drusen", "haemorrhages", "hard exudates")
FIELD = 0.94  # radius of the field of view
DISC = 0.52  # |x| of the optic disc's centre
FOVEA = -0.06  # x of the fovea, towards the temple


def choose(rng: np.random.Generator, kind: str) -> tuple[Finding, ...]:
    """The eye (side) and what it shows; the first finding is of `kind` (one of KINDS)."""
    if kind not in KINDS:
        raise ValueError(f"fundus phantoms have no finding {kind!r}; choose from {', '.join(KINDS)}")
    side: Sided = "left" if rng.random() < 0.5 else "right"
    extent = "" if kind == "no retinopathy" else str(rng.choice(["a few", "many"]))
    finding = Finding(kind, side=side, extent=extent)
    if kind == "hard exudates" and rng.random() < 0.5:
        return (finding, Finding("haemorrhages", side=side, extent="a few"))
    return (finding,)


def render(rng: np.random.Generator, findings: tuple[Finding, ...], size: int = 512) -> UInt8:
    """RGB photograph, uint8 (size, size, 3), black outside the field of view."""
    eye = 1 if findings[0].side == "right" else -1
    x, y = grid(size)
    x = x * eye  # everything below is drawn as a right eye
    tilt = rng.normal(0, 0.03)
    disc = (DISC + rng.normal(0, 0.02), tilt)
    image = _background(rng, x, y)
    image = _disc(rng, image, x, y, disc)
    image = _vessels(rng, image, disc, eye)
    if find(findings, "drusen") is not None:
        image = _drusen(rng, image, x, y, findings[0])
    if (bleeding := find(findings, "haemorrhages")) is not None:
        image = _haemorrhages(rng, image, eye, bleeding)
    if find(findings, "hard exudates") is not None:
        image = _exudates(rng, image, eye, findings[0])
    image += 0.008 * rng.standard_normal(image.shape, dtype=np.float32)
    field = step(FIELD - np.hypot(x, y), 0.012)
    return to_uint8(image * field[..., None])


def _background(rng: np.random.Generator, x: Float32, y: Float32) -> Float32:
    """Choroid seen through the retina: orange-red, lit from the middle, darker at the fovea. float32 (H, W, 3)."""
    size = x.shape[0]
    tone = np.array([0.80, 0.36, 0.13]) * rng.uniform(0.88, 1.08) + rng.normal(0, (0.03, 0.03, 0.02))
    light = 1.06 - 0.30 * (x**2 + y**2) + 0.08 * (x * rng.normal() + y * rng.normal())
    texture = 0.028 * smooth_noise(rng, x.shape, size / 25) + 0.018 * smooth_noise(rng, x.shape, size / 120)
    image = tone.astype(np.float32) * (light + texture)[..., None]
    macula = np.exp(-(((x - FOVEA) / 0.19) ** 2) - (y / 0.19) ** 2)
    fovea = np.exp(-(((x - FOVEA) / 0.055) ** 2) - (y / 0.055) ** 2)
    shade = np.stack([0.20 * macula + 0.10 * fovea, 0.30 * macula + 0.16 * fovea, 0.35 * macula], axis=-1)
    return cast("Float32", (image * (1 - shade)).astype(np.float32))


def _disc(rng: np.random.Generator, image: Float32, x: Float32, y: Float32, centre: Point) -> Float32:
    """Optic disc, pale yellow with a brighter cup; vessels stay visible on it."""
    radius = rng.uniform(0.115, 0.135)
    rim = step(ellipse(x, y, centre, (radius * 0.9, radius)), 0.03)[..., None]
    cup_centre = (centre[0] + 0.02, centre[1])
    cup = step(ellipse(x, y, cup_centre, (radius * 0.42, radius * 0.45)), 0.04)[..., None]
    veil = 0.10 * np.exp(-((np.hypot(x - centre[0], y - centre[1]) / (2.2 * radius)) ** 2))[..., None]
    image = image + veil * np.array([1.0, 0.75, 0.4], dtype=np.float32)
    pale = np.array([0.99, 0.80, 0.48], dtype=np.float32)
    lit = image + (pale - image) * 0.74 * rim
    return cast("Float32", lit + (np.array([1.0, 0.93, 0.72], dtype=np.float32) - lit) * 0.6 * cup)


def _vessels(rng: np.random.Generator, image: Float32, disc: Point, eye: int) -> Float32:
    """Arteries and darker, wider veins: four arcades that leave the disc, branch and thin out. The fovea has none."""
    size = image.shape[0]
    scale = size / 512
    arteries: list[Stroke] = []
    veins: list[Stroke] = []
    for vertical in (-1, 1):
        for kind, width, shift in ((arteries, 4.4, 0.05), (veins, 5.8, -0.03)):
            trunk = _arcade(rng, disc, vertical, shift)
            _taper(kind, trunk, width, scale, eye)
            for place in range(4, len(trunk) - 2, int(rng.integers(4, 6))):  # branches, most of them outwards
                ahead = np.arctan2(trunk[place + 1][1] - trunk[place][1], trunk[place + 1][0] - trunk[place][0])
                outwards = vertical * (1 if rng.random() < 0.72 else -1)
                _twig(rng, kind, trunk[place], ahead - outwards * rng.uniform(0.5, 0.9), 0.62 * width, scale, eye)
            nasal = vertical * (0.95 + 8 * shift * rng.uniform(0.5, 1.5))
            _twig(rng, kind, disc, nasal, 0.72 * width, scale, eye)
            _twig(rng, kind, disc, np.pi - vertical * rng.uniform(0.15, 0.5), 0.30 * width, scale, eye)
    _twig(rng, veins, disc, rng.normal(0, 0.15), 2.4, scale, eye)
    for strokes, colour in ((veins, (0.36, 0.52, 0.44)), (arteries, (0.16, 0.44, 0.42))):
        mask = blur(draw(size, strokes), 0.7 * scale)[..., None]
        image = image * (1 - mask * np.array(colour, dtype=np.float32))
    return image


def _arcade(rng: np.random.Generator, disc: Point, vertical: int, shift: float) -> list[Point]:
    """The main temporal vessel above (vertical -1) or below the macula: an arch from the disc around the fovea."""
    reach, height = rng.uniform(0.62, 0.72), rng.uniform(0.44, 0.52) + shift
    turn = np.linspace(0, np.pi * 0.82, 26)
    wobble = np.cumsum(rng.normal(0, 0.005, (26, 2)), axis=0)
    x = disc[0] - reach * (1 - np.cos(turn)) * 0.86 + wobble[:, 0]
    y = disc[1] + vertical * height * np.sin(turn) ** 0.8 * (1 + 0.12 * turn) + wobble[:, 1]
    return [(float(px), float(py)) for px, py in zip(x, y, strict=True) if np.hypot(px, py) < FIELD + 0.02]


def _taper(kind: list[Stroke], points: list[Point], width: float, scale: float, eye: int) -> None:
    """Add a vessel that loses half its width on the way: short strokes, as a stroke has one width."""
    for start in range(0, len(points) - 1, 3):
        piece = points[start : start + 4]
        now = width * (1 - 0.55 * start / len(points))
        kind.append(Stroke([(eye * px, py) for px, py in piece], max(0.6, now * scale), round_ends=True))


def _twig(
    rng: np.random.Generator, kind: list[Stroke], at: Point, angle: float, width: float, scale: float, eye: int
) -> None:
    """Add a branch that wanders, bends away from the fovea, and splits until it is thin."""
    points = [at]
    for _ in range(int(rng.integers(6, 11) * (0.6 + 0.2 * width))):
        angle += rng.normal(0, 0.11)
        at = (at[0] + 0.035 * np.cos(angle), at[1] + 0.035 * np.sin(angle))
        if np.hypot(*at) > FIELD or np.hypot(at[0] - FOVEA, at[1]) < 0.17:
            break
        points.append(at)
    if len(points) < 3:
        return
    _taper(kind, points, width, scale, eye)
    if width > 1.3:
        for side in (-1, 1):
            _twig(rng, kind, points[-1], angle + side * rng.uniform(0.25, 0.6), width * 0.58, scale, eye)


def _around_macula(rng: np.random.Generator, spread: float) -> Point:
    return FOVEA + rng.normal(0, spread), rng.normal(0, spread)


def _drusen(rng: np.random.Generator, image: Float32, x: Float32, y: Float32, finding: Finding) -> Float32:
    """Soft, round, pale yellow deposits clustered at the macula."""
    mask = np.zeros_like(x)
    for _ in range(int(rng.integers(22, 36) if finding.extent == "a few" else rng.integers(60, 95))):
        centre = _around_macula(rng, 0.15)
        radius = 0.008 + 0.018 * rng.random() ** 2
        spot = step(ellipse(x, y, centre, (radius, radius * rng.uniform(0.7, 1.4)), rng.uniform(0, 180)), 0.016)
        mask = np.maximum(mask, rng.uniform(0.55, 1.0) * spot)
    yellow = np.array([0.98, 0.82, 0.42], dtype=np.float32)
    return cast("Float32", image + (yellow - image) * 0.75 * mask[..., None])


def _haemorrhages(rng: np.random.Generator, image: Float32, eye: int, finding: Finding) -> Float32:
    """Dark red dots (microaneurysms), blots, and flame-shaped streaks, all over the posterior pole."""
    size = image.shape[0]
    strokes = []
    few = finding.extent == "a few"
    for _ in range(int(rng.integers(12, 18) if few else rng.integers(34, 48))):
        radius, angle = 0.78 * np.sqrt(rng.uniform(0.04, 1)), rng.uniform(0, 2 * np.pi)
        at = (radius * np.cos(angle), radius * np.sin(angle))
        shape = rng.random()
        length, width = (0.004, rng.uniform(3, 5)) if shape < 0.45 else (rng.uniform(0.008, 0.025), rng.uniform(6, 12))
        if shape > 0.8:
            length, width = rng.uniform(0.05, 0.09), rng.uniform(3.5, 6)
        direction = rng.uniform(0, np.pi)
        end = (at[0] + length * np.cos(direction), at[1] + length * np.sin(direction))
        strokes.append(Stroke([(eye * at[0], at[1]), (eye * end[0], end[1])], width * size / 512, round_ends=True))
    solid = blur(draw(size, strokes), 1.7 * size / 512)
    ragged = solid + 0.20 * smooth_noise(rng, solid.shape, size / 200) * (solid > 0.05)
    mask = blur(step(ragged - 0.42, 0.4), 0.7)[..., None]
    blood = np.array([0.36, 0.05, 0.04], dtype=np.float32)
    return cast("Float32", image + (blood - image) * 0.76 * mask)


def _exudates(rng: np.random.Generator, image: Float32, eye: int, finding: Finding) -> Float32:
    """Bright yellow, sharp-edged flecks in clusters and rings near the macula."""
    size = image.shape[0]
    strokes = []
    for _ in range(int(rng.integers(2, 4) if finding.extent == "a few" else rng.integers(5, 8))):
        centre = _around_macula(rng, 0.20)
        ring = rng.uniform(0.05, 0.11)
        start = rng.uniform(0, 2 * np.pi)
        for _ in range(int(rng.integers(14, 28))):
            angle = start + rng.uniform(0, 1.4 * np.pi)
            reach = ring * rng.uniform(0.75, 1.15)
            at = (centre[0] + reach * np.cos(angle), centre[1] + reach * np.sin(angle))
            end = (at[0] + rng.normal(0, 0.010), at[1] + rng.normal(0, 0.010))
            width = rng.uniform(1.5, 4.8) * size / 512
            strokes.append(Stroke([(eye * at[0], at[1]), (eye * end[0], end[1])], width, round_ends=True))
    mask = blur(draw(size, strokes), 0.5 * size / 512)[..., None]
    yellow = np.array([1.0, 0.90, 0.42], dtype=np.float32)
    return cast("Float32", image + (yellow - image) * 0.9 * mask)


def describe(rng: np.random.Generator, findings: tuple[Finding, ...]) -> tuple[list[str], tuple[str, ...]]:
    """Sentences of the report, and labels as the training data name them."""
    sentences: list[str] = []
    labels: list[str] = []
    for finding in findings:
        sentences.append(plain(rng, SENTENCES[finding.kind], finding))
        labels += LABELS[finding.kind]
    if find(findings, "haemorrhages") is not None or find(findings, "hard exudates") is not None:
        many = any(finding.kind == "haemorrhages" and finding.extent == "many" for finding in findings)
        grade = "severe" if many else "moderate"  # widespread haemorrhages make it severe (international scale)
        sentences.append(f"{grade.capitalize()} diabetic retinopathy.")
        labels.append(f"{grade.capitalize()} diabetic retinopathy")
    return sentences, tuple(labels)


LABELS = {
    "no retinopathy": ("No diabetic retinopathy",),
    "drusen": ("Drusen",),
    "haemorrhages": ("Retinal haemorrhage",),
    "hard exudates": ("Hard exudates", "Diabetic maculopathy"),
}
SENTENCES = {
    "no retinopathy": (
        "No diabetic retinopathy.",
        "Healthy retina: normal optic disc, vessels and macula, no diabetic retinopathy.",
        "No haemorrhage, no exudate, no drusen. No sign of diabetic retinopathy.",
    ),
    "drusen": (
        "{Extent} soft drusen at the macula.",
        "Drusen: {extent} pale yellow deposits around the fovea.",
        "{Extent} macular drusen in keeping with age-related macular degeneration.",
    ),
    "haemorrhages": (
        "{Extent} dot, blot and flame-shaped retinal haemorrhages.",
        "There are {extent} dark red retinal haemorrhages and microaneurysms.",
        "{Extent} retinal haemorrhages at the posterior pole.",
    ),
    "hard exudates": (
        "{Extent} hard exudates near the macula: diabetic maculopathy.",
        "There are {extent} bright yellow hard exudates around the fovea, maculopathy.",
        "Hard exudates in {extent} clusters at the macula (diabetic maculopathy).",
    ),
}
