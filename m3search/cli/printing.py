"""What the commands print: tables for people, JSON for programs. Progress goes to standard error.

What those of `upkeep` print is in `upkeep_printing`.
"""

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
    from m3search.search.engine import SegmentStatus, Status
    from m3search.trainer.importing import Imported

STAGES = {"scan": "looking", "inspect": "inspecting", "index": "indexing", "copy": "copying"}


def print_json(value: Any) -> None:
    """Indented, times as ISO 8601."""

    def plain(value: Any) -> Any:
        return value.isoformat() if isinstance(value, datetime) else str(value)

    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2, default=plain) + "\n")


def table_of(*columns: str) -> Table:
    """Without lines; figures to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in columns:
        right = column in {"rank", "score", "items", "tries", "size"}
        table.add_column(column, justify="right" if right else "left", no_wrap=right, overflow="fold")
    return table


def add_row(table: Table, *cells: str) -> None:
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
        print_json(asdict(done))
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
        print_json([{"id": name, **results.to_dict()} for name, results in zip(names, found, strict=True)])
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
    table = table_of("rank", "score", "modality", "what", "where", "item")
    for hit in found:
        place = f"{hit.uri} [{hit.best_part}]" if hit.best_part else hit.uri
        words = _short(hit.text or ", ".join(hit.labels), 110)
        add_row(table, str(hit.rank), f"{hit.score:.3f}", hit.modality, words, place, hit.item_id[:8])
    return table


def item(row: Mapping[str, Any], as_json: bool) -> None:
    """One item, column by column."""
    row = {**row, "provenance": json.loads(row["provenance"] or "{}")}
    if as_json:
        print_json(row)
        return
    table = table_of("column", "value")
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
            add_row(table, column, str(value))
    Console().print(table)


def status(now: Status, as_json: bool) -> None:
    """An index at a glance."""
    if as_json:
        print_json(asdict(now))
        return
    table = table_of("index", plain(escape(now.index)))
    add_row(table, "encoder", f"{now.encoder}@{now.fingerprint[:8]}, {now.dim} dimensions")
    add_row(table, "items", str(now.items))
    for modality, count in sorted(now.by_modality.items()):
        add_row(table, f"  {modality}", str(count))
    add_row(table, "searched by", _searched(now.segment))
    add_row(table, "failures", str(now.failures))
    add_row(table, "archives", "\n".join(now.archives))
    add_row(table, "last run", f"{now.last_run:%Y-%m-%d %H:%M} UTC" if now.last_run else "did not end")
    add_row(table, "on disk", f"{now.bytes_on_disk / 1e6:.1f} MB")
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
        print_json(list(rows))
        return
    table = table_of("file", "reason", "tries", "what is wrong")
    for row in rows:
        add_row(table, row["uri"], row["reason"], str(row["attempts"]), row["message"])
    Console().print(table if rows else "every file could be read")


def models(found: Sequence[FoundBundle], as_json: bool) -> None:
    """The bundles found here."""
    if as_json:
        print_json([asdict(bundle) for bundle in found])
        return
    table = table_of("name", "from", "folder", "problem")
    for bundle in found:
        add_row(table, bundle.name, bundle.origin, str(bundle.folder), bundle.problem)
    Console().print(table)


def imported(made: Imported, as_json: bool) -> None:
    """A bundle made of another model."""
    if as_json:
        print_json(asdict(made))
        return
    known_as = made.name if made.folder.parent == user_folder("data") / "models" else str(made.folder)
    console = Console()
    console.print(f"[bold]{made.name}[/]@{made.fingerprint[:8]}: {made.dim} dimensions, licence {made.licence}")
    console.print(f"in {made.folder}", soft_wrap=True)
    console.print(f"use it: m3search index ARCHIVE --model {known_as}", soft_wrap=True)


def doctor(found: Sequence[Finding], as_json: bool) -> None:
    """What this machine can do."""
    if as_json:
        print_json([asdict(finding) for finding in found])
        return
    table = table_of("", "area", "what", "found", "advice")
    area = ""
    for finding in found:
        verdict = "[green]ok[/]" if finding.ok else "[red]!![/]" if finding.needed else "[yellow]--[/]"
        shown = "" if finding.area == area else finding.area
        area = finding.area
        table.add_row(verdict, *map(escape, (shown, finding.what, finding.found, finding.advice)))
    Console().print(table)
    wrong = sum(not finding.ok for finding in found if finding.needed)
    Console().print(f"[red]{wrong} to be put right[/] (!!)" if wrong else "whatever m3search needs is here")


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"
