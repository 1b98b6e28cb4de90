"""File formats: bytes to pixels or signal, plus header. Nothing medical is decided here."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from m3search.types import Header

# Asked in this order: the first whose `sniff` says yes has the file. A whole-slide TIFF is also a raster TIFF.
FORMATS = {
    "dicom": "m3search.formats.dicom",
    "nifti": "m3search.formats.nifti",
    "wfdb": "m3search.formats.wfdb",
    "edf": "m3search.formats.edf",
    "cart": "m3search.formats.cart",
    "slide": "m3search.formats.slide",
    "raster": "m3search.formats.raster",
}

MAGIC_BYTES = 4096  # how much of a file's beginning `sniff` is given


class Format(Protocol):
    """What every module of FORMATS offers. Decoding functions differ: a slide is not a signal."""

    def sniff(self, path: Path, head: bytes) -> bool:
        """True where content (`head`, the first MAGIC_BYTES) or, failing a magic number, the suffix claims it."""
        ...

    def read_header(self, path: Path) -> Header:
        """The header without pixels or samples.

        Raises:
            UnreadableFile: the file claims the format but does not keep it.
        """
        ...


def get(name: str) -> Format:
    """The format module of that name."""
    return cast("Format", import_module(FORMATS[name]))


def sniff(path: Path) -> str | None:
    """The format of a file by its content, or None where no format claims it (a manifest, a readme, a .dat)."""
    with path.open("rb") as file:
        head = file.read(MAGIC_BYTES)
    return next((name for name in FORMATS if get(name).sniff(path, head)), None)
