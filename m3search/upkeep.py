"""Keeping an index in order: delete, verify, compact, export. What the commands of these names run.

>>> import m3search
>>> m3search.delete("./.m3search", patient="PAT-0042", dry_run=True)   # doctest: +SKIP
>>> m3search.verify("./.m3search").ok                                  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from m3search.errors import BundleError, EncoderMismatch
from m3search.stores.folder import IndexFolder, locate

if TYPE_CHECKING:
    from m3search.stores.compact import Compaction
    from m3search.stores.deletion import Deletion
    from m3search.stores.export import Export, Precision
    from m3search.stores.verify import Check, Verification


def delete(
    index: Path | str | None = None,
    *,
    items: Sequence[str] = (),
    patient: str | None = None,
    where: str | None = None,
    dry_run: bool = False,
) -> Deletion:
    """Delete items for good. They also stay out of later index runs, until `undelete`.

    Args:
        index: the index folder; see `m3search.stores.folder.locate` for the default.
        items: item ids, or beginnings that only one item has.
        patient: a patient_key, or the patient's own id, which is hashed with the index's key and never kept. What is
            found of this patient later stays out too.
        where: a filter expression; see `m3search.filters`.
        dry_run: only say what would be deleted.

    Raises:
        UsageError: not exactly one of items, patient and where; no such item or patient.
        FilterError: `where` cannot be understood.
        IndexNotFound: there is no index.
        IndexLocked: another run is writing.
    """
    from m3search.stores.deletion import Selection
    from m3search.stores.deletion import delete as run

    return run(IndexFolder.open(locate(index)), Selection(tuple(items), patient, where), dry_run=dry_run)


def undelete(
    index: Path | str | None = None, *, items: Sequence[str] = (), patient: str | None = None, everything: bool = False
) -> int:
    """Let deleted items in again: the next index run that meets their files reads them.

    Args:
        items: whole item ids, as `delete` gave them.
        patient: a patient_key or the patient's own id: what was deleted as this patient's.
        everything: all of them.

    Returns how many deletions were lifted.

    Raises:
        UsageError: not exactly one of items, patient and everything.
        IndexLocked: another run is writing.
    """
    from m3search.stores.deletion import undelete as run

    return run(IndexFolder.open(locate(index)), items=items, patient=patient, everything=everything)


def verify(index: Path | str | None = None) -> Verification:
    """Check that an index is whole, fits its encoder, and that nothing deleted can be reached. Changes nothing.

    Raises:
        IndexNotFound: there is no index.
        IndexLocked: another run is writing.
    """
    from m3search.stores.verify import Verification
    from m3search.stores.verify import verify as run

    folder = IndexFolder.open(locate(index))
    return Verification((_encoder(folder), *run(folder).checks))


def compact(index: Path | str | None = None) -> Compaction:
    """Merge fragments, drop old versions and the bytes of deleted items, publish a fresh segment. Answers stay.

    Raises:
        IndexNotFound: there is no index.
        IndexLocked: another run is writing.
    """
    from m3search.stores.compact import compact as run

    return run(IndexFolder.open(locate(index)))


def export(
    index: Path | str | None = None,
    *,
    file: Path | str,
    where: str | None = None,
    parts: Path | str | None = None,
    precision: Precision = "fp32",
    thumbnails: bool = False,
) -> Export:
    """Write items, vectors included, to a Parquet file.

    Args:
        where: only items that match; see `m3search.filters`.
        parts: also write the parts of these items, to this file.
        precision: of the vectors: "fp32" or "fp16".
        thumbnails: with their pictures.

    Raises:
        IndexNotFound: there is no index.
        FilterError: `where` cannot be understood.
        OSError: a file cannot be written.
    """
    from m3search.stores.export import ExportOptions
    from m3search.stores.export import export as run

    options = ExportOptions(where, None if parts is None else Path(parts), precision, thumbnails)
    return run(IndexFolder.open(locate(index)), Path(file), options)


def _encoder(folder: IndexFolder) -> Check:
    """Whether the encoder at hand is the one the index was built with."""
    from m3search.encoders import load_encoder
    from m3search.stores.verify import Check

    name = folder.manifest.encoder
    try:
        encoder = load_encoder(name)
        folder.check_encoder(encoder.name, encoder.fingerprint)
    except BundleError:
        return Check("encoder", f"{name} is not installed here: not compared")
    except EncoderMismatch as error:
        return Check("encoder", "another one", ok=False, remedy=str(error))
    return Check("encoder", f"{name}@{encoder.fingerprint[:8]}, as the index was built with")
