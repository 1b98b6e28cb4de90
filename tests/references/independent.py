"""Readings of the same files by programs and libraries that share no code with m3search's path through them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


def gdcm_values(path: Path) -> npt.NDArray[Any]:
    """All frames of a DICOM file by GDCM: (F, H, W) after rescale, or (F, H, W, 3) as stored.

    Raises:
        ValueError: GDCM does not read it.
    """
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    if not reader.Read():
        raise ValueError("GDCM does not read it")
    image = reader.GetImage()
    pixel = image.GetPixelFormat()
    kind = "iu"[pixel.GetPixelRepresentation() == 0]
    dtype = np.dtype(f"<{kind}{pixel.GetBitsAllocated() // 8}")
    raw = np.frombuffer(image.GetBuffer().encode("utf-8", "surrogateescape"), dtype)
    width, height = image.GetDimension(0), image.GetDimension(1)
    samples = pixel.GetSamplesPerPixel()
    if str(image.GetPhotometricInterpretation()).startswith("YBR_FULL"):
        raise ValueError("GDCM leaves YBR_FULL colours as they are")
    if samples == 1:
        return raw.reshape(-1, height, width) * image.GetSlope() + image.GetIntercept()
    if image.GetPlanarConfiguration():
        return raw.reshape(-1, samples, height, width).transpose(0, 2, 3, 1)
    return raw.reshape(-1, height, width, samples)


def itk_series(folder: Path, series: str) -> tuple[tuple[str, ...], npt.NDArray[Any]]:
    """A DICOM series by ITK: its files in ITK's order, and (Z, Y, X) after rescale, each place once."""
    import SimpleITK

    files = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series)
    # Each by itself: as one volume, ITK wants equal distances between slices.
    images = [SimpleITK.ReadImage(file) for file in files]
    places = {image.GetOrigin(): SimpleITK.GetArrayFromImage(image)[0] for image in reversed(images)}
    return files, np.stack(list(places.values())[::-1])


def itk_volume(path: Path) -> npt.NDArray[Any]:
    """A NIfTI volume by ITK, scaled: (Z, Y, X) with Z rising to the head, Y to the back, X to the patient's left."""
    import SimpleITK

    return np.asarray(SimpleITK.GetArrayFromImage(SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(path)), "LPS")))


def nibabel_volume(path: Path) -> npt.NDArray[Any]:
    """The same by nibabel."""
    import nibabel

    volume = np.asarray(nibabel.as_closest_canonical(nibabel.load(path)).dataobj)
    return volume[::-1, ::-1].transpose(2, 1, 0)


def wfdb_samples(path: Path, names: Sequence[str]) -> npt.NDArray[np.float64]:
    """Signals of a WFDB record (S, T) in physical units, from nothing but header(5) and signal(5): formats 16 and 212.

    Of a record whose signals have different rates only the fastest ones are asked for.

    Raises:
        ValueError: the record has segments, or other formats.
    """
    lines = [line for line in path.read_text("latin-1").splitlines() if line.strip() and not line.startswith("#")]
    record = lines[0].split()
    if "/" in record[0]:
        raise ValueError("segments")
    signals = [line.split(None, 8) for line in lines[1 : 1 + int(record[1])]]
    decoded: dict[str, npt.NDArray[np.float64]] = {}
    for file in dict.fromkeys(fields[0] for fields in signals):
        of_file = [fields for fields in signals if fields[0] == file]
        layout = [fields[1].partition("+")[0].partition("x") for fields in of_file]
        per_frame = [int(times or 1) for _, _, times in layout]
        samples = _words(path.with_name(file), layout[0][0], int(of_file[0][1].partition("+")[2] or 0))
        frames = samples[: len(samples) // sum(per_frame) * sum(per_frame)].reshape(-1, sum(per_frame))
        edges = np.cumsum(per_frame)[:-1]
        for fields, block in zip(of_file, np.split(frames, edges, axis=1), strict=True):
            channel = block.ravel()
            gain, _, rest = fields[2].partition("/")[0].partition("(")
            baseline = rest.removesuffix(")") or (fields[4] if len(fields) > 4 else "0")
            decoded[fields[8].strip()] = (channel - float(baseline)) / (float(gain) or 200.0)
    return np.stack([decoded[name] for name in names])


def _words(path: Path, kind: str, offset: int) -> npt.NDArray[np.int64]:
    raw = np.frombuffer(path.read_bytes(), np.uint8, offset=offset)
    if kind == "16":
        return raw[: len(raw) // 2 * 2].view("<i2").astype(np.int64)
    if kind == "212":  # two samples of 12 bits in three bytes
        low, middle, high = raw[: len(raw) // 3 * 3].reshape(-1, 3).T.astype(np.int64)
        pairs = np.stack([(middle & 0xF) << 8 | low, (middle >> 4) << 8 | high], axis=1).ravel()
        return np.where(pairs >= 2048, pairs - 4096, pairs)
    raise ValueError(f"format {kind}")


def dicom_waveform(path: Path) -> tuple[list[str], npt.NDArray[np.float64]]:
    """The first multiplex group of a DICOM ECG by pydicom: the leads' names and (channels, T) in millivolts."""
    import pydicom

    dataset = pydicom.dcmread(path)
    channels = dataset.WaveformSequence[0].ChannelDefinitionSequence
    per_unit = {"uV": 1e-3, "mV": 1.0, "V": 1e3}
    scale = [per_unit[channel.ChannelSensitivityUnitsSequence[0].CodeValue] for channel in channels]
    names = [str(channel.ChannelSourceSequence[0].CodeMeaning) for channel in channels]
    return names, (dataset.waveform_array(0) * scale).T


def picture(path: Path) -> npt.NDArray[Any]:
    """A PNG or JPEG by libpng or libjpeg-turbo through imagecodecs, as RGB, alpha left out."""
    import imagecodecs

    decode = imagecodecs.png_decode if path.suffix == ".png" else imagecodecs.jpeg_decode
    pixels: npt.NDArray[Any] = decode(path.read_bytes())
    grey = pixels if pixels.ndim == 2 else pixels[..., 0] if pixels.shape[2] < 3 else None
    return pixels[..., :3] if grey is None else np.repeat(grey[..., None], 3, axis=2)
