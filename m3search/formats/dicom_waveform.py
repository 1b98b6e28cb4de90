"""DICOM waveforms: the ECG of a cart or a Holter recorder inside a DICOM file (PS3.3 C.10.9)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from m3search.errors import Reason, UnreadableFile
from m3search.formats.dicom import read_dataset, translated
from m3search.formats.limits import LIMITS

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from m3search.types import Float32

# Linear samples by WaveformBitsAllocated and WaveformSampleInterpretation (PS3.3 C.10.9.1); little-endian (PS3.5 A).
SAMPLES = {
    (8, "SB"): "i1", (8, "UB"): "u1", (16, "SS"): "<i2", (16, "US"): "<u2",
    (32, "SL"): "<i4", (32, "UL"): "<u4", (64, "SV"): "<i8", (64, "UV"): "<u8",
}  # fmt: skip
MILLIVOLTS = {"V": 1e3, "mV": 1.0, "uV": 1e-3, "nV": 1e-6}  # UCUM codes of ChannelSensitivityUnits, to millivolts


@dataclass(frozen=True, slots=True, eq=False)
class DicomWaveform:
    """One multiplex group: channels sampled together."""

    names: tuple[str, ...]  # channel sources as the header words them: "Lead I"
    units: tuple[str, ...]  # "mV" where the file states a unit of voltage; what it states otherwise; "" if nothing
    rate_hz: float
    data: Float32  # (channels, samples), in `units`: sensitivity, correction factor and baseline applied
    label: str  # MultiplexGroupLabel: "RHYTHM", "MEDIAN BEAT"


def read_waveforms(path: Path) -> tuple[DicomWaveform, ...]:
    """Every multiplex group of a file, in its order.

    Raises:
        UnreadableFile: not DICOM, without waveforms, truncated, or larger than may be.
    """
    return waveforms_of(path, read_dataset(path))


def waveforms_of(path: Path, dataset: Dataset) -> tuple[DicomWaveform, ...]:
    """As `read_waveforms`, of a file that is parsed already."""
    with translated(path):
        sequence = dataset.get("WaveformSequence") or ()
        if not sequence:
            raise UnreadableFile(path, Reason.UNSUPPORTED, "holds no waveform")
        return tuple(_group(path, group) for group in sequence)


def _group(path: Path, group: Dataset) -> DicomWaveform:
    channels, samples = int(group.NumberOfWaveformChannels), int(group.NumberOfWaveformSamples)
    if (kind := (int(group.WaveformBitsAllocated), str(group.WaveformSampleInterpretation))) not in SAMPLES:
        raise UnreadableFile(
            path, Reason.UNSUPPORTED, "holds companded samples, as of sound; only linear ones are read"
        )
    stored = np.dtype(SAMPLES[kind])
    declared = channels * samples * stored.itemsize
    LIMITS.check_bytes(path, declared * 4)
    if len(group.WaveformData) < declared:
        raise UnreadableFile(path, Reason.TRUNCATED, "holds fewer samples than it declares; copy it again")
    rate = float(group.SamplingFrequency)
    if not rate > 0:
        raise UnreadableFile(path, Reason.CORRUPT, f"declares a sampling frequency of {rate:g} Hz")
    raw = np.frombuffer(group.WaveformData, stored, channels * samples).reshape(samples, channels).T
    data = np.empty(raw.shape, dtype=np.float32)
    definitions = group.ChannelDefinitionSequence
    units = []
    for row, values, definition in zip(data, raw, definitions, strict=True):
        sensitivity = _number(definition, "ChannelSensitivity", 0)
        scale = (sensitivity or 1) * _number(definition, "ChannelSensitivityCorrectionFactor", 1)
        row[:] = values * scale + _number(definition, "ChannelBaseline", 0)
        # Without a sensitivity the samples are not calibrated (PS3.3 C.10.9.1.4.2), whatever unit is named.
        code = _code_value(definition.get("ChannelSensitivityUnitsSequence")) if sensitivity else ""
        if code in MILLIVOLTS:
            row *= MILLIVOLTS[code]
        units.append("mV" if code in MILLIVOLTS else code)
    names = tuple(_meaning(definition.get("ChannelSourceSequence")) for definition in definitions)
    return DicomWaveform(names, tuple(units), rate, data, str(group.get("MultiplexGroupLabel") or ""))


def _number(definition: Dataset, keyword: str, default: float) -> float:
    value = definition.get(keyword)
    return default if value is None or value == "" else float(value)


def _code_value(sequence: Any) -> str:
    return str(sequence[0].get("CodeValue") or "") if sequence else ""


def _meaning(sequence: Any) -> str:
    return str(sequence[0].get("CodeMeaning") or sequence[0].get("CodeValue") or "") if sequence else ""
