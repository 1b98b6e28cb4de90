"""Who searched, saw, deleted and took away: `audit.jsonl` in the index folder, one line per action, only added to.

Objects on S3 cannot be added to: of an index there each machine keeps the log of what it did, in the folder `beside`.

    {"time": "2026-03-01T09:30:12.482Z", "user": "mira", "action": "search", "what": "3f9a…", "items": ["81c2…"],
     "count": 1}

`what` (a query, a filter) and `items` are keyed digests: a query may name a patient, and ids of deleted items must not
stay. Who has the key can ask whether a given text or item is there; nobody can read them off. `user` is the account of
the operating system. The file has mode 600. It shows what went through m3search, to people who leave it as it is:
whoever may write the index folder may also change the log, and may read the tables without m3search.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from m3search.errors import IndexUnwritable, NoIndex
from m3search.privacy import Pseudonyms
from m3search.stores.place import ObjectPath, beside

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from m3search.stores.folder import IndexFolder

NAME = "audit.jsonl"
Action = Literal["search", "show", "thumbnail", "delete", "undelete", "export", "audit-on", "audit-off"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One action."""

    time: str  # ISO 8601, UTC
    user: str
    action: str
    what: str = ""  # keyed digest of the query or filter; "" where there is none
    items: tuple[str, ...] = ()  # keyed digests of the items shown or deleted; `read` gives ids where it can
    count: int = 0  # items shown, deleted or written


@dataclass(frozen=True, slots=True)
class Asked:
    """Which entries to read. Those that match all of it."""

    user: str = ""
    action: str = ""
    item: str = ""  # item id
    what: str = ""  # text of a query or filter
    since: str = ""  # ISO date or time, UTC


def file_of(index: IndexFolder) -> Path:
    """The log, which may be absent."""
    return beside(index.path) / NAME


def record(index: IndexFolder, action: Action, *done: tuple[str, Sequence[str]], count: int | None = None) -> None:
    """Add one line for each (what, item ids) of `done`, in one write. Nothing where the audit is off.

    Args:
        count: of items, where they are too many to be named.

    Raises:
        IndexUnwritable: the log cannot be written. What was asked for fails too: what cannot be logged is not done.
    """
    if not index.manifest.audit:
        return
    key = _key(index)
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    lines = [
        _line(now, action, key(what), [key(item) for item in items], len(items) if count is None else count)
        for what, items in done or (("", ()),)
    ]
    _append(index, "".join(lines))


def switch(index: IndexFolder, on: bool) -> IndexFolder:
    """Switch the audit of an index on or off; the log says so. Returns the folder with its new manifest.

    Raises:
        IndexLocked: another run is writing.
    """
    with index.lock():
        index.forget_unfinished()
        now = type(index).open(index.path)
        switched = replace(now, manifest=replace(now.manifest, audit=on))
        record(replace(now, manifest=replace(now.manifest, audit=True)), "audit-on" if on else "audit-off")
        switched.save()
    return switched


def read(index: IndexFolder, asked: Asked | None = None) -> Iterator[Entry]:
    """Entries, oldest first. Items that the index still holds are named by their ids, others stay digests."""
    asked = asked or Asked()
    file = file_of(index)
    if not file.exists():
        return
    pseudonyms = Pseudonyms.load(index.key_file)
    wanted = {"item": pseudonyms.of(asked.item), "what": pseudonyms.of(asked.what)}
    id_of = {pseudonyms.of(item): item for item in index.reader().matching()}
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            entry = _entry(line)
            if (
                entry is not None
                and asked.user in ("", entry.user)
                and asked.action in ("", entry.action)
                and asked.since <= entry.time
                and (not wanted["item"] or wanted["item"] in entry.items)
                and wanted["what"] in ("", entry.what)
            ):
                yield replace(entry, items=tuple(id_of.get(item, item) for item in entry.items))


def _key(index: IndexFolder) -> Callable[[str], str]:
    """Makes keyed digests; empty ones where the key is lost, which is not replaced."""
    if isinstance(index.key_file, ObjectPath):
        with suppress(NoIndex):
            return _fetched_key(index.key_file, index.manifest.created).of
    elif index.key_file.exists():
        return Pseudonyms.load(index.key_file).of
    return lambda _: ""


@lru_cache(16)
def _fetched_key(file: ObjectPath, created: str) -> Pseudonyms:  # noqa: ARG001 - another index there has another key
    """Fetched once: each search is logged."""
    return Pseudonyms.load(file)


def _entry(line: str) -> Entry | None:
    """None for a line that a full disk cut short."""
    try:
        fields: dict[str, Any] = json.loads(line)
        return Entry(**(fields | {"items": tuple(fields.get("items", ()))}))
    except (ValueError, TypeError):
        return None


def _line(time: str, action: Action, what: str, items: Iterable[str], count: int) -> str:
    named = [item for item in items if item]
    fields = {"time": time, "user": _user(), "action": action, "what": what, "items": named, "count": count}
    return json.dumps(fields, separators=(",", ":")) + "\n"


def _append(index: IndexFolder, lines: str) -> None:
    """One write with O_APPEND: lines of processes that write at once do not mix."""
    file, content = file_of(index), lines.encode()
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            written = os.write(handle, content)
        finally:
            os.close(handle)
    except OSError as error:
        raise _unlogged(file, error.strerror or type(error).__name__) from error
    if written != len(content):
        raise _unlogged(file, "no space is left there")


def _unlogged(file: Path, why: str) -> IndexUnwritable:
    return IndexUnwritable(
        f"{file}: an action that cannot be logged is not done ({why}); let this user write there, or have the owner of "
        'the index switch its log off with "m3search audit --off"'
    )


def _user() -> str:
    """The account's name, from the system and not from the environment, which anybody may set."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # an account without a name, as containers have them
        return str(os.getuid())
