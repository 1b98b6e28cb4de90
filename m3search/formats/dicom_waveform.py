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
        return tuple(_group(path, dataset, index, group) for index, group in enumerate(sequence))


def _group(path: Path, dataset: Dataset, index: int, group: Dataset) -> DicomWaveform:
    channels, samples = int(group.NumberOfWaveformChannels), int(group.NumberOfWaveformSamples)
    declared = channels * samples * int(group.WaveformBitsAllocated) // 8
    LIMITS.check_bytes(path, declared * 4)
    if len(group.WaveformData) < declared:
        raise UnreadableFile(path, Reason.TRUNCATED, "holds fewer samples than it declares; copy it again")
    rate = float(group.SamplingFrequency)
    if not rate > 0:
        raise UnreadableFile(path, Reason.CORRUPT, f"declares a sampling frequency of {rate:g} Hz")
    data = np.ascontiguousarray(dataset.waveform_array(index).T, dtype=np.float32)
    definitions = group.ChannelDefinitionSequence
    units = []
    for row, definition in zip(data, definitions, strict=True):
        code = _code_value(definition.get("ChannelSensitivityUnitsSequence"))
        if code in MILLIVOLTS:
            row *= MILLIVOLTS[code]
        units.append("mV" if code in MILLIVOLTS else code)
    names = tuple(_meaning(definition.get("ChannelSourceSequence")) for definition in definitions)
    return DicomWaveform(names, tuple(units), rate, data, str(group.get("MultiplexGroupLabel") or ""))


def _code_value(sequence: Any) -> str:
    return str(sequence[0].get("CodeValue") or "") if sequence else ""


def _meaning(sequence: Any) -> str:
    return str(sequence[0].get("CodeMeaning") or sequence[0].get("CodeValue") or "") if sequence else ""
