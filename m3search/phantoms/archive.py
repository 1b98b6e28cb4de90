"""A folder of synthetic patients in real file formats, with a manifest for each modality."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from m3search.errors import UsageError
from m3search.phantoms import chest, files, pathology
from m3search.phantoms.examination import ALL, PAINTERS, Examination, examine, picture, volume
from m3search.phantoms.phi import Phi

KINDS_OF_FILE = {  # taken in turn, patient by patient
    "xray": ("dx", "cr", "png"),
    "ct": ("dicom", "nifti", "dicom"),
    "retina": ("png", "op"),
    "ecg": ("wfdb", "dicom"),
    "pathology": ("slide", "png"),
}
ECG_RATE_HZ = 500.0
SLIDE_MPP = 0.5
SOURCE, LICENCE = "m3search phantom", "Apache-2.0"


@dataclass(frozen=True, slots=True)
class Phantom:
    """One written examination."""

    path: str  # relative to the archive: the file, an ECG's .hea, the folder of a CT series
    files: tuple[str, ...]  # every file of it, relative to the archive
    modality: str
    format: str  # a key of m3search.formats.FORMATS
    patient_id: str
    sex: str  # "F" or "M"
    age: int  # years
    findings: tuple[str, ...]  # as the modality's KINDS name them
    labels: tuple[str, ...]
    text: str
    caption: str


@dataclass(frozen=True, slots=True)
class _Written:
    path: Path
    format: str
    rows: tuple[Path, ...]  # what the manifest lists: one row each
    files: tuple[Path, ...]


def write_archive(
    folder: Path,
    patients: int = 10,
    seed: int = 0,
    modalities: Sequence[str] = ALL,
    phi: Phi | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> list[Phantom]:
    """Write `patients` patients with one examination of each modality to `folder`/<modality>/.

    The same arguments write the same bytes; more patients or fewer modalities leave the others as they are.

    Args:
        folder: created where it is missing; files of the same name in it are replaced.
        phi: identifiers to plant, numbered by patient; None for files that identify nobody.
        progress: told examinations done and in all after each one.

    Raises:
        UsageError: an unknown modality, or fewer than one patient.
    """
    if patients < 1:
        raise UsageError(f"an archive of {patients} patients has nothing in it; ask for 1 or more")
    if unknown := [name for name in modalities if name not in PAINTERS]:
        raise UsageError(f"there are no phantoms of modality {unknown[0]!r}; choose from {', '.join(PAINTERS)}")
    phantoms: list[Phantom] = []
    for modality in modalities:
        home = folder / modality
        home.mkdir(parents=True, exist_ok=True)
        rows: list[dict[str, str]] = []
        for number in range(patients):
            examination = examine(modality, number, seed)
            own = phi.of(number) if phi is not None else None
            written = _WRITERS[modality](home, examination, own)
            phantoms.append(_phantom(folder, examination, own, written))
            rows += [_row(home, path, examination, own) for path in written.rows]
            if progress is not None:
                progress(len(phantoms), patients * len(modalities))
        files.write_manifest(home / "manifest.csv", rows)
    return phantoms


def _phantom(folder: Path, examination: Examination, phi: Phi | None, written: _Written) -> Phantom:
    return Phantom(
        path=written.path.relative_to(folder).as_posix(),
        files=tuple(path.relative_to(folder).as_posix() for path in written.files),
        modality=examination.modality,
        format=written.format,
        patient_id=_patient_id(examination, phi),
        sex=examination.patient.sex,
        age=examination.patient.age,
        findings=tuple(finding.kind for finding in examination.findings),
        labels=examination.labels,
        text=examination.text,
        caption=examination.caption,
    )


def _row(home: Path, path: Path, examination: Examination, phi: Phi | None) -> dict[str, str]:
    patient_id = _patient_id(examination, phi)
    return {
        "path": path.relative_to(home).as_posix(),
        "modality": examination.modality,
        "patient_id": patient_id,
        "group": patient_id,
        "text": examination.text if phi is None else phi.report(examination.text),
        "text_kind": "report",
        "caption": examination.caption,
        "labels": "|".join(examination.labels),
        "source": SOURCE,
        "license": LICENCE,
        "use": "open",
        "sex": examination.patient.sex,
        "age": str(examination.patient.age),
        "view": examination.view,
        "fs": f"{ECG_RATE_HZ:g}" if examination.modality == "ecg" else "",
    }


def _patient_id(examination: Examination, phi: Phi | None) -> str:
    return examination.patient.id if phi is None else phi.patient_id


def _name(examination: Examination, phi: Phi | None) -> str:
    """Of the examination's file or folder, without suffix."""
    if phi is not None and phi.in_paths:
        return f"{phi.family_name}_{phi.given_name}_{phi.patient_id}/{phi.accession_number}"
    return examination.patient.id.replace("phantom", examination.modality)  # an id in a name would be masked


def _kind_of_file(examination: Examination) -> str:
    kinds = KINDS_OF_FILE[examination.modality]
    return kinds[examination.patient.number % len(kinds)]


def _one(path: Path, format_: str) -> _Written:
    return _Written(path, format_, (path,), (path,))


def _write_xray(home: Path, examination: Examination, phi: Phi | None) -> _Written:
    name, kind = _name(examination, phi), _kind_of_file(examination)
    if kind == "png":
        path = home / f"{name}.png"
        files.write_png(path, picture(examination), phi)
        return _one(path, "raster")
    from m3search.phantoms import dicom

    path = home / f"{name}.dcm"
    film = chest.film(examination.rng("picture"), examination.findings)
    dicom.write_film(path, film, dicom.Stamp(examination, phi), computed=kind == "cr")
    return _one(path, "dicom")


def _write_ct(home: Path, examination: Examination, phi: Phi | None) -> _Written:
    name = _name(examination, phi)
    if _kind_of_file(examination) == "nifti":
        path = home / f"{name}.nii.gz"
        files.write_nifti(path, volume(examination), phi)
        return _one(path, "nifti")
    from m3search.phantoms import dicom

    slices = tuple(dicom.write_series(home / name, volume(examination), dicom.Stamp(examination, phi)))
    return _Written(home / name, "dicom", slices, slices)


def _write_retina(home: Path, examination: Examination, phi: Phi | None) -> _Written:
    name = _name(examination, phi)
    if _kind_of_file(examination) == "png":
        path = home / f"{name}.png"
        files.write_png(path, picture(examination), phi)
        return _one(path, "raster")
    from m3search.phantoms import dicom

    path = home / f"{name}.dcm"
    dicom.write_fundus(path, picture(examination), dicom.Stamp(examination, phi))
    return _one(path, "dicom")


def _write_ecg(home: Path, examination: Examination, phi: Phi | None) -> _Written:
    name, signal = _name(examination, phi), picture(examination)
    if _kind_of_file(examination) == "wfdb":
        header = home / f"{name}.hea"
        files.write_wfdb(header, signal, ECG_RATE_HZ, examination.patient.sex, examination.patient.age, phi)
        return _Written(header, "wfdb", (header,), (header, header.with_suffix(".dat")))
    from m3search.phantoms import dicom

    path = home / f"{name}.dcm"
    dicom.write_waveform(path, signal, ECG_RATE_HZ, dicom.Stamp(examination, phi))
    return _one(path, "dicom")


def _write_pathology(home: Path, examination: Examination, phi: Phi | None) -> _Written:
    name = _name(examination, phi)
    if _kind_of_file(examination) == "png":
        path = home / f"{name}.png"
        files.write_png(path, picture(examination), phi)
        return _one(path, "raster")
    path = home / f"{name}.tiff"
    section = pathology.slide(examination.rng("picture"), examination.findings, mpp=SLIDE_MPP)
    lossy = examination.patient.number % 4 == 0
    files.write_slide(path, section, SLIDE_MPP, lossy, phi)
    return _one(path, "slide")


_WRITERS = {
    "xray": _write_xray,
    "ct": _write_ct,
    "retina": _write_retina,
    "ecg": _write_ecg,
    "pathology": _write_pathology,
}
