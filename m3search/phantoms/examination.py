"""Who is examined, how, and what is found: drawn by seed, without writing a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from m3search.errors import UsageError
from m3search.phantoms.findings import Finding

if TYPE_CHECKING:
    from m3search.phantoms.ct import Volume

PAINTERS = {
    "xray": "m3search.phantoms.chest",
    "ct": "m3search.phantoms.ct",
    "retina": "m3search.phantoms.retina",
    "ecg": "m3search.phantoms.ecg",
    "pathology": "m3search.phantoms.pathology",
}
ALL = tuple(PAINTERS)


class Painter(Protocol):
    """What every module of PAINTERS offers."""

    KINDS: tuple[str, ...]
    choose: Callable[[np.random.Generator, str], tuple[Finding, ...]]
    render: Callable[[np.random.Generator, tuple[Finding, ...]], Any]
    describe: Callable[[np.random.Generator, tuple[Finding, ...]], tuple[list[str], tuple[str, ...]]]


@dataclass(frozen=True, slots=True)
class Patient:
    """A person who does not exist."""

    number: int  # from 0
    id: str
    sex: str  # "F" or "M"
    age: int  # years


@dataclass(frozen=True, slots=True)
class Examination:
    """One examination of one patient, and what its report says."""

    modality: str
    patient: Patient
    findings: tuple[Finding, ...]
    text: str  # the report
    caption: str  # one sentence made of the labels alone
    labels: tuple[str, ...]
    view: str  # "PA", "AP", "Axial", or ""
    seed: int

    def rng(self, purpose: str) -> np.random.Generator:
        """Random numbers of this examination that no other purpose shares: "picture", "file", ..."""
        return _generator(self.seed, self.patient.number, self.modality, purpose)


def painter(modality: str) -> Painter:
    """The module that draws a modality.

    Raises:
        UsageError: no phantom of that modality can be drawn.
    """
    if modality not in PAINTERS:
        raise UsageError(f"there are no phantoms of modality {modality!r}; choose from {', '.join(PAINTERS)}")
    return cast("Painter", import_module(PAINTERS[modality]))


def patient(number: int, seed: int = 0) -> Patient:
    """Patient `number` of the archive `seed`; the same whatever else is drawn."""
    rng = _generator(seed, number, "patient", "person")
    return Patient(
        number, f"phantom-{seed}-{number:05d}", "F" if rng.random() < 0.5 else "M", int(rng.integers(24, 88))
    )


def examine(modality: str, number: int, seed: int = 0) -> Examination:
    """The examination of patient `number`. Any block of patients as long as KINDS shows every kind once."""
    draw = painter(modality)
    person = patient(number, seed)
    block, place = divmod(number, len(draw.KINDS))
    order = _generator(seed, block, modality, "order").permutation(len(draw.KINDS))
    rng = _generator(seed, number, modality, "findings")
    findings = draw.choose(rng, draw.KINDS[order[place]])
    sentences, labels = draw.describe(rng, findings)
    view = {"xray": str(rng.choice(["PA", "PA", "AP"])), "ct": "Axial"}.get(modality, "")
    study = _study(modality, findings, view)
    opening = str(rng.choice(OPENINGS[modality])).format(study=study, Study=_capital(study), who=_who(person))
    return Examination(
        modality=modality,
        patient=person,
        findings=findings,
        text=" ".join([opening, *sentences]),
        caption=_caption(modality, study, person, labels),
        labels=labels,
        view=view,
        seed=seed,
    )


def picture(examination: Examination) -> Any:
    """What the examination shows, in memory: uint8 (H, W) X-ray, `ct.Volume`, uint8 (H, W, 3) fundus photograph or
    histology patch, float32 (12, T) ECG in millivolts at 500 Hz."""
    return painter(examination.modality).render(examination.rng("picture"), examination.findings)


def volume(examination: Examination) -> Volume:
    """`picture` of a CT examination."""
    return cast("Volume", picture(examination))


def _generator(seed: int, number: int, *names: str) -> np.random.Generator:
    return np.random.default_rng([seed, number, *(int.from_bytes(name.encode(), "big") for name in names)])


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]


def _who(person: Patient) -> str:
    return f"{_aged(person)} {'woman' if person.sex == 'F' else 'man'}"


def _aged(person: Patient) -> str:
    return f"{'an' if person.age // 10 == 8 else 'a'} {person.age}-year-old"


OPENINGS = {
    "xray": ("{Study} of {who}.", "{Study}, {who}.", "{Study} obtained in {who}."),
    "ct": ("{Study} of {who}.", "{Study}, {who}."),
    "retina": ("{Study} of {who}.", "{Study}, {who}."),
    "ecg": ("{Study} of {who}.", "Resting {study}, {who}."),
    "pathology": ("{Study}.", "{Study}, biopsy from {who}."),
}


def _study(modality: str, findings: tuple[Finding, ...], view: str) -> str:
    """What was done, as a report begins."""
    match modality:
        case "xray":
            return f"{view} chest X-ray"
        case "ct":
            from m3search.phantoms.ct import region

            contrast = any(finding.kind == "contrast" for finding in findings)
            part = {"CHEST": "chest", "ABDOMEN": "abdominal", "HEAD": "head"}[region(findings[0].kind)]
            return f"axial {part} CT {'with' if contrast else 'without'} intravenous contrast"
        case "retina":
            return f"colour fundus photograph of the {findings[0].side} eye"
        case "ecg":
            return "12-lead ECG"
    return "H&E-stained colorectal histology"


def _caption(modality: str, study: str, person: Patient, labels: tuple[str, ...]) -> str:
    """A sentence made of the labels, worded as in the training data."""
    start, whom = _capital(study), f"{_aged(person)} {'female' if person.sex == 'F' else 'male'} patient"
    told = [label for label in labels if "contrast" not in label]  # which the study says already
    names = ", ".join(label if modality == "ecg" else label[0].lower() + label[1:] for label in told)
    match modality:
        case "xray":
            return f"{start} of {whom}. " + ("No finding." if labels == ("No Finding",) else f"Finding: {names}.")
        case "ecg":
            return f"{start} of {whom} showing {names}."
        case "pathology":
            return f"{start} showing {names.removeprefix('colorectal ')}."
    return f"{start}: normal." if names == "normal" else f"{start} showing {names}."
