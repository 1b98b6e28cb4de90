"""Pathology: tissue, tiles at a physical resolution, loose patches, DICOM slides."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from m3search.errors import Reason, UnreadableFile
from m3search.formats import dicom, slide
from m3search.modalities.pathology import Pathology
from m3search.modalities.tissue import choose_tiles, find_ink, find_tissue, otsu
from m3search.types import InputSpec, Item, Source

SPEC = InputSpec("image", size=64, max_parts=6, tile_mpp=1.0)
SIZE = 1024


@cache
def slide_picture(pale: bool = False) -> np.ndarray:
    """uint8 (H, W, 3): noisy glass, a disc of stained tissue to the lower right, grey dust to the upper left."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:SIZE, :SIZE]
    picture = rng.normal(242, 2, (SIZE, SIZE, 1)) + rng.normal(0, 1.5, (SIZE, SIZE, 3))
    tissue = np.hypot(x - 720, y - 700) < 230
    stain = np.array([238, 222, 234]) if pale else np.array([200, 90, 160])
    picture[tissue] = stain + rng.normal(0, 2 if pale else 25, (int(tissue.sum()), 3))
    picture[100:140, 100:180] = 120
    return np.clip(picture, 0, 255).astype(np.uint8)


def write_slide(path: Path, pixels: np.ndarray, mpp: float | None = 0.5) -> Source:
    resolution = {"resolution": (10_000 / mpp, 10_000 / mpp), "resolutionunit": 3} if mpp else {}
    with tifffile.TiffWriter(path) as writer:
        writer.write(pixels, photometric="rgb", tile=(128, 128), **resolution)
        for step in (2, 4):
            level = np.ascontiguousarray(pixels[::step, ::step])
            writer.write(level, photometric="rgb", tile=(128, 128), subfiletype=1)
    return Source("pathology", "slide", (path,))


def read(source: Source, spec: InputSpec = SPEC) -> Item:
    return Pathology().read(source, spec)


def places(item: Item) -> list[tuple[int, int]]:
    return [tuple(int(n) for n in part.locator.removeprefix("tile=").split(",")) for part in item.parts]


@pytest.mark.parametrize("pale", [False, True])
def test_tissue_is_told_from_glass_and_dust(pale: bool) -> None:
    mask = find_tissue(slide_picture(pale)[::2, ::2])
    assert mask is not None
    y, x = np.mgrid[: SIZE // 2, : SIZE // 2]
    truth = np.hypot(x - 360, y - 350) < 115
    assert (mask & truth).sum() / (mask | truth).sum() > 0.9
    assert not mask[50:70, 50:90].any()


def test_slide_full_of_tissue_is_kept_whole() -> None:
    y, x = np.mgrid[:200, :200]
    dark = ((x // 20 + y // 20) % 2)[..., None]
    picture = np.where(dark, np.array([120, 40, 120]), np.array([225, 160, 200])).astype(np.uint8)
    mask = find_tissue(picture)
    assert mask is not None
    assert mask.mean() > 0.99


def test_colourless_slide_by_its_darkness_and_empty_glass_not_at_all() -> None:
    grey = np.full((200, 200, 3), 10, np.uint8)
    grey[60:140, 60:140] = 180
    mask = find_tissue(grey)
    assert mask is not None
    assert mask[100, 100]
    assert not mask[10, 10]
    assert find_tissue(np.full((200, 200, 3), 243, np.uint8)) is None


INKS = {
    "blue": (30, 60, 150),
    "green": (20, 110, 70),
    "red": (215, 20, 35),
    "black": (25, 25, 30),
    "teal": (90, 170, 170),
}
STAINS = {  # brightness through haematoxylin, eosin, DAB, fast red, erythrocytes, melanin
    "haematoxylin": (96, 78, 160), "eosin": (226, 140, 180), "DAB": (130, 85, 50), "fast red": (205, 60, 90),
    "blood": (200, 75, 80), "melanin": (70, 45, 35),
}  # fmt: skip


@pytest.mark.parametrize("colour", INKS.values(), ids=INKS)
def test_pen_marks_are_no_tissue(colour: tuple[int, int, int]) -> None:
    picture = slide_picture()[::2, ::2].copy()
    picture[40:480, 60:80] = colour  # a stroke over glass
    picture[300:312, 240:440] = colour  # and one over the tissue
    mask = find_tissue(picture)
    assert mask is not None
    assert not mask[44:476, 64:76].any()
    assert not mask[303:309, 250:430].any() or colour == INKS["black"]  # what lies beside it has colour
    assert mask[380:420, 300:420].all()


@pytest.mark.parametrize("colour", STAINS.values(), ids=STAINS)
@pytest.mark.parametrize("light", [(255, 255, 255), (190, 250, 225)], ids=["white light", "green light"])
def test_no_usual_stain_is_taken_for_ink(colour: tuple[int, int, int], light: tuple[int, int, int]) -> None:
    picture = slide_picture()[::2, ::2].copy()
    noise = np.random.default_rng(2).normal(0, 8, (100, 100, 3))
    picture[300:400, 300:400] = np.clip(np.array(colour) + noise, 0, 255)
    assert not find_ink((picture * (np.array(light) / 255)).astype(np.uint8)).any()


def test_a_slide_stained_like_ink_is_tissue() -> None:
    """Alcian blue, aniline blue: where nearly all colour is of ink, it is none."""
    picture = slide_picture()[::2, ::2].copy()
    y, x = np.mgrid[: SIZE // 2, : SIZE // 2]
    picture[np.hypot(x - 360, y - 350) < 116] = (70, 130, 190)
    mask = find_tissue(picture)
    assert mask is not None
    assert mask[350, 360]


def test_pen_marks_are_recorded_and_get_no_tile(tmp_path: Path) -> None:
    picture = slide_picture().copy()
    picture[:, 100:300] = INKS["blue"]
    item = read(write_slide(tmp_path / "s.tif", picture), replace(SPEC, max_parts=99))
    assert item.provenance["pen_marks"] == pytest.approx(200 / SIZE, abs=0.02)
    assert min(x for x, _ in places(item)) > 300
    assert "pen_marks" not in read(write_slide(tmp_path / "t.tif", slide_picture())).provenance


def test_otsu_parts_two_groups() -> None:
    values = np.concatenate([np.linspace(0, 10, 500), np.linspace(90, 100, 100)]).astype(np.float32)
    assert 10 <= otsu(values) <= 90


def test_tiles_are_full_spread_and_in_reading_order() -> None:
    mask = np.zeros((100, 100), dtype=bool)
    mask[:, 50:] = True
    tiles = choose_tiles((1000, 1000), mask, side=100, most=4)
    assert all(tile.tissue == 1 and tile.x >= 500 for tile in tiles)
    assert [(tile.y, tile.x) for tile in tiles] == sorted((tile.y, tile.x) for tile in tiles)
    assert tiles[-1].y - tiles[0].y == 900
    assert choose_tiles((1000, 1000), mask, side=100, most=4) == tiles
    assert len(choose_tiles((1000, 1000), mask, side=100, most=500)) == 50


def test_speck_of_tissue_still_has_its_tile() -> None:
    mask = np.zeros((100, 100), dtype=bool)
    mask[77, 33] = True
    assert [(tile.x, tile.y) for tile in choose_tiles((1000, 1000), mask, side=100, most=4)] == [(300, 700)]


def test_tiles_cover_sides_that_are_no_multiple() -> None:
    tiles = choose_tiles((250, 130), np.ones((13, 25), dtype=bool), side=100, most=99)
    assert sorted({tile.x for tile in tiles}) == [0, 75, 150]
    assert sorted({tile.y for tile in tiles}) == [0, 30]


def test_slide_becomes_tiles_of_the_asked_resolution(tmp_path: Path) -> None:
    item = read(write_slide(tmp_path / "s.tif", slide_picture()))
    assert len(item.parts) == 6
    for part, (x, y) in zip(item.parts, places(item), strict=True):
        assert part.data.shape == (64, 64, 3)
        assert part.spacing_mm == pytest.approx(0.001)
        middle = np.hypot(x + 64 - 720, y + 64 - 700)  # a tile is 128 level-0 pixels of 0.5 micrometres
        assert middle < 230
        expected = slide_picture()[y : y + 128 : 2, x : x + 128 : 2]  # the level of 1.0 micrometres, not resampled
        np.testing.assert_array_equal(part.data, expected)
    assert item.provenance["tile_level"] == 1
    assert item.provenance["tile_mpp"] == 1.0
    assert item.provenance["mpp_from"] == "header"
    json.dumps(item.provenance)


def test_field_of_a_tile_follows_tile_mpp(tmp_path: Path) -> None:
    source = write_slide(tmp_path / "s.tif", slide_picture())
    assert read(source, replace(SPEC, tile_mpp=2.0)).provenance["tile_level"] == 2
    assert read(source, replace(SPEC, tile_mpp=0.5)).provenance["tile_level"] == 0
    coarse = read(source, replace(SPEC, tile_mpp=0.1))  # the slide holds no such detail: enlarged twice, no more
    assert coarse.provenance["tile_mpp"] == 0.25


def test_unknown_resolution_is_assumed_and_said(tmp_path: Path) -> None:
    item = read(write_slide(tmp_path / "s.tif", slide_picture(), mpp=None))
    assert item.provenance["mpp"] is None
    assert "assumed" in item.provenance["mpp_from"]
    assert item.parts[0].spacing_mm == 0


def test_without_tissue_the_whole_slide_is_used(tmp_path: Path) -> None:
    glass = np.random.default_rng(0).integers(240, 243, (SIZE, SIZE, 1)).repeat(3, axis=2).astype(np.uint8)
    item = read(write_slide(tmp_path / "s.tif", glass))
    assert "whole slide" in str(item.provenance["tissue"])
    assert len(item.parts) == 6


def test_blank_slide_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile) as caught:
        read(write_slide(tmp_path / "s.tif", np.full((SIZE, SIZE, 3), 255, np.uint8)))
    assert caught.value.reason is Reason.CONSTANT


def test_thumbnail_is_the_slide_from_afar(tmp_path: Path) -> None:
    item = read(write_slide(tmp_path / "s.tif", slide_picture()))
    with Image.open(io.BytesIO(Pathology().thumbnail(item))) as thumbnail:
        assert thumbnail.size == (256, 256)
        pixels = np.asarray(thumbnail.convert("RGB")).astype(int)
    assert pixels[175, 180, 0] - pixels[175, 180, 1] > 60  # stained
    assert abs(pixels[60, 200, 0] - pixels[60, 200, 1]) < 10  # glass


def test_patch_is_one_part_and_its_middle_is_embedded(tmp_path: Path) -> None:
    y, x = np.mgrid[:100, :180]
    patch = np.dstack([x, y * 2, 180 - x]).astype(np.uint8)
    Image.fromarray(patch).save(tmp_path / "patch.png")
    item = read(Source("pathology", "raster", (tmp_path / "patch.png",), "folder"))
    np.testing.assert_array_equal(item.parts[0].data, patch)
    inputs = Pathology().prepare(item, replace(SPEC, size=50))
    assert inputs.shape == (1, 3, 50, 50)
    np.testing.assert_allclose(inputs[0, 0, 25, [0, -1]], [41, 139], atol=2)  # columns 40 to 139 of 180
    np.testing.assert_allclose(inputs[0, 1, [0, -1], 25], [1, 197], atol=3)  # every row


def write_dicom(path: Path, pixels: np.ndarray, sop_class: str, tile: int, mpp: float) -> Path:
    height, width = pixels.shape[:2]
    frames = [pixels[y : y + tile, x : x + tile] for y in range(0, height, tile) for x in range(0, width, tile)]
    dataset, measures, shared = Dataset(), Dataset(), Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.Modality, dataset.SeriesInstanceUID = "SM", "1.2.3.4"
    dataset.PatientName, dataset.PatientID, dataset.PatientSex, dataset.PatientAge = "Planted^J", "ID-7", "F", "071Y"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.DimensionOrganizationType = "TILED_FULL"
    dataset.Rows = dataset.Columns = tile
    dataset.TotalPixelMatrixColumns, dataset.TotalPixelMatrixRows = width, height
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    measures.PixelSpacing = [mpp / 1000, mpp / 1000]
    shared.PixelMeasuresSequence = [measures]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.NumberOfFrames = len(frames)
    dataset.PixelData = np.stack(frames).tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
SLIDE_COORDINATES = "1.2.840.10008.5.1.4.1.1.77.1.3"


def test_dicom_levels_are_one_item_with_the_tiles_of_the_tiff(tmp_path: Path) -> None:
    pixels = slide_picture()
    files = (
        write_dicom(tmp_path / "1.dcm", np.ascontiguousarray(pixels[::4, ::4]), WHOLE_SLIDE, 128, 2.0),
        write_dicom(tmp_path / "2.dcm", np.ascontiguousarray(pixels[::2, ::2]), WHOLE_SLIDE, 128, 1.0),
        write_dicom(tmp_path / "3.dcm", pixels, WHOLE_SLIDE, 128, 0.5),
    )
    headers = [dicom.read_header(path) for path in files]
    assert all(Pathology().recognises(header) for header in headers)
    assert {Pathology().series(header) for header in headers} == {"1.2.3.4"}
    item = read(Source("pathology", "dicom", files))
    same = read(write_slide(tmp_path / "s.tif", pixels))
    assert places(item) == places(same)
    np.testing.assert_array_equal(item.parts[3].data, same.parts[3].data)
    assert (item.tags.sex, item.tags.age_band, item.identity.patient_id) == ("F", "70-79", "ID-7")
    assert "Planted" not in json.dumps(item.provenance) + repr(item)
    with Image.open(io.BytesIO(Pathology().thumbnail(item))) as thumbnail:
        assert thumbnail.size == (256, 256)


def test_dicom_microscope_field_is_a_patch(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "field.dcm", slide_picture()[600:728, 600:728], SLIDE_COORDINATES, 128, 0.5)
    header = dicom.read_header(path)
    assert Pathology().recognises(header)
    assert Pathology().series(header) == ""
    item = read(Source("pathology", "dicom", (path,)))
    np.testing.assert_array_equal(item.parts[0].data, slide_picture()[600:728, 600:728])
    assert Pathology().thumbnail(item)


@pytest.mark.shared_data
def test_slides_of_the_archive(shared_data: Path) -> None:
    folder = shared_data / "archive" / "pathology"
    spec = replace(SPEC, size=224, tile_mpp=0.5, max_parts=8)
    for path in sorted((folder / "wsi").glob("*.svs")):
        assert Pathology().recognises(slide.read_header(path))
        item = read(Source("pathology", "slide", (path,)), spec)
        assert len(item.parts) == 8
        chroma = [np.ptp(part.data.astype(int), axis=2).mean() for part in item.parts]
        assert min(chroma) > 20  # stained, not glass
    for path in sorted((folder / "dicom_wsm").glob("*.dcm")):
        item = read(Source("pathology", "dicom", (path,)), spec)
        assert Pathology().prepare(item, spec).shape == (1, 3, 224, 224)
