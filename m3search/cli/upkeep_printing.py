"""What the commands of `upkeep` print: tables for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from m3search.cli.printing import add_row, plain, print_json, table_of

if TYPE_CHECKING:
    from m3search.search.duplicates import NearIdentical
    from m3search.stores.audit import Entry
    from m3search.stores.compact import Compaction
    from m3search.stores.deletion import Deletion
    from m3search.stores.export import Export
    from m3search.stores.persons import PrivacyReport
    from m3search.stores.replica import Publication
    from m3search.stores.verify import Verification

LISTED = 10  # ids of deleted items that are printed


def deletion(found: Deletion, as_json: bool) -> None:
    """What was deleted, or would be."""
    if as_json:
        print_json(asdict(found))
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
        print_json(asdict(found) | {"ok": found.ok})
        return
    table = table_of("", "what", "found")
    for check in found.checks:
        table.add_row("[green]ok[/]" if check.ok else "[red]wrong[/]", *map(escape, (check.what, plain(check.found))))
        if check.remedy:
            table.add_row("", "", escape(f"→ {check.remedy}"))
    Console().print(table)


def compaction(done: Compaction, as_json: bool) -> None:
    """What a compaction gave back."""
    if as_json:
        print_json(asdict(done))
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
        print_json(asdict(written))
        return
    console = Console()
    console.print(escape(f"{written.items} items: {written.file}"), soft_wrap=True)
    if written.parts_file:
        console.print(escape(f"{written.parts} parts: {written.parts_file}"), soft_wrap=True)
    console.print(f"{_size(written.bytes)}; protect it as you protect the archive")


def duplicates(found: Sequence[NearIdentical], as_json: bool) -> None:
    """Items that show nearly the same."""
    if as_json:
        print_json([asdict(group) for group in found])
        return
    table = table_of("modality", "alike", "looks", "patients", "where", "item")
    for group in found:
        places, items = "\n".join(group.uris), "\n".join(item[:8] for item in group.item_ids)
        figures = (f"{group.similarity:.3f}", f"{group.looks:.3f}", str(group.patients or "unknown"))
        add_row(table, group.modality, *figures, places, items)
    Console().print(table if found else "no two items show nearly the same")


def privacy_report(found: PrivacyReport, as_json: bool) -> None:
    """What an index stores of persons."""
    if as_json:
        print_json(asdict(found))
        return
    console = Console()
    table = table_of("column", "items", "distinct", "what", "to look at")
    for column in found.columns:
        leads = ", ".join(f"{count} like a {kind}" for kind, count in column.leads.items())
        distinct = "" if column.distinct is None else str(column.distinct)
        add_row(table, column.name, str(column.filled), distinct, column.what, leads)
    console.print(table)
    alike = found.alike
    console.print(
        f"\nsex, age band, year and body part: {alike.persons} persons in {alike.combinations} combinations, "
        f"the rarest shared by {alike.smallest}; {alike.alone} persons are alone in one, "
        f"{alike.few} in one of fewer than 5\n"
    )
    states = table_of("", "what", "found")
    for state in found.states:
        states.add_row("[green]ok[/]" if state.ok else "[red]look[/]", *map(escape, (state.what, plain(state.found))))
    console.print(states)
    console.print("\nnot guaranteed")
    for line in found.not_guaranteed:
        console.print(f"- {line}")


def publication(done: Publication, as_json: bool) -> None:
    """What was copied to a store."""
    if as_json:
        print_json(asdict(done))
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
        print_json([asdict(entry) for entry in found])
        return
    table = table_of("time", "user", "action", "items", "what", "which")
    for entry in found:
        which = " ".join(item[:8] for item in entry.items[:LISTED]) + (" …" if len(entry.items) > LISTED else "")
        add_row(table, entry.time, entry.user, entry.action, str(entry.count), entry.what[:8], which)
    Console().print(table if found else "nothing is logged")


def _size(count: int) -> str:
    """Bytes in MB, fewer than 0.1 of these in kB."""
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
