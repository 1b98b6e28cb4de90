"""Frontal chest radiographs: drawn as layers of tissue along the beam, bright where much is absorbed.

Image left is the patient's right. Coordinates as in `canvas.grid`: the thorax spans about -0.7 to 0.7 across.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from m3search.phantoms.canvas import Point, Stroke, blur, draw, ellipse, grid, smooth_noise, step, to_uint8
from m3search.phantoms.findings import Finding, Sided, find, plain

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.types import Float32, UInt8

KINDS = ("normal", "pleural effusion", "pneumothorax", "cardiomegaly", "lung nodule", "pneumonia")
EXTENT = {"small": 0.0, "moderate": 0.5, "large": 1.0}
SIDES = (("right", -1), ("left", 1))  # sign of x


# Half-widths by height: (y, |x|) of the outer and inner edge of the lungs, and of the body with its shoulders.
RIM = ((-0.86, 0.24), (-0.83, 0.35), (-0.7, 0.47), (-0.5, 0.56), (-0.2, 0.65), (0.2, 0.70), (0.7, 0.72))
CORE = ((-0.86, 0.30), (-0.83, 0.21), (-0.7, 0.15), (-0.5, 0.13), (0.0, 0.15), (0.7, 0.14))
BODY = ((-1.0, 0.27), (-0.9, 0.33), (-0.83, 0.62), (-0.74, 0.86), (-0.6, 0.95), (-0.3, 0.93), (0.1, 0.88), (1.0, 0.90))


def choose(rng: np.random.Generator, kind: str) -> tuple[Finding, ...]:
    """A finding of `kind` (one of KINDS) with a random side, extent and place; () for "normal"."""
    if kind == "normal":
        return ()
    extent = str(rng.choice(list(EXTENT)))
    side: Sided = "left" if rng.random() < 0.5 else "right"
    match kind:
        case "pleural effusion" | "pneumothorax":
            return (Finding(kind, side=side, extent=extent),)
        case "cardiomegaly":
            return (Finding(kind, extent=str(rng.choice(["moderate", "large"]))),)
        case "lung nodule" | "pneumonia":
            return (Finding(kind, side=side, place=str(rng.choice(["upper", "middle", "lower"]))),)
    raise ValueError(f"chest X-ray phantoms have no finding {kind!r}; choose from {', '.join(KINDS)}")


def render(rng: np.random.Generator, findings: tuple[Finding, ...] = (), size: int = 512) -> UInt8:
    """Display-ready uint8 (size, size): air is dark."""
    return to_uint8(film(rng, findings, size))


def film(rng: np.random.Generator, findings: tuple[Finding, ...] = (), size: int = 512) -> Float32:
    """Brightness in [0, 1], float32 (size, size): what `render` rounds to 8 bits and DICOM files keep at 12."""
    x, y = _pose(rng, size)
    anatomy = _Anatomy.draw(rng, x, y, findings)
    markings = _vessels(rng, size)
    bones = _ribs(x, y, rng) * (0.25 + 0.75 * np.clip(anatomy.air, 0, 1)) + _spine(x, y, rng) + _clavicles(rng, size)
    thickness = anatomy.body * (1 + 0.25 * step(y - 0.35, 0.5))
    lung = anatomy.air * anatomy.expanded
    tissue = 0.76 * thickness - 0.58 * anatomy.air - 0.08 * anatomy.trachea - 0.06 * anatomy.stomach
    tissue += 0.14 * markings * lung + 0.016 * smooth_noise(rng, (size, size), size / 200) * lung
    tissue += 0.22 * bones * step(anatomy.body - 0.25, 0.3)
    tissue += anatomy.opacity
    tissue += 0.025 * smooth_noise(rng, (size, size), size / 10) * thickness
    grain = 0.012 * smooth_noise(rng, (size, size), 0.7)
    image = blur(tissue, size / 512 * 0.8) + grain
    image += 0.9 * _marker(size)
    contrast = rng.uniform(0.92, 1.08)
    return cast("Float32", np.clip(0.03 + 0.93 * image * contrast, 0, 1).astype(np.float32))


def _half_width(y: Float32, outline: tuple[Point, ...]) -> Float32:
    """|x| of an outline at every height, its corners rounded, float32."""
    heights = np.linspace(-1.3, 1.3, 521)
    widths = np.interp(heights, *np.transpose(outline))
    rounded = np.convolve(np.pad(widths, 6, mode="edge"), np.hanning(15)[1:-1] / np.hanning(15).sum(), mode="valid")
    return np.interp(y, heights, rounded).astype(np.float32)


def _pose(rng: np.random.Generator, size: int) -> tuple[Float32, Float32]:
    """Coordinates of a patient who stands a little off centre, a little turned, a little larger or smaller."""
    x, y = grid(size)
    angle, scale = np.deg2rad(rng.normal(0, 1.2)), rng.uniform(0.94, 1.06)
    x, y = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    x, y = x / scale + rng.normal(0, 0.02), y / (scale * rng.uniform(0.96, 1.04)) + rng.normal(0, 0.02)
    return x.astype(np.float32), y.astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class _Anatomy:
    """Layers in [0, 1], float32 (size, size)."""

    body: Float32
    air: Float32  # in the pleural cavities: lung or pneumothorax
    expanded: Float32  # 1 where there is lung with its vessels, 0 in a pneumothorax
    trachea: Float32
    stomach: Float32
    opacity: Float32  # what findings add

    @classmethod
    def draw(cls, rng: np.random.Generator, x: Float32, y: Float32, findings: tuple[Finding, ...]) -> _Anatomy:
        u = np.abs(x)
        half = _half_width(y, BODY)
        body = blur(np.sqrt(np.clip(1 - (x / half) ** 2, 0, 1)) ** 0.8, 3)
        heart = _heart(rng, x, y, find(findings, "cardiomegaly"))
        air, expanded = np.zeros_like(x), np.ones_like(x)
        opacity = np.zeros_like(x)
        for side, sign in SIDES:
            here = x * sign > 0
            depth = _lung_depth(u, y, dome=rng.normal(0.40 if side == "right" else 0.46, 0.025))
            lung = step(depth, 0.02) * (0.72 + 0.28 * np.clip(depth / 0.2, 0, 1)) * (1 - 0.86 * heart)
            lung *= 1 + 0.10 * step(-0.1 - y, 0.8)  # apices are darker than bases
            if (fluid := find(findings, "pleural effusion", side)) is not None:
                level = _meniscus(u, EXTENT[fluid.extent])
                wet = step(y - level, 0.03)
                lung *= 1 - 0.97 * wet
            if (collapse := find(findings, "pneumothorax", side)) is not None:
                inner = _collapsed_depth(u, y, EXTENT[collapse.extent])
                line = np.exp(-((inner / 0.007) ** 2)) * step(depth - 0.015, 0.02)
                lung = np.where(inner < 0, lung * 1.16, lung * 0.93)
                expanded = np.where(here, step(inner, 0.01), expanded)
                opacity += np.where(here, 0.16 * line * (1 - heart), 0)
            for finding in findings:
                if finding.side == side and finding.kind in ("lung nodule", "pneumonia"):
                    opacity += _lesion(rng, x, y, finding, sign) * step(depth, 0.05) * (1 - 0.7 * heart)
            air = np.where(here, lung, air)
        tube = step(0.035 + 0.008 * np.sin(40 * y) - np.abs(x + 0.01), 0.03) * step(-0.38 - y, 0.1)
        bubble = step(ellipse(x, y, (0.36, 0.62), (0.15, 0.09), 10), 0.05) * (rng.random() < 0.7)
        return cls(body, air.astype(np.float32), expanded, tube, bubble.astype(np.float32), opacity)


def _lung_depth(u: Float32, y: Float32, dome: float) -> Float32:
    """Distance from the nearest edge of the pleural cavity, positive inside; `dome`: top of the diaphragm."""
    outer = _half_width(y, RIM) - u
    inner = u - _half_width(y, CORE)
    floor = dome + 1.75 * (u - 0.33) ** 2 - y
    return cast("Float32", np.minimum(np.minimum(outer, inner), floor).astype(np.float32))


def _collapsed_depth(u: Float32, y: Float32, extent: float) -> Float32:
    """As `_lung_depth` for a lung that has shrunk towards its hilum and away from the chest wall and the apex."""
    shrink = 0.88 - 0.28 * extent
    top = 0.90 - 0.15 * extent
    outer = (_half_width((y - 0.2) / top + 0.2, RIM) - 0.12) * shrink + 0.12 - u
    apex = y + 0.84 - 0.10 - 0.22 * extent - 1.2 * (u - 0.25) ** 2
    return cast("Float32", np.minimum(outer, apex).astype(np.float32))


def _meniscus(u: Float32, extent: float) -> Float32:
    """Height of the fluid's upper edge: climbs towards the chest wall. A small effusion blunts the angle only."""
    level = 0.60 - 0.62 * extent
    return cast("Float32", (level - (0.16 + 0.06 * extent) * np.clip((u - 0.15) / 0.5, 0, 1) ** 2.2).astype(np.float32))


def _heart(rng: np.random.Generator, x: Float32, y: Float32, enlarged: Finding | None) -> Float32:
    """Heart, aortic knob and great vessels, soft-edged; cardiothoracic ratio below 0.5; enlarged 0.65 to 0.77."""
    grow = 1.0 if enlarged is None else (1.40 if enlarged.extent == "moderate" else 1.56)
    grow *= rng.uniform(0.97, 1.03)
    ventricles = ellipse(x, y, (0.15 * grow, 0.25 - 0.06 * (grow - 1)), (0.40 * grow, 0.26 * grow**0.8), 48)
    atrium = ellipse(x, y, (-0.07 * grow, 0.20), (0.16 * grow, 0.27 * grow**0.6), 0)
    knob = ellipse(x, y, (0.10, -0.44), (0.11, 0.11))
    pulmonary = ellipse(x, y, (0.08, -0.16), (0.15, 0.26), -14)
    cava = ellipse(x, y, (-0.08, -0.35), (0.09, 0.50))
    edge = np.max([ventricles, atrium, knob, pulmonary, cava], axis=0)
    soft = blur(step(edge, 0.03), x.shape[0] / 128)  # rounds the notches between the arcs
    return step(soft - 0.5, 0.5)


def _spine(x: Float32, y: Float32, rng: np.random.Generator) -> Float32:
    pitch, phase = rng.uniform(0.105, 0.12), rng.uniform(0, 1)
    body = step(0.085 - np.abs(x), 0.03)
    disc = 0.55 + 0.45 * step(np.abs(((y / pitch + phase) % 1) - 0.5) * -1 + 0.38, 0.12)
    process = 0.5 * step(0.02 - np.abs(x), 0.02)
    return cast("Float32", (0.36 * body * disc + 0.15 * process * disc).astype(np.float32))


def _ribs(x: Float32, y: Float32, rng: np.random.Generator) -> Float32:
    """Ten pairs: posterior arcs from the spine outwards and down, fainter anterior arcs inwards and down."""
    u = np.abs(x)
    wall = _half_width(y, RIM)
    within = step(wall + 0.03 - u, 0.03) * step(y + 0.82, 0.06)
    shadow = np.zeros_like(x)
    tilt = rng.uniform(0.9, 1.1)
    for number in range(10):
        start = -0.80 + 0.125 * number
        width = 0.026 + 0.0012 * number
        bend = tilt * (0.26 + 0.035 * number)
        posterior = y - (start - 0.05 * np.sin(np.clip(u / 0.35, 0, 1) * np.pi) + bend * (u**2))
        shadow += _tube(posterior, width) * step(u - 0.07, 0.03) * 0.9
        if 1 <= number <= 7:
            end = start + bend * 0.45
            anterior = y - (end + 0.02 + tilt * 0.55 * (0.68 - u) + 0.25 * (0.68 - u) ** 2)
            shadow += _tube(anterior, width * 1.15) * step(u - 0.33, 0.12) * 0.42
    edge = np.exp(-(((wall + 0.015 - u) / 0.014) ** 2)) * step(y + 0.8, 0.1) * 0.35
    return cast("Float32", (shadow * within + edge * step(0.75 - y, 0.2)).astype(np.float32))


def _tube(distance: npt.NDArray[Any], half_width: float) -> Float32:
    """A hollow bone seen from the side: an even shadow with brighter edges."""
    t = np.abs(distance) / np.float32(half_width)
    return cast("Float32", 0.36 * step(1 - t, 0.35) + 0.30 * np.exp(-(((t - 0.88) / 0.16) ** 2)))


def _clavicles(rng: np.random.Generator, size: int) -> Float32:
    lift = rng.normal(0, 0.02)
    inner: list[Point] = [
        (0.07, -0.60),
        (0.22, -0.64 + lift),
        (0.42, -0.73 + lift),
        (0.60, -0.80 + lift),
        (0.80, -0.80),
    ]
    width = 0.028 * size
    strokes = [
        Stroke([(sign * px, py) for px, py in inner], grow * width, value, round_ends=True)
        for _, sign in SIDES
        for grow, value in ((1.0, 0.6), (0.62, 0.4))
    ]
    return blur(draw(size, strokes), size / 300)


def _vessels(rng: np.random.Generator, size: int) -> Float32:
    """Pulmonary arteries and veins: trees that leave the hila and thin out."""
    strokes: list[Stroke] = []

    def branch(at: Point, angle: float, width: float, length: int) -> None:
        points = [at]
        for _ in range(length):
            angle += rng.normal(0, 0.10)
            at = (at[0] + 0.032 * np.cos(angle), at[1] + 0.032 * np.sin(angle))
            points.append(at)
        strokes.append(Stroke(points, max(0.5, width), min(1.0, 0.25 + 0.12 * width)))
        if width > 0.8:
            for turn in (-1, 1):
                branch(at, angle + turn * rng.uniform(0.2, 0.6), width * rng.uniform(0.55, 0.75), length)

    scale = size / 512
    for _, sign in SIDES:
        hilum = (sign * 0.17, -0.10 if sign < 0 else -0.14)
        for direction in np.linspace(-1.35, 1.45, 7) + rng.normal(0, 0.08, 7):
            angle = direction if sign > 0 else np.pi - direction
            branch(hilum, float(angle), scale * rng.uniform(4.0, 6.5), int(rng.integers(3, 6)))
    return blur(draw(size, strokes), 0.9 * scale)


def _lesion(rng: np.random.Generator, x: Float32, y: Float32, finding: Finding, sign: int) -> Float32:
    """A round nodule, or a patch of consolidation with an uneven edge, in one zone of one lung."""
    height = {"upper": -0.45, "middle": -0.08, "lower": 0.22}[finding.place]
    reach = 0.40 if finding.place == "upper" else 0.50
    if sign > 0 and finding.place == "lower":
        reach = 0.58  # beside the heart, not behind it
    if finding.kind == "lung nodule":
        centre = (sign * rng.uniform(reach - 0.10, reach), height + rng.uniform(-0.06, 0.06))
        radius = rng.uniform(0.055, 0.085)
        return 0.34 * step(ellipse(x, y, centre, (radius, radius * rng.uniform(0.9, 1.1))), 0.03)
    size = x.shape[0]
    centre = (sign * rng.uniform(reach - 0.12, reach - 0.04), height)
    shape = ellipse(x, y, centre, (rng.uniform(0.20, 0.26), rng.uniform(0.18, 0.24)), rng.uniform(-30, 30))
    ragged = shape + 0.05 * smooth_noise(rng, x.shape, size / 18) + 0.02 * smooth_noise(rng, x.shape, size / 60)
    patchy = 0.8 + 0.2 * smooth_noise(rng, x.shape, size / 28)
    return cast("Float32", 0.42 * step(ragged, 0.14) * np.clip(patchy, 0.35, 1.2))


def _marker(size: int) -> Float32:
    """The technician's lead letter "L" at the patient's left shoulder."""
    return draw(size, [Stroke([(0.86, -0.95), (0.86, -0.87), (0.905, -0.87)], size / 100)])


def describe(rng: np.random.Generator, findings: tuple[Finding, ...]) -> tuple[list[str], tuple[str, ...]]:
    """Sentences of the report, and labels as the training data name them."""
    if not findings:
        return [plain(rng, NORMAL)], ("No Finding",)
    sentences, labels = [], []
    for finding in findings:
        sentences.append(plain(rng, SENTENCES[finding.kind], finding))
        labels.append(LABELS[finding.kind])
    return sentences, tuple(labels)


LABELS = {
    "pleural effusion": "Pleural effusion",
    "pneumothorax": "Pneumothorax",
    "cardiomegaly": "Cardiomegaly",
    "lung nodule": "Lung nodule",
    "pneumonia": "Pneumonia",
}
NORMAL = (
    "No finding. The lungs are clear and the heart is not enlarged.",
    "Clear lungs, sharp costophrenic angles, normal heart size. No acute finding.",
    "Normal chest radiograph without effusion, pneumothorax or consolidation.",
)
SENTENCES = {
    "pleural effusion": (
        "{Extent} {side} pleural effusion with a blunted costophrenic angle.",
        "There is a {extent} pleural effusion on the {side}; the costophrenic angle is blunted by a meniscus.",
        "{Side}-sided pleural effusion, {extent}, at the lung base.",
    ),
    "pneumothorax": (
        "{Extent} {side} pneumothorax: a pleural line with no lung markings beyond it.",
        "There is a {extent} pneumothorax on the {side} with a visible visceral pleural line.",
        "{Side}-sided pneumothorax, {extent}, air without vessels along the chest wall.",
    ),
    "cardiomegaly": (
        "Cardiomegaly: the heart shadow is wide, cardiothoracic ratio well above one half.",
        "The heart is enlarged ({extent} cardiomegaly). The lungs are clear.",
        "Enlarged cardiac silhouette in keeping with cardiomegaly.",
    ),
    "lung nodule": (
        "Solitary round nodule in the {place} zone of the {side} lung.",
        "There is a well-defined lung nodule in the {side} {place} zone.",
        "{Side} {place} zone pulmonary nodule; the lungs are otherwise clear.",
    ),
    "pneumonia": (
        "Patchy consolidation in the {place} zone of the {side} lung, in keeping with pneumonia.",
        "{Side} {place} zone airspace opacity consistent with pneumonia.",
        "Pneumonia with a patchy opacity in the {side} {place} lung zone.",
    ),
}
