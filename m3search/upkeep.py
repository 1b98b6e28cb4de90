"""Keeping an index in order: delete, verify, compact, export, publish, audit, report. What these commands run.

>>> import m3search
>>> m3search.delete("./.m3search", patient="PAT-0042", dry_run=True)   # doctest: +SKIP
>>> m3search.verify("./.m3search").ok                                  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from m3search.errors import BundleError, EncoderMismatch
from m3search.stores import audit
from m3search.stores.disk import writing
from m3search.stores.folder import IndexFolder, locate

if TYPE_CHECKING:
    from m3search.search.duplicates import NearIdentical
    from m3search.stores.audit import Entry
    from m3search.stores.compact import Compaction
    from m3search.stores.deletion import Deletion
    from m3search.stores.export import Export, Precision
    from m3search.stores.persons import PrivacyReport
    from m3search.stores.replica import Publication
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
        IndexUnwritable: its disk is full or read-only. Deleting again goes on.
    """
    from m3search.stores.deletion import Selection
    from m3search.stores.deletion import delete as run

    folder = IndexFolder.open(locate(index))
    with writing(folder.path):
        done = run(folder, Selection(tuple(items), patient, where), dry_run=dry_run)
    if done.done:
        audit.record(folder, "delete", (patient or where or "", done.item_ids))
    return done


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
        IndexUnwritable: its disk is full or read-only.
    """
    from m3search.stores.deletion import undelete as run

    folder = IndexFolder.open(locate(index))
    with writing(folder.path):
        lifted = run(folder, items=items, patient=patient, everything=everything)
    audit.record(folder, "undelete", (patient or "", tuple(items)), count=lifted)
    return lifted


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
        IndexUnwritable: its disk is full or read-only. Nothing is lost; compacting again goes on.
    """
    from m3search.stores.compact import compact as run

    folder = IndexFolder.open(locate(index))
    with writing(folder.path):
        return run(folder)


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
    folder = IndexFolder.open(locate(index))
    written = run(folder, Path(file), options)
    audit.record(folder, "export", (where or "", ()), count=written.items)
    return written


def publish(
    index: Path | str | None = None,
    *,
    to: str,
    drop_old: bool = False,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Publication:
    """Copy an index's vectors to a store of another machine, verify them, and let searches with `store=to` go there.

    Killed, it goes on where it stood. The index stays the system of record.

    Args:
        to: its address, "milvus://host:19530/name"; a password belongs in $M3SEARCH_MILVUS_TOKEN.
        drop_old: remove what earlier publications left, once the new one is in place.
        progress: told rows copied and rows in all.

    Raises:
        IndexNotFound: there is no index.
        UsageError: no such kind of store; its name belongs to something else; the index is empty.
        MissingExtra: the store's client is not installed.
        StoreUnreachable: it cannot be reached, or refuses.
    """
    from m3search.stores.replica import publish as run

    folder = IndexFolder.open(locate(index))
    done = run(folder, to, drop_old=drop_old, progress=progress)
    audit.record(folder, "export", (done.address, ()), count=done.items)
    return done


def privacy_report(index: Path | str | None = None) -> PrivacyReport:
    """What an index stores of persons, column by column, with risks and what is not guaranteed. Changes nothing.

    Raises:
        IndexNotFound: there is no index.
    """
    from m3search.stores.persons import report as run

    return run(IndexFolder.open(locate(index)))


def audit_log(
    index: Path | str | None = None,
    *,
    user: str = "",
    action: str = "",
    item: str = "",
    what: str = "",
    since: str = "",
) -> list[Entry]:
    """Who searched, saw, deleted and exported, oldest first; only what matches all that is given.

    Args:
        user: account of the operating system.
        action: "search", "show", "thumbnail", "delete", "undelete", "export", "audit-on" or "audit-off".
        item: an item id, whole; also of an item that was deleted.
        what: the text of a query or filter, as it was given.
        since: an ISO date or time, UTC.

    Raises:
        IndexNotFound: there is no index.
    """
    return list(audit.read(IndexFolder.open(locate(index)), audit.Asked(user, action, item, what, since)))


def switch_audit(index: Path | str | None = None, *, on: bool) -> None:
    """Switch the audit log of an index on or off.

    Raises:
        IndexNotFound: there is no index.
        IndexLocked: another run is writing.
        IndexUnwritable: its disk is full or read-only.
    """
    folder = IndexFolder.open(locate(index))
    with writing(folder.path):
        audit.switch(folder, on)


def duplicates(
    index: Path | str | None = None, *, similarity: float | None = None, where: str | None = None
) -> list[NearIdentical]:
    """Items that show nearly the same image: groups, the largest first. Nothing is dropped.

    Args:
        similarity: least cosine of two vectors; see `m3search.search.duplicates` for the default.
        where: only among items that match; see `m3search.filters`.

    Raises:
        IndexNotFound: there is no index.
        FilterError: `where` cannot be understood.
    """
    from m3search.search import duplicates as room

    reader = IndexFolder.open(locate(index)).reader()
    return room.find(reader, room.SIMILARITY if similarity is None else similarity, where)


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
