"""The values that travel between the layers: frozen, with units stated.

An *item* is one searchable unit (an image, a CT series, a slide, an ECG record); its *parts* are its slices, tiles or
windows. `Header`, `Source`, `Item` and `Batch` exist while a file is read; a `Hit` is what a search returns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]
    UInt8 = npt.NDArray[np.uint8]

ModalityFrom = Literal["header", "manifest", "option", "folder", "encoder"]
"""Who said what modality an item has: the file's own header, the manifest, `--modality`, a folder name, the encoder."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a format tells about a file without decoding its pixels or samples.

    `attributes` uses the format's own vocabulary (DICOM keywords, WFDB field names) and may hold PHI: it lives in
    memory only and is never logged or stored.
    """

    path: Path
    format: str  # a key of m3search.formats.FORMATS
    attributes: Mapping[str, Any] = field(repr=False)
    companions: tuple[Path, ...] = ()  # files read through this one: the .dat or .mat of a WFDB header
    identifiers: tuple[str, ...] = field(default=(), repr=False)  # names, ids, dates of a person: masked in paths


@dataclass(frozen=True, slots=True)
class Source:
    """The files one item is read from."""

    modality: str  # a key of m3search.modalities.MODALITIES
    format: str
    files: tuple[Path, ...]  # absolute, sorted by name; a WFDB header alone stands for its record
    modality_from: ModalityFrom = "header"


@dataclass(frozen=True, slots=True)
class Tags:
    """The allow-listed description of an item: what may be stored and filtered on. Unknown is "" or None."""

    sex: str = ""  # "F", "M" or "O" (DICOM PS3.3 C.7.1.1, PatientSex)
    age_band: str = ""  # decade: "60-69"; "90+" from 90 on
    body_part: str = ""  # upper case, as DICOM BodyPartExamined: "CHEST"
    view: str = ""  # "PA", "AP", "LL", "AXIAL", ...
    laterality: str = ""  # "L", "R" or "B"
    year: int | None = None  # of the examination


@dataclass(frozen=True, slots=True)
class Identity:
    """Direct identifiers as the file states them. In memory only; `privacy.Pseudonyms` turns them into keys."""

    patient_id: str = field(default="", repr=False)
    study_uid: str = field(default="", repr=False)
    series_uid: str = field(default="", repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)  # names, birth date, accession number, ids: never kept


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One slice, tile, window, or the whole of a plain image.

    `data` is display-ready uint8 (H, W) or (H, W, 3) for images; float32 (H, W) Hounsfield units for CT read from DICOM
    or NIfTI; float32 (12, T) millivolts, NaN where a lead is missing, for ECG.
    """

    locator: str  # place inside the item: "slice=12", "tile=2048,4096", "window=10-20s"; "" for the whole
    data: npt.NDArray[Any]
    rate_hz: float = 0.0  # samples per second of a signal, 0 for images
    spacing_mm: float = 0.0  # millimetres per pixel where known, else 0


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One searchable unit as read from its files: parts in anatomical or temporal order, at least one."""

    source: Source
    parts: tuple[Part, ...]
    tags: Tags = Tags()
    identity: Identity = Identity()
    text: str = ""  # free text the file itself carries and that is safe to keep; usually ""
    provenance: Mapping[str, Any] = field(default_factory=dict)  # JSON-able: how the bytes became `parts`, no PHI


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What the tower of one modality takes. Part of the bundle (`bundle.json`), applied by `Modality.prepare`.

    Images: uint8 (P, 3, size, size). Signals: float32 (P, 12, rate_hz * seconds) in millivolts, NaN for a missing lead;
    with `beat_seconds`, more columns follow (`m3search.modalities.ecg_layout`).
    Scaling to the network's own range happens inside the network.
    """

    kind: Literal["image", "signal"]
    size: int = 224  # pixels
    windows: tuple[tuple[float, float], ...] = ()  # CT: (centre, width) in HU, one per channel; one is repeated
    max_parts: int = 16  # parts of one item that are read and embedded
    tile_mpp: float = 0.0  # pathology: target micrometres per pixel
    rate_hz: float = 0.0
    seconds: float = 0.0
    beat_seconds: float = 0.0  # ECG: length of the usual beat that is given beside the signal; 0: the signal alone


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Inputs of one modality's tower, as `InputSpec` describes them; the first axis is the batch."""

    modality: str
    inputs: npt.NDArray[Any]

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True, slots=True)
class Hit:
    """One result. Everything here may be shown: no field holds a direct identifier."""

    rank: int  # from 1
    item_id: str
    modality: str
    score: float  # cosine, [-1, 1]
    uri: str  # relative to the archive
    text: str = ""
    labels: tuple[str, ...] = ()
    study_key: str = ""
    patient_key: str = ""
    best_part: str = ""  # locator of the part nearest to the query; "" where the item has only one
    standing: float | None = (
        None  # share of its modality's items that score lower, [0, 1]; None: not asked or not known
    )
