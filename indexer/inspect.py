"""A first look at one file, in a worker process: what it is and which bytes it holds. No pixels are decoded."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from m3search import formats, modalities
from m3search.errors import Reason, UnreadableFile
from m3search.formats import dicom_report
from m3search.indexer.archives.base import FileStat
from m3search.modalities import reading
from m3search.modalities.content import digest_of
from m3search.privacy import scrub
from m3search.types import Header, ModalityFrom


@dataclass(frozen=True, slots=True)
class Word:
    """What is said about a file: `declared` must agree with its header, `hint` serves where that is silent."""

    declared: str = ""  # by the manifest
    hint: str = ""
    hint_from: ModalityFrom = "encoder"  # "option" or "folder"; "encoder" where there is no hint


@dataclass(frozen=True, slots=True)
class Digest:
    """The bytes of one file."""

    stat: FileStat
    digest: str  # BLAKE3, hexadecimal


@dataclass(frozen=True, slots=True)
class Inspected:
    """What one file is. `modality` is "" where only the encoder can say (a raster that nobody described)."""

    path: Path
    format: str
    modality: str
    modality_from: ModalityFrom
    series: str = field(repr=False)  # raw identifiers: in memory only
    identifiers: tuple[str, ...] = field(repr=False)
    digests: tuple[Digest, ...]  # the file itself, then its companions
    study: str = field(default="", repr=False)  # raw, as `series`
    report: str = field(
        default="", repr=False
    )  # the words of a file that is no item, but a report on those of its study


def inspect(path: Path, word: Word) -> Inspected | None:
    """Look at a file; None where it is no medical file at all (a readme, a .dat that its header speaks for).

    Of a report (DICOM SR, encapsulated PDF) the text is read, too.

    Raises:
        UnreadableFile: it claims to be a medical file and is not, or is of a kind that is not searched.
    """
    try:
        digest = _digest(path)
        if digest.stat.size and formats.sniff(path) is None:
            return None
        header = reading.header_of(path)
        digests = (digest, *(_digest(companion) for companion in header.companions))
        if header.format == "dicom" and dicom_report.is_report(header.attributes["SOPClassUID"]):
            return _report(header, digests)
    except OSError as error:
        raise reading.unreadable(path, error) from error
    modality, said_by = reading.modality_of(header, word.declared or None, "manifest")
    if modality is None:
        if not reading.may_show_anything(header):
            raise UnreadableFile(path, Reason.UNSUPPORTED, f"{reading.kind_of(header)} is not searched here")
        modality, said_by = word.hint, word.hint_from
        if not modality and header.format != "raster":
            raise UnreadableFile(
                path, Reason.UNSUPPORTED, f"{reading.kind_of(header)}: state its modality in a manifest"
            )
    series = modalities.get(modality).series(header) if modality else ""
    if series:
        reading.check_whole(header)
    return Inspected(
        path=path,
        format=header.format,
        modality=modality,
        modality_from=said_by,
        series=series,
        identifiers=header.identifiers,
        digests=digests,
        study=str(header.attributes.get("StudyInstanceUID", "")),
    )


def _report(header: Header, digests: tuple[Digest, ...]) -> Inspected:
    """A report, its text without what its own header and its own names identify a person by."""
    found = dicom_report.read_report(header.path)
    study = str(header.attributes["StudyInstanceUID"])
    if not found.text or not study:
        what = "holds no words (pages that are pictures are not read)" if study else "does not say of which study it is"
        raise UnreadableFile(header.path, Reason.UNSUPPORTED, f"is a report, but {what}")
    return Inspected(
        path=header.path,
        format=header.format,
        modality="",
        modality_from="header",
        series="",
        identifiers=header.identifiers,
        digests=digests,
        study=study,
        report=scrub(found.text, found.identifiers),
    )


def _digest(path: Path) -> Digest:
    stat = FileStat.of(path)  # before the bytes: a file changed meanwhile is seen as changed by the next run
    return Digest(stat, digest_of(path))
