"""CT volumes in Hounsfield units: chest, abdomen and head.

Coordinates are the patient's, in millimetres (DICOM PS3.3 C.7.6.2): x to the left, y to the back, z to the head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from m3search.phantoms.canvas import blur
from m3search.phantoms.ct_body import EXTENT, Space, abdomen, chest, head
from m3search.phantoms.findings import Finding, Sided, find, plain

if TYPE_CHECKING:
    import numpy.typing as npt

KINDS = (
    "normal chest",
    "lung nodule",
    "pleural effusion",
    "normal abdomen",
    "kidney cyst",
    "normal head",
    "intracranial haemorrhage",
)
NOISE_HU = {"CHEST": 24.0, "ABDOMEN": 13.0, "HEAD": 4.0}


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """Slices from the feet to the head."""

    hu: npt.NDArray[np.int16]  # (Z, Y, X): y to the patient's back, x to the patient's left
    spacing_mm: tuple[float, float, float]  # z, y, x
    origin_mm: tuple[float, float, float]  # x, y, z of the centre of voxel [0, 0, 0]
    region: str  # "CHEST", "ABDOMEN" or "HEAD"
    contrast: bool  # intravenous contrast was given


def choose(rng: np.random.Generator, kind: str) -> tuple[Finding, ...]:
    """What the examination of `kind` (one of KINDS) shows; a finding of kind "contrast" means contrast was given."""
    if kind not in KINDS:
        raise ValueError(f"CT phantoms have no finding {kind!r}; choose from {', '.join(KINDS)}")
    side: Sided = "left" if rng.random() < 0.5 else "right"
    extent = str(rng.choice(list(EXTENT)))
    place = str(rng.choice(["upper", "lower"]))
    finding = Finding(kind, side="" if "normal" in kind else side, extent=extent, place=place)
    given = kind == "kidney cyst" or (region(kind) != "HEAD" and rng.random() < 0.5)
    contrast = (Finding("contrast"),) if given else ()
    return (finding, *contrast)


def region(kind: str) -> str:
    """The part of the body that an examination of `kind` covers, as DICOM BodyPartExamined names it."""
    if kind in ("normal head", "intracranial haemorrhage"):
        return "HEAD"
    return "ABDOMEN" if kind in ("normal abdomen", "kidney cyst") else "CHEST"


def render(rng: np.random.Generator, findings: tuple[Finding, ...], size: int = 128, slices: int = 20) -> Volume:
    """The volume that shows `findings` (as `choose` gives them: the first names the region)."""
    part = region(findings[0].kind)
    contrast = find(findings, "contrast") is not None
    field, height = {"CHEST": (380.0, 260.0), "ABDOMEN": (380.0, 220.0), "HEAD": (216.0, 120.0)}[part]
    space = Space.of(size, slices, field, height, rng.uniform(0.92, 1.06))
    if part == "HEAD":
        hu = head(rng, space, findings)
    else:
        hu = (chest if part == "CHEST" else abdomen)(rng, space, findings, contrast)
    sharpness = 0.55 * size / 128
    hu = blur(hu, (0.35, sharpness, sharpness))
    hu += blur(rng.standard_normal(hu.shape, dtype=np.float32), (0, 0.5, 0.5)) * NOISE_HU[part]
    pixel = field / size
    return Volume(
        hu=np.clip(np.rint(hu), -1024, 3071).astype(np.int16),
        spacing_mm=(height / slices, pixel, pixel),
        origin_mm=(-field / 2 + pixel / 2, -field / 2 + pixel / 2, 0.0),
        region=part,
        contrast=contrast,
    )


def describe(rng: np.random.Generator, findings: tuple[Finding, ...]) -> tuple[list[str], tuple[str, ...]]:
    """Sentences of the report, and labels as the training data name them."""
    finding = findings[0]
    labels = [LABELS.get(finding.kind, "Normal")]
    if region(finding.kind) == "CHEST":
        contrast = find(findings, "contrast") is not None
        labels.append("Contrast-enhanced chest CT" if contrast else "Chest CT without contrast")
    return [plain(rng, SENTENCES[finding.kind], finding)], tuple(labels)


LABELS = {
    "lung nodule": "Lung nodule",
    "pleural effusion": "Pleural effusion",
    "kidney cyst": "Kidney cyst",
    "intracranial haemorrhage": "Intracranial haemorrhage",
}
SENTENCES = {
    "normal chest": (
        "Normal. No nodule, no effusion.",
        "The lungs are clear; no pulmonary nodule and no pleural fluid.",
        "Normal lungs, heart and mediastinum.",
    ),
    "lung nodule": (
        "Solid nodule in the {place} zone of the {side} lung.",
        "{Side} {place} lung zone: a solitary pulmonary nodule with a smooth edge.",
        "There is a round solid lung nodule on the {side}, {place} zone.",
    ),
    "pleural effusion": (
        "{Extent} {side} pleural effusion, fluid layering at the back of the chest.",
        "There is a {extent} pleural effusion on the {side} side.",
        "{Side}-sided pleural fluid, {extent} amount.",
    ),
    "normal abdomen": (
        "Normal liver, spleen, kidneys and aorta.",
        "No abnormality of the abdominal organs. Both kidneys are normal.",
        "Normal abdomen without a renal lesion.",
    ),
    "kidney cyst": (
        "{Extent} simple cyst of the {side} kidney with the density of water.",
        "There is a round, water-dense renal cyst on the {side}.",
        "Simple cyst ({extent}) arising from the {side} kidney.",
    ),
    "normal head": (
        "No intracranial haemorrhage.",
        "Normal brain without haemorrhage or mass effect.",
        "Ventricles of normal width, no bleeding.",
    ),
    "intracranial haemorrhage": (
        "Acute intracranial haemorrhage on the {side} side.",
        "{Extent} hyperdense intracranial haemorrhage in the {side} hemisphere.",
        "There is fresh blood within the skull on the {side}: intracranial haemorrhage.",
    ),
}
