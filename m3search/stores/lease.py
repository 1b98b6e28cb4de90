"""Being the only writer of what lies on S3: a row that Lance's commits guard, and a beat that tells the living.

Object storage has no locks. But Lance commits by a conditional put, and does a merge over again that another commit
came before: of several writers that reach for the one row of `lease.lance`, one gets it. Its holder then puts a new
`lease.beat` every BEAT_S seconds. A killed writer leaves its row; who finds it held watches the beat: where it changes,
somebody is writing; where it does not for EXPIRES_S seconds by the watcher's own clock, the lease is taken over.
Clocks need not agree.

A writer that was stopped for longer than that (a suspended machine) and goes on learns it from `check`, before its next
commit. A commit already on its way cannot be called back; it is a merge by `item_id`, which loses and doubles nothing.
"""

from __future__ import annotations

import os
import platform
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from m3search.errors import IndexLocked, M3SearchError
from m3search.stores.disk import writing
from m3search.stores.lance import connect
from m3search.stores.place import ObjectPath

BEAT_S = 4.0
EXPIRES_S = 20.0
SURE_S = EXPIRES_S - 2 * BEAT_S  # after which a holder whose beats do not arrive no longer counts on its lease
LOOK_S = 0.5  # between two looks at another's beat
NAME = "lease"
KEPT = timedelta(hours=1)  # of the table's own versions

Check = Callable[[], None]
"""Raises IndexLocked where the lease is lost."""


@contextmanager
def leased(place: ObjectPath) -> Iterator[Check]:
    """Be the only writer while the context lasts; when the process dies, another may follow after EXPIRES_S.

    Raises:
        IndexLocked: another one writes; told within BEAT_S or so.
        StoreUnreachable: the storage is away.
    """
    with writing(place):
        lease = _Lease(place)
        lease.take()
        lease.begin()
    try:
        yield lease.check
    finally:
        lease.end()


class _Lease:
    def __init__(self, place: ObjectPath) -> None:
        self._place = place
        self._token = secrets.token_hex(8)
        self._table = _table(place)
        self._beats = 0
        self._alive_at = 0.0  # when the last beat that arrived was begun
        self._lost = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="lease", daemon=True)

    def take(self) -> None:
        """Raises IndexLocked."""
        holder, who = self._held_by()
        if holder and self._is_alive():
            raise IndexLocked(f"index {self._place} is being written by {who}; wait for it to end")
        self._alive_at = time.monotonic()
        self._put(holder, self._token)
        holder, who = self._held_by()
        if holder != self._token:
            raise IndexLocked(f"index {self._place} is being written by {who}; wait for it to end")
        with suppress(OSError, RuntimeError, ValueError):  # others commit meanwhile; the next one does it
            self._table.optimize(cleanup_older_than=KEPT)

    def begin(self) -> None:
        """Beat from now on."""
        self._beat()
        self._thread.start()

    def check(self) -> None:
        """Raises IndexLocked where it is no longer held for sure."""
        if self._lost or time.monotonic() - self._alive_at > SURE_S:
            raise IndexLocked(
                f"index {self._place}: this run was away from the storage for too long, and another may be writing; "
                "what was stored stays, run again"
            )

    def end(self) -> None:
        """Let another write at once."""
        self._over.set()
        self._thread.join()
        with suppress(M3SearchError, OSError, RuntimeError, ValueError):  # it expires
            self._put(self._token, "")

    def _go_on(self) -> None:
        while not self._over.wait(BEAT_S):
            with suppress(M3SearchError, OSError, RuntimeError, ValueError):  # `check` counts the seconds
                if self._held_by()[0] != self._token:
                    self._lost = True
                    return
                self._beat()

    def _beat(self) -> None:
        begun = time.monotonic()
        self._beats += 1
        self._beat_of.write_bytes(f"{self._token} {self._beats}\n".encode())
        self._alive_at = begun

    def _is_alive(self) -> bool:
        """Whether the beat changes within EXPIRES_S."""
        first, until = self._seen(), time.monotonic() + EXPIRES_S
        while time.monotonic() < until:
            time.sleep(LOOK_S)
            if self._seen() != first:
                return True
        return False

    def _seen(self) -> bytes:
        with suppress(FileNotFoundError):
            return self._beat_of.read_bytes()
        return b""

    @property
    def _beat_of(self) -> ObjectPath:
        return self._place / "lease.beat"

    def _held_by(self) -> tuple[str, str]:
        """The holder's token, "" for nobody, and what it is called."""
        row = self._table.search().to_arrow().to_pylist()[0]
        return row["holder"], row["who"]

    def _put(self, before: str, after: str) -> None:
        """Change the holder, where it still is `before`."""
        merge = self._table.merge_insert("name").when_matched_update_all(where=f"target.holder = '{before}'")
        merge.execute(_row(after))


def _row(holder: str) -> pa.Table:
    who = f"process {os.getpid()} of {platform.node()}, since {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    return pa.table({"name": ["writer"], "holder": [holder], "who": [who]})


def _table(place: ObjectPath) -> Any:
    """The table with its one row, made by whoever comes first."""
    database = connect(place)
    with suppress(ValueError):  # there is none
        return database.open_table(NAME)
    with suppress(ValueError, OSError, RuntimeError):  # another was faster
        return database.create_table(NAME, _row(""))
    return database.open_table(NAME)
