"""ECGs from WFDB records and DICOM waveforms: the twelve leads by name, in millivolts, cut into windows."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from m3search.errors import Reason, UnreadableFile
from m3search.modalities.dicom_tags import age_band, identity_of, tags_of
from m3search.modalities.ecg_layout import beside, layout_of
from m3search.modalities.ecg_leads import (
    LEADS,
    Placement,
    arrange,
    blank_flat,
    derive_limb_leads,
    millivolts_per,
    place,
)
from m3search.modalities.ecg_strip import draw_strip
from m3search.types import Identity, Item, Part, Tags

if TYPE_CHECKING:
    from m3search.types import Float32, Header, InputSpec, Source

WAVEFORMS = "1.2.840.10008.5.1.4.1.1.9.1."  # 12-lead, general, ambulatory and 32-bit ECG storage (DICOM PS3.4 B.5)
CLIP = (
    10.0  # millivolts (or standard deviations): beyond any heart; tames saturated amplifiers and defibrillator shocks
)
GAPS = 0.5  # a lead of which more than this share is missing in a window counts as missing there
SECOND_LOOK = 8  # times max_parts windows are tried where the first ones lie in gaps of the recording

_AVERAGED = re.compile(r"median|average|mean|representative|template", re.IGNORECASE)  # MultiplexGroupLabel
_AGE = re.compile(r"<?\bage\b>?\s*[:=]?\s*(?P<age>\d{1,3})\b", re.IGNORECASE)
_SEX = re.compile(r"<?\b(?:sex|gender)\b>?\s*[:=]?\s*(?P<sex>male|female|m|f)\b", re.IGNORECASE)
_MIT_BIH = re.compile(r"(?P<age>\d{1,3})\s+(?P<sex>[MF])\b")  # "69 M 1085 1629 x1"


@dataclass(frozen=True, slots=True, eq=False)
class _Recording:
    """What WFDB and DICOM have in common: channels that can be read by the second."""

    path: Path
    names: tuple[str, ...]
    units: tuple[str, ...]
    seconds: float
    window: Callable[[float, float, list[int]], tuple[Float32, float]]  # start, seconds, channels -> (C, T), rate in Hz
    tags: Tags
    identity: Identity
    notes: tuple[str, ...] = ()


class ECG:
    """Resting and ambulatory ECGs: the item is the record, its parts are windows of `InputSpec.seconds`."""

    name = "ecg"
    folder_names = frozenset({"ecg", "ecgs", "ekg", "ekgs", "electrocardiogram", "electrocardiograms", "holter"})

    def recognises(self, header: Header) -> bool:
        """True for a WFDB record with an ECG channel and for DICOM ECG waveforms."""
        if header.format == "wfdb":
            return bool(place(header.attributes["leads"]).channels)
        return header.format == "dicom" and str(header.attributes.get("SOPClassUID", "")).startswith(WAVEFORMS)

    def series(self, header: Header) -> str:  # noqa: ARG002
        """Every record stands alone."""
        return ""

    def read(self, source: Source, spec: InputSpec) -> Item:
        """At most `spec.max_parts` windows, evenly spread; windows without any signal are left out.

        Raises:
            UnreadableFile: WRONG_MODALITY where no channel is an ECG lead, CONSTANT where nothing ever moves.
        """
        recording = _open_wfdb(source.files[0]) if source.format == "wfdb" else _open_dicom(source.files[0])
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
    recording = _open_wfdb(source.files[0]) if source.format == "wfdb" else _open_dicom(source.files[0])
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


def _windows(recording: _Recording, placement: Placement, spec: InputSpec) -> list[_Window]:
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


def _read_window(recording: _Recording, placement: Placement, start: float, seconds: float) -> _Window | None:
    numbers = placement.numbers
    data, rate_hz = recording.window(start, seconds, numbers)
    channels = {lead: (numbers.index(number), sign) for lead, (number, sign) in placement.channels.items()}
    leads = blank_flat(arrange(data, [recording.units[number] for number in numbers], channels))
    if np.isnan(leads).all():
        return None
    leads, derived = derive_limb_leads(leads)
    return _Window(start, leads, rate_hz, derived)


def _locator(start: float, seconds: float, duration: float) -> str:
    """ "window=10-20s"; "" where the window is the whole record."""
    end = min(start + seconds, duration)
    return "" if start == 0 and end >= duration - 1e-3 else f"window={round(start, 2):g}-{round(end, 2):g}s"


def _provenance(
    recording: _Recording, placement: Placement, derived: Sequence[str], parts: Sequence[Part]
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


def _open_wfdb(path: Path) -> _Recording:
    from m3search.formats import wfdb

    header = wfdb.read_header(path)
    attributes = header.attributes

    def window(start: float, seconds: float, channels: list[int]) -> tuple[Float32, float]:
        signal = wfdb.read(header, start, seconds, channels)
        return signal.data, signal.rate_hz

    return _Recording(
        path=path,
        names=attributes["leads"],
        units=attributes["units"],
        seconds=attributes["seconds"],
        window=window,
        tags=_tags_from_comments(attributes["comments"], attributes["year"]),
        identity=Identity(secrets=header.identifiers),
        notes=attributes["notes"],
    )


def _tags_from_comments(comments: Sequence[str], year: int | None) -> Tags:
    """Age and sex as PhysioNet's databases write them; nothing else of the comments leaves this function."""
    text = "\n".join(comments)
    mit_bih = next((match for comment in comments if (match := _MIT_BIH.match(comment))), None)
    age, sex = _AGE.search(text) or mit_bih, _SEX.search(text) or mit_bih
    return Tags(
        sex=sex["sex"][0].upper() if sex else "",
        age_band=age_band(int(age["age"])) if age else "",
        year=year,
    )


def _open_dicom(path: Path) -> _Recording:
    """The longest multiplex group with ECG leads and all sampled like it; averaged beats are no recording."""
    from m3search.formats import dicom, dicom_waveform

    dataset = dicom.read_dataset(path)
    groups = [group for group in dicom_waveform.waveforms_of(path, dataset) if not _AVERAGED.search(group.label)]
    groups = [group for group in groups if place(group.names).channels] or groups
    if not groups:
        raise UnreadableFile(path, Reason.UNSUPPORTED, "holds averaged beats only, no recording of the rhythm")
    longest = max(groups, key=lambda group: group.data.shape[1] / group.rate_hz)
    alike = [g for g in groups if g.rate_hz == longest.rate_hz and g.data.shape[1] == longest.data.shape[1]]
    data = np.concatenate([group.data for group in alike])

    def window(start: float, seconds: float, channels: list[int]) -> tuple[Float32, float]:
        first = round(start * longest.rate_hz)
        return data[channels, first : first + max(1, round(seconds * longest.rate_hz))], longest.rate_hz

    with dicom.translated(path):
        tags, identity = tags_of(dataset), identity_of(dataset)
    return _Recording(
        path=path,
        names=tuple(name for group in alike for name in group.names),
        units=tuple(unit for group in alike for unit in group.units),
        seconds=data.shape[1] / longest.rate_hz,
        window=window,
        tags=tags,
        identity=identity,
        notes=(f"joined from {len(alike)} multiplex groups",) if len(alike) > 1 else (),
    )
