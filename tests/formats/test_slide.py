"""Whole slides: every reader gives the same pixels for the same picture, and never a label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless, generate_uid

from m3search.errors import Reason, UnreadableFile
from m3search.formats import raster, slide, sniff
from m3search.formats.pyramid import Slide
from m3search.formats.slide_dicom import DicomSlide
from m3search.formats.slide_tiff import TiffSlide

WIDTH, HEIGHT = 400, 272
WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"


def picture(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """uint8 (H, W, 3), smooth, different everywhere."""
    y, x = np.mgrid[:height, :width]
    return np.dstack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)]).astype(np.uint8)


def write_pyramid(path: Path, pixels: np.ndarray, sub_resolutions: bool = False, **options: object) -> Path:
    """Three levels, as pages or as SubIFDs of the first."""
    options = {"photometric": "rgb" if pixels.ndim == 3 else "minisblack", "tile": (64, 64)} | options
    with tifffile.TiffWriter(path) as writer:
        writer.write(
            pixels, subifds=2 if sub_resolutions else 0, resolution=(20_000, 20_000), resolutionunit=3, **options
        )
        for step in (2, 4):
            writer.write(np.ascontiguousarray(pixels[::step, ::step]), subfiletype=1, **options)
    return path


def write_dicom(
    path: Path,
    pixels: np.ndarray,
    tile: int = 64,
    sparse: bool = False,
    syntax: str = ExplicitVRLittleEndian,
    flavour: str = "VOLUME",
    planes: int = 1,
) -> Path:
    """A tiled VL Whole Slide Microscopy image. Focal planes beside the middle one are black."""
    height, width = pixels.shape[:2]
    across, down = -(-width // tile), -(-height // tile)
    padded = np.pad(pixels, ((0, down * tile - height), (0, across * tile - width)) + ((0, 0),) * (pixels.ndim - 2))
    places = [(row * tile, column * tile) for row in range(down) for column in range(across)]
    frames = [padded[top : top + tile, left : left + tile] for top, left in places]
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax if syntax != JPEGLSLossless else ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = WHOLE_SLIDE
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.Modality, dataset.SeriesInstanceUID = "SM", "1.2.3"
    dataset.PatientName, dataset.PatientID, dataset.PatientSex = "Doe^Jane", "P77", "F"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", flavour, "NONE"]
    dataset.Rows = dataset.Columns = tile
    dataset.TotalPixelMatrixColumns, dataset.TotalPixelMatrixRows = width, height
    dataset.TotalPixelMatrixFocalPlanes = planes
    dataset.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.itemsize
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    measures, shared = Dataset(), Dataset()
    measures.PixelSpacing = [0.0005, 0.0005]
    shared.PixelMeasuresSequence = Sequence([measures])
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    if sparse:
        order = list(range(len(frames)))[::-1][: len(frames) - 1]  # backwards, and the first tile left out
        dataset.DimensionOrganizationType = "TILED_SPARSE"
        dataset.PerFrameFunctionalGroupsSequence = Sequence([_placed(*places[number]) for number in order])
        frames = [frames[number] for number in order]
    else:
        dataset.DimensionOrganizationType = "TILED_FULL"
        black = [np.zeros_like(frame) for frame in frames]
        frames = black * (planes // 2) + frames + black * (planes - planes // 2 - 1)
    dataset.NumberOfFrames = len(frames)
    dataset.PixelData = np.stack(frames).tobytes()
    if syntax == JPEGLSLossless:
        dataset.compress(JPEGLSLossless)
    dataset.save_as(path, enforce_file_format=True)
    return path


def _placed(top: int, left: int) -> Dataset:
    place, group = Dataset(), Dataset()
    place.ColumnPositionInTotalImagePixelMatrix, place.RowPositionInTotalImagePixelMatrix = left + 1, top + 1
    group.PlanePositionSlideSequence = Sequence([place])
    return group


def assert_regions(opened: Slide, pixels: np.ndarray) -> None:
    """Inside, across tiles, and over the edge."""
    assert (opened.width, opened.height) == (WIDTH, HEIGHT)
    np.testing.assert_array_equal(opened.read_region(50, 30, 200, 150, (200, 150)), pixels[30:180, 50:250])
    corner = opened.read_region(WIDTH - 20, HEIGHT - 10, 40, 40, (40, 40))
    np.testing.assert_array_equal(corner[:10, :20], pixels[-10:, -20:])
    assert (corner[10:] == 255).all()
    assert (corner[:, 20:] == 255).all()
    assert (opened.read_region(-50, -50, 20, 20, (20, 20)) == 255).all()


KINDS = {
    "tiled": {},
    "deflate": {"compression": "deflate", "predictor": True},
    "stripped": {"tile": None, "rowsperstrip": 48},
    "planar": {"planarconfig": "separate"},
    "sub-resolutions": {"sub_resolutions": True},
}


@pytest.mark.parametrize("kind", KINDS)
def test_tiff_pyramids(tmp_path: Path, kind: str) -> None:
    pixels = picture()
    stored = np.moveaxis(pixels, -1, 0) if kind == "planar" else pixels
    path = tmp_path / "slide.tif"
    if kind == "planar":  # levels of (3, H, W)
        with tifffile.TiffWriter(path) as writer:
            for step in (1, 2, 4):
                level = np.ascontiguousarray(stored[:, ::step, ::step])
                writer.write(
                    level, photometric="rgb", planarconfig="separate", tile=(64, 64), subfiletype=int(step > 1)
                )
    else:
        write_pyramid(path, pixels, **KINDS[kind])
    with TiffSlide(path) as opened:
        assert [level.width for level in opened.levels] == [400, 200, 100]
        assert_regions(opened, pixels)
        np.testing.assert_array_equal(opened.read_region(0, 0, 400, 272, (100, 68)), pixels[::4, ::4])
    assert sniff(path) == "slide"


def test_openslide_and_tifffile_agree(tmp_path: Path) -> None:
    path = write_pyramid(tmp_path / "slide.tif", picture())
    with slide.open_slide([path]) as opened, TiffSlide(path) as other:
        assert opened.reader == "openslide"
        assert_regions(opened, picture())
        assert opened.mpp == other.mpp == 0.5
        region = opened.read_region(8, 16, 320, 200, (160, 100))
        np.testing.assert_array_equal(region, other.read_region(8, 16, 320, 200, (160, 100)))


def test_sixteen_bits_are_scaled_alike_everywhere(tmp_path: Path) -> None:
    deep = (np.mgrid[:HEIGHT, :WIDTH][1] * 10 + 500).astype(np.uint16)
    with slide.open_slide([write_pyramid(tmp_path / "deep.tif", deep)]) as opened:
        assert opened.reader == "tifffile"
        left, right = (opened.read_region(x, 50, 64, 64, (64, 64)) for x in (0, WIDTH - 64))
    assert left.max() < right.min()  # one scale, not one for each tile
    assert left.shape == (64, 64, 3)


def test_level_choice_never_enlarges(tmp_path: Path) -> None:
    with TiffSlide(write_pyramid(tmp_path / "s.tif", picture())) as opened:
        assert [opened.level_for(d) for d in (0.5, 1, 1.9, 1.99, 2, 3.9, 4, 100)] == [0, 0, 0, 1, 1, 1, 2, 2]


def test_overview_in_blocks_equals_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_pyramid(tmp_path / "s.tif", picture())
    with TiffSlide(path) as opened:
        whole = opened.overview(100)
        monkeypatch.setattr("m3search.formats.pyramid.BLOCK", 32 * 32)
        blocks = opened.overview(100)
    assert whole.shape == (68, 100, 3)
    np.testing.assert_array_equal(blocks, whole)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless])
@pytest.mark.parametrize("kind", ["full", "sparse", "focal planes"])
def test_dicom_tiles_are_put_in_place(tmp_path: Path, kind: str, syntax: str) -> None:
    path = write_dicom(
        tmp_path / "a.dcm", picture(), sparse=kind == "sparse", syntax=syntax, planes=3 if kind == "focal planes" else 1
    )
    expected = picture()
    if kind == "sparse":
        expected[:64, :64] = 255  # the tile that is not stored
    with slide.open_slide([path], dicom=True) as opened:
        assert_regions(opened, expected)
        assert opened.mpp == pytest.approx(0.5)


def test_dicom_levels_of_one_series(tmp_path: Path) -> None:
    coarse = write_dicom(tmp_path / "a.dcm", np.ascontiguousarray(picture()[::4, ::4]))
    fine = write_dicom(tmp_path / "b.dcm", picture())
    label = write_dicom(tmp_path / "c.dcm", np.zeros_like(picture()), flavour="LABEL")
    with slide.open_slide([coarse, fine, label], dicom=True) as opened:
        assert [(level.width, level.downsample) for level in opened.levels] == [(400, 1.0), (100, 4.0)]
        assert_regions(opened, picture())
        np.testing.assert_array_equal(opened.overview(100), picture()[::4, ::4])


def test_label_alone_is_not_opened(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "label.dcm", picture(), flavour="LABEL")
    with pytest.raises(UnreadableFile) as caught:
        slide.open_slide([path], dicom=True)
    assert caught.value.reason is Reason.UNSUPPORTED


def test_plain_tiff_is_a_picture(tmp_path: Path) -> None:
    plain, thumbnailed = tmp_path / "plain.tif", tmp_path / "thumb.tif"
    tifffile.imwrite(plain, picture(), photometric="rgb")
    with tifffile.TiffWriter(thumbnailed) as writer:
        writer.write(picture(1600, 1088), photometric="rgb")
        writer.write(picture(100, 68), photometric="rgb", subfiletype=1)
    assert sniff(plain) == sniff(thumbnailed) == "raster"
    np.testing.assert_array_equal(raster.read_rgb(plain), picture())


def test_header_tells_the_pyramid(tmp_path: Path) -> None:
    header = slide.read_header(write_pyramid(tmp_path / "s.tif", picture()))
    assert header.attributes["width"] == WIDTH
    assert header.attributes["downsamples"] == (1.0, 2.0, 4.0)
    assert header.attributes["mpp_from"] == "header"


@pytest.mark.parametrize("keep", [4, 100, 0.5, 0.9])
def test_cut_slides_are_refused(tmp_path: Path, keep: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    path = write_pyramid(tmp_path / "cut.svs", noise)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep if keep > 1 else keep * len(whole))])
    assert sniff(path) == "slide"
    with pytest.raises(UnreadableFile) as caught, slide.open_slide([path]) as opened:
        opened.overview(100)
    assert caught.value.reason in (Reason.TRUNCATED, Reason.CORRUPT)


def test_cut_dicom_slide_is_truncated(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "cut.dcm", picture())
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(UnreadableFile) as caught:
        slide.open_slide([path], dicom=True)
    assert caught.value.reason is Reason.TRUNCATED


@pytest.mark.parametrize(("content", "reason"), [(b"", Reason.EMPTY), (b"a text", Reason.CORRUPT)])
def test_suffix_without_a_slide(tmp_path: Path, content: bytes, reason: Reason) -> None:
    path = tmp_path / "case.svs"
    path.write_bytes(content)
    assert slide.sniff(path, content)
    with pytest.raises(UnreadableFile) as caught:
        slide.read_header(path)
    assert caught.value.reason is reason


def test_mirax_without_its_folder_names_it(tmp_path: Path) -> None:
    path = tmp_path / "case.mrxs"
    Image.fromarray(picture()).save(path, "JPEG")
    assert sniff(path) == "slide"  # not a picture: the JPEG may show the label
    with pytest.raises(UnreadableFile) as caught:
        slide.read_header(path)
    assert caught.value.reason is Reason.MISSING_FILE


def test_slide_without_coarse_levels_is_refused_beyond_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("m3search.formats.pyramid.MOST_PIXELS", WIDTH * HEIGHT // 4 - 1)
    with TiffSlide(write_pyramid(tmp_path / "s.tif", picture())) as opened:
        assert opened.overview(100).shape == (68, 100, 3)
        with pytest.raises(UnreadableFile) as caught:
            opened.overview(200)
    assert caught.value.reason is Reason.TOO_LARGE


@pytest.mark.shared_data
def test_slides_of_the_archive(shared_data: Path) -> None:
    folder = shared_data / "archive" / "pathology"
    for path in sorted((folder / "wsi").glob("*.svs")):
        with slide.open_slide([path]) as opened, TiffSlide(path) as other:
            region = opened.read_region(700, 900, 300, 200, (300, 200))
            difference = np.abs(region.astype(int) - other.read_region(700, 900, 300, 200, (300, 200)))
            assert difference.max() <= 1
    tiles = [DicomSlide([path]) for path in sorted((folder / "dicom_wsm").glob("*.dcm"))]
    native, grey, jpegls = (opened.overview(50) for opened in tiles)
    assert len(np.unique(grey)) == 25  # tile n holds the value n
    np.testing.assert_array_equal(native, jpegls)
