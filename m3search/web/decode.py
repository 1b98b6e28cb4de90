"""What decoding processes do with an upload. Imports nothing of the server: such a process starts in no time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from zipfile import is_zipfile

from m3search.errors import Reason, UnreadableFile
from m3search.indexer.inspect import Inspected, Word, inspect
from m3search.indexer.read import Reading, read
from m3search.modalities.burned_in import Policy
from m3search.types import InputSpec, Source


@dataclass(frozen=True, slots=True)
class Looked:
    """One examination among uploaded files. `source.modality` is "" where only the encoder can say."""

    source: Source
    series: str = field(repr=False)  # an identifier: in memory only
    digests: tuple[str, ...]


def look(paths: Sequence[Path], modality: str) -> Looked:
    """What the files are; nothing is decoded.

    Args:
        modality: what somebody says that a picture shows; "" for nobody.

    Raises:
        UnreadableFile: none is a medical file, or one of them is damaged; UNSUPPORTED for several examinations at once.
    """
    word = Word(hint=modality, hint_from="option") if modality else Word()
    found = [one for path in paths if (one := inspect(path, word)) is not None]
    if found and all(one.report for one in found):
        raise UnreadableFile(paths[0], Reason.UNSUPPORTED, "is a report; search with its words instead")
    found = [one for one in found if not one.report]
    if not found:
        if is_zipfile(paths[0]):
            raise UnreadableFile(
                paths[0], Reason.UNSUPPORTED, "is a zip file; unpack it and send the files of one examination"
            )
        raise UnreadableFile(
            paths[0],
            Reason.UNKNOWN_FORMAT,
            "its content is of no format that is read here (DICOM, NIfTI, WFDB, whole slides, PNG, JPEG, TIFF)",
        )
    spoken_for = {digest.stat.path for one in found for digest in one.digests[1:]}
    found = sorted((one for one in found if one.path not in spoken_for), key=lambda one: one.path)
    if len({(one.modality, one.series) for one in found}) > 1 or (len(found) > 1 and not found[0].series):
        raise UnreadableFile(
            found[1].path, Reason.UNSUPPORTED, "these files are several examinations; send one at a time"
        )
    first: Inspected = found[0]
    source = Source(first.modality, first.format, tuple(one.path for one in found), first.modality_from)
    return Looked(source, first.series, tuple(digest.digest for one in found for digest in one.digests))


def read_upload(source: Source, spec: InputSpec, policy: Policy) -> Reading:
    """As an index run reads; but what claims to hold text that is not found is let in: it is the asker's own file.

    Raises:
        UnreadableFile: naming the reason.
    """
    try:
        return read(source, spec, "mask" if policy == "quarantine" else policy)
    except UnreadableFile as error:
        if error.reason is not Reason.BURNED_IN:
            raise
    reading = read(source, spec, "keep")
    said = {"burned_in": "it says that text is in its pixels, and none was found to paint over"}
    return replace(reading, provenance={**reading.provenance, **said})


def with_modality(source: Source, modality: str) -> Source:
    """A source whose modality the encoder has told."""
    return replace(source, modality=modality, modality_from="encoder")
