"""How an item's bytes became a vector, in sentences."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

WORDS = {
    "slices": "slices in the item",
    "read": "slices read",
    "ordered_by": "ordered by",
    "same_instance": "copies of slices left out",
    "same_place": "slices left out for lying where another does",
    "missing_slices": "slices missing in gaps",
    "slice_distance_mm": "millimetres between slices",
    "gantry_tilt_degrees": "degrees that the gantry was tilted",
    "unreadable": "slices that could not be read",
    "other_shape": "slices left out for having another shape",
    "size": "size in pixels",
    "reader": "read by",
    "mpp": "micrometres per pixel",
    "mpp_from": "resolution taken from",
    "tile_mpp": "micrometres per pixel of the tiles",
    "tile_mpp_from": "resolution of the tiles chosen by",
    "tile_level": "level the tiles were read from",
    "tissue": "share that is tissue",
    "tiles": "tiles read",
    "leads": "leads read",
    "derived_leads": "leads derived from others",
    "missing_leads": "leads missing",
    "ignored_channels": "channels that are no ECG leads",
    "units": "amplitude",
    "rate_hz": "samples per second",
    "seconds": "seconds recorded",
    "windows": "windows read",
}


@dataclass(frozen=True, slots=True)
class Steps:
    """Provenance as it is stored, and as sentences in the order of the steps."""

    stored: dict[str, Any]
    words: list[str]


def sentences(provenance: str | None) -> Steps:
    """From the `provenance` column. What has no words here is named as it is stored."""
    stored: dict[str, Any] = json.loads(provenance) if provenance else {}
    words: list[str] = []
    for name, value in stored.items():
        if name in ("pixels", "notes") and isinstance(value, list):
            words += [str(step) for step in value]
        elif isinstance(value, bool):
            words.append(f"{name.replace('_', ' ')}: {'yes' if value else 'no'}")
        elif name == "burned_in":
            words.append(str(value))
        elif name == "field_of_view":
            words += [_cropped(field) for field in (value if isinstance(value, list) else [value])]
        elif value is not None and value not in ([], ""):
            shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            words.append(f"{WORDS.get(name, name.replace('_', ' '))}: {shown}")
    return Steps(stored, words)


def _cropped(field: dict[str, Any] | None) -> str:
    """What was kept of a fundus photograph."""
    if not field:
        return "no dark border around the retina: the whole picture was used"
    left, top, right, bottom = field["box"]
    blackened = ", black outside of its disc" if field["disc"] else ""
    return f"cropped to the retina: columns {left} to {right}, rows {top} to {bottom}{blackened}"
