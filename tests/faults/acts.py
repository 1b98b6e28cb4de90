"""What writes an index: each is broken off at every change it makes, and then done again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from m3search import upkeep
from m3search.indexer import Options, pipeline
from m3search.indexer import index as run
from m3search.stores.compact import compact as run_compaction
from m3search.stores.disk import writing
from m3search.stores.folder import IndexFolder

pipeline.SHARD_SECONDS = float("inf")  # write points are the same on a slow machine
OPTIONS = Options(workers=0, shard_items=2, prune=True)
GONE = "modality in (xray, ct)"


def index(archive: Path, path: Path) -> None:
    """An index run of few items a shard."""
    run(archive, path, model="fake", options=OPTIONS)


def delete(_: Path, path: Path) -> None:
    """Most of the items."""
    upkeep.delete(path, where=GONE)


def compact(_: Path, path: Path) -> None:
    """Without the wait for readers."""
    with writing(path):
        run_compaction(IndexFolder.open(path), grace_s=0)


ACTS: dict[str, Callable[[Path, Path], None]] = {"index": index, "delete": delete, "compact": compact}
