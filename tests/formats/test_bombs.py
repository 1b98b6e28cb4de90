"""Files that announce more than they hold: refused before a decoder reserves memory for it. Found by tests/fuzz."""

from __future__ import annotations

import errno
import struct
import tracemalloc
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from m3search.errors import Reason, UnreadableFile
from m3search.formats import dicom, raster, slide
from m3search.formats.slide_tiff import TiffSlide
from m3search.formats.storage import blame, failure_of
from m3search.formats.tiff_directory import are_plausible
from m3search.phantoms import dicom as phantom
from m3search.phantoms import examine

PICTURE = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)


def tiff(path: Path, big: bool = False, byteorder: str = "<") -> Path:
    """Two tiled pages, the second a quarter of the first."""
    with tifffile.TiffWriter(path, bigtiff=big, byteorder=byteorder) as file:  # type: ignore[arg-type]
        file.write(np.tile(PICTURE, (8, 8, 1)), tile=(128, 128), photometric="rgb", compression="zlib")
        file.write(np.tile(PICTURE, (4, 4, 1)), tile=(128, 128), photometric="rgb", compression="zlib", subfiletype=1)
    return path


def entry_of(path: Path, tag: int, page: int = 0) -> tuple[int, int, str]:
    """Where the count of an entry, and where its values stand, and how numbers are written."""
    with tifffile.TiffFile(path) as file:
        found = file.pages[page].tags[tag]
        order = file.byteorder
        return found.offset + 4, found.valueoffset, order + ("Q" if file.is_bigtiff else "I")


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_whole_directories_pass(tmp_path: Path, big: bool, byteorder: str) -> None:
    path = tiff(tmp_path / "a.tiff", big, byteorder)
    assert are_plausible(path)
    with slide.open_slide([path]) as opened:
        assert len(opened.levels) == 2


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("tag", [305, 324, 325])  # software, tile offsets, tile byte counts
@pytest.mark.parametrize("page", [0, 1])
def test_count_beyond_the_file_is_corrupt(tmp_path: Path, big: bool, byteorder: str, tag: int, page: int) -> None:
    path = tiff(tmp_path / "a.tiff", big, byteorder)
    at, _, form = entry_of(path, tag, page)
    content = bytearray(path.read_bytes())
    content[at : at + struct.calcsize(form)] = struct.pack(form, 0xFFFFFFF0)
    path.write_bytes(content)
    assert not are_plausible(path)
    for read in (lambda: slide.open_slide([path]), lambda: raster.read(path)):
        with pytest.raises(UnreadableFile) as caught:
            read()
        assert caught.value.reason is Reason.CORRUPT
    assert not slide.sniff(path, path.read_bytes()[:4096])  # openslide is not even asked


def test_tile_larger_than_the_file_is_corrupt(tmp_path: Path) -> None:
    """openslide reserved 4 GiB for it, or ended the process."""
    path = tiff(tmp_path / "a.tiff")
    _, at, _ = entry_of(path, 325)
    content = bytearray(path.read_bytes())
    content[at : at + 4] = struct.pack("<I", 0xFFFF0000)
    path.write_bytes(content)
    with pytest.raises(UnreadableFile, match="more than the file has room for"):
        slide.open_slide([path])


@pytest.mark.parametrize("tag", [322, 323])  # width and length of tiles
def test_tile_of_absurd_sides_is_corrupt(tmp_path: Path, tag: int) -> None:
    """openslide reserved 256 GiB for it when it was drawn, and ended the process."""
    path = tiff(tmp_path / "a.tiff")
    count_at, _, _ = entry_of(path, tag)
    content = bytearray(path.read_bytes())
    content[count_at - 2 : count_at] = struct.pack("<H", 4)  # a LONG
    content[count_at + 4 : count_at + 8] = struct.pack("<I", 0x10000080)
    path.write_bytes(content)
    with pytest.raises(UnreadableFile, match="more than the file has room for"):
        slide.open_slide([path])


def test_directories_that_lead_in_circles_end(tmp_path: Path) -> None:
    content = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 0) + struct.pack("<I", 8) + bytes(8)
    (tmp_path / "a.tiff").write_bytes(content)
    assert are_plausible(tmp_path / "a.tiff")
    (tmp_path / "b.tiff").write_bytes(b"II*\0")
    assert are_plausible(tmp_path / "b.tiff")


@pytest.mark.parametrize("pixels", [False, True])
def test_element_that_declares_gigabytes_reserves_none(tmp_path: Path, pixels: bool) -> None:
    path = tmp_path / "film.dcm"
    film = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
    phantom.write_film(path, film, phantom.Stamp(examine("xray", 0)), computed=False)
    content = path.read_bytes()
    at = content.index(b"\xe0\x7f\x10\x00OW") + 8  # the length of the pixel data
    if not pixels:
        at = content.index(b"LO", 200) + 2  # a header element, made one with a long length
        content = content[: at - 2] + b"UN\0\0" + content[at + 2 :]
        at += 2
    path.write_bytes(content[:at] + struct.pack("<I", 0xF0000000) + content[at + 4 :])
    tracemalloc.start()
    with nullcontext() if pixels else pytest.raises(UnreadableFile) as caught:  # all that Rows and Columns ask is there
        dicom.read_dataset(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught is None or caught.value.reason in (Reason.TRUNCATED, Reason.CORRUPT)
    assert peak < 64 << 20


def test_slide_whose_strips_have_no_rows_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    with tifffile.TiffWriter(path) as file:
        for scale in (8, 4):
            file.write(np.tile(PICTURE, (scale, scale, 1)), photometric="rgb", rowsperstrip=32, subfiletype=scale == 4)
    with tifffile.TiffFile(path) as file:
        at = file.pages[0].tags[278].valueoffset  # type: ignore[union-attr]
    content = bytearray(path.read_bytes())
    content[at : at + 2] = bytes(2)
    path.write_bytes(content)
    with pytest.raises(UnreadableFile) as caught:
        TiffSlide(path)
    assert caught.value.reason is Reason.CORRUPT


def test_pixels_of_absurdly_many_channels_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    tifffile.imwrite(path, PICTURE, photometric="rgb")
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        at = file.pages[0].tags[277].valueoffset  # type: ignore[union-attr]
    content[at : at + 2] = struct.pack("<H", 32768)
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(UnreadableFile) as caught:
        raster.read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.reason is Reason.CORRUPT
    assert peak < 10_000_000


@pytest.mark.parametrize(("end", "reason"), [(True, Reason.CORRUPT), (False, Reason.TRUNCATED)])
def test_chunk_of_gigabytes_reserves_none(tmp_path: Path, end: bool, reason: Reason) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(PICTURE).save(path)
    content = bytearray(path.read_bytes())
    at = content.index(b"IDAT") - 4
    content[at : at + 4] = struct.pack(">I", 0x7FFF_FFF0)
    path.write_bytes(content if end else content[:-12])
    tracemalloc.start()
    with pytest.raises(UnreadableFile) as caught:
        raster.read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.reason is reason
    assert peak < 10_000_000


def test_storage_is_not_mistaken_for_damage() -> None:
    damaged = UnreadableFile("a.dcm", Reason.CORRUPT, "damaged")
    wrapped = RuntimeError("decoder")
    wrapped.__cause__ = OSError(errno.ESTALE, "Stale file handle")
    cases = {
        wrapped: Reason.UNREACHABLE,
        OSError(errno.EIO, "Input/output error"): Reason.UNREACHABLE,
        OSError(errno.ENOSPC, "No space left on device"): Reason.NO_SPACE,
        FileNotFoundError(2, "No such file"): Reason.VANISHED,
        PermissionError(13, "Permission denied"): Reason.PERMISSION,
        MemoryError(): Reason.MEMORY,
        OSError("broken data stream"): Reason.CORRUPT,
        ValueError(): Reason.CORRUPT,
    }
    for error, reason in cases.items():
        assert blame(error, damaged).reason is reason
    assert failure_of(Path("a.dcm"), ValueError()) is None
