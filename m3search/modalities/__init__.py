"""The five modalities. A modality is not a format: DICOM carries all five."""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from pathlib import PurePath
from typing import TYPE_CHECKING

from m3search.errors import UsageError

if TYPE_CHECKING:
    from m3search.modalities.base import Modality
    from m3search.types import Header

MODALITIES = {
    "xray": "m3search.modalities.xray:XRay",
    "ct": "m3search.modalities.ct:CT",
    "retina": "m3search.modalities.retina:Retina",
    "ecg": "m3search.modalities.ecg:ECG",
    "pathology": "m3search.modalities.pathology:Pathology",
}


@cache
def get(name: str) -> Modality:
    """The modality of that name.

    Raises:
        UsageError: no such modality.
    """
    if name not in MODALITIES:
        raise UsageError(f"there is no modality {name!r}; choose from {', '.join(MODALITIES)}")
    module, _, attribute = MODALITIES[name].partition(":")
    modality: Modality = getattr(import_module(module), attribute)()
    return modality


def recognise(header: Header) -> str | None:
    """The modality a header shows, or None where the header cannot say (a photograph, an MR image)."""
    return next((name for name in MODALITIES if get(name).recognises(header)), None)


def from_folders(folder: PurePath) -> str | None:
    """The modality that the nearest telling folder name hints at, or None: "fundus/2019/site-a" is retina."""
    for part in reversed(folder.parts):
        words = set(re.split(r"[^a-z0-9&]+", part.casefold().replace("x-ray", "xray")))
        found = [name for name in MODALITIES if not words.isdisjoint(get(name).folder_names)]
        if len(found) == 1:  # "ct_and_xray" says nothing
            return found[0]
    return None
