"""One small DICOM image for every rule of PS3.3 that decides what a viewer shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, UltrasoundImageStorage

SIDE = 32
RAMP = (np.arange(SIDE * SIDE, dtype=np.uint16) * 4).reshape(SIDE, SIDE)  # 0 to 4092: 12 bits
SIGNED = (RAMP.astype(np.int16) - 2048).astype(np.int16)
WINDOW = {"WindowCenter": "1200", "WindowWidth": "1500"}
FIRST_WINDOW, FIRST_TABLE = ("+Wi", "1"), ("+Wl", "1")  # which of dcmtk's options apply what a header states


# Tolerances, in grey values of 255.
HALF_A_STEP = 0.51  # of our 8 bits, and what dcmtk's 16 bits round
TABLE_SHIFTED = 1.51  # dcmtk shifts a table's entries to 16 bits: its white is 255/256 of ours where they have 8
ROUNDED_TWICE = 2.01  # dcmtk adds integer shares of colour, up to 1.9 from the formula of PS3.3 C.7.6.3.1.2; ours 0.5


@dataclass(frozen=True, slots=True)
class Rule:
    """What makes the image, and which of dcmtk's options apply what its header states."""

    make: Callable[[], Dataset]
    options: tuple[str, ...] = ()
    tolerance: float = HALF_A_STEP
    frame: int = 0


def image(pixels: npt.NDArray[Any], photometric: str = "MONOCHROME2", **elements: Any) -> Dataset:
    """A dataset around pixels (H, W), (H, W, 3) or, with NumberOfFrames, (F, H, W): 12 bits of 16, or as stated."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    storage = CTImageStorage if photometric.startswith("MONO") else UltrasoundImageStorage
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = storage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.826.0.1.3680043.10.1"
    dataset.SeriesInstanceUID = dataset.StudyInstanceUID = "1.2.826.0.1.3680043.10.2"
    dataset.PatientID = dataset.PatientName = ""
    dataset.Modality = "CT" if storage == CTImageStorage else "US"
    colour = not photometric.startswith("MONO")
    shape = pixels.shape[-3:-1] if colour and pixels.ndim > 2 else pixels.shape[-2:]
    dataset.SamplesPerPixel = 3 if colour and photometric != "PALETTE COLOR" else 1
    dataset.PhotometricInterpretation = photometric
    dataset.Rows, dataset.Columns = shape
    bits = 8 * pixels.itemsize
    dataset.BitsAllocated, dataset.BitsStored = bits, 12 if bits == 16 else bits
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    if dataset.SamplesPerPixel == 3:
        dataset.PlanarConfiguration = 0
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.add_new("PixelData", "OW" if bits > 8 else "OB", pixels.tobytes())
    return dataset


def table(values: npt.NDArray[Any], first: int, bits: int, signed: bool = False) -> Dataset:
    """An item of a Modality or VOI LUT Sequence."""
    lut = Dataset()
    entries = len(values) if len(values) < 65536 else 0  # PS3.3 C.11.1.1: 0 stands for 65536
    lut.add_new("LUTDescriptor", "SS" if signed else "US", [entries, first, bits])
    lut.ModalityLUTType = "US"
    lut.add_new("LUTData", "OW", values.astype("<u2").tobytes())
    return lut


def _curve(entries: int, bits: int) -> npt.NDArray[np.uint16]:
    """A steep curve, so that an entry more or less shows."""
    return (np.linspace(0, 1, entries) ** 2 * (2**bits - 1)).round().astype(np.uint16)


def _with_garbage(pixels: npt.NDArray[Any], high_bit: int = 11) -> npt.NDArray[np.uint16]:
    """The unused bits of each word hold something else: overlays of ACR-NEMA and of old scanners (PS3.5 8.1.2)."""
    noise = np.random.default_rng(1).integers(0, 16, pixels.shape).astype(np.uint16)
    kept = pixels.astype(np.int64) & 0xFFF
    if high_bit == 11:
        return ((noise << 12) | kept.astype(np.uint16)).astype(np.uint16)
    return ((kept.astype(np.uint16) << 4) | noise).astype(np.uint16)


def _palette(bits: int) -> Dataset:
    indices = (np.arange(SIDE * SIDE) % 256).astype(np.uint8).reshape(SIDE, SIDE)
    dataset = image(indices, "PALETTE COLOR")
    top = 2**bits - 1
    rows = {"Red": np.linspace(0, top, 256), "Green": np.linspace(top, 0, 256), "Blue": np.full(256, top // 3)}
    for colour, row in rows.items():
        values = row.round().astype(np.uint16)
        dataset.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [256, 0, bits])
        packed = values.astype(np.uint8).tobytes() if bits == 8 else values.astype("<u2").tobytes()
        dataset.add_new(f"{colour}PaletteColorLookupTableData", "OW", packed)
    return dataset


def _colours() -> npt.NDArray[np.uint8]:
    """Every corner of the colour cube, and what lies between."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    return np.stack([x * 8, y * 8, (x * y) % 256], axis=2).astype(np.uint8)


def _ybr_full_422() -> Dataset:
    full = _colours()
    pairs = np.stack([full[:, ::2, 0], full[:, 1::2, 0], full[:, ::2, 1], full[:, ::2, 2]], axis=2)
    dataset = image(full, "YBR_FULL_422")
    dataset["PixelData"].value = np.ascontiguousarray(pairs).tobytes()
    return dataset


def _enhanced() -> Dataset:
    """Two frames, each with a rescale and a window of its own (PS3.3 C.7.6.16.2.9 and .10)."""
    dataset = image(np.stack([RAMP, RAMP]), NumberOfFrames=2)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    groups = []
    for frame in range(2):
        rescale, window, plane, group = Dataset(), Dataset(), Dataset(), Dataset()
        rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = str(1 + frame), str(-1024 - frame), "HU"
        window.WindowCenter, window.WindowWidth = str(40 + 300 * frame), str(400 + 100 * frame)
        plane.ImagePositionPatient = ["0", "0", str(-5 * frame)]
        group.PixelValueTransformationSequence, group.PlanePositionSequence = [rescale], [plane]
        group.FrameVOILUTSequence = [window]
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = groups
    return dataset


def in_stored_values(centre: float, width: float, slope: float, intercept: float) -> tuple[str, str]:
    """The LINEAR window (PS3.3 C.11.2.1.2) that shows stored values as this one shows rescaled ones."""
    return f"{(centre - 0.5 - intercept) / slope + 0.5:.4f}", f"{(width - 1) / slope + 1:.4f}"


HU = {"RescaleSlope": "1", "RescaleIntercept": "-1024", "RescaleType": "HU"}
MODALITY_LUT = table(_curve(4096, 12), 0, 12)
VOI_LUT = table(_curve(4096, 12), 0, 12)


def _windowed(pixels: npt.NDArray[Any] = RAMP, photometric: str = "MONOCHROME2", **elements: Any) -> Rule:
    return Rule(lambda: image(pixels, photometric, **{**WINDOW, **elements}), FIRST_WINDOW)


def _exact(
    centre: float, width: float, pixels: npt.NDArray[Any] = RAMP, photometric: str = "MONOCHROME2", **elements: Any
) -> Rule:
    stated = {"WindowCenter": str(centre), "WindowWidth": str(width), "VOILUTFunction": "LINEAR_EXACT"}
    return Rule(lambda: image(pixels, photometric, **stated, **elements), ("+Ww", str(centre + 0.5), str(width + 1)))


def _looked_up(
    lut: Dataset, pixels: npt.NDArray[Any] = RAMP, photometric: str = "MONOCHROME2", **elements: Any
) -> Rule:
    return Rule(lambda: image(pixels, photometric, VOILUTSequence=[lut], **elements), FIRST_TABLE, TABLE_SHIFTED)


RULES: dict[str, Rule] = {
    "window": _windowed(),
    "first of two windows": _windowed(WindowCenter=["1200", "300"], WindowWidth=["1500", "80"]),
    "sigmoid": _windowed(VOILUTFunction="SIGMOID"),
    "sigmoid of signed 16 bits": _windowed(
        SIGNED * 16, BitsStored=16, HighBit=15, WindowCenter="-3000", WindowWidth="9000", VOILUTFunction="SIGMOID"
    ),
    "sigmoid, MONOCHROME1": _windowed(photometric="MONOCHROME1", VOILUTFunction="SIGMOID"),
    "sigmoid after a rescale, shape INVERSE": _windowed(
        **HU, WindowCenter="40", WindowWidth="400", VOILUTFunction="SIGMOID", PresentationLUTShape="INVERSE"
    ),
    # dcmtk does not know LINEAR_EXACT: it is given the LINEAR window of the same line (C.11.2.1.3.2)
    "linear exact": _exact(1200, 1500),
    "linear exact, narrow": _exact(1200, 8),
    "linear exact of signed 16 bits": _exact(-3000, 9000, SIGNED * 16, BitsStored=16, HighBit=15),
    "linear exact, MONOCHROME1": _exact(1200, 1500, photometric="MONOCHROME1"),
    "linear exact, shape INVERSE": _exact(1200, 1500, PresentationLUTShape="INVERSE"),
    "rescale before window": _windowed(**HU, WindowCenter="40", WindowWidth="400"),
    "slope before window": _windowed(RescaleSlope="2", RescaleIntercept="-1000", RescaleType="US"),
    "modality LUT before window": _windowed(ModalityLUTSequence=[MODALITY_LUT]),
    "modality LUT of signed values": _windowed(
        SIGNED, ModalityLUTSequence=[table(_curve(4096, 12), -2048, 12, signed=True)]
    ),
    "modality LUT shorter than the values": _windowed(ModalityLUTSequence=[table(_curve(1024, 12), 512, 12)]),
    "VOI LUT": _looked_up(VOI_LUT),
    "VOI LUT of 8 bits": _looked_up(table(_curve(4096, 8), 0, 8)),
    "VOI LUT of 16 bits": _looked_up(table(_curve(4096, 16), 0, 16)),
    "VOI LUT of 65536 entries": _looked_up(table(_curve(65536, 16), 0, 16), RAMP * 16, BitsStored=16, HighBit=15),
    "VOI LUT shorter than the values": _looked_up(table(_curve(1024, 10), 1000, 10)),
    "VOI LUT of negative values": _looked_up(table(_curve(4096, 12), -2048, 12, signed=True), SIGNED),
    "VOI LUT after a rescale below zero": _looked_up(table(_curve(4096, 12), -1024, 12, signed=True), **HU),
    "VOI LUT before window": _looked_up(VOI_LUT, **WINDOW),
    "modality LUT before VOI LUT": _looked_up(VOI_LUT, ModalityLUTSequence=[MODALITY_LUT]),
    "MONOCHROME1": _windowed(photometric="MONOCHROME1"),
    "MONOCHROME1 with a VOI LUT": _looked_up(VOI_LUT, photometric="MONOCHROME1"),
    # The same thing said twice (C.8.11.3.1.2): inverted once. Where the two contradict, the shape decides.
    "MONOCHROME1 with shape INVERSE": _windowed(photometric="MONOCHROME1", PresentationLUTShape="INVERSE"),
    "MONOCHROME1 with shape IDENTITY": _windowed(photometric="MONOCHROME1", PresentationLUTShape="IDENTITY"),
    "MONOCHROME2 with shape INVERSE": _windowed(PresentationLUTShape="INVERSE"),
    "MONOCHROME2 with shape IDENTITY": _windowed(PresentationLUTShape="IDENTITY"),
    "signed": _windowed(SIGNED, WindowCenter="-200"),
    "16 bits signed": _windowed(SIGNED * 16, BitsStored=16, HighBit=15, WindowCenter="-3200", WindowWidth="24000"),
    "16 bits signed, rescaled, MONOCHROME1": _windowed(
        SIGNED * 16,
        "MONOCHROME1",
        BitsStored=16,
        HighBit=15,
        RescaleSlope="0.5",
        RescaleIntercept="-100",
        RescaleType="US",
        WindowCenter="-1700",
        WindowWidth="12000",
    ),
    "8 bits": _windowed((RAMP // 16).astype(np.uint8), WindowCenter="90", WindowWidth="100"),
    "16 bits": _windowed(RAMP * 16, BitsStored=16, HighBit=15, WindowCenter="20000", WindowWidth="30000"),
    "32 bits": _windowed(RAMP.astype(np.uint32) * 1000, WindowCenter="2000000", WindowWidth="3000000"),
    "garbage above 12 bits": _windowed(_with_garbage(RAMP)),
    "garbage above 12 signed bits": _windowed(_with_garbage(SIGNED), WindowCenter="-200", PixelRepresentation=1),
    "sign not extended": _windowed((SIGNED & 0xFFF).astype(np.int16), WindowCenter="-200"),
    "values in the upper 12 bits": _windowed(_with_garbage(RAMP, 15), HighBit=15),
    "signed values in the upper 12 bits": _windowed(
        _with_garbage(SIGNED, 15), HighBit=15, WindowCenter="-200", PixelRepresentation=1
    ),
    "palette of 8 bits": Rule(lambda: _palette(8)),
    "palette of 16 bits": Rule(lambda: _palette(16)),
    "RGB": Rule(lambda: image(_colours(), "RGB")),
    "RGB by planes": Rule(
        lambda: image(
            np.ascontiguousarray(_colours().transpose(2, 0, 1)), "RGB", Rows=SIDE, Columns=SIDE, PlanarConfiguration=1
        )
    ),
    "YBR_FULL": Rule(lambda: image(_colours(), "YBR_FULL"), tolerance=ROUNDED_TWICE),
    "YBR_FULL_422": Rule(_ybr_full_422, tolerance=ROUNDED_TWICE),
    # dcmtk does not look into functional groups: it is given the window that theirs is in stored values
    "frame 1 of enhanced CT": Rule(_enhanced, ("+Ww", *in_stored_values(40, 400, 1, -1024))),
    "frame 2 of enhanced CT": Rule(_enhanced, ("+Ww", *in_stored_values(340, 500, 2, -1025)), frame=1),
}
