"""The slices of a CT series in anatomical order, and what their places tell: doubles, gaps, a tilted gantry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.formats.dicom import SlicePosition

    Float64 = npt.NDArray[np.float64]

SAME_PLACE_MM = 0.01  # slices nearer than this are the same slice
GAP = 1.5  # times the distances beside it, from which a distance is a gap where slices are missing
LEAST_TILT = 0.1  # degrees: less is rounding in the header


@dataclass(frozen=True, slots=True)
class Stack:
    """Slices that rise along the normal, each place once."""

    slices: tuple[SlicePosition, ...]
    ordered_by: str
    same_instance: int = 0  # copies of a slice, left out
    same_place: int = (
        0  # other slices of a place that has one already (another phase, another reconstruction), left out
    )
    missing: int = 0  # slices that would fill the gaps between the others
    distance_mm: float = 0.0  # between neighbours along the normal, as most are; 0 where unknown
    tilt_degrees: float = 0.0  # between the normal and the line on which the slices lie

    def provenance(self) -> dict[str, Any]:
        """What is known, without what there is nothing of."""
        numbers = {
            "same_instance": self.same_instance,
            "same_place": self.same_place,
            "missing_slices": self.missing,
            "slice_distance_mm": round(self.distance_mm, 3),
            "gantry_tilt_degrees": round(self.tilt_degrees, 1),
        }
        return {"ordered_by": self.ordered_by} | {name: number for name, number in numbers.items() if number}


def stack(found: Sequence[SlicePosition]) -> Stack:
    """Slices along the normal of their common orientation, rising (PS3.3 C.7.6.2.1.1).

    Where a position is missing, by InstanceNumber, which a scanner may assign in any order; else by file name. Of
    several slices of one place the first acquired is taken: so one phase of the heart or of the contrast is seen.
    """
    slices = _once(found, lambda one: (one.instance_uid, one.frame) if one.instance_uid else (one.path, one.frame))
    copies = len(found) - len(slices)
    if len({one.path for one in slices}) == 1 and any(one.position is None for one in slices):
        return Stack(tuple(sorted(slices, key=lambda one: one.frame)), "frame number: no positions", copies)
    normal = next((_normal(one.orientation) for one in slices if one.orientation), None)
    if normal is None or any(one.position is None for one in slices):
        if all(one.instance_number is not None for one in slices):
            return Stack(tuple(sorted(slices, key=_acquired)), "instance number: no positions", copies)
        by_name = sorted(slices, key=lambda one: (one.path, one.frame))
        return Stack(tuple(by_name), "file name: no positions and no instance numbers", copies)
    along = {(one.path, one.frame): float(np.dot(one.position or (), normal)) for one in slices}
    places: list[list[SlicePosition]] = []
    for one in sorted(slices, key=lambda one: along[one.path, one.frame]):
        first = places[-1][0] if places else None
        if first and along[one.path, one.frame] - along[first.path, first.frame] <= SAME_PLACE_MM:
            places[-1].append(one)
        else:
            places.append([one])
    kept = tuple(min(place, key=_acquired) for place in places)
    distances = np.diff([along[one.path, one.frame] for one in kept])
    return Stack(
        kept,
        "position along the normal",
        copies,
        len(slices) - len(kept),
        _missing(distances),
        float(np.median(distances)) if len(distances) else 0.0,
        _tilt(kept, normal),
    )


def _once(slices: Sequence[SlicePosition], key: Callable[[SlicePosition], object]) -> list[SlicePosition]:
    """The first of all that have the same key, by file name."""
    first: dict[object, SlicePosition] = {}
    for one in sorted(slices, key=lambda one: (one.path, one.frame)):
        first.setdefault(key(one), one)
    return list(first.values())


def _acquired(one: SlicePosition) -> tuple[object, ...]:
    return one.acquisition_number or 0, one.instance_number or 0, one.path, one.frame


def _missing(distances: Float64) -> int:
    """Slices that gaps have room for. A gap is wider than the distances on both sides of it: where a protocol goes on
    with wider distances, as below the skull base, nothing is missing.
    """
    missing = 0
    for index, distance in enumerate(distances.tolist()):
        beside = max([*distances[max(0, index - 1) : index], *distances[index + 1 : index + 2]], default=0.0)
        if beside and distance > GAP * beside:
            missing += round(distance / float(beside)) - 1
    return missing


def _tilt(slices: Sequence[SlicePosition], normal: Float64) -> float:
    """Degrees between the normal and the line from the first to the last slice: a gantry that leans over a straight
    table shears the volume. 0 where there is one slice.
    """
    if len(slices) < 2:
        return 0.0
    line = np.subtract(slices[-1].position or (), slices[0].position or ())
    cosine = abs(float(np.dot(line, normal))) / (float(np.linalg.norm(line)) * float(np.linalg.norm(normal)) or 1.0)
    degrees = float(np.degrees(np.arccos(min(1.0, cosine))))
    return degrees if degrees >= LEAST_TILT else 0.0


def _normal(orientation: Sequence[float] | None) -> Float64:
    cosines = np.asarray(orientation, dtype=np.float64)
    return np.cross(cosines[:3], cosines[3:])
