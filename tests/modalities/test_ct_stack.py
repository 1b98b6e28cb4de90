"""Which slices make a series, in which order, and what is said of gaps, doubles and a tilted gantry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from m3search.formats.dicom import SlicePosition
from m3search.modalities.ct import CT
from m3search.modalities.ct_stack import Stack, stack
from m3search.types import InputSpec, Source
from tests.references.independent import itk_series
from tests.references.rules import HU, RAMP, image

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def at(z: float, number: int | None = None, acquisition: int | None = None, uid: str = "") -> SlicePosition:
    name = Path(f"{z:07.2f}-{number}-{acquisition}-{uid}.dcm")
    return SlicePosition(name, 0, (0.0, 0.0, z), AXIAL, number, acquisition, uid)


def heights(found: Stack) -> list[float]:
    return [one.position[2] for one in found.slices if one.position]


@pytest.mark.parametrize(
    ("places", "missing"),
    [
        ([0, 5, 10, 15], 0),
        ([0, 5, 15, 20], 1),
        ([0, 5, 10, 30, 35], 3),
        ([0, 10, 15, 20], 1),  # the second is missing
        ([0, 5, 10, 20], 1),  # the last but one is
        ([0, 5, 15, 20, 30, 35], 2),
        ([0, 2.5, 5, 7.5, 12.5, 17.5, 22.5], 0),  # skull base thin, brain thick
        ([0, 5.1, 9.8, 15], 0),
        ([0, 40], 0),  # of two slices nobody can say
        ([0], 0),
    ],
)
def test_missing_slices_are_counted(places: list[float], missing: int) -> None:
    found = stack([at(place) for place in reversed(places)])
    assert heights(found) == places
    assert found.missing == missing


def test_what_is_said() -> None:
    said = stack([at(place) for place in (0, 5, 10, 20)]).provenance()
    assert said == {"ordered_by": "position along the normal", "missing_slices": 1, "slice_distance_mm": 5.0}
    assert stack([at(0)]).provenance() == {"ordered_by": "position along the normal"}


def test_copies_of_an_instance_count_once_with_and_without_positions() -> None:
    found = stack([at(0, uid="1"), at(5, uid="2"), at(5, 9, uid="2")])
    assert (heights(found), found.same_instance, found.same_place) == ([0, 5], 1, 0)
    bare = [SlicePosition(Path(name), 0, None, None, 1, None, uid) for name, uid in (("a", "1"), ("b", "1"), ("c", ""))]
    assert [one.path.name for one in stack(bare).slices] == ["a", "c"]


def test_of_several_phases_one_is_seen() -> None:
    """Arterial and venous slices of the same places, in one series: never a mixture of both."""
    phases = [at(z, number=10 * phase + index, acquisition=phase, uid=f"{phase}.{index}")
              for phase in (2, 1) for index, z in enumerate((0, 5, 10))]  # fmt: skip
    found = stack(phases)
    assert {one.acquisition_number for one in found.slices} == {1}
    assert (heights(found), found.same_place) == ([0, 5, 10], 3)


def test_tilt_is_the_lean_of_the_stack_over_its_normal() -> None:
    lean = np.deg2rad(15)
    orientation = (1.0, 0.0, 0.0, 0.0, float(np.cos(lean)), float(np.sin(lean)))
    tilted = [SlicePosition(Path(f"{z}"), 0, (0.0, 0.0, 5.0 * z), orientation, z, None) for z in range(4)]
    found = stack(tilted)
    assert found.tilt_degrees == pytest.approx(15)
    assert found.distance_mm == pytest.approx(5 * np.cos(lean))
    assert found.missing == 0


def write(path: Path, place: tuple[float, float, float], orientation: tuple[float, ...], level: int) -> Path:
    dataset = image(RAMP // 2 + np.uint16(level), **HU, InstanceNumber=level)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.3680043.10.3.{level}"
    dataset.ImagePositionPatient = [f"{value:.6f}" for value in place]
    dataset.ImageOrientationPatient = [f"{value:.6f}" for value in orientation]
    dataset.PixelSpacing = ["0.5", "0.5"]
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("lean_degrees", [0, 20, 60])
@pytest.mark.parametrize("gap", [False, True])
def test_itk_sees_the_same_volume(lean_degrees: float, gap: bool, tmp_path: Path) -> None:
    lean = np.deg2rad(lean_degrees)
    orientation = (1.0, 0.0, 0.0, 0.0, float(np.cos(lean)), float(np.sin(lean)))
    steps = [3, 0, 4, 1] if gap else [3, 0, 4, 1, 2]
    files = [
        write(tmp_path / f"{name}.dcm", (-80.0, -80.0, 5.0 * step), orientation, level=7 + 10 * name)
        for name, step in enumerate(steps)
    ]
    item = CT().read(Source("ct", "dicom", tuple(sorted(files))), InputSpec("image", size=8, max_parts=99))
    _, theirs = itk_series(tmp_path, "1.2.826.0.1.3680043.10.2")
    assert np.array_equal(np.stack([part.data for part in item.parts]), theirs)
    assert item.provenance.get("missing_slices", 0) == int(gap)
    assert item.provenance.get("gantry_tilt_degrees", 0) == pytest.approx(lean_degrees, abs=0.05)
