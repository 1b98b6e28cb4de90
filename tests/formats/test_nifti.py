"""NIfTI volumes: orientation, scaling, what is said about bad files. nibabel writes the files and is the reference."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from m3search import formats
from m3search.errors import Reason, UnreadableFile
from m3search.formats import nifti
from tests.references.independent import itk_volume

SHAPE = (5, 6, 7)
RAS = np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16)
ZOOMS = (0.5, 0.75, 3.0)  # millimetres to the right, to the front, to the head


def image_as(codes: str) -> Any:
    """RAS as a scanner or converter with another order of axes would store it."""
    image = nibabel.Nifti1Image(RAS, np.diag([*ZOOMS, 1]))
    wanted = nibabel.orientations.axcodes2ornt(tuple(codes))
    return image.as_reoriented(nibabel.orientations.ornt_transform(nibabel.io_orientation(image.affine), wanted))


def saved(path: Path, voxels: np.ndarray = RAS, affine: np.ndarray | None = None) -> Path:
    nibabel.Nifti1Image(voxels, np.eye(4) if affine is None else affine).to_filename(path)
    return path


def patched(path: Path, at: int, content: bytes) -> Path:
    data = bytearray(path.read_bytes())
    data[at : at + len(content)] = content
    path.write_bytes(data)
    return path


def reason_of(path: Path) -> Reason:
    def read() -> None:
        volume = nifti.open_volume(path)
        for index in range(len(volume)):
            volume.axial(index)

    with pytest.raises(UnreadableFile) as caught:
        read()
    assert caught.value.path == path
    return caught.value.reason


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("codes", ["RAS", "LAS", "LPS", "RPI", "PSR", "ILA", "SAL"])
def test_every_stored_orientation_is_shown_alike(tmp_path: Path, codes: str, suffix: str) -> None:
    path = tmp_path / f"volume{suffix}"
    image_as(codes).to_filename(path)
    volume = nifti.open_volume(path)
    assert len(volume) == SHAPE[2]
    assert volume.spacing_mm == pytest.approx(ZOOMS)
    for index in range(SHAPE[2]):
        plane = volume.axial(index)
        assert plane.dtype == np.float32
        np.testing.assert_array_equal(plane, RAS[::-1, ::-1, index].T)
    assert volume.steps == (() if codes == "RAS" else (f"reoriented from {codes} to RAS",))


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PSR", "SAL"])
def test_itk_sees_the_same_volume(tmp_path: Path, codes: str) -> None:
    image = image_as(codes)
    image.header.set_slope_inter(0.5, -1024)
    image.to_filename(path := tmp_path / "volume.nii.gz")
    volume = nifti.open_volume(path)
    ours = np.stack([volume.axial(index) for index in range(len(volume))])
    np.testing.assert_allclose(ours, itk_volume(path), atol=1e-3)


def test_anterior_is_up_left_is_on_the_right_and_slices_rise_to_the_head(tmp_path: Path) -> None:
    affine = np.array([[-2.0, 0, 0, 40], [0, -2, 0, 30], [0, 0, -3, 60], [0, 0, 0, 1]])
    voxels = np.zeros((40, 30, 20), dtype=np.int16)
    point = np.linalg.inv(affine) @ [-30.0, 24.0, 54.0, 1]  # left, front and head side of the volume's middle
    voxels[tuple(np.rint(point[:3]).astype(int))] = 1
    volume = nifti.open_volume(saved(tmp_path / "point.nii", voxels, affine))
    ((index, row, column),) = np.argwhere(np.stack([volume.axial(index) for index in range(len(volume))]))
    assert index > len(volume) * 0.8
    assert row < 30 * 0.2
    assert column > 40 * 0.8


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("endianness", ["<", ">"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_scaling_in_both_versions_and_byte_orders(tmp_path: Path, kind: Any, endianness: str, suffix: str) -> None:
    header = kind.header_class(endianness=endianness)
    header.set_data_dtype(np.dtype(np.int16).newbyteorder(endianness))
    image = kind(RAS, np.eye(4), header)
    image.header.set_slope_inter(0.5, -1024)
    path = tmp_path / f"scaled{suffix}"
    image.to_filename(path)
    reference = np.asarray(nibabel.load(path).dataobj)
    np.testing.assert_allclose(nifti.open_volume(path).axial(2), reference[::-1, ::-1, 2].T)


def test_stored_integers_are_scaled(tmp_path: Path) -> None:
    path = patched(saved(tmp_path / "volume.nii"), 112, np.array([2, -1024], "<f4").tobytes())  # scl_slope, scl_inter
    np.testing.assert_array_equal(nifti.open_volume(path).axial(0), RAS[::-1, ::-1, 0].T * 2.0 - 1024)


def test_first_of_several_volumes(tmp_path: Path) -> None:
    for name in ("four.nii", "four.nii.gz"):
        volume = nifti.open_volume(saved(tmp_path / name, np.stack([RAS, RAS + 1], axis=3)))
        np.testing.assert_array_equal(volume.axial(1), RAS[::-1, ::-1, 1].T)
        assert volume.steps == ("first volume of several",)


def test_other_units_of_length(tmp_path: Path) -> None:
    path = patched(saved(tmp_path / "volume.nii", affine=np.diag([500.0, 500, 2000, 1])), 123, b"\x03")  # micrometres
    assert nifti.open_volume(path).spacing_mm == pytest.approx((0.5, 0.5, 2.0))
    assert nifti.read_header(path).attributes["units"] == "micron"


def test_orientation_that_nobody_stated_is_recorded(tmp_path: Path) -> None:
    path = patched(saved(tmp_path / "volume.nii"), 252, bytes(4))  # qform_code, sform_code
    assert nifti.open_volume(path).steps[0].startswith("no orientation stated")


def test_header_keeps_no_free_text(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(RAS, np.diag([*ZOOMS, 1]))
    image.header["descrip"], image.header["db_name"] = b"PLANTED^PATIENT", b"PLANTED"
    image.to_filename(tmp_path / "volume.nii")
    header = nifti.read_header(tmp_path / "volume.nii")
    assert header.attributes["shape"] == SHAPE
    assert header.attributes["zooms"] == pytest.approx(ZOOMS)
    assert "PLANTED" not in str(header.attributes)


@pytest.mark.parametrize("name", ["no-suffix", "wrong.dat", "volume.nii"])
def test_content_decides_whatever_the_name(tmp_path: Path, name: str) -> None:
    plain = saved(tmp_path / "source.nii").read_bytes()
    for content in (plain, gzip.compress(plain)):
        path = tmp_path / name
        path.write_bytes(content)
        assert formats.sniff(path) == "nifti"
        np.testing.assert_array_equal(nifti.open_volume(path).axial(3), RAS[::-1, ::-1, 3].T)


def test_other_gzip_files_are_not_claimed(tmp_path: Path) -> None:
    (tmp_path / "notes.gz").write_bytes(gzip.compress(b"nothing medical" * 100))
    assert formats.sniff(tmp_path / "notes.gz") is None


def test_plain_volume_is_not_read_as_a_whole(tmp_path: Path) -> None:
    voxels = np.zeros((200, 200, 150), dtype=np.int16)
    path = saved(tmp_path / "large.nii", voxels, np.diag([-1.0, -1, 1, 1]))
    patched(path, 112, np.array([2, -1024], "<f4").tobytes())  # scaled: as floats it would be four times as large
    tracemalloc.start()
    try:
        nifti.open_volume(path).axial(7)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < voxels.nbytes / 4


@pytest.mark.parametrize("kept", [0.2, 0.6, 0.95])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_truncated(tmp_path: Path, suffix: str, kept: float) -> None:
    path = saved(tmp_path / f"volume{suffix}")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    assert reason_of(path) is Reason.TRUNCATED


def test_damaged_compressed_voxels_are_noticed(tmp_path: Path) -> None:
    voxels = np.random.default_rng(3).integers(-1000, 1000, (16, 16, 40)).astype(np.int16)
    whole = saved(tmp_path / "volume.nii.gz", voxels).read_bytes()
    for at in range(400, len(whole) - 8, 397):  # most of these change a voxel and nothing else
        path = tmp_path / f"{at}.nii.gz"
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        assert reason_of(path) in (Reason.CORRUPT, Reason.TRUNCATED), at


def test_declared_size_is_refused_before_it_is_read(tmp_path: Path) -> None:
    sides = np.array([3, 4000, 4000, 400], "<i2")  # 12.8 GB
    assert reason_of(patched(saved(tmp_path / "large.nii"), 40, sides.tobytes())) is Reason.TOO_LARGE
    nibabel.Nifti2Image(RAS, np.eye(4)).to_filename(tmp_path / "wraps.nii")
    sides = np.array([5, 4, 4, 4, 2**31, 2**31], "<i8")  # the product is 0 in 64 bits
    assert reason_of(patched(tmp_path / "wraps.nii", 16, sides.tobytes())) is Reason.TOO_LARGE


def test_bytes_after_the_voxels_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from m3search.formats.limits import Limits

    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(saved(tmp_path / "volume.nii").read_bytes() + bytes(8 << 20)))
    monkeypatch.setattr(nifti, "LIMITS", Limits(decoded_bytes=4 << 20))
    assert reason_of(path) is Reason.TOO_LARGE


def test_what_is_no_grey_volume(tmp_path: Path) -> None:
    colours = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert reason_of(saved(tmp_path / "colours.nii", colours)) is Reason.UNSUPPORTED
    assert reason_of(saved(tmp_path / "complex.nii", RAS.astype(np.complex64))) is Reason.UNSUPPORTED
    assert reason_of(saved(tmp_path / "plane.nii", RAS[:, :, 0])) is Reason.UNSUPPORTED
    nibabel.Nifti1Pair(RAS, np.eye(4)).to_filename(tmp_path / "pair.hdr")
    assert formats.sniff(tmp_path / "pair.hdr") == "nifti"
    assert reason_of(tmp_path / "pair.hdr") is Reason.UNSUPPORTED


def test_what_is_no_nifti(tmp_path: Path) -> None:
    (tmp_path / "text.nii").write_text("some words " * 100)
    assert reason_of(tmp_path / "text.nii") is Reason.CORRUPT
    (tmp_path / "empty.nii").touch()
    assert reason_of(tmp_path / "empty.nii") is Reason.EMPTY
    assert reason_of(tmp_path / "absent.nii") is Reason.VANISHED
    (tmp_path / "plain.nii.gz").write_bytes(b"not gzip" * 100)
    assert reason_of(tmp_path / "plain.nii.gz") is Reason.CORRUPT


@pytest.mark.parametrize("row", [0.0, np.nan])
def test_affine_that_is_no_orientation(tmp_path: Path, row: float) -> None:
    path = patched(saved(tmp_path / "volume.nii"), 280, np.full(12, row, "<f4").tobytes())  # srow_x, srow_y, srow_z
    assert reason_of(path) is Reason.CORRUPT


@pytest.mark.shared_data
def test_real_volumes_equal_nibabels(shared_data: Path) -> None:
    paths = sorted((shared_data / "archive" / "ct" / "nifti").glob("*.nii.gz"))
    assert paths
    for path in paths:
        volume, reference = nifti.open_volume(path), nibabel.as_closest_canonical(nibabel.load(path))
        middle = len(volume) // 2
        np.testing.assert_allclose(volume.axial(middle), np.asarray(reference.dataobj)[::-1, ::-1, middle].T)
        assert volume.spacing_mm == pytest.approx(reference.header.get_zooms()[:3])
