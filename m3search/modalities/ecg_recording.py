"""What all carriers of an ECG have in common: channels that can be read by the second."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from m3search.errors import Reason, UnreadableFile
from m3search.modalities.dicom_tags import age_band, identity_of, tags_of
from m3search.modalities.ecg_leads import place
from m3search.types import Identity, Tags

if TYPE_CHECKING:
    from m3search.types import Float32, Source

_AVERAGED = re.compile(r"median|average|mean|representative|template", re.IGNORECASE)  # MultiplexGroupLabel
_AGE = re.compile(r"<?\bage\b>?\s*[:=]?\s*(?P<age>\d{1,3})\b", re.IGNORECASE)
_SEX = re.compile(r"<?\b(?:sex|gender)\b>?\s*[:=]?\s*(?P<sex>male|female|m|f)\b", re.IGNORECASE)
_MIT_BIH = re.compile(r"(?P<age>\d{1,3})\s+(?P<sex>[MF])\b")  # "69 M 1085 1629 x1"


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """One record, opened."""

    path: Path
    names: tuple[str, ...]
    units: tuple[str, ...]
    seconds: float
    window: Callable[[float, float, list[int]], tuple[Float32, float]]  # start, seconds, channels -> (C, T), rate in Hz
    tags: Tags
    identity: Identity
    notes: tuple[str, ...] = ()
    text: str = field(default="", repr=False)  # what a cart or a physician said of it


def open_recording(source: Source) -> Recording:
    """The record of a source, whatever its format.

    Raises:
        UnreadableFile: as the format's reader says; UNSUPPORTED for averaged beats alone.
    """
    return OPENERS[source.format](source.files[0])


def _open_wfdb(path: Path) -> Recording:
    from m3search.formats import wfdb

    header = wfdb.read_header(path)
    attributes = header.attributes

    def window(start: float, seconds: float, channels: list[int]) -> tuple[Float32, float]:
        signal = wfdb.read(header, start, seconds, channels)
        return signal.data, signal.rate_hz

    return Recording(
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


def _open_edf(path: Path) -> Recording:
    from m3search.formats import edf

    header = edf.read_header(path)

    def window(start: float, seconds: float, channels: list[int]) -> tuple[Float32, float]:
        signal = edf.read(header, start, seconds, channels)
        return signal.data, signal.rate_hz

    return Recording(
        path=path,
        names=header.attributes["leads"],
        units=header.attributes["units"],
        seconds=header.attributes["seconds"],
        window=window,
        tags=_tags_as_told(header.attributes),
        identity=Identity(secrets=header.identifiers),
    )


def _open_cart(path: Path) -> Recording:
    from m3search.formats import cart

    header = cart.read_header(path)
    signal = cart.read(header)
    return Recording(
        path=path,
        names=signal.leads,
        units=signal.units,
        seconds=header.attributes["seconds"],
        window=_from_memory(signal.data, signal.rate_hz),
        tags=_tags_as_told(header.attributes),
        identity=Identity(secrets=header.identifiers),
        notes=(header.attributes["container"], *header.attributes["notes"]),
        text=header.attributes["text"],
    )


def _tags_as_told(attributes: Mapping[str, object]) -> Tags:
    age, year = attributes["age"], attributes["year"]
    return Tags(
        sex=str(attributes["sex"]),
        age_band=age_band(age) if isinstance(age, int) else "",
        year=year if isinstance(year, int) else None,
    )


def _open_dicom(path: Path) -> Recording:
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
    with dicom.translated(path):
        tags, identity = tags_of(dataset), identity_of(dataset)
    return Recording(
        path=path,
        names=tuple(name for group in alike for name in group.names),
        units=tuple(unit for group in alike for unit in group.units),
        seconds=data.shape[1] / longest.rate_hz,
        window=_from_memory(data, longest.rate_hz),
        tags=tags,
        identity=identity,
        notes=(f"joined from {len(alike)} multiplex groups",) if len(alike) > 1 else (),
    )


def _from_memory(data: Float32, rate_hz: float) -> Callable[[float, float, list[int]], tuple[Float32, float]]:
    """Windows of samples that are decoded already, (C, T)."""

    def window(start: float, seconds: float, channels: list[int]) -> tuple[Float32, float]:
        first = round(start * rate_hz)
        return data[channels, first : first + max(1, round(seconds * rate_hz))], rate_hz

    return window


OPENERS: Mapping[str, Callable[[Path], Recording]] = {
    "wfdb": _open_wfdb,
    "dicom": _open_dicom,
    "edf": _open_edf,
    "cart": _open_cart,
}
