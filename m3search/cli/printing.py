"""What the commands print: tables for people, JSON for programs. Progress goes to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from m3search.encoders.bundle import user_folder
from m3search.search.results import write_csv

if TYPE_CHECKING:
    from m3search.doctor import Finding
    from m3search.encoders.bundle import FoundBundle
    from m3search.indexer import Progress, Report
    from m3search.search import Results
    from m3search.search.duplicates import NearIdentical
    from m3search.search.engine import SegmentStatus, Status
    from m3search.stores.audit import Entry
    from m3search.stores.compact import Compaction
    from m3search.stores.deletion import Deletion
    from m3search.stores.export import Export
    from m3search.stores.persons import PrivacyReport
    from m3search.stores.replica import Publication
    from m3search.stores.verify import Verification
    from m3search.trainer.importing import Imported

LISTED = 10  # ids of deleted items that are printed
STAGES = {"scan": "looking", "inspect": "inspecting", "index": "indexing", "copy": "copying"}


def _json(value: Any) -> None:
    def plain(value: Any) -> Any:
        return value.isoformat() if isinstance(value, datetime) else str(value)

    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2, default=plain) + "\n")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in columns:
        right = column in {"rank", "score", "items", "tries", "size"}
        table.add_column(column, justify="right" if right else "left", no_wrap=right, overflow="fold")
    return table


def _row(table: Table, *cells: str) -> None:
    """Add cells as they are: names, texts and labels of an archive may hold brackets, escapes, line ends."""
    table.add_row(*(Text(plain(cell)) for cell in cells))


def plain(text: str) -> str:
    """The text without characters that would steer a terminal; line ends stay."""
    strange = "\N{REPLACEMENT CHARACTER}"
    return "".join(one if one.isprintable() or one == "\n" else strange for one in text.expandtabs())


@contextmanager
def progress() -> Iterator[Callable[[Progress], None]]:
    """A bar with rate and time left on standard error, if that is a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns: list[ProgressColumn | str] = [
        TextColumn("{task.description:>10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("[red]{task.fields[failed]}"),
    ]
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        tasks = {}

        def show(now: Any) -> None:
            if now.stage not in tasks:
                tasks[now.stage] = bar.add_task(STAGES[now.stage], total=None, rate="", failed="")
            task = bar.tasks[tasks[now.stage]]
            rate = f"{task.speed:.0f}/s" if task.speed else ""
            failed = f"{now.failed} failed" if now.failed else ""
            bar.update(tasks[now.stage], completed=now.done, total=now.total or None, rate=rate, failed=failed)

        yield show


def report(done: Report, as_json: bool) -> None:
    """What an index run did."""
    if as_json:
        _json(asdict(done))
        return
    console = Console()
    held = ", ".join(f"{count} {name}" for name, count in sorted(done.by_modality.items())) or "nothing"
    console.print(
        f"indexed [bold]{done.indexed}[/], unchanged {done.unchanged}, failed {done.failed} in {done.seconds:.1f} s"
    )
    console.print(f"the index holds {held}")
    if done.removed:
        console.print(f"removed {done.removed}")
    if done.gone:
        console.print(f"{done.gone} items have no file in the archive any more: --prune removes them")
    if done.deleted:
        console.print(f'{done.deleted} deleted items stay out: "m3search undelete" lets them in again')
    if done.failed:
        console.print('why files failed: "m3search failures"')


def retried(reports: Sequence[Report]) -> None:
    """What reading failed files again did, over all archives of an index."""
    indexed, failed = (sum(getattr(one, name) for one in reports) for name in ("indexed", "failed"))
    Console().print(f"read again: [bold]{indexed}[/] items indexed, {failed} files still fail")


Form = Literal["table", "json", "csv"]


def results(found: Results, form: Form, sheet: Path | None) -> None:
    """Ranked hits."""
    if form == "json":
        sys.stdout.write(found.to_json() + "\n")
        return
    if form == "csv":
        found.write_csv(sys.stdout)
        return
    console = Console()
    console.print(_hits(found))
    if sheet:
        console.print(f"contact sheet: {escape(str(sheet))}", soft_wrap=True)


def batch(names: Sequence[str], found: Sequence[Results], form: Form, sheet: Path | None) -> None:
    """Ranked hits of many queries: a JSON list, one CSV table with the query's id first, or a table for each."""
    if form == "json":
        _json([{"id": name, **results.to_dict()} for name, results in zip(names, found, strict=True)])
        return
    if form == "csv":
        write_csv(sys.stdout, found, names)
        return
    console = Console()
    for name, results in zip(names, found, strict=True):
        console.print(Text(plain(name if name == results.query else f"{name}: {results.query}"), style="bold"))
        console.print(_hits(results))
    if sheet:
        console.print(f"contact sheet: {escape(str(sheet))}", soft_wrap=True)


def _hits(found: Results) -> Table | str:
    if not len(found):
        return "no hits: the index is empty, or nothing in it passes the filters"
    table = _table("rank", "score", "modality", "what", "where", "item")
    for hit in found:
        place = f"{hit.uri} [{hit.best_part}]" if hit.best_part else hit.uri
        words = _short(hit.text or ", ".join(hit.labels), 110)
        _row(table, str(hit.rank), f"{hit.score:.3f}", hit.modality, words, place, hit.item_id[:8])
    return table


def item(row: Mapping[str, Any], as_json: bool) -> None:
    """One item, column by column."""
    row = {**row, "provenance": json.loads(row["provenance"] or "{}")}
    if as_json:
        _json(row)
        return
    table = _table("column", "value")
    for column, value in row.items():
        if column == "described":  # a digest: nothing to read
            continue
        if column == "provenance":
            value = "\n".join(f"{key}: {json.dumps(what, ensure_ascii=False)}" for key, what in value.items())
        elif column == "files":
            value = "\n".join(file["path"] for file in value)
        elif isinstance(value, list):
            value = ", ".join(value)
        if value not in (None, ""):
            _row(table, column, str(value))
    Console().print(table)


def status(now: Status, as_json: bool) -> None:
    """An index at a glance."""
    if as_json:
        _json(asdict(now))
        return
    table = _table("index", plain(escape(now.index)))
    _row(table, "encoder", f"{now.encoder}@{now.fingerprint[:8]}, {now.dim} dimensions")
    _row(table, "items", str(now.items))
    for modality, count in sorted(now.by_modality.items()):
        _row(table, f"  {modality}", str(count))
    _row(table, "searched by", _searched(now.segment))
    _row(table, "failures", str(now.failures))
    _row(table, "archives", "\n".join(now.archives))
    _row(table, "last run", f"{now.last_run:%Y-%m-%d %H:%M} UTC" if now.last_run else "did not end")
    _row(table, "on disk", f"{now.bytes_on_disk / 1e6:.1f} MB")
    Console().print(table)


def _searched(segment: SegmentStatus | None) -> str:
    """What a search reads, and what it promises."""
    if segment is None:
        return 'the tables, all vectors ("m3search compact" makes a faster copy)'
    how = f"every vector, by {segment.kind or 'numpy'}"
    if segment.target is not None:
        how = (
            f"{segment.kind}, recall@10 {segment.recall_items:.3f} of items, {segment.recall_texts:.3f} of texts "
            f"(promised {segment.target:g})"
        )
    changed = f"{segment.changed} changes since" if segment.changed else "up to date"
    return f"{how}; {segment.bytes / 1e6:.1f} MB, {changed}"


def failures(rows: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    """Files that could not be read."""
    if as_json:
        _json(list(rows))
        return
    table = _table("file", "reason", "tries", "what is wrong")
    for row in rows:
        _row(table, row["uri"], row["reason"], str(row["attempts"]), row["message"])
    Console().print(table if rows else "every file could be read")


def deletion(found: Deletion, as_json: bool) -> None:
    """What was deleted, or would be."""
    if as_json:
        _json(asdict(found))
        return
    held = ", ".join(f"{count} {name}" for name, count in found.by_modality.items()) or "nothing"
    console = Console()
    console.print(f"{'deleted' if found.done else 'would delete'} {held} and {found.parts} parts")
    for item_id in found.item_ids[:LISTED]:
        console.print(f"  {item_id}", soft_wrap=True)
    if len(found.item_ids) > LISTED:
        console.print(f"  and {len(found.item_ids) - LISTED} more (--json lists all)")
    if found.done and found.item_ids:
        console.print('gone from every search; "m3search compact" also removes their bytes from the files')


def verification(found: Verification, as_json: bool) -> None:
    """What was checked, and what to do where something is wrong."""
    if as_json:
        _json(asdict(found) | {"ok": found.ok})
        return
    table = _table("", "what", "found")
    for check in found.checks:
        table.add_row("[green]ok[/]" if check.ok else "[red]wrong[/]", *map(escape, (check.what, plain(check.found))))
        if check.remedy:
            table.add_row("", "", escape(f"→ {check.remedy}"))
    Console().print(table)


def compaction(done: Compaction, as_json: bool) -> None:
    """What a compaction gave back."""
    if as_json:
        _json(asdict(done))
        return
    before, after = done.before, done.after
    console = Console()
    console.print(f"{_size(before.bytes)} in {before.files} files, {before.versions} versions before")
    console.print(f"{_size(after.bytes)} in {after.files} files, {after.versions} versions after {done.seconds:.1f} s")
    if done.rewritten:
        console.print("the tables were rewritten: no byte of a deleted item is left in them")


def export(written: Export, as_json: bool) -> None:
    """What an export wrote."""
    if as_json:
        _json(asdict(written))
        return
    console = Console()
    console.print(escape(f"{written.items} items: {written.file}"), soft_wrap=True)
    if written.parts_file:
        console.print(escape(f"{written.parts} parts: {written.parts_file}"), soft_wrap=True)
    console.print(f"{_size(written.bytes)}; protect it as you protect the archive")


def duplicates(found: Sequence[NearIdentical], as_json: bool) -> None:
    """Items that show nearly the same."""
    if as_json:
        _json([asdict(group) for group in found])
        return
    table = _table("modality", "alike", "looks", "patients", "where", "item")
    for group in found:
        places, items = "\n".join(group.uris), "\n".join(item[:8] for item in group.item_ids)
        figures = (f"{group.similarity:.3f}", f"{group.looks:.3f}", str(group.patients or "unknown"))
        _row(table, group.modality, *figures, places, items)
    Console().print(table if found else "no two items show nearly the same")


def privacy_report(found: PrivacyReport, as_json: bool) -> None:
    """What an index stores of persons."""
    if as_json:
        _json(asdict(found))
        return
    console = Console()
    table = _table("column", "items", "distinct", "what", "to look at")
    for column in found.columns:
        leads = ", ".join(f"{count} like a {kind}" for kind, count in column.leads.items())
        distinct = "" if column.distinct is None else str(column.distinct)
        _row(table, column.name, str(column.filled), distinct, column.what, leads)
    console.print(table)
    alike = found.alike
    console.print(
        f"\nsex, age band, year and body part: {alike.persons} persons in {alike.combinations} combinations, "
        f"the rarest shared by {alike.smallest}; {alike.alone} persons are alone in one, "
        f"{alike.few} in one of fewer than 5\n"
    )
    states = _table("", "what", "found")
    for state in found.states:
        states.add_row("[green]ok[/]" if state.ok else "[red]look[/]", *map(escape, (state.what, plain(state.found))))
    console.print(states)
    console.print("\nnot guaranteed")
    for line in found.not_guaranteed:
        console.print(f"- {line}")


def publication(done: Publication, as_json: bool) -> None:
    """What was copied to a store."""
    if as_json:
        _json(asdict(done))
        return
    console = Console()
    console.print(
        f"{done.items} items in {done.collection}, {done.copied} of them copied now; "
        f"recall@10 {done.recall_items:.3f} of items, {done.recall_texts:.3f} of texts"
    )
    for name in done.dropped:
        console.print(f"removed {name}")
    console.print(
        f"search it: m3search query TEXT --store {done.address}"
        if done.in_place
        else "[red]not in place:[/] count or recall do not hold; what was searched before still is",
        soft_wrap=True,
    )


def audit(found: Sequence[Entry], as_json: bool) -> None:
    """Who did what."""
    if as_json:
        _json([asdict(entry) for entry in found])
        return
    table = _table("time", "user", "action", "items", "what", "which")
    for entry in found:
        which = " ".join(item[:8] for item in entry.items[:LISTED]) + (" …" if len(entry.items) > LISTED else "")
        _row(table, entry.time, entry.user, entry.action, str(entry.count), entry.what[:8], which)
    Console().print(table if found else "nothing is logged")


def models(found: Sequence[FoundBundle], as_json: bool) -> None:
    """The bundles found here."""
    if as_json:
        _json([asdict(bundle) for bundle in found])
        return
    table = _table("name", "from", "folder", "problem")
    for bundle in found:
        _row(table, bundle.name, bundle.origin, str(bundle.folder), bundle.problem)
    Console().print(table)


def imported(made: Imported, as_json: bool) -> None:
    """A bundle made of another model."""
    if as_json:
        _json(asdict(made))
        return
    known_as = made.name if made.folder.parent == user_folder("data") / "models" else str(made.folder)
    console = Console()
    console.print(f"[bold]{made.name}[/]@{made.fingerprint[:8]}: {made.dim} dimensions, licence {made.licence}")
    console.print(f"in {made.folder}", soft_wrap=True)
    console.print(f"use it: m3search index ARCHIVE --model {known_as}", soft_wrap=True)


def doctor(found: Sequence[Finding], as_json: bool) -> None:
    """What this machine can do."""
    if as_json:
        _json([asdict(finding) for finding in found])
        return
    table = _table("", "area", "what", "found", "advice")
    area = ""
    for finding in found:
        verdict = "[green]ok[/]" if finding.ok else "[red]!![/]" if finding.needed else "[yellow]--[/]"
        shown = "" if finding.area == area else finding.area
        area = finding.area
        table.add_row(verdict, *map(escape, (shown, finding.what, finding.found, finding.advice)))
    Console().print(table)
    wrong = sum(not finding.ok for finding in found if finding.needed)
    Console().print(f"[red]{wrong} to be put right[/] (!!)" if wrong else "whatever m3search needs is here")


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"
