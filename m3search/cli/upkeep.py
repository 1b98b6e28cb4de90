"""Commands that keep an index in order. `commands` adds them to `m3search`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from m3search.cli.options import IndexOption, JsonOption
from m3search.errors import UsageError

VectorPrecision = Literal["fp32", "fp16"]
PATIENT = "A patient_key, or the patient's own id: it is hashed at once, never kept and never shown."
WhereOption = Annotated[
    str | None, typer.Option("--where", help="""Items that match, e.g. "sex = 'F' and year < 2015".""")
]


def delete(
    item: Annotated[
        list[str] | None, typer.Option("--item", help="An item id, or a beginning that only it has; may be repeated.")
    ] = None,
    patient: Annotated[
        str | None, typer.Option("--patient", help=f"Everything of one patient, also what is found later. {PATIENT}")
    ] = None,
    where: WhereOption = None,
    index: IndexOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete items from the index for good. The archive stays as it is; the next index run does not bring them back.

    What a search can reach is gone at once; "m3search compact" also removes it from the files.
    """
    from m3search import upkeep
    from m3search.cli import upkeep_printing

    if as_json and not (yes or dry_run):
        raise UsageError("--json does not ask: add --yes to delete, or --dry-run to see what would be deleted")
    selected: dict[str, Any] = {"items": item or (), "patient": patient, "where": where}
    if not yes:
        found = upkeep.delete(index, **selected, dry_run=True)
        if dry_run or found.item_ids:
            upkeep_printing.deletion(found, as_json)
        if dry_run:
            return
        if found.item_ids:
            typer.confirm("Delete them for good?", abort=True)
    upkeep_printing.deletion(upkeep.delete(index, **selected), as_json)


def undelete(
    item: Annotated[
        list[str] | None, typer.Option("--item", help="A whole item id, as delete printed it; may be repeated.")
    ] = None,
    patient: Annotated[
        str | None, typer.Option("--patient", help=f"All that was deleted as this patient's. {PATIENT}")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that was ever deleted.")] = False,
    index: IndexOption = None,
) -> None:
    """Let deleted items in again. They come back when the next index run meets their files."""
    from m3search import upkeep

    lifted = upkeep.undelete(index, items=item or (), patient=patient, everything=everything)
    typer.echo(f"lifted {lifted} deletions; run m3search index to read the files again")


def verify(index: IndexOption = None, as_json: JsonOption = False) -> None:
    """Check that the index is whole and that nothing deleted can be reached. Exits with 1 if something is wrong."""
    from m3search import upkeep
    from m3search.cli import upkeep_printing

    found = upkeep.verify(index)
    upkeep_printing.verification(found, as_json)
    if not found.ok:
        raise typer.Exit(1)


def compact(index: IndexOption = None, as_json: JsonOption = False) -> None:
    """Give back space: old versions, deleted items, small fragments. Answers stay the same, also for who reads now."""
    from m3search import upkeep
    from m3search.cli import upkeep_printing

    upkeep_printing.compaction(upkeep.compact(index), as_json)


def export(
    file: Annotated[Path, typer.Argument(help="Parquet file to write: one row per item, with its vectors.")],
    where: WhereOption = None,
    parts: Annotated[
        Path | None, typer.Option("--parts", help="Also write the slices, tiles and windows of these items, here.")
    ] = None,
    precision: Annotated[
        VectorPrecision, typer.Option("--precision", help="Of the vectors. The index keeps half precision (fp16).")
    ] = "fp32",
    thumbnails: Annotated[bool, typer.Option("--thumbnails", help="With the items' pictures.")] = False,
    index: IndexOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write items and their vectors to Parquet. Protect the file as you protect the archive."""
    from m3search import upkeep
    from m3search.cli import upkeep_printing

    written = upkeep.export(
        index, file=file, where=where, parts=parts, precision=precision, thumbnails=thumbnails
    )  # fmt: skip
    upkeep_printing.export(written, as_json)


def publish(
    to: Annotated[
        str, typer.Option("--to", help="milvus://HOST:PORT/NAME, with $M3SEARCH_MILVUS_TOKEN, or milvus-lite:FILE.")
    ],
    index: IndexOption = None,
    drop_old: Annotated[
        bool, typer.Option("--drop-old", help="Then remove what earlier publications left there.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Copy the index's vectors to a Milvus cluster, verify them, and let searches with --store go there.

    What a person wrote (texts, file names) stays in the index. Run again, it goes on where it was stopped.
    """
    from m3search import upkeep
    from m3search.cli import printing, upkeep_printing
    from m3search.indexer import Progress

    with printing.progress() as show:
        done = upkeep.publish(
            index, to=to, drop_old=drop_old, progress=lambda done, total: show(Progress("copy", done, total, 0))
        )
    upkeep_printing.publication(done, as_json)
    if not done.in_place:
        raise typer.Exit(1)


def duplicates(
    similarity: Annotated[
        float | None, typer.Option("--similarity", min=0, max=1, help="Least cosine of two vectors. Default: 0.9.")
    ] = None,
    where: WhereOption = None,
    index: IndexOption = None,
    as_json: JsonOption = False,
) -> None:
    """Report items that show nearly the same image: recompressed, resized or filed twice. Nothing is dropped."""
    from m3search import upkeep
    from m3search.cli import upkeep_printing

    upkeep_printing.duplicates(upkeep.duplicates(index, similarity=similarity, where=where), as_json)


def privacy_report(index: IndexOption = None, as_json: JsonOption = False) -> None:
    """What the index stores of persons, how telling it is, and what is not guaranteed."""
    from m3search import upkeep
    from m3search.cli import upkeep_printing

    upkeep_printing.privacy_report(upkeep.privacy_report(index), as_json)


def audit(
    user: Annotated[str, typer.Option("--user", help="Only what this account did.")] = "",
    action: Annotated[
        str, typer.Option("--action", help="Only this: search, show, thumbnail, delete, undelete, export.")
    ] = "",
    item: Annotated[str, typer.Option("--item", help="Only what showed or deleted this item, by its whole id.")] = "",
    what: Annotated[str, typer.Option("--query", help="Only this text of a query or filter, as it was given.")] = "",
    since: Annotated[str, typer.Option("--since", help="Only from this ISO date or time (UTC) on.")] = "",
    last: Annotated[int, typer.Option("--last", min=1, help="How many lines.")] = 50,
    on: Annotated[bool | None, typer.Option("--on/--off", help="Switch the log on or off. The log says so.")] = None,
    index: IndexOption = None,
    as_json: JsonOption = False,
) -> None:
    """Who searched, saw, deleted and exported. Queries and items are kept as keyed digests, never as words."""
    from m3search import upkeep
    from m3search.cli import upkeep_printing

    if on is not None:
        upkeep.switch_audit(index, on=on)
        typer.echo(f"the audit log is {'on' if on else 'off'}")
        return
    found = upkeep.audit_log(index, user=user, action=action, item=item, what=what, since=since)
    upkeep_printing.audit(found[-last:], as_json)


COMMANDS = (delete, undelete, verify, compact, export, publish, duplicates, audit, privacy_report)
