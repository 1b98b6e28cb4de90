"""Haematoxylin-eosin histology: two stains laid on a white field, nuclei one by one.

Each tissue is a map of haematoxylin and a map of eosin; colours follow from Beer-Lambert. Haematoxylin's vector is from
Ruifrok AC, Johnston DA. Anal Quant Cytol Histol 2001;23:291-299, eosin's from Macenko M et al. Proc IEEE ISBI
2009:1107-1110. Lengths are micrometres, `mpp` micrometres per pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from m3search.phantoms.canvas import blur, resize, smooth_noise, step, to_uint8
from m3search.phantoms.findings import Finding, plain

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.types import Float32, UInt8

    Points = npt.NDArray[np.float64]

KINDS = ("tumour", "normal glands", "adipose", "lymphocytes")
HAEMATOXYLIN = np.array([0.650, 0.704, 0.286], dtype=np.float32)  # optical density in red, green, blue
EOSIN = np.array([0.2159, 0.8012, 0.5581], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class _Nuclei:
    """How the nuclei of one kind of cell look."""

    radius: tuple[float, float]  # micrometres, smallest and largest
    spacing: float  # micrometres between centres
    elongation: tuple[float, float]
    irregular: float  # 0 is an ellipse
    darkness: tuple[float, float]  # haematoxylin


SPINDLE = _Nuclei((1.6, 2.4), 22.0, (2.4, 4.0), 0.1, (0.55, 0.85))
ROUND = _Nuclei((2.9, 3.6), 8.2, (1.0, 1.15), 0.05, (1.0, 1.3))
COLUMNAR = _Nuclei((2.3, 3.0), 4.0, (1.5, 2.1), 0.08, (0.7, 0.95))
MALIGNANT = _Nuclei((3.3, 6.6), 10.2, (1.0, 1.8), 0.45, (0.6, 1.4))


def choose(_: np.random.Generator, kind: str) -> tuple[Finding, ...]:
    """The tissue of `kind` (one of KINDS)."""
    if kind not in KINDS:
        raise ValueError(f"pathology phantoms have no tissue {kind!r}; choose from {', '.join(KINDS)}")
    return (Finding(kind),)


def render(rng: np.random.Generator, findings: tuple[Finding, ...], size: int = 256, mpp: float = 0.7) -> UInt8:
    """A patch filled with the tissue, RGB uint8 (size, size, 3)."""
    haem, eosin = _tissue(rng, findings[0].kind, (size, size), mpp)
    return _stain(rng, haem, eosin)


def slide(rng: np.random.Generator, findings: tuple[Finding, ...], size: int = 1536, mpp: float = 0.5) -> UInt8:
    """A section on glass: white around it, the tissue of the finding in the middle, stroma at the rim. (H, W, 3)."""
    side = np.linspace(-1, 1, size, dtype=np.float32)
    x, y = np.meshgrid(side, side)
    radius = np.hypot(x / rng.uniform(0.84, 0.92), y / rng.uniform(0.70, 0.88))
    outline = 1 - radius + 0.09 * smooth_noise(rng, (size, size), size / 14)
    outline = np.minimum(outline, 0.95 - np.maximum(np.abs(x), np.abs(y)))  # glass on all sides
    section = step(outline, 0.02)
    core = step(outline - 0.13 + 0.05 * smooth_noise(rng, (size, size), size / 20), 0.05)
    haem, eosin = _stroma(rng, (size, size), mpp, keep=(core < 0.5) & (section > 0.9))
    inner_haem, inner_eosin = _tissue(rng, findings[0].kind, (size, size), mpp, keep=core > 0.5)
    haem += (inner_haem - haem) * core
    eosin += (inner_eosin - eosin) * core
    return _stain(rng, haem * section, eosin * section)


def _stain(rng: np.random.Generator, haem: Float32, eosin: Float32) -> UInt8:
    """RGB of the stain maps; batches differ a little in strength."""
    strength = rng.uniform(0.88, 1.12, 2).astype(np.float32)
    density = haem[..., None] * (strength[0] * HAEMATOXYLIN) + eosin[..., None] * (strength[1] * EOSIN)
    grain = 0.006 * rng.standard_normal(haem.shape, dtype=np.float32)
    return to_uint8(np.exp(-density * 1.35) * 0.965 + grain[..., None])


def _tissue(
    rng: np.random.Generator, kind: str, shape: tuple[int, int], mpp: float, keep: npt.NDArray[np.bool_] | None = None
) -> tuple[Float32, Float32]:
    """Haematoxylin and eosin maps, float32 of `shape`; nuclei only where `keep` is true."""
    paint = {"tumour": _tumour, "normal glands": _glands, "adipose": _adipose, "lymphocytes": _lymphocytes}[kind]
    return paint(rng, shape, mpp, np.ones(shape, dtype=bool) if keep is None else keep)


def _fibres(rng: np.random.Generator, shape: tuple[int, int], mpp: float) -> Float32:
    """Wavy bundles, about 0 to 1: noise drawn out along one direction and bent."""
    long = blur(rng.standard_normal((shape[0] // 2 + 1, shape[1] // 2 + 1), dtype=np.float32), (1.1 / mpp, 7 / mpp))
    long = resize(long / (long.std() + 1e-9), shape)
    bend = smooth_noise(rng, shape, 24 / mpp) * (7 / mpp)
    rows = np.clip(np.arange(shape[0])[:, None] + bend, 0, shape[0] - 1).astype(int)
    return cast("Float32", np.clip(0.5 + 0.22 * long[rows, np.arange(shape[1])[None, :]], 0, 1.2))


def _stroma(
    rng: np.random.Generator, shape: tuple[int, int], mpp: float, keep: npt.NDArray[np.bool_]
) -> tuple[Float32, Float32]:
    """Connective tissue: pink fibres with clefts and a few spindle-shaped nuclei."""
    fibres = _fibres(rng, shape, mpp)
    eosin = 0.14 + 0.34 * fibres
    cleft = step(smooth_noise(rng, shape, 6 / mpp) - 1.9 + fibres * 0.5, 0.3)
    eosin *= 1 - 0.8 * cleft
    haem = 0.05 + 0.03 * fibres * (1 - cleft)
    _stamp(rng, haem, _scatter(rng, shape, SPINDLE.spacing / mpp, keep), SPINDLE, mpp, angle=rng.normal(0, 0.25))
    return haem.astype(np.float32), eosin.astype(np.float32)


def _tumour(
    rng: np.random.Generator, shape: tuple[int, int], mpp: float, keep: npt.NDArray[np.bool_]
) -> tuple[Float32, Float32]:
    """Sheets of crowded cells with large, irregular, dark nuclei of unequal size; thin bands of stroma between."""
    haem, eosin = _stroma(rng, shape, mpp, np.zeros(shape, dtype=bool))
    nests = step(smooth_noise(rng, shape, 26 / mpp) + 1.0, 0.35)
    cytoplasm = 0.26 + 0.05 * smooth_noise(rng, shape, 3 / mpp)
    haem += (0.20 + 0.05 * smooth_noise(rng, shape, 4 / mpp) - haem) * nests
    eosin += (cytoplasm - eosin) * nests
    _stamp(rng, haem, _scatter(rng, shape, MALIGNANT.spacing / mpp, keep & (nests > 0.6)), MALIGNANT, mpp)
    _stamp(rng, haem, _scatter(rng, shape, SPINDLE.spacing / mpp, keep & (nests < 0.4)), SPINDLE, mpp)
    return haem, eosin


def _lymphocytes(
    rng: np.random.Generator, shape: tuple[int, int], mpp: float, keep: npt.NDArray[np.bool_]
) -> tuple[Float32, Float32]:
    """Small, round, equally dark nuclei side by side, hardly any cytoplasm."""
    haem = 0.12 + 0.02 * smooth_noise(rng, shape, 5 / mpp)
    eosin = 0.17 + 0.03 * smooth_noise(rng, shape, 3 / mpp)
    _stamp(rng, haem, _scatter(rng, shape, ROUND.spacing / mpp, keep), ROUND, mpp)
    return haem.astype(np.float32), eosin.astype(np.float32)


def _adipose(
    rng: np.random.Generator, shape: tuple[int, int], mpp: float, keep: npt.NDArray[np.bool_]
) -> tuple[Float32, Float32]:
    """Fat cells: large empty vacuoles, walls like a honeycomb, a flat nucleus here and there in a wall."""
    gap, _, _ = _cells(rng, shape, 58 / mpp)
    wall = step(1.9 - gap * mpp, 2.2)
    eosin = 0.015 + 0.36 * wall
    haem = 0.004 + 0.05 * wall
    in_wall = keep & (wall > 0.85)
    spots = _scatter(rng, shape, 7 / mpp, in_wall)
    flat = _Nuclei((1.3, 1.9), 0, (1.8, 3.2), 0.1, (0.6, 0.9))
    _stamp(rng, haem, spots[rng.random(len(spots)) < 0.12], flat, mpp)
    return haem.astype(np.float32), eosin.astype(np.float32)


def _cells(
    rng: np.random.Generator, shape: tuple[int, int], spacing: float
) -> tuple[Float32, Float32, npt.NDArray[np.intp]]:
    """A Voronoi mosaic: pixels to the nearest wall, pixels to the nearest centre, and which cell, by pixel.

    Computed at a quarter of the resolution: walls are straight enough to be enlarged.
    """
    from scipy.spatial import cKDTree

    coarse = 4 if shape[0] > 512 else 2
    small = (-(-shape[0] // coarse), -(-shape[1] // coarse))
    margin = 2 * spacing
    everywhere = np.ones((int(shape[0] + 2 * margin), int(shape[1] + 2 * margin)), dtype=bool)
    centres = _scatter(rng, everywhere.shape, spacing, everywhere) - margin
    rows, columns = np.meshgrid(*(np.arange(n) * coarse + coarse / 2 for n in small), indexing="ij")
    warp = [0.12 * spacing * smooth_noise(rng, small, spacing / coarse / 2.5) for _ in range(2)]
    distance, cell = cKDTree(centres).query(np.stack([rows + warp[0], columns + warp[1]], axis=-1), k=2)
    gap = resize((distance[..., 1] - distance[..., 0]) / 2, shape)
    return gap, resize(distance[..., 0], shape), cell[..., 0]


def _glands(
    rng: np.random.Generator, shape: tuple[int, int], mpp: float, keep: npt.NDArray[np.bool_]
) -> tuple[Float32, Float32]:
    """Ordered round glands: a pale lumen, tall pale cells, one row of nuclei at the base, stroma between."""
    haem, eosin = _stroma(rng, shape, mpp, keep & False)
    gap, centre, _ = _cells(rng, shape, 84 / mpp)
    wall = gap * mpp - 7  # micrometres inside the gland's base
    epithelium = step(wall, 1.5)
    haem += (0.10 - haem) * epithelium
    eosin += (0.20 - eosin) * epithelium
    goblet = step(smooth_noise(rng, shape, 3.2 / mpp) - 0.5, 0.6) * step(wall - 10, 4) * epithelium
    eosin -= 0.13 * goblet
    haem += 0.03 * goblet
    lumen = step(np.minimum(wall - 20, 19 - centre * mpp), 3)
    eosin *= 1 - 0.95 * lumen
    haem *= 1 - 0.95 * lumen
    base = keep & (np.abs(wall - 5) < 1.3)
    across = np.gradient(blur(gap, 3))
    _stamp(rng, haem, _scatter(rng, shape, COLUMNAR.spacing / mpp, base), COLUMNAR, mpp, field=(across[0], across[1]))
    between = keep & (wall < -3)
    _stamp(rng, haem, _scatter(rng, shape, 13 / mpp, between), SPINDLE, mpp)
    return haem, eosin


def _scatter(rng: np.random.Generator, shape: tuple[int, int], spacing: float, keep: npt.NDArray[np.bool_]) -> Points:
    """Points (N, 2) about `spacing` pixels apart where `keep` is true: (row, column), a jittered hexagonal lattice."""
    rows = np.arange(0, shape[0], spacing * 0.87)
    columns = np.arange(0, shape[1], spacing)
    lattice = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)
    lattice[1::2, :, 1] += spacing / 2
    points: Points = (lattice + rng.normal(0, 0.22 * spacing, lattice.shape)).reshape(-1, 2)
    inside = np.all((points >= 0) & (points < np.array(shape) - 1), axis=1)
    points = points[inside]
    row, column = points.astype(int).T
    kept: Points = points[keep[row, column]]
    return kept


def _stamp(
    rng: np.random.Generator,
    haem: Float32,
    points: Points,
    look: _Nuclei,
    mpp: float,
    angle: float | None = None,
    field: tuple[Float32, Float32] | None = None,
) -> None:
    """Lay a nucleus at every point, darker ones on top. Long axes follow `angle` or the gradient `field`, else any."""
    if field is not None:
        row, column = points.astype(int).T
        towards = np.arctan2(field[0][row, column], field[1][row, column])
    else:
        towards = np.full(len(points), angle) if angle is not None else rng.uniform(0, np.pi, len(points))
    towards = towards + rng.normal(0, 0.2, len(points))
    sectors = 8
    bank = [[_nucleus(rng, look, mpp, np.pi * sector / sectors) for _ in range(4)] for sector in range(sectors)]
    sector_of = np.round(towards / np.pi * sectors).astype(int) % sectors
    variant_of = rng.integers(0, 4, len(points))
    darkness = rng.uniform(*look.darkness, len(points)).astype(np.float32)
    for (row, column), sector, variant, dark in zip(points.astype(int), sector_of, variant_of, darkness, strict=True):
        shape = bank[sector][variant]
        half = shape.shape[0] // 2
        top, left = max(0, row - half), max(0, column - half)
        part = shape[top - row + half :, left - column + half :]
        window = haem[top : row + half + 1, left : column + half + 1]
        np.maximum(window, dark * part[: window.shape[0], : window.shape[1]], out=window)


def _nucleus(rng: np.random.Generator, look: _Nuclei, mpp: float, angle: float) -> Float32:
    """One nucleus seen along a chosen direction: darker membrane, clumped chromatin. Odd square, float32, 0 to 1."""
    radius, elongation = rng.uniform(*look.radius) / mpp, rng.uniform(*look.elongation)
    reach = int(np.ceil(radius * np.sqrt(elongation) * (1.3 + 0.4 * look.irregular))) + 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    along = (x * np.cos(angle) + y * np.sin(angle)) / np.sqrt(elongation)
    across = (y * np.cos(angle) - x * np.sin(angle)) * np.sqrt(elongation)
    turn = np.arctan2(across, along)
    waves = [rng.normal() * np.cos(k * turn + rng.uniform(0, 2 * np.pi)) / k for k in (2, 3, 4)]
    edge = radius * (1 + 0.35 * look.irregular * sum(waves[1:], waves[0]))
    depth = (edge - np.hypot(along, across)) * mpp  # micrometres inside
    chromatin = 0.80 + 0.10 * smooth_noise(rng, x.shape, 1.2 / mpp) + 0.18 * np.exp(-((depth - 0.5) ** 2) / 0.4)
    return cast("Float32", (step(depth, 1.1) * chromatin).astype(np.float32))


def describe(rng: np.random.Generator, findings: tuple[Finding, ...]) -> tuple[list[str], tuple[str, ...]]:
    """Sentences of the report, and labels as the training data name them."""
    kind = findings[0].kind
    return [plain(rng, SENTENCES[kind])], LABELS[kind]


LABELS = {
    "tumour": ("Colorectal adenocarcinoma epithelium", "Tumour-rich tissue"),
    "normal glands": ("Colorectal normal colon mucosa",),
    "adipose": ("Colorectal adipose tissue",),
    "lymphocytes": ("Colorectal lymphocytes",),
}
SENTENCES = {
    "tumour": (
        "Tumour-rich tissue: crowded cells with large, irregular, dark nuclei. Adenocarcinoma epithelium.",
        "Sheets of adenocarcinoma with pleomorphic, hyperchromatic nuclei; high tumour content.",
        "Colorectal adenocarcinoma, rich in tumour cells.",
    ),
    "normal glands": (
        "Normal colon mucosa with evenly spaced round glands.",
        "Regular glands with open lumina and basal nuclei; normal mucosa, no tumour.",
        "Normal glandular tissue of the colon.",
    ),
    "adipose": (
        "Adipose tissue: large white fat vacuoles with thin walls.",
        "Mature fat cells, no epithelium. Adipose tissue.",
        "Fatty tissue like a honeycomb.",
    ),
    "lymphocytes": (
        "Dense lymphocytes: many small, round, dark nuclei.",
        "Lymphocytic infiltrate without tumour cells.",
        "Lymphoid tissue packed with lymphocytes.",
    ),
}
