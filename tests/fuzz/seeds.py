"""Small whole files of every format, made from phantoms: what the fuzzer damages."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from m3search.formats.dicom_report import ENCAPSULATED_PDF
from m3search.phantoms import dicom, ecg, examine, files, picture
from m3search.phantoms.ct import Volume
from tests.formats import ecg_files
from tests.formats.test_dicom_report import pdf, write_report

SIDE = 96  # pixels of a picture's longer side, about
STRIDE = 4  # of a CT volume's rows and columns
SLICES = 6
TILE = 64
RATE_HZ = 250.0
SECONDS = 4


@dataclass(frozen=True, slots=True)
class Seed:
    """One whole examination. `files` by name: the first is what an item is named after."""

    kind: str
    folder: str  # hints at the modality where the format does not say
    files: dict[str, bytes]


def seeds(work: Path) -> list[Seed]:
    """One of each kind, the same every time. `work` is an empty folder to write in."""
    found = []
    for kind, (folder, write) in KINDS.items():
        place = work / kind.replace(" ", "-")
        place.mkdir(parents=True)
        write(place)
        names = sorted((path.name for path in place.iterdir()), key=lambda name: (not name.endswith(".hea"), name))
        found.append(Seed(kind, folder, {name: (place / name).read_bytes() for name in names}))
    return found


def _stamp(modality: str) -> dicom.Stamp:
    return dicom.Stamp(examine(modality, 3, 11))


@cache
def _grey() -> Any:
    """float32 (H, W) in [0, 1]."""
    image = picture(examine("xray", 3, 11))
    small = Image.fromarray(image).resize((SIDE, SIDE * image.shape[0] // image.shape[1]))
    return np.asarray(small, dtype=np.float32) / 255


@cache
def _colour(modality: str, side: int = SIDE) -> Any:
    return np.asarray(Image.fromarray(picture(examine(modality, 3, 11))).convert("RGB").resize((side, side)))


def _film(folder: Path, computed: bool = False) -> Dataset:
    path = folder / "film.dcm"
    dicom.write_film(path, _grey(), _stamp("xray"), computed)
    return pydicom.dcmread(path)


def _native(syntax: uid.UID) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        film = _film(folder, computed=True)
        dataset = Dataset()  # anew: one that was read cannot change its byte order
        for element in film:
            dataset.add(element)
        dataset.file_meta = film.file_meta
        if not syntax.is_little_endian:
            dataset.PixelData = np.frombuffer(film.PixelData, "<u2").astype(">u2").tobytes()
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(folder / "film.dcm", enforce_file_format=True)

    return write


def _encoded(syntax: uid.UID, encode: Callable[[Any], bytes], bits: int) -> Callable[[Path], None]:
    """The film with its pixels in a compressed syntax, 8 or 12 bits of them."""

    def write(folder: Path) -> None:
        dataset = _film(folder)
        pixels = np.frombuffer(dataset.PixelData, "<u2").reshape(dataset.Rows, dataset.Columns)
        if bits == 8:
            pixels = (pixels >> 4).astype(np.uint8)
            dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
        dataset.PixelData = encapsulate([encode(np.ascontiguousarray(pixels))])
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(folder / "film.dcm", enforce_file_format=True)

    return write


def _rle(folder: Path) -> None:
    dataset = _film(folder)
    dataset.compress(uid.RLELossless)
    dataset.save_as(folder / "film.dcm", enforce_file_format=True)


def _fundus(folder: Path) -> None:
    dicom.write_fundus(folder / "fundus.dcm", _colour("retina"), _stamp("retina"))


@cache
def _volume() -> Volume:
    whole = picture(examine("ct", 3, 11))
    assert isinstance(whole, Volume)
    return replace(whole, hu=np.ascontiguousarray(whole.hu[:SLICES, ::STRIDE, ::STRIDE]))


def _series(folder: Path) -> None:
    dicom.write_series(folder, _volume(), _stamp("ct"))


def _enhanced(folder: Path) -> None:
    """All slices in one file, their places in per-frame groups."""
    volume = _volume()
    paths = dicom.write_series(folder, volume, _stamp("ct"))
    dataset = pydicom.dcmread(paths[0])
    for path in paths:
        path.unlink()
    frames = []
    for number in range(len(volume.hu)):
        place, measures, group = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [0, 0, 3 * number]
        measures.PixelSpacing = [2, 2]
        group.PlanePositionSequence, group.PixelMeasuresSequence = [place], [measures]
        frames.append(group)
    dataset.PerFrameFunctionalGroupsSequence = frames
    dataset.NumberOfFrames = len(frames)
    dataset.PixelData = np.clip(volume.hu.astype(np.int32) + 1024, 0, 4095).astype("<u2").tobytes()
    dataset.save_as(folder / "enhanced.dcm", enforce_file_format=True)


def _slide_dicom(folder: Path) -> None:
    """A whole slide of four tiles, JPEG compressed."""
    dicom.write_fundus(folder / "slide.dcm", _colour("retina"), _stamp("retina"))
    dataset = pydicom.dcmread(folder / "slide.dcm")
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = uid.VLWholeSlideMicroscopyImageStorage
    dataset.Modality, dataset.ImageType = "SM", ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    image = _colour("pathology", 2 * TILE)
    tiles = [image[y : y + TILE, x : x + TILE] for y in (0, TILE) for x in (0, TILE)]
    dataset.Rows = dataset.Columns = TILE
    dataset.TotalPixelMatrixColumns = dataset.TotalPixelMatrixRows = 2 * TILE
    dataset.NumberOfFrames, dataset.DimensionOrganizationType = len(tiles), "TILED_FULL"
    dataset.PixelData = encapsulate([_jpeg(tile) for tile in tiles])
    dataset.save_as(folder / "slide.dcm", enforce_file_format=True)


def _waveform(folder: Path) -> None:
    dicom.write_waveform(folder / "ecg.dcm", _signal(), RATE_HZ, _stamp("ecg"))


def _signal() -> Any:
    return np.ascontiguousarray(picture(examine("ecg", 3, 11))[:, : int(RATE_HZ * SECONDS)])


def _wfdb(folder: Path) -> None:
    files.write_wfdb(folder / "ecg.hea", _signal(), RATE_HZ, "F", 60)


def _wfdb_212(folder: Path) -> None:
    """Two signals of 12 bits, which wfdb packs into three bytes (format 212)."""
    import wfdb

    names = list(ecg.LEADS[:2])
    wfdb.wrsamp(
        "ecg", fs=RATE_HZ, units=["mV"] * 2, sig_name=names, p_signal=_signal()[:2].T.astype(float),
        fmt=["212"] * 2, write_dir=str(folder),
    )  # fmt: skip


def _report(folder: Path) -> None:
    """A structured report: an examination without pixels."""
    dataset = _film(folder)
    (folder / "film.dcm").unlink()
    del dataset.PixelData, dataset.Rows, dataset.Columns
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = uid.BasicTextSRStorage
    dataset.Modality = "SR"
    text = Dataset()
    text.ValueType, text.TextValue = "TEXT", "No pleural effusion."
    dataset.ContentSequence = [text]
    dataset.save_as(folder / "report.dcm", enforce_file_format=True)


def _pdf(folder: Path) -> None:
    """A report as encapsulated PDF."""
    write_report(folder / "report.dcm", [], ENCAPSULATED_PDF, EncapsulatedDocument=pdf("No pleural effusion."))


def _cart(name: str, write: Callable[[Any], bytes]) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(write(ecg_files.counts(SECONDS))) and None


def _nifti(suffix: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        files.write_nifti(folder / "ct.nii.gz", _volume())
        if suffix == ".nii":
            import gzip

            (folder / "ct.nii").write_bytes(gzip.decompress((folder / "ct.nii.gz").read_bytes()))
            (folder / "ct.nii.gz").unlink()

    return write


def _pyramid(lossy: bool) -> Callable[[Path], None]:
    return lambda folder: files.write_slide(folder / "slide.tiff", _colour("pathology", 512), 0.5, lossy)


def _raster(name: str, encode: Callable[[Any], bytes], modality: str = "retina") -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(encode(_colour(modality))) and None


def _pillow(format_: str, **options: Any) -> Callable[[Any], bytes]:
    def encode(pixels: Any) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, format_, **options)
        return stream.getvalue()

    return encode


_jpeg = _pillow("JPEG", quality=90)


def _png_16(pixels: Any) -> bytes:
    return bytes(imagecodecs.png_encode(pixels.astype(np.uint16) * 257))


def _tiff_16(pixels: Any) -> bytes:
    import tifffile

    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels.astype(np.uint16) * 257, compression="zlib", photometric="rgb")
    return stream.getvalue()


def _manifest(folder: Path) -> None:
    """Its lines are damaged, or the picture that they describe."""
    (folder / "eye.png").write_bytes(_pillow("PNG")(_colour("retina")))
    (folder / "eye.txt").write_text("Normal fundus.\n")
    (folder / "manifest.csv").write_text("path,modality,text,labels,sex\neye.png,retina,Normal.,Normal|Left,F\n")


def _jpeg_12(pixels: Any) -> bytes:
    return bytes(imagecodecs.jpeg_encode(pixels, bitspersample=12))


def _j2k(pixels: Any) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(pixels, reversible=True, codecformat="j2k"))


KINDS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "dicom explicit": ("any", lambda folder: _film(folder) and None),
    "dicom implicit": ("any", _native(uid.ImplicitVRLittleEndian)),
    "dicom big endian": ("any", _native(uid.ExplicitVRBigEndian)),
    "dicom deflated": ("any", _native(uid.DeflatedExplicitVRLittleEndian)),
    "dicom jpeg": ("any", _encoded(uid.JPEGBaseline8Bit, imagecodecs.jpeg8_encode, 8)),
    "dicom jpeg 12": (
        "any",
        _encoded(uid.JPEGExtended12Bit, lambda p: imagecodecs.jpeg_encode(p, bitspersample=12), 12),
    ),
    "dicom jpeg lossless": ("any", _encoded(uid.JPEGLosslessSV1, imagecodecs.ljpeg_encode, 12)),
    "dicom jpeg-ls": ("any", _encoded(uid.JPEGLSLossless, imagecodecs.jpegls_encode, 12)),
    "dicom jpeg 2000": ("any", _encoded(uid.JPEG2000Lossless, _j2k, 12)),
    "dicom htj2k": ("any", _encoded(uid.HTJ2KLossless, imagecodecs.htj2k_encode, 12)),
    "dicom rle": ("any", _rle),
    "dicom fundus": ("any", _fundus),
    "dicom ct series": ("any", _series),
    "dicom enhanced": ("any", _enhanced),
    "dicom slide": ("any", _slide_dicom),
    "dicom ecg": ("any", _waveform),
    "dicom report": ("any", _report),
    "dicom pdf": ("any", _pdf),
    "nifti": ("any", _nifti(".nii")),
    "nifti gzip": ("any", _nifti(".nii.gz")),
    "wfdb": ("any", _wfdb),
    "wfdb 212": ("any", _wfdb_212),
    "edf": ("any", lambda folder: ecg_files.write_edf(folder / "ecg.edf", ecg_files.counts(SECONDS)) and None),
    "scp": ("any", _cart("ecg.scp", ecg_files.scp)),
    "aecg": ("any", _cart("ecg.xml", ecg_files.aecg)),
    "muse": ("any", _cart("ecg.xml", ecg_files.muse)),
    "pyramid jpeg": ("any", _pyramid(lossy=True)),
    "pyramid deflate": ("any", _pyramid(lossy=False)),
    "png": ("retina", _raster("eye.png", _pillow("PNG"))),
    "png 16": ("retina", _raster("eye.png", _png_16)),
    "jpeg": ("retina", _raster("eye.jpg", _jpeg)),
    "jpeg progressive": ("retina", _raster("eye.jpg", _pillow("JPEG", progressive=True))),
    "tiff": ("histology", _raster("patch.tif", _pillow("TIFF", compression="tiff_lzw"), "pathology")),
    "tiff 16": ("histology", _raster("patch.tif", _tiff_16, "pathology")),
    "bmp": ("retina", _raster("eye.bmp", _pillow("BMP"))),
    "webp": ("retina", _raster("eye.webp", _pillow("WEBP"))),
    "jpeg 2000": ("retina", _raster("eye.jp2", _pillow("JPEG2000"))),
    "manifest": ("any", _manifest),
}
