"""The solids that CT phantoms are built from: trunk, chest, abdomen and head, (Z, Y, X) Hounsfield units, float32.

Coordinates are the patient's, in millimetres: x to the left, y to the back, z to the head. A solid is a signed
distance, positive inside, and is laid over what is there with a soft edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from m3search.phantoms.canvas import blur, step
from m3search.phantoms.findings import Finding, find

if TYPE_CHECKING:
    from m3search.types import Float32

AIR, LUNG, FAT, MUSCLE, BONE = -1000.0, -860.0, -95.0, 52.0, 420.0  # HU
EXTENT = {"small": 0.0, "moderate": 0.5, "large": 1.0}


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """Coordinates in millimetres of a patient of average size, broadcastable to (Z, Y, X), float32."""

    x: Float32  # (1, 1, X)
    y: Float32  # (1, Y, 1)
    z: Float32  # (Z, 1, 1), from 0

    @classmethod
    def of(cls, size: int, slices: int, field: float, height: float, scale: float) -> Space:
        across = ((np.arange(size) + 0.5) / size - 0.5) * field / scale
        along = (np.arange(slices) + 0.5) * height / slices
        x, y, z = (axis.astype(np.float32) for axis in (across, across, along))
        return cls(x[None, None, :], y[None, :, None], z[:, None, None])

    def blob(self, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Float32:
        """Millimetres inside an ellipsoid, about: positive inside. A radius of infinity makes a cylinder."""
        terms = [((axis - c) / r) ** 2 for axis, c, r in zip((self.x, self.y, self.z), centre, radii, strict=True)]
        return cast("Float32", (1 - np.sqrt(sum(terms[1:], terms[0]))) * np.float32(min(radii)))

    def lumps(self, rng: np.random.Generator, millimetres: float) -> Float32:
        """Smooth noise in three dimensions, standard deviation 1, (Z, Y, X)."""
        pixel, thick = float(self.x[0, 0, 1] - self.x[0, 0, 0]), float(self.z[1, 0, 0] - self.z[0, 0, 0])
        shape = (self.z.size, self.y.size, self.x.size)
        noise = blur(rng.standard_normal(shape, dtype=np.float32), [millimetres / s for s in (thick, pixel, pixel)])
        return cast("Float32", noise / (noise.std() + 1e-9))


def _fill(hu: Float32, depth: Float32, value: float | Float32, width: float = 3.0) -> Float32:
    """Replace what lies inside: `depth` millimetres below a surface whose edge is `width` wide."""
    inside = step(depth, width)
    return cast("Float32", hu + (value - hu) * inside)


def _trunk(rng: np.random.Generator, s: Space) -> tuple[Float32, Float32]:
    """Body with fat, muscle, spine and table, (Z, Y, X) HU; and millimetres inside the wall of the trunk."""
    flat = s.y * (1 + 0.10 * (s.y > 0))
    skin = (1 - np.sqrt((np.abs(s.x) / 168) ** 2.3 + (np.abs(flat) / 116) ** 2.3)) * np.float32(116)
    skin = np.broadcast_to(skin, np.broadcast_shapes(s.x.shape, s.y.shape, s.z.shape))
    hu = np.full(skin.shape, AIR, dtype=np.float32)
    table = np.abs(s.y - 118 + 0.0011 * s.x**2) - 4
    hu = _fill(hu, np.broadcast_to(-table, skin.shape) - 200 * (np.abs(s.x) > 185), -150, 2)
    fat = rng.uniform(9, 20)
    hu = _fill(hu, skin, FAT)
    hu = _fill(hu, skin - fat, MUSCLE)
    return hu, cast("Float32", skin - fat)


def _spine(hu: Float32, s: Space, y: float) -> Float32:
    """Vertebral bodies with discs between, canal, arch and processes, on the midline at depth `y`."""
    pitch = 26.0
    disc = np.abs((s.z / pitch) % 1 - 0.5) > 0.40
    body = s.blob((0, y, 0), (20, 16, np.inf))
    hu = _fill(hu, body, np.where(disc, 90.0, BONE).astype(np.float32))
    hu = _fill(hu, body - 3, np.where(disc, 80.0, 210.0).astype(np.float32))
    arch = np.minimum(s.blob((0, y + 25, 0), (17, 15, np.inf)), s.y - (y + 10))
    hu = _fill(hu, arch, BONE)
    for sign in (-1, 1):
        hu = _fill(hu, s.blob((sign * 24, y + 24, 0), (18, 5, np.inf)), np.where(disc, MUSCLE, BONE).astype(np.float32))
    hu = _fill(hu, s.blob((0, y + 42, 0), (4, 14, np.inf)), np.where(disc, MUSCLE, BONE).astype(np.float32))
    return _fill(hu, s.blob((0, y + 24, 0), (10, 8, np.inf)), 25.0, 2)


def _ribs(hu: Float32, s: Space, wall: Float32) -> Float32:
    """Ribs inside the wall: each leaves the spine high and comes forward low, so that a slice cuts several."""
    angle = np.arctan2(np.abs(s.x), s.y)  # 0 at the back, pi at the front
    turns = (s.z + 44 * angle) / 27
    between = np.abs(turns % 1 - 0.5) * 27  # 13.5 at the centre of a rib
    bone = np.minimum(between - 9, 4 - np.abs(wall - 6))
    bone = np.where(angle > 2.6, -5, bone)
    return _fill(hu, bone, 480.0, 3)


def _lung_depth(s: Space, wall: Float32, sign: int) -> Float32:
    """Millimetres inside one pleural cavity (sign of x), which the diaphragm closes below."""
    side = np.minimum(wall - 13, sign * s.x - 9 - 9 * step(s.y - 20, 60))
    dome = 62 + (12 if sign < 0 else 0) - 0.011 * (sign * s.x - 62) ** 2 - 0.010 * (s.y + 10) ** 2
    apex = 272 - s.z - 0.012 * (sign * s.x - 50) ** 2 - 0.012 * s.y**2
    taper = 24 * step(s.z - 190, 120)
    return cast("Float32", np.minimum(np.minimum(side - taper, s.z - dome), apex))


def chest(rng: np.random.Generator, s: Space, findings: tuple[Finding, ...], contrast: bool) -> Float32:
    blood = rng.uniform(190, 260) if contrast else 42.0
    hu, wall = _trunk(rng, s)
    hu = _ribs(hu, s, wall)
    cavity = {sign: _lung_depth(s, wall, sign) for sign in (-1, 1)}
    heart = np.maximum(s.blob((22, -22, 92), (58, 44, 52)), s.blob((4, -26, 120), (42, 34, 44)))
    hu = _upper_abdomen(hu, s, wall, blood, contrast)
    pulmonary = LUNG + 35 * (s.y < 0) + 22 * s.lumps(rng, 9)
    for depth in cavity.values():
        hu = _fill(hu, np.minimum(depth, -heart - 2), pulmonary.astype(np.float32))
    hu = _pulmonary_vessels(rng, hu, s, cavity, heart, blood)
    hu = _mediastinum(hu, s, heart, blood, contrast)
    for finding in findings:
        sign = 1 if finding.side == "left" else -1
        if finding.kind == "pleural effusion":
            layer = rng.uniform(0.9, 1.1) * (38 + 44 * EXTENT[finding.extent])
            top = 132 + 60 * EXTENT[finding.extent]
            level = 88 - layer * np.clip((top - s.z) / 60, 0, 1)
            curved = s.y - level + 0.0035 * (sign * s.x - 60) ** 2  # climbs along the chest wall
            hu = _fill(hu, np.minimum(np.minimum(cavity[sign] + 1, curved), -heart), rng.uniform(6, 16))
        elif finding.kind == "lung nodule":
            height = 190 if finding.place == "upper" else 120
            centre = (sign * rng.uniform(82, 96), rng.uniform(-20, 35), height + rng.uniform(-8, 8))
            radius = 10 + 7 * EXTENT[finding.extent]
            hu = _fill(hu, s.blob(centre, (radius, radius, radius * 1.15)), rng.uniform(30, 60))
    return _spine(hu, s, 58)


def _mediastinum(hu: Float32, s: Space, heart: Float32, blood: float, contrast: bool) -> Float32:
    """Heart, great vessels, trachea with its main bronchi, oesophagus and sternum."""
    hu = _fill(hu, np.minimum(s.blob((0, -10, 200), (34, 44, 90)), s.z - 120), FAT + 30, 6)
    hu = _fill(hu, heart, 48.0)
    hu = _fill(hu, heart - 4, FAT + 125 if not contrast else 60.0)
    for centre, radii in (((36, -14, 92), (26, 20, 34)), ((2, -36, 98), (26, 19, 32)), ((8, 6, 116), (30, 14, 20))):
        hu = _fill(hu, s.blob(centre, radii), blood, 6)
    arch = np.minimum(s.blob((10, 4, 192), (17, 40, 14)), s.y + 40)
    vessels = (
        s.blob((22, 34, 0), (12, 12, np.inf)) - 100 * (s.z > 196),  # descending aorta
        np.minimum(s.blob((-8, -34, 0), (15, 15, np.inf)), np.minimum(s.z - 120, 200 - s.z)),  # ascending
        arch,
        np.minimum(s.blob((6, -22, 158), (38, 13, 13)), s.z - 140),  # pulmonary trunk
        s.blob((-28, -26, 0), (9, 9, np.inf)) - 100 * (s.z < 130),  # superior vena cava
        np.minimum(np.maximum(s.blob((16, -16, 0), (5, 5, np.inf)), s.blob((-14, -24, 0), (6, 6, np.inf))), s.z - 200),
    )
    for vessel in vessels:
        hu = _fill(hu, vessel, blood)
    hu = _fill(hu, s.blob((6, 26, 0), (7, 6, np.inf)), 38.0)
    hu = _fill(hu, np.minimum(s.blob((0, 6, 0), (9, 10, np.inf)), s.z - 168), AIR)
    for sign in (-1, 1):
        lean = s.x - sign * (168 - s.z) * 0.9
        tube = np.float32(7.5) - np.hypot(lean, s.y - 8)
        hu = _fill(hu, np.minimum(tube, np.minimum(170 - s.z, s.z - 138)), AIR)
    return _fill(hu, np.minimum(s.blob((0, -92, 0), (20, 6, np.inf)), s.z - 95), 260.0)


def _upper_abdomen(hu: Float32, s: Space, wall: Float32, blood: float, contrast: bool) -> Float32:
    """Liver, spleen and stomach below the diaphragm."""
    below = np.minimum(wall - 12, 84 - s.z)
    hu = _fill(hu, below, FAT)
    hu = _fill(hu, np.minimum(below, s.blob((-48, -8, 20), (98, 88, 72))), 112.0 if contrast else 58.0)
    hu = _fill(hu, np.minimum(below, s.blob((96, 42, 20), (32, 42, 52))), 118.0 if contrast else 50.0)
    stomach = np.minimum(below, s.blob((66, -38, 22), (46, 34, 48)))
    hu = _fill(hu, stomach, 18.0)
    hu = _fill(hu, np.minimum(stomach - 3, -46 - s.y), AIR)
    return _fill(hu, s.blob((20, 34, 0), (11, 11, np.inf)), blood)


def _pulmonary_vessels(
    rng: np.random.Generator, hu: Float32, s: Space, cavity: dict[int, Float32], heart: Float32, blood: float
) -> Float32:
    """Tapering vessels from each hilum to the periphery, stamped voxel by voxel."""
    pixel, thick = float(s.x[0, 0, 1] - s.x[0, 0, 0]), float(s.z[1, 0, 0] - s.z[0, 0, 0])
    tissue = np.zeros_like(hu)
    for sign in (-1, 1):
        count = 46
        direction = rng.normal(size=(count, 3)) * (0.7, 1.0, 1.1)
        direction[:, 0] = sign * np.abs(direction[:, 0]) + sign * 0.5
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        at = np.array([sign * 34.0, 4.0, 150.0]) + rng.normal(0, 9, (count, 3))
        for length in np.arange(0, 120, 1.5):
            direction += rng.normal(0, 0.05, direction.shape)
            at = at + 1.5 * direction
            index = np.rint([(at[:, 2] - s.z[0, 0, 0]) / thick, (at[:, 1] - s.y[0, 0, 0]) / pixel,
                             (at[:, 0] - s.x[0, 0, 0]) / pixel]).astype(int)  # fmt: skip
            here = np.all((index >= 0) & (index < np.array(hu.shape)[:, None]), axis=0)
            z, y, x = index[:, here]
            weight = np.clip(1.2 - length / 95, 0.25, 1)
            tissue[z, y, x] = np.maximum(tissue[z, y, x], weight)
            if length < 36:  # the proximal vessels are wider than a voxel
                tissue[z, np.minimum(y + 1, hu.shape[1] - 1), x] = weight
                tissue[z, y, np.minimum(x + 1, hu.shape[2] - 1)] = weight
    inside = np.maximum(step(cavity[-1] - 4, 4), step(cavity[1] - 4, 4)) * step(-heart, 4)
    return cast("Float32", hu + (min(blood, 140.0) - hu) * np.clip(tissue, 0, 1) * inside * (hu < -300))


def abdomen(rng: np.random.Generator, s: Space, findings: tuple[Finding, ...], contrast: bool) -> Float32:
    blood = rng.uniform(150, 210) if contrast else 42.0
    hu, wall = _trunk(rng, s)
    inner = wall - 12
    hu = _fill(hu, inner, FAT)
    hu = _ribs(hu, s, wall - 200 * (s.z < 110))
    for sign in (-1, 1):
        hu = _fill(hu, s.blob((sign * 42, 92, 0), (34, 22, np.inf)), MUSCLE)
        hu = _fill(hu, s.blob((sign * 34, 56, 0), (15, 18, np.inf)), MUSCLE)
    hu = _bowel(rng, hu, s, inner)
    liver = np.minimum(inner, np.maximum(s.blob((-62, -14, 190), (84, 80, 100)), s.blob((-10, -46, 200), (70, 36, 50))))
    hu = _fill(hu, liver, (112.0 if contrast else 58.0) + 3 * s.lumps(rng, 12))
    hu = _fill(hu, np.minimum(inner, s.blob((98, 38, 190), (30, 42, 58))), 120.0 if contrast else 48.0)
    hu = _fill(hu, s.blob((8, -4, 170), (52, 11, 16)), 88.0 if contrast else 38.0)
    for sign in (-1, 1):
        hu = _kidney(hu, s, sign, contrast)
    if (cyst := find(findings, "kidney cyst")) is not None:
        sign = 1 if cyst.side == "left" else -1
        radius = 17 + 10 * EXTENT[cyst.extent]
        centre = (sign * (80 + 0.6 * radius), 36 - 0.2 * radius, 120 + rng.uniform(-12, 12))
        hu = _fill(hu, s.blob(centre, (radius, radius, radius)), rng.uniform(0, 12), 2)
    hu = _fill(hu, s.blob((13, 30, 0), (11, 11, np.inf)), blood)
    hu = _fill(hu, s.blob((-18, 28, 0), (13, 10, np.inf)), 0.8 * blood if contrast else blood)
    return _spine(hu, s, 58)


def _kidney(hu: Float32, s: Space, sign: int, contrast: bool) -> Float32:
    """Bean-shaped: the hilum opens towards the midline, filled with fat; the cortex enhances most."""
    z = 112 if sign < 0 else 124  # the right one lies lower
    body = s.blob((sign * 70, 46, z), (29, 25, 56))
    hilum = s.blob((sign * 46, 38, z), (16, 9, 22))
    bean = np.minimum(body, -hilum)
    hu = _fill(hu, bean, 185.0 if contrast else 34.0)
    hu = _fill(hu, bean - 9, 150.0 if contrast else 30.0, 5)
    return _fill(hu, s.blob((sign * 64, 43, z), (11, 8, 26)), FAT + 20, 4)


def _bowel(rng: np.random.Generator, hu: Float32, s: Space, inner: Float32) -> Float32:
    """Loops of small bowel in front, and the colon with gas on both flanks."""
    for _ in range(26):
        centre = (rng.uniform(-75, 75), rng.uniform(-70, -8), rng.uniform(0, 150))
        radius = rng.uniform(11, 17)
        loop = np.minimum(inner - 2, s.blob(centre, (radius * rng.uniform(1, 1.8), radius, radius * 1.3)))
        hu = _fill(hu, loop, 45.0)
        hu = _fill(hu, loop - 3, rng.uniform(12, 32))
        if rng.random() < 0.25:
            hu = _fill(hu, np.minimum(loop - 3, centre[1] - 2 - s.y), AIR)
    for sign in (-1, 1):
        colon = np.minimum(inner - 1, s.blob((sign * 108, 0, 40), (19, 21, 110)))
        hu = _fill(hu, colon, 40.0)
        hu = _fill(hu, colon - 4, 20 + 25 * s.lumps(rng, 8))
        hu = _fill(hu, np.minimum(colon - 4, -5 - s.y), AIR)
    return hu


def head(rng: np.random.Generator, s: Space, findings: tuple[Finding, ...]) -> Float32:
    """From the skull base upwards: skull, sulci, cortex, white matter, ventricles, falx."""
    shrink = np.sqrt(np.clip(1 - ((s.z - 12) / 126) ** 2, 0.08, 1))
    scalp = ((1 - np.hypot(s.x / (76 * shrink), s.y / (97 * shrink))) * 76 * shrink).astype(np.float32)
    hu = _fill(np.full(scalp.shape, AIR, dtype=np.float32), scalp, 20.0)
    hu = _fill(hu, scalp - 6, 1100.0)
    hu = _fill(hu, scalp - 8, 800.0, 2)
    brain = scalp - 12
    hu = _fill(hu, brain, 8.0)
    folds = s.lumps(rng, 5)
    sulcus = 2.6 * np.clip(np.abs(folds) * -3.2 + 1.2, 0, 1) * np.clip(1 - brain / 16, 0, 1) * 4
    hu = _fill(hu, brain - 2.5 - sulcus, 39.0)
    white = brain - 11 - 3.0 * s.lumps(rng, 7)
    hu = _fill(hu, np.minimum(white, np.abs(s.x) - 4), 28.0, 5)
    for sign in (-1, 1):
        hu = _fill(hu, s.blob((sign * 19, 2, 56), (13, 20, 22)), 37.0, 4)  # deep grey nuclei
        bent = s.x - sign * (6 + 9 * np.abs(s.y) / 34)  # the lateral ventricles part in front and behind
        horn = (1 - np.sqrt((bent / 5.5) ** 2 + (s.y / 38) ** 2 + ((s.z - 66) / 15) ** 2)) * np.float32(5.5)
        hu = _fill(hu, horn, 6.0)
    hu = _fill(hu, s.blob((0, 2, 50), (2.5, 14, 12)), 6.0, 2)
    hu = _fill(hu, np.minimum(1.6 - np.abs(s.x), np.minimum(brain, np.abs(s.y) - 42)), 52.0, 2)
    if (bleed := find(findings, "intracranial haemorrhage")) is not None:
        hu = _haematoma(rng, hu, s, brain, bleed)
    return hu


def _haematoma(rng: np.random.Generator, hu: Float32, s: Space, brain: Float32, bleed: Finding) -> Float32:
    """Fresh blood, brighter than brain, with a darker rim of oedema; or a crescent below the skull."""
    sign = 1 if bleed.side == "left" else -1
    size = EXTENT[bleed.extent]
    if rng.random() < 0.3:  # subdural
        crescent = np.minimum(7 + 7 * size - brain, brain)
        near = s.blob((sign * 62, rng.uniform(-20, 10), 62), (40, 70 + 15 * size, 42 + 10 * size))
        return _fill(hu, np.minimum(crescent, near), rng.uniform(62, 74))
    centre = (sign * rng.uniform(26, 38), rng.uniform(-20, 22), rng.uniform(52, 72))
    radius = 13 + 9 * size
    lump = s.blob(centre, (radius, radius * rng.uniform(1.0, 1.5), radius)) + 2.6 * s.lumps(rng, 7)
    hu = _fill(hu, np.minimum(lump + 8, brain - 2), 17.0, 6)
    return _fill(hu, np.minimum(lump, brain - 2), rng.uniform(62, 76))
