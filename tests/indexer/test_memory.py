"""What a run holds on to while it goes on."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from m3search.indexer import Options, Progress, embed, index
from m3search.indexer.inspect import Inspected
from m3search.indexer.plan import Work

from .pacs.films import write_films

ITEMS, TOGETHER = 40, 4  # of which so many are embedded, and written, at once


def test_what_is_stored_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "BATCH_PARTS", TOGETHER)
    write_films(tmp_path / "archive", range(ITEMS))
    alive: list[int] = []

    def note(progress: Progress) -> None:
        if progress.stage == "index" and progress.done in (1, ITEMS):
            gc.collect()
            alive.append(sum(isinstance(one, Work | Inspected) for one in gc.get_objects()))

    options = Options(workers=0, shard_items=TOGETHER)
    assert (
        index(tmp_path / "archive", tmp_path / "index", model="fake", options=options, progress=note).indexed == ITEMS
    )
    at_first, at_last = alive
    assert at_first <= ITEMS + 1
    assert at_last <= 4 * TOGETHER  # collected, embedded, in an open shard, being written
