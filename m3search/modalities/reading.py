"""From a path to an Item: format, header, modality, decoded parts. Indexing and querying by file share this."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from m3search import formats, modalities
from m3search.errors import MissingExtra, Reason, UnreadableFile, UsageError
from m3search.formats.storage import failure_of
from m3search.modalities.imaging import DETAIL_PX
from m3search.modalities.plausible import refuse_implausible
from m3search.types import Header, InputSpec, Item, ModalityFrom, Source

if TYPE_CHECKING:
    from m3search.types import UInt8

    Guess = Callable[[UInt8], tuple[str, float]]

# DICOM kinds (Modality, PS3.3 C.7.3.1.1.1) by the words a person would use, where the code alone is not enough.
DICOM_KINDS = {
    "MR": "a magnetic resonance image",
    "US": "an ultrasound image",
    "MG": "a mammogram",
    "PT": "a positron emission tomogram",
    "NM": "a nuclear medicine image",
    "XA": "an X-ray angiogram",
    "RF": "a fluoroscopy image",
    "OCT": "an optical coherence tomogram",
    "SR": "a structured report",
    "DOC": "an encapsulated document",
    "PR": "a presentation state",
    "KO": "a key object selection",
    "SEG": "a segmentation",
    "REG": "a spatial registration",
    "RTSTRUCT": "a radiotherapy structure set",
    "RTPLAN": "a radiotherapy plan",
    "RTDOSE": "a radiotherapy dose",
}
# What scanners of documents and screens write for any kind of image: a declared modality is believed for these.
DICOM_OF_ANY_KIND = {"", "OT", "SC", "XC"}


def header_of(path: Path) -> Header:
    """The header of a file of any known format.

    Raises:
        UnreadableFile: absent, not permitted, empty, of no known format, or broken.
    """
    try:
        if path.stat().st_size == 0:
            raise UnreadableFile(path, Reason.EMPTY, "the file is empty; copy it again from its source")
        name = formats.sniff(path)
        if name is None:
            if (record := path.with_suffix(".hea")).is_file():
                raise UnreadableFile(path, Reason.UNKNOWN_FORMAT, f"holds samples only; name its record: {record.name}")
            known = "DICOM, NIfTI, WFDB, EDF, SCP-ECG, aECG, MUSE XML, whole slides, PNG, JPEG, TIFF"
            raise UnreadableFile(
                path, Reason.UNKNOWN_FORMAT, f"its content is of no format that is read here ({known})"
            )
        return formats.get(name).read_header(path)
    except UnreadableFile:
        raise
    except Exception as error:
        raise unreadable(path, error) from error


def source_of(
    path: Path,
    modality: str | None = None,
    modality_from: ModalityFrom = "option",
    guess: Guess | None = None,
) -> Source:
    """One file as the source of one item. Who says what it shows: its own header, else `modality`, else the nearest
    telling folder name, else `guess`.

    Args:
        modality: what somebody says it is; `modality_from` says who.
        guess: `Encoder.guess_modality`, asked last and for raster images only.

    Raises:
        UnreadableFile: see `header_of`; also WRONG_MODALITY where the header contradicts `modality`, and UNSUPPORTED
            for a kind of examination that is not searched.
        UsageError: nobody can say what a raster image shows, or `modality` does not exist.
    """
    path = Path(path).absolute()
    header = header_of(path)
    chosen, said_by = modality_of(header, modality, modality_from)
    if chosen is None:
        if not may_show_anything(header):
            raise UnreadableFile(path, Reason.UNSUPPORTED, f"{kind_of(header)} is not searched here")
        chosen, said_by = modalities.from_folders(path.parent), "folder"
    if chosen is None:
        if header.format != "raster":
            raise UnreadableFile(
                path, Reason.UNSUPPORTED, f"{kind_of(header)} does not say what it shows; state its modality"
            )
        if guess is None:
            raise UsageError(f"{path.name}: an image does not say what it shows; state its modality")
        chosen, said_by = guess(raster_image(path))[0], "encoder"
    return Source(modality=chosen, format=header.format, files=(path,), modality_from=said_by)


def modality_of(
    header: Header, declared: str | None = None, declared_by: ModalityFrom = "option"
) -> tuple[str | None, ModalityFrom]:
    """The modality of a file and who said so; None where neither its header nor anybody else can say.

    Raises:
        UnreadableFile: WRONG_MODALITY, the header shows another modality than the declared one.
        UsageError: there is no such modality.
    """
    if declared is not None:
        modalities.get(declared)
    shown = modalities.recognise(header)
    if shown is not None and declared not in (None, shown):
        raise UnreadableFile(
            header.path,
            Reason.WRONG_MODALITY,
            f"declared as {declared}, but its header shows {shown}; correct the {_place(declared_by)}",
        )
    if shown is not None:
        return shown, "header"
    if declared is not None and header.format == "dicom" and _dicom_kind(header) not in DICOM_OF_ANY_KIND:
        raise UnreadableFile(
            header.path,
            Reason.WRONG_MODALITY,
            f"declared as {declared}, but it is {kind_of(header)}; correct the {_place(declared_by)}",
        )
    return declared, declared_by


def may_show_anything(header: Header) -> bool:
    """True where a word from outside (a manifest, an option, a folder's name) may say what the file shows."""
    return header.format == "raster" or (header.format == "dicom" and _dicom_kind(header) in DICOM_OF_ANY_KIND)


def check_whole(header: Header) -> None:
    """Refuse a DICOM file of one frame that ends before the pixels it declares; nothing is decoded.

    For the slices of a series: only some of them are decoded, and a damaged one must not hide among the others. Many
    frames, a whole slide's, are too large to read for that.

    Raises:
        UnreadableFile: TRUNCATED, or declared larger than may be.
    """
    if header.format == "dicom" and header.attributes["NumberOfFrames"] == 1:
        from m3search.formats import dicom

        dicom.read_dataset(header.path)


def read_item(source: Source, spec: InputSpec) -> Item:
    """Decode one item.

    Raises:
        UnreadableFile: whatever went wrong, with its reason; the first file of the source is named where the reader
            itself did not name one. CONSTANT and IMPLAUSIBLE for what was decoded, but shows nothing.
    """
    try:
        item = modalities.get(source.modality).read(source, spec)
        refuse_implausible(item)
        return item
    except (UnreadableFile, UsageError):
        raise
    except Exception as error:
        raise unreadable(source.files[0], error) from error


def raster_image(path: Path) -> UInt8:
    """A raster file as a person sees it, uint8 (H, W, 3), a JPEG no larger than is needed to tell what it shows.

    Raises:
        UnreadableFile: it cannot be decoded.
    """
    from m3search.formats import raster

    try:
        pixels = raster.read(path, DETAIL_PX).pixels
    except UnreadableFile:
        raise
    except Exception as error:
        raise unreadable(path, error) from error
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)


def unreadable(path: Path, error: BaseException) -> UnreadableFile:
    """An exception that no reader expected, as a failure of one file; its text may quote a header and is left out."""
    if failure := failure_of(path, error):
        return failure
    if isinstance(error, MissingExtra):
        return UnreadableFile(path, Reason.MISSING_DECODER, str(error))
    if isinstance(error, OSError):
        detail = error.strerror or type(error).__name__
        return UnreadableFile(path, Reason.CORRUPT, f"it cannot be read ({detail})")
    return UnreadableFile(
        path,
        Reason.INTERNAL,
        f"reading it failed unexpectedly ({type(error).__name__}); please report this as a defect",
    )


def kind_of(header: Header) -> str:
    """What a file that no modality claims is, for a message: "a magnetic resonance image (DICOM MR)"."""
    if header.format != "dicom":
        records = dict.fromkeys(("wfdb", "edf", "cart"), "this record")
        return ({"nifti": "this NIfTI volume", "slide": "this slide"} | records).get(header.format, "this file")
    kind = _dicom_kind(header)
    if kind in DICOM_KINDS:
        return f"{DICOM_KINDS[kind]} (DICOM {kind})"
    # The code string is of a closed vocabulary; what is not in it may be anything and is not repeated.
    return (
        f"a DICOM file of modality {kind}"
        if kind.isalpha() and len(kind) <= 8
        else "a DICOM file of no stated modality"
    )


def _dicom_kind(header: Header) -> str:
    return str(header.attributes.get("Modality") or "").strip().upper()


def _place(declared_by: ModalityFrom) -> str:
    return {"manifest": "manifest", "folder": "folder's name"}.get(declared_by, "stated modality")
