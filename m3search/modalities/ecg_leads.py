"""The twelve standard leads: which channel is which, in what unit, and what follows from the others.

Leads are found by name, never by position: files order them freely (Cabrera, Frank leads in between, monitor channels).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.types import Float32

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
LIMB_LEADS = LEADS[:6]
IEC_CHEST = ("C1", "C2", "C3", "C4", "C5", "C6")  # IEC 60601-2-25: the electrodes of V1 to V6

# Names that are not the standard one but place an electrode pair where a standard lead has it. The IEC's C1 to C6 are
# not among them, for C3 and C4 are where an EEG is taken: see `place`.
_SYNONYMS: Mapping[str, str] = {
    **{lead.lower(): lead for lead in LEADS},
    **{f"d{roman}": lead for roman, lead in (("i", "I"), ("ii", "II"), ("iii", "III"))},  # Romance languages: DI, DII
    **{f"d{number}": LEADS[number - 1] for number in (1, 2, 3)},
    **{
        f"ml{roman}": lead for roman, lead in (("i", "I"), ("ii", "II"), ("iii", "III"))
    },  # modified limb leads (Holter)
    "ml2": "II",
    **{f"mcl{number}": f"V{number}" for number in range(1, 7)},  # modified chest leads (monitors)
    **{f"mv{number}": f"V{number}" for number in range(1, 7)},
    **{f"cm{number}": f"V{number}" for number in range(1, 7)},  # manubrium to chest (Holter)
}

# Code values of the lead in DICOM waveforms: MDC (PS3.16 CID 3001) and the SCP-ECG ones that older carts write.
_CODES: Mapping[str, str] = {
    f"{scheme}{number}": lead
    for scheme in ("2:", "5.6.3-9-")
    for number, lead in zip((1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8), LEADS, strict=True)
}

QUIETEST_MV = 0.01  # the noise of skin and amplifier alone is larger (IEC 60601-2-25 allows an amplifier 0.03)
RAIL_MV = 4.0  # a recorder's range ends beyond: it must hold from -5 to 5 mV (IEC 60601-2-25)
AT_RAIL = 0.5  # share of the samples

_FILLER = {
    "lead",
    "leads",
    "ecg",
    "ekg",
    "mdc",
    "channel",
    "derivation",
    "ableitung",
    "standard",
    "limb",
    "chest",
    "augmented",
}
_UNNAMED = re.compile(r"(ecg|ekg)( (lead|channel|ch|signal))?( ?\d{1,2}| [ab])?$|holter( ?\d)?$|v$")

_MILLIVOLTS: Mapping[str, float] = {
    "mv": 1.0, "millivolt": 1.0, "millivolts": 1.0,
    "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "microvolt": 1e-3, "microvolts": 1e-3,
    "v": 1e3, "volt": 1e3, "volts": 1e3,
    "nv": 1e-6, "nanovolt": 1e-6, "nanovolts": 1e-6,
}  # fmt: skip


def lead_of(name: str) -> tuple[str, int] | None:
    """The standard lead that a channel name means, with its sign (-1 for Cabrera's "-aVR"); None for anything else.

    >>> lead_of("Lead I (Einthoven)"), lead_of("avr"), lead_of("MLII"), lead_of("-aVR"), lead_of("ECG 1")
    (('I', 1), ('aVR', 1), ('II', 1), ('aVR', -1), None)
    """
    if name in _CODES:
        return _CODES[name], 1
    plain = re.sub(r"\(.*?\)", " ", name.lower()).split(",")[0].strip()
    sign = -1 if plain.startswith("-") else 1
    words = [word for word in re.split(r"[^a-z0-9]+", plain) if word and word not in _FILLER]
    number_alone = len(words) == 1 and words[0].isdigit()  # "ECG 1" is a channel number, not lead I
    lead = None if number_alone else _SYNONYMS.get("".join(words))
    return None if lead is None else (lead, sign)


def is_unnamed_ecg(name: str) -> bool:
    """True for a channel that says it is an ECG but not which lead: "ECG", "ECG1", "V"."""
    return _UNNAMED.match(re.sub(r"[^a-z0-9]+", " ", name.lower()).strip()) is not None


def millivolts_per(unit: str) -> float | None:
    """Factor to millivolts, or None for a unit that is not a voltage ("NU", "adu", "")."""
    return _MILLIVOLTS.get(unit.strip().lower())


@dataclass(frozen=True, slots=True)
class Placement:
    """Where each lead is found among the channels of one file."""

    channels: Mapping[str, tuple[int, int]]  # lead -> (channel number, sign), in the order of LEADS
    ignored: int  # channels that are no standard ECG lead
    notes: tuple[str, ...] = ()

    @property
    def numbers(self) -> list[int]:
        return sorted({number for number, _ in self.channels.values()})


def place(names: Sequence[str]) -> Placement:
    """Find the leads by name. Where no channel is named after a lead, the first unnamed ECG channel stands for lead II.

    II is what single-lead monitors show by default, and its shape is what rhythm is read from; the assumption is noted.
    """
    found: dict[str, tuple[int, int]] = {}
    for number, name in enumerate(names):
        meant = lead_of(name)
        if meant is None:
            continue
        lead, sign = meant
        if lead not in found or name.strip().lower() == lead.lower():  # "II" goes before "MLII"
            found[lead] = (number, sign)
    notes: tuple[str, ...] = ()
    plain = [name.strip().upper() for name in names]
    if set(LIMB_LEADS) & found.keys() and set(IEC_CHEST) <= set(plain):  # all six, beside limb leads: no EEG
        for lead, electrode in zip(LEADS[6:], IEC_CHEST, strict=True):
            found.setdefault(lead, (plain.index(electrode), 1))
        notes = ("C1 to C6 beside limb leads: read as V1 to V6",)
    if not found:
        unnamed = next((number for number, name in enumerate(names) if is_unnamed_ecg(name)), None)
        if unnamed is not None:
            found["II"] = (unnamed, 1)
            notes = ("the ECG channel names no lead: read as lead II",)
    ordered = {lead: found[lead] for lead in LEADS if lead in found}
    return Placement(ordered, ignored=len(names) - len(ordered), notes=notes)


def arrange(data: npt.NDArray[Any], units: Sequence[str], channels: Mapping[str, tuple[int, int]]) -> Float32:
    """(C, T) in `units` to float32 (12, T) in millivolts, NaN where a lead is missing; units of no voltage are kept."""
    leads = np.full((len(LEADS), data.shape[1]), np.nan, dtype=np.float32)
    for lead, (number, sign) in channels.items():
        leads[LEADS.index(lead)] = data[number] * np.float32(sign * (millivolts_per(units[number]) or 1.0))
    return leads


def voltages(units: Sequence[str], channels: Mapping[str, tuple[int, int]]) -> npt.NDArray[np.bool_]:
    """bool (12,): the leads whose unit is a voltage."""
    calibrated = {lead for lead, (number, _) in channels.items() if millivolts_per(units[number]) is not None}
    return np.array([lead in calibrated for lead in LEADS])


def blank_disconnected(leads: Float32, calibrated: npt.NDArray[np.bool_]) -> Float32:
    """(12, T) with NaN for leads that show no heart: a living, connected patient always moves the last bit.

    Where the unit is a voltage (`calibrated`, (12,)), also those that move less than any amplifier's noise, and those
    that lie at the end of its range most of the time, as an electrode that has come off does.
    """
    highest, lowest = np.fmax.reduce(leads, axis=1), np.fmin.reduce(leads, axis=1)  # fmax and fmin pass over NaN
    silent = ~(highest - lowest > np.where(calibrated, QUIETEST_MV, 0))
    for row in np.flatnonzero(calibrated & ~silent):
        there = leads[row][np.isfinite(leads[row])]
        for rail in (highest[row], lowest[row]):
            silent[row] |= bool(abs(rail) >= RAIL_MV and (there == rail).mean() > AT_RAIL)
    return np.where(silent[:, None], np.float32(np.nan), leads)


def derive_limb_leads(leads: Float32) -> tuple[Float32, tuple[str, ...]]:
    """Fill missing limb leads from any two of I, II, III: Einthoven's law and Goldberger's definitions.

    III = II - I, aVR = -(I + II) / 2, aVL = I - II / 2, aVF = II - I / 2 (Malmivuo & Plonsey, 15.4).
    """
    missing = {lead for lead in LIMB_LEADS if np.isnan(leads[LEADS.index(lead)]).all()}
    if not missing or len(missing & {"I", "II", "III"}) > 1:
        return leads, ()
    leads = leads.copy()
    one, two, three = (leads[LEADS.index(lead)] for lead in ("I", "II", "III"))
    if "I" in missing:
        one = two - three
    if "II" in missing:
        two = one + three
    formulas = {
        "I": one,
        "II": two,
        "III": two - one,
        "aVR": -(one + two) / 2,
        "aVL": one - two / 2,
        "aVF": two - one / 2,
    }
    for lead in missing:
        leads[LEADS.index(lead)] = formulas[lead]
    return leads, tuple(lead for lead in LIMB_LEADS if lead in missing)
