"""Every file of an archive as m3search reads it, beside independent readings of the same file."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from m3search import formats
from m3search.formats import dicom, dicom_pixels, nifti, raster, slide
from m3search.modalities.ct import CT
from m3search.modalities.ecg import ECG
from m3search.modalities.ecg_leads import LEADS, lead_of
from m3search.types import Header, InputSpec, Source
from tests.references import independent
from tests.references.dcmtk import ANY_OTHER, CannotDraw, drawn
from tests.references.rules import FIRST_TABLE, FIRST_WINDOW, HALF_A_STEP, in_stored_values

EXACT = 0.0
ROUNDED_TO_FLOAT = 1e-6  # of the largest value: ours is float32
ALL_SLICES = InputSpec(kind="image", size=8, max_parts=10_000)
WHOLE_WINDOW = InputSpec(kind="signal", max_parts=1, seconds=10.0)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One reading of one file beside another."""

    path: Path
    what: str
    reference: str
    values: int  # compared
    difference: float  # the largest, in `unit`
    tolerance: float
    unit: str

    @property
    def agrees(self) -> bool:
        return self.difference <= self.tolerance


@dataclass(frozen=True, slots=True)
class Left:
    """A file, or a reading of it, that was not compared, and why."""

    path: Path
    why: str


def compare(archive: Path) -> Iterator[Comparison | Left]:
    """Every file below a folder, in order; each CT series of several files once more as a whole."""
    series: dict[tuple[Path, str], list[Path]] = {}
    for path in sorted(path for path in archive.rglob("*") if path.is_file()):
        name = formats.sniff(path)
        if name is None:
            if path.suffix not in (".csv", ".dat", ".mat", ".atr", ".xyz", ".txt"):
                yield Left(path, "of no format that is read")
            continue
        if name not in READERS:
            yield Left(path, f"no second reading of {name} here")
            continue
        header = formats.get(name).read_header(path)
        yield from READERS[name](path, header)
        if name == "dicom" and CT().series(header):
            series.setdefault((path.parent, header.attributes["SeriesInstanceUID"]), []).append(path)
    for (folder, uid), files in series.items():
        if len(files) > 1:
            yield from _series(folder, uid, files)


def _dicom(path: Path, header: Header) -> Iterator[Comparison | Left]:
    dataset = dicom.read_dataset(path)
    if "WaveformSequence" in dataset:
        names, data = independent.dicom_waveform(path)
        yield from _leads(path, "dicom", names, data, "pydicom waveform_array")
        return
    frames = dicom.frame_count(dataset)
    yield from _values(path, dataset, frames)
    if shutil.which(ANY_OTHER) is None:
        yield Left(path, "dcmtk is not installed")
        return
    for frame in sorted({0, frames // 2, frames - 1}):
        shown = dicom_pixels.displayed(path, dataset, frame)
        options, tolerance = _as_stated(path, dataset, shown, frame)
        try:
            theirs = 255 * drawn(path, *options, frame=frame, syntax=dataset.file_meta.TransferSyntaxUID)
        except CannotDraw:
            yield Left(path, f"dcmtk has no decoder for {dicom_pixels.syntax_name(dataset)}")
            return
        inside = np.ones(shown.pixels.shape[:2], dtype=bool)
        if "padding shown black" in shown.steps:  # dcmtk shows it as the value that it is stored as
            inside = shown.pixels > 0
        yield _beside(path, f"frame {frame + 1} as shown", "dcmtk", shown.pixels[inside], theirs[inside], tolerance)


def _as_stated(path: Path, dataset: Any, shown: dicom_pixels.Displayed, frame: int) -> tuple[tuple[str, ...], float]:
    """dcmtk's options for what the header states, and how near its drawing can be."""
    if shown.pixels.ndim == 3:
        return (), HALF_A_STEP if dataset.PhotometricInterpretation == "RGB" else 2.01
    if "VOI LUT" in shown.steps:
        return FIRST_TABLE, 1.51
    values = independent.gdcm_values(path)[frame]
    # dcmtk cuts to whole values before it applies a window: up to one value more, where the slope is no whole number
    cut = 1.0 if not float(dataset.get("RescaleSlope", 1)).is_integer() else 0.0
    if any(step.startswith("window") for step in shown.steps):
        return FIRST_WINDOW, HALF_A_STEP + cut * 255 / max(1, float(np.ravel(dataset.WindowWidth)[0]) - 1)
    low, high = np.percentile(values, [0.5, 99.5])
    if low == high:
        low, high = values.min(), values.max()
    options = in_stored_values((low + high) / 2 + 0.5, high - low + 1, 1, 0)
    return ("+Ww", *options), HALF_A_STEP + cut * 255 / max(1, high - low)


def _values(path: Path, dataset: Any, frames: int) -> Iterator[Comparison | Left]:
    """Grey values after the rescale, or colours, of every frame by GDCM."""
    try:
        theirs = independent.gdcm_values(path)
    except ValueError as error:
        yield Left(path, str(error))
        return
    ours = np.stack([dicom_pixels.stored(path, dataset, frame) for frame in range(frames)])
    if ours.ndim == 3:
        ours = np.stack([dicom_pixels.rescaled(path, dataset, frame) for frame in range(frames)])
    scale = max(1.0, float(np.abs(theirs).max()))
    yield _beside(path, f"{frames} frames, values", "GDCM", ours, theirs, ROUNDED_TO_FLOAT * scale, unit="rescaled")


def _series(folder: Path, uid: str, files: list[Path]) -> Iterator[Comparison | Left]:
    """A CT series: which slices, in which order, with which Hounsfield units."""
    order, theirs = independent.itk_series(folder, uid)
    chosen = tuple(path for path in files if str(path) in order)
    ours = np.stack([part.data for part in CT().read(Source("ct", "dicom", chosen), ALL_SLICES).parts])
    yield _beside(folder, f"{len(ours)} slices in order", "SimpleITK", ours, theirs, EXACT, unit="HU")


def _nifti(path: Path, header: Header) -> Iterator[Comparison | Left]:
    volume = nifti.open_volume(path)
    ours = np.stack([volume.axial(index) for index in range(len(volume))])
    for name, theirs in (
        ("nibabel", independent.nibabel_volume(path)),
        ("SimpleITK", independent.itk_volume(path)),
    ):
        tolerance = ROUNDED_TO_FLOAT * float(np.abs(theirs).max())
        yield _beside(path, f"{len(ours)} axial slices", name, ours, theirs, tolerance, unit="HU")


def _wfdb(path: Path, header: Header) -> Iterator[Comparison | Left]:
    names = [name for name in header.attributes["leads"] if lead_of(name)]
    if not names:
        yield Left(path, "holds no ECG lead by name")
        return
    try:
        data = independent.wfdb_samples(path, names)
    except ValueError as error:
        yield Left(path, f"not read by the reference: {error}")
        return
    yield from _leads(path, "wfdb", names, data, "bytes as signal(5)")


def _leads(
    path: Path, format_: str, names: list[str], data: npt.NDArray[np.float64], reference: str
) -> Iterator[Comparison | Left]:
    """Every lead of the first window, found by its name, in millivolts."""
    part = ECG().read(Source("ecg", format_, (path,)), WHOLE_WINDOW).parts[0]
    length = part.data.shape[1]
    rows, theirs = [], []
    for name, samples in zip(names, data, strict=True):
        found = lead_of(name)
        assert found is not None
        row = part.data[LEADS.index(found[0])]
        if not np.isnan(row).all():  # without any change: shown as missing
            rows.append(row)
            theirs.append(found[1] * samples[:length])
    largest = max(1.0, float(np.abs(theirs).max()))
    what = f"{len(rows)} leads, {length} samples"
    yield _beside(path, what, reference, np.stack(rows), np.stack(theirs), ROUNDED_TO_FLOAT * largest, unit="mV")


def _raster(path: Path, header: Header) -> Iterator[Comparison | Left]:
    theirs = independent.picture(path)
    if theirs.dtype != np.uint8:
        yield Left(path, "deeper than 8 bits")
        return
    yield _beside(path, "picture", "imagecodecs", raster.read_rgb(path), theirs, EXACT)


def _slide(path: Path, header: Header) -> Iterator[Comparison | Left]:
    """A region of level 0 by tifffile's decoders, and the mean of the overview beside openslide's own thumbnail."""
    import openslide

    from m3search.formats.slide_tiff import TiffSlide

    with slide.open_slide([path]) as opened, TiffSlide(path) as other:
        left, top = opened.width // 2, opened.height // 2
        ours = opened.read_region(left, top, 512, 512, (512, 512))
        theirs = other.read_region(left, top, 512, 512, (512, 512))
        yield _beside(path, "region of level 0", "tifffile", ours, theirs, 1.0)
        thumbnail = np.asarray(openslide.OpenSlide(path).get_thumbnail((512, 512)))
        overview = opened.overview(512)
        from PIL import Image

        size = thumbnail.shape[1] // 16, thumbnail.shape[0] // 16  # both shrunk: their filters differ at edges
        small = [np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BOX)) for one in (overview, thumbnail)]
        yield _beside(path, "overview", "openslide thumbnail", small[0], small[1], 3.0)


def _beside(
    path: Path,
    what: str,
    reference: str,
    ours: npt.NDArray[Any],
    theirs: npt.NDArray[Any],
    tolerance: float,
    unit: str = "grey of 255",
) -> Comparison:
    assert ours.shape == theirs.shape, f"{path.name}: {what} is {ours.shape}, by {reference} {theirs.shape}"
    difference = float(np.abs(ours.astype(np.float64) - theirs).max())
    return Comparison(path, what, reference, ours.size, difference, tolerance, unit)


READERS: dict[str, Callable[[Path, Header], Iterator[Comparison | Left]]] = {
    "dicom": _dicom, "nifti": _nifti, "wfdb": _wfdb, "raster": _raster, "slide": _slide,
}  # fmt: skip
