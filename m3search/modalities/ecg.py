"""ECGs of every carrier: the twelve leads by name, in millivolts, cut into windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from m3search.errors import Reason, UnreadableFile
from m3search.modalities.ecg_layout import beside, layout_of
from m3search.modalities.ecg_leads import (
    LEADS,
    Placement,
    arrange,
    blank_disconnected,
    derive_limb_leads,
    millivolts_per,
    place,
    voltages,
)
from m3search.modalities.ecg_recording import Recording, open_recording
from m3search.modalities.ecg_strip import draw_strip
from m3search.types import Item, Part

if TYPE_CHECKING:
    from m3search.types import Float32, Header, InputSpec, Source

WAVEFORMS = "1.2.840.10008.5.1.4.1.1.9.1."  # 12-lead, general, ambulatory and 32-bit ECG storage (DICOM PS3.4 B.5)
CLIP = (
    10.0  # millivolts (or standard deviations): beyond any heart; tames saturated amplifiers and defibrillator shocks
)
PLAUSIBLE_HZ = (10.0, 200_000.0)  # samples per second: slower ones show no QRS complex, faster ones no amplifier gives
GAPS = 0.5  # a lead of which more than this share is missing in a window counts as missing there
SECOND_LOOK = 8  # times max_parts windows are tried where the first ones lie in gaps of the recording


class ECG:
    """Resting and ambulatory ECGs: the item is the record, its parts are windows of `InputSpec.seconds`."""

    name = "ecg"
    folder_names = frozenset({"ecg", "ecgs", "ekg", "ekgs", "electrocardiogram", "electrocardiograms", "holter"})

    def recognises(self, header: Header) -> bool:
        """True for DICOM ECG waveforms, and for any other record with an ECG channel."""
        if header.format in ("wfdb", "edf", "cart"):
            return bool(place(header.attributes["leads"]).channels)
        return header.format == "dicom" and str(header.attributes.get("SOPClassUID", "")).startswith(WAVEFORMS)

    def series(self, header: Header) -> str:  # noqa: ARG002
        """Every record stands alone."""
        return ""

    def read(self, source: Source, spec: InputSpec) -> Item:
        """At most `spec.max_parts` windows, evenly spread; windows without any signal are left out.

        Raises:
            UnreadableFile: WRONG_MODALITY where no channel is an ECG lead, CONSTANT where nothing ever moves,
                IMPLAUSIBLE for a sampling rate that no ECG has.
        """
        recording = open_recording(source)
        placement = place(recording.names)
        if not placement.channels:
            raise UnreadableFile(
                recording.path,
                Reason.WRONG_MODALITY,
                f"none of its {len(recording.names)} channels is named after an ECG lead; correct the names",
            )
        windows = _windows(recording, placement, spec)
        if not windows:
            raise UnreadableFile(
                recording.path, Reason.CONSTANT, "its ECG leads hold no signal: every sample is the same or missing"
            )
        if not all(PLAUSIBLE_HZ[0] <= window.rate_hz <= PLAUSIBLE_HZ[1] for window in windows):
            raise UnreadableFile(
                recording.path, Reason.IMPLAUSIBLE, "states a sampling rate that no ECG has; correct its header"
            )
        derived = tuple(dict.fromkeys(lead for window in windows for lead in window.derived))
        parts = tuple(
            Part(_locator(window.start, spec.seconds, recording.seconds), window.leads, rate_hz=window.rate_hz)
            for window in windows
        )
        return Item(
            source=source,
            parts=parts,
            tags=recording.tags,
            identity=recording.identity,
            text=recording.text,
            provenance=_provenance(recording, placement, derived, parts),
        )

    def prepare(self, item: Item, spec: InputSpec) -> Float32:
        """float32 (P, 12, rate_hz * seconds) in millivolts, NaN where a lead is missing.

        Per lead: gaps bridged by straight lines, the median subtracted (the only correction of the baseline: filters
        would change ST segments), resampled with an anti-aliasing filter, clipped to CLIP, short windows filled up with
        zeros. Where `spec.beat_seconds` asks for beats, what `ecg_layout` describes lies beside the signal.
        """
        layout = layout_of(spec)
        length = layout.signal.stop
        rows = np.full((len(item.parts), len(LEADS), layout.columns), np.nan, dtype=np.float32)
        for row, part in zip(rows, item.parts, strict=True):
            present = np.flatnonzero(np.isnan(part.data).mean(axis=1) <= GAPS)
            if not len(present):
                continue
            bridged = np.stack([_bridge_gaps(part.data[number]) for number in present])
            bridged -= np.median(bridged, axis=1, keepdims=True)
            resampled = _resample(bridged, part.rate_hz, spec.rate_hz)[:, :length]
            row[present, :length] = 0
            row[present, : resampled.shape[1]] = np.clip(resampled, -CLIP, CLIP)
            if layout.has_beats:
                row[:, length:] = beside(row[:, : resampled.shape[1]], spec)
        return rows

    def thumbnail(self, item: Item) -> bytes:
        """PNG: the first window drawn as on ECG paper."""
        part = item.parts[0]
        return draw_strip(part.data, part.rate_hz, calibrated=bool(item.provenance.get("calibrated", True)))


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """A piece of a record, to be drawn."""

    leads: Float32  # (12, T) in the order of LEADS, millivolts, NaN where a lead or sample is missing
    rate_hz: float
    start: float  # seconds
    of_seconds: float  # length of the whole record
    calibrated: bool  # False: amplitudes have no unit


def read_stretch(source: Source, start: float, seconds: float) -> Stretch:
    """The twelve leads from `start` on, as `ECG.read` arranges them; all NaN in a gap of the recording.

    Raises:
        UnreadableFile: as `ECG.read`; UNSUPPORTED where the record ends before `start`.
    """
    recording = open_recording(source)
    placement = place(recording.names)
    if not placement.channels:
        raise UnreadableFile(recording.path, Reason.WRONG_MODALITY, "has no channel that is named after an ECG lead")
    if not 0 <= start < recording.seconds:
        raise UnreadableFile(recording.path, Reason.UNSUPPORTED, f"lasts {recording.seconds:.1f} s: nothing is there")
    window = _read_window(recording, placement, start, seconds)
    if window is None:
        leads, rate_hz = np.full((len(LEADS), 2), np.nan, dtype=np.float32), 1.0
    else:
        leads, rate_hz = window.leads, window.rate_hz
    calibrated = all(millivolts_per(recording.units[number]) is not None for number in placement.numbers)
    return Stretch(leads, rate_hz, start, recording.seconds, calibrated)


@dataclass(frozen=True, slots=True, eq=False)
class _Window:
    start: float  # seconds
    leads: Float32  # (12, T) millivolts
    rate_hz: float
    derived: tuple[str, ...]


def _windows(recording: Recording, placement: Placement, spec: InputSpec) -> list[_Window]:
    """Windows with a signal in at least one lead, in order of time."""
    windows: list[_Window] = []
    for count in (spec.max_parts, spec.max_parts * SECOND_LOOK):
        starts = _starts(recording.seconds, spec.seconds, count)
        windows = [window for start in starts if (window := _read_window(recording, placement, start, spec.seconds))]
        if windows or len(starts) < count:
            break
    spread = np.unique(np.linspace(0, len(windows) - 1, min(spec.max_parts, len(windows))).round().astype(int))
    return [windows[number] for number in spread]


def _starts(duration: float, seconds: float, most: int) -> list[float]:
    """Where windows begin, in seconds: as many as fit without overlap, at most `most`, from the start to the end."""
    count = max(1, min(most, int(duration / seconds + 1e-6)))
    if count == 1:
        return [0.0]
    return [float(start) for start in np.linspace(0, duration - seconds, count)]


def _read_window(recording: Recording, placement: Placement, start: float, seconds: float) -> _Window | None:
    numbers = placement.numbers
    data, rate_hz = recording.window(start, seconds, numbers)
    channels = {lead: (numbers.index(number), sign) for lead, (number, sign) in placement.channels.items()}
    units = [recording.units[number] for number in numbers]
    leads = blank_disconnected(arrange(data, units, channels), voltages(units, channels))
    if np.isnan(leads).all():
        return None
    leads, derived = derive_limb_leads(leads)
    return _Window(start, leads, rate_hz, derived)


def _locator(start: float, seconds: float, duration: float) -> str:
    """ "window=10-20s"; "" where the window is the whole record."""
    end = min(start + seconds, duration)
    return "" if start == 0 and end >= duration - 1e-3 else f"window={round(start, 2):g}-{round(end, 2):g}s"


def _provenance(
    recording: Recording, placement: Placement, derived: Sequence[str], parts: Sequence[Part]
) -> dict[str, Any]:
    """Channel names stay out, since people write anything there; the standard leads they were read as are kept."""
    units = {recording.units[number] for number in placement.numbers}
    calibrated = all(millivolts_per(unit) is not None for unit in units)
    present = ~np.isnan(np.stack([part.data for part in parts])).all(axis=(0, 2))
    return {
        "leads": [lead for lead in LEADS if lead in placement.channels],
        "derived_leads": list(derived),
        "missing_leads": [lead for lead, there in zip(LEADS, present, strict=True) if not there],
        "ignored_channels": placement.ignored,
        "calibrated": calibrated,
        "units": "converted to mV" if calibrated else "not a voltage: kept as stored",
        "rate_hz": round(parts[0].rate_hz, 3),
        "seconds": round(recording.seconds, 3),
        "windows": len(parts),
        "notes": [*recording.notes, *placement.notes],
    }


def _bridge_gaps(samples: Float32) -> Float32:
    """(T,) with straight lines across NaN."""
    there = np.isfinite(samples)
    if there.all():
        return samples
    at = np.arange(len(samples))
    return np.interp(at, at[there], samples[there]).astype(np.float32)


def _resample(leads: Float32, rate_hz: float, to_hz: float) -> Float32:
    """(L, T) to another rate by a polyphase filter, which keeps out what the new rate cannot hold."""
    ratio = Fraction(to_hz / rate_hz).limit_denominator(1000)
    if ratio == 1:
        return leads
    from scipy.signal import resample_poly

    # "line": the ends of a window are not zero, and a jump there would ring
    resampled: Float32 = resample_poly(leads, ratio.numerator, ratio.denominator, axis=1, padtype="line")
    return resampled.astype(np.float32)
