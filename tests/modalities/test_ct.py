"""CT: slices in anatomical order whatever their names and numbers, Hounsfield units, windows as channels."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

from m3search import formats
from m3search.errors import Reason, UnreadableFile
from m3search.formats import dicom, dicom_pixels
from m3search.modalities.ct import AIR, BONE, CT, LUNG, MEDIASTINUM
from m3search.types import Header, InputSpec, Item, Source

SPEC = InputSpec("image", size=32)
AXIAL, CORONAL = [1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1]


def plane(level: int, side: int = 16) -> np.ndarray:
    """Stored values (side, side): `level` everywhere but in one corner, so that no slice is constant."""
    pixels = np.full((side, side), level, dtype=np.int16)
    pixels[0, 0] = level + 1
    return pixels


def write(path: Path, pixels: np.ndarray, **elements: Any) -> Path:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.Modality, dataset.PhotometricInterpretation, dataset.SeriesInstanceUID = "CT", "MONOCHROME2", "1.2.3"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = *pixels.shape[-2:], 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.PixelSpacing, dataset.RescaleSlope, dataset.RescaleIntercept = [0.7, 0.7], 1, -1024
    for keyword, value in elements.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_series(folder: Path, heights: list[float], orientation: list[float] = AXIAL) -> list[Path]:
    """One file per height, in millimetres along +z, named and numbered in the given order; the level is the height."""
    return [
        write(
            folder / f"{number:02}.dcm", plane(1024 + int(height)), InstanceNumber=number,
            ImageOrientationPatient=orientation, ImagePositionPatient=[-80, -80, height],
        )
        for number, height in enumerate(heights)
    ]  # fmt: skip


def read(*paths: Path, most: int = 16) -> Item:
    source = Source("ct", formats.sniff(paths[0]) or "", tuple(sorted(paths)))
    return CT().read(source, InputSpec("image", size=32, max_parts=most))


def levels(item: Item) -> list[int]:
    return [int(part.data[-1, -1]) for part in item.parts]


def header(**attributes: Any) -> Header:
    stated = {"Modality": "CT", "SeriesInstanceUID": "1.2", "ImageType": (), "ImageOrientationPatient": ()}
    return Header(Path("a.dcm"), "dicom", stated | attributes)


def reason_of(*paths: Path) -> Reason:
    with pytest.raises(UnreadableFile) as caught:
        read(*paths)
    return caught.value.reason


def test_recognises_dicom_ct_and_volumes() -> None:
    assert CT().recognises(header())
    assert CT().recognises(Header(Path("a.nii"), "nifti", {}))
    assert not CT().recognises(header(Modality="MR"))
    assert not CT().recognises(Header(Path("a.png"), "raster", {}))


def test_series_are_parted_by_uid_orientation_and_localizer() -> None:
    axial = CT().series(header(ImageOrientationPatient=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0)))
    jittered = (0.99999, -0.0001, -0.0, 0.0, 1.0, 1e-7)
    assert CT().series(header(ImageOrientationPatient=jittered)) == axial
    others = {
        CT().series(header(ImageOrientationPatient=tuple(map(float, CORONAL)))),
        CT().series(header(ImageOrientationPatient=jittered, ImageType=("ORIGINAL", "PRIMARY", "LOCALIZER"))),
        CT().series(header(ImageOrientationPatient=jittered, SeriesInstanceUID="1.3")),
    }
    assert len(others | {axial}) == 4
    assert CT().series(header(SeriesInstanceUID="")) == ""
    assert CT().series(Header(Path("a.nii"), "nifti", {})) == ""


def test_slices_rise_to_the_head_whatever_their_names_and_numbers(tmp_path: Path) -> None:
    item = read(*write_series(tmp_path, [6, -3, 12, 0, 9, 3, -6]))
    assert levels(item) == [-6, -3, 0, 3, 6, 9, 12]
    assert [part.locator for part in item.parts] == [f"slice={index}" for index in range(7)]
    assert item.provenance["ordered_by"] == "position along the normal"
    assert item.parts[0].spacing_mm == pytest.approx(0.7)
    assert item.parts[0].data.dtype == np.float32


def test_oblique_slices_are_ordered_along_their_own_normal(tmp_path: Path) -> None:
    tilt = np.deg2rad(60)  # gantry tilt so large that z alone would order by the shift within the plane
    rows, columns = np.array([1.0, 0, 0]), np.array([0, np.cos(tilt), np.sin(tilt)])
    normal = np.cross(rows, columns)
    paths = []
    for name, step in enumerate([2, 0, 3, 1]):
        place = step * 2.0 * normal - step * 40.0 * columns
        paths.append(
            write(
                tmp_path / f"{name}.dcm", plane(1024 + step), InstanceNumber=1,
                ImageOrientationPatient=[f"{value:.6f}" for value in (*rows, *columns)],
                ImagePositionPatient=[f"{value:.6f}" for value in place],
            )
        )  # fmt: skip
    assert levels(read(*paths)) == [0, 1, 2, 3]


def test_instance_number_orders_only_without_positions(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / f"{name}.dcm", plane(1024 + number), InstanceNumber=number)
        for name, number in enumerate([10, 2, 1, 9])
    ]
    item = read(*paths)
    assert levels(item) == [1, 2, 9, 10]
    assert item.provenance["ordered_by"].startswith("instance number")


def test_slices_of_the_same_place_are_taken_once(tmp_path: Path) -> None:
    item = read(*write_series(tmp_path, [0, 3, 3, 6, 0]))
    assert levels(item) == [0, 3, 6]
    assert (item.provenance["slices"], item.provenance["same_place"]) == (3, 2)


def test_only_the_chosen_slices_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write_series(tmp_path, [float(height) for height in range(21)])
    decoded: list[Path] = []
    original = dicom_pixels.stored

    def counted(path: Path, dataset: Dataset, frame: int = 0) -> Any:
        decoded.append(path)
        return original(path, dataset, frame)

    monkeypatch.setattr(dicom_pixels, "stored", counted)
    item = read(*paths, most=5)
    assert levels(item) == [0, 5, 10, 15, 20]
    assert [part.locator for part in item.parts] == [f"slice={index}" for index in (0, 5, 10, 15, 20)]
    assert len(decoded) == 5
    assert (item.provenance["slices"], item.provenance["read"]) == (21, 5)


def test_one_damaged_slice_is_skipped_and_recorded(tmp_path: Path) -> None:
    paths = write_series(tmp_path, [0, 3, 6])
    paths[1].write_bytes(paths[1].read_bytes()[:-200])
    item = read(*paths)
    assert levels(item) == [0, 6]
    assert item.provenance["unreadable"] == 1


def test_another_slice_is_read_where_all_chosen_are_damaged(tmp_path: Path) -> None:
    paths = write_series(tmp_path, [0, 3, 6])
    paths[1].write_bytes(paths[1].read_bytes()[:-200])
    item = read(*paths, most=1)  # the middle one
    assert levels(item) == [0]
    assert item.parts[0].locator == "slice=0"
    assert (item.provenance["read"], item.provenance["unreadable"]) == (1, 1)


def test_label_map_is_no_image(tmp_path: Path) -> None:
    labels = np.zeros((16, 16, 8), np.uint8)
    labels[2:9, 3:9, 2:7], labels[9:12, 3:9, 2:7] = 1, 52
    nibabel.Nifti1Image(labels, np.eye(4)).to_filename(tmp_path / "organs.nii.gz")
    assert reason_of(tmp_path / "organs.nii.gz") is Reason.UNSUPPORTED


def test_series_of_damaged_slices_is_refused(tmp_path: Path) -> None:
    paths = write_series(tmp_path, [0, 3])
    for path in paths:
        path.write_bytes(path.read_bytes()[:-200])
    assert reason_of(*paths) is Reason.TRUNCATED


def test_slices_of_another_shape_are_left_out_and_recorded(tmp_path: Path) -> None:
    paths = write_series(tmp_path, [0, 3, 6])
    place = {"ImageOrientationPatient": AXIAL, "ImagePositionPatient": [0, 0, 9]}
    item = read(*paths, write(tmp_path / "stray.dcm", plane(1024, side=20), **place))
    assert levels(item) == [0, 3, 6]
    assert item.provenance["other_shape"] == 1


def test_constant_slices(tmp_path: Path) -> None:
    paths = write_series(tmp_path, [0, 3])
    blank = {"ImageOrientationPatient": AXIAL, "ImagePositionPatient": [0, 0, 9]}
    last = write(tmp_path / "blank.dcm", np.zeros((16, 16), np.int16), **blank)
    assert len(read(*paths, last).parts) == 3  # a series may begin or end in air
    assert reason_of(last) is Reason.CONSTANT


def test_hounsfield_units_and_what_is_said_without_a_rescale(tmp_path: Path) -> None:
    scaled = read(write(tmp_path / "scaled.dcm", plane(500), RescaleSlope=2, RescaleIntercept=-1000))
    assert levels(scaled) == [0]
    assert "rescaled to Hounsfield units" in scaled.provenance["pixels"]
    bare = read(write(tmp_path / "bare.dcm", plane(500), RescaleSlope=None, RescaleIntercept=None))
    assert levels(bare) == [500]
    assert any(step.startswith("no rescale stated") for step in bare.provenance["pixels"])


def test_malformed_spacing_is_named_without_its_value(tmp_path: Path) -> None:
    path = write(tmp_path / "bad.dcm", plane(0))
    path.write_bytes(path.read_bytes().replace(b"0.7\\0.7", b"abc\\def"))
    assert reason_of(path) is Reason.CORRUPT


def enhanced(path: Path, heights: list[float]) -> Path:
    frames = []
    for height in heights:
        group, place, pose, value = Dataset(), Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient, pose.ImageOrientationPatient = [0, 0, height], AXIAL
        value.RescaleSlope, value.RescaleIntercept, value.RescaleType = 1, -1000 + int(height), "HU"
        group.PlanePositionSequence, group.PlaneOrientationSequence = [place], [pose]
        group.PixelValueTransformationSequence = [value]
        frames.append(group)
    measures, shared = Dataset(), Dataset()
    measures.PixelSpacing = [0.5, 0.5]
    shared.PixelMeasuresSequence = [measures]
    return write(
        path, np.stack([plane(1000)] * len(heights)), NumberOfFrames=len(heights), SOPClassUID=EnhancedCTImageStorage,
        PerFrameFunctionalGroupsSequence=frames, SharedFunctionalGroupsSequence=[shared],
        PixelSpacing=None, RescaleSlope=None, RescaleIntercept=None,
    )  # fmt: skip


def test_frames_of_enhanced_ct_are_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = enhanced(tmp_path / "enhanced.dcm", [9, 3, 0, 6])
    opened: list[Path] = []
    original = dicom.read_dataset
    monkeypatch.setattr(dicom, "read_dataset", lambda path: opened.append(path) or original(path))
    item = read(path)
    assert levels(item) == [0, 3, 6, 9]  # each frame has its own intercept
    assert [part.spacing_mm for part in item.parts] == [0.5] * 4
    assert item.provenance["ordered_by"] == "position along the normal"
    assert len(opened) <= 2  # not once a frame


def test_frames_of_all_files_of_an_enhanced_series_are_slices(tmp_path: Path) -> None:
    """A long acquisition is split over instances, a concatenation (PS3.3 C.7.6.16.2.2.4)."""
    item = read(enhanced(tmp_path / "2.dcm", [9, 3, 15]), enhanced(tmp_path / "1.dcm", [0, 6, 12]))
    assert levels(item) == [0, 3, 6, 9, 12, 15]
    assert [part.locator for part in item.parts] == [f"slice={index}" for index in range(6)]


def test_frames_of_one_place_follow_each_other_in_time(tmp_path: Path) -> None:
    item = read(enhanced(tmp_path / "perfusion.dcm", [3, 3, 3]))
    assert len(item.parts) == 3
    assert item.provenance["ordered_by"] == "frame number: no positions"


def test_nifti_and_dicom_of_the_same_patient_look_alike(tmp_path: Path) -> None:
    """A volume in patient coordinates, written both ways: DICOM is LPS+, NIfTI is RAS+."""
    ras = np.random.default_rng(1).integers(-1000, 1000, (16, 16, 4)).astype(np.int16)
    nibabel.Nifti1Image(ras, np.diag([2.0, 2, 3, 1])).to_filename(tmp_path / "volume.nii.gz")
    paths = []
    for index in range(4):
        lps_rows = ras[::-1, ::-1, index].T + 1024  # rows towards the back, columns towards the left
        place = {"ImageOrientationPatient": AXIAL, "ImagePositionPatient": [-30, -30, 3 * index]}
        paths.append(write(tmp_path / f"{9 - index}.dcm", lps_rows.astype(np.int16), **place))
    volume, series = read(tmp_path / "volume.nii.gz"), read(*paths)
    for one, other in zip(volume.parts, series.parts, strict=True):
        np.testing.assert_array_equal(one.data, other.data)
    assert volume.parts[0].spacing_mm == 2.0


def test_voxels_that_are_no_numbers_become_air(tmp_path: Path) -> None:
    voxels = np.random.default_rng(2).normal(0, 100, (16, 16, 3)).astype(np.float32)
    voxels[0, 0] = np.nan
    nibabel.Nifti1Image(voxels, np.eye(4)).to_filename(tmp_path / "gaps.nii")
    item = read(tmp_path / "gaps.nii")
    assert all(np.isfinite(part.data).all() and part.data[-1, -1] == AIR for part in item.parts)
    nibabel.Nifti1Image(np.full((8, 8, 8), np.nan, np.float32), np.eye(4)).to_filename(tmp_path / "none.nii")
    assert reason_of(tmp_path / "none.nii") is Reason.CONSTANT


def test_windows_are_channels(tmp_path: Path) -> None:
    """A pixel of 40 HU: above the lung window's middle, at the middle of the mediastinum's, low in the bone's."""
    item = read(write(tmp_path / "a.dcm", plane(1064, side=32)))

    def grey(centre: float, width: float) -> float:
        return float(np.clip((40 - centre) / width + 0.5, 0, 1) * 255)

    pixel = CT().prepare(item, SPEC)[0, :, 16, 16]
    np.testing.assert_allclose(pixel, [grey(*LUNG), grey(*MEDIASTINUM), grey(*BONE)], atol=1)
    one = CT().prepare(item, InputSpec("image", size=32, windows=(BONE,)))[0, :, 16, 16]
    np.testing.assert_allclose(one, [grey(*BONE)] * 3, atol=1)


def test_picture_keeps_its_grey(tmp_path: Path) -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(pixels).convert("RGB").save(tmp_path / "slice.png")
    item = read(tmp_path / "slice.png")
    np.testing.assert_array_equal(item.parts[0].data, pixels)
    inputs = CT().prepare(item, InputSpec("image", size=16))
    np.testing.assert_array_equal(inputs[0], np.stack([pixels] * 3))
    assert "display grey: no Hounsfield units" in item.provenance["pixels"]


@pytest.mark.parametrize(("body", "window"), [(-850, LUNG), (40, MEDIASTINUM)])
def test_thumbnail_window_follows_the_middle_slice(tmp_path: Path, body: int, window: tuple[float, float]) -> None:
    pixels = np.full((64, 64), 1024 + body, dtype=np.int16)
    pixels[:8] = 0  # air above
    with Image.open(io.BytesIO(CT().thumbnail(read(write(tmp_path / "a.dcm", pixels))))) as picture:
        grey = picture.convert("L").getpixel((32, 40))
    centre, width = window
    assert grey == pytest.approx(((body - centre) / width + 0.5) * 255, abs=4)


@pytest.mark.shared_data
def test_real_series_and_volumes(shared_data: Path) -> None:
    archive = shared_data / "archive" / "ct"
    series = read(*sorted((archive / "dicomdir" / "77654033" / "CT2").glob("*.dcm")))
    assert len(series.parts) == 4
    volume = read(archive / "nifti" / "totalsegmentator_example_ct.nii.gz")
    assert len(volume.parts) == 16
    middle = volume.parts[8].data
    assert middle.min() <= -900  # air
    assert middle.max() > 300  # bone
    body = middle[middle > -300]
    assert ((body > -150) & (body < 150)).mean() > 0.7  # fat and soft tissue
