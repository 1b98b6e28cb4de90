"""Searches while an index run writes: every answer is one that some committed state of the index gives."""

from __future__ import annotations

import threading
from pathlib import Path

import m3search
from m3search.indexer import Options, index
from m3search.stores.folder import IndexFolder
from m3search.stores.verify import verify
from tests.indexer.pacs.films import write_films

FILMS, FIRST = 40, 10


def test_readers_go_on_without_error_while_an_index_run_writes(tmp_path: Path) -> None:
    archive, path = tmp_path / "archive", tmp_path / "index"
    write_films(archive, range(FIRST))
    index(archive, path, model="fake", options=Options(workers=0))
    write_films(archive, range(FIRST, FILMS))
    (archive / "00000.dcm").unlink()
    done = threading.Event()
    counts: list[list[int]] = [[], []]
    wrong: list[str] = []

    def read(kept_open: bool, seen: list[int]) -> None:
        engine = m3search.open(path)
        while True:
            last = done.is_set()
            try:
                hits = engine.search("chest X-ray", k=2 * FILMS) if kept_open else m3search.open(path).search("x", k=99)
                ids = [hit.item_id for hit in hits]
                if len(ids) != len(set(ids)) or not all(hit.uri.endswith(".dcm") for hit in hits):
                    wrong.append(f"an answer of {len(ids)} hits repeats itself, or lacks what is stored of them")
                seen.append(len(ids))
            except Exception as error:
                wrong.append(f"{type(error).__name__}: {error}")
            if last:
                return

    readers = [threading.Thread(target=read, args=(kept == 0, counts[kept])) for kept in (0, 1)]
    for reader in readers:
        reader.start()
    try:
        index(archive, path, model="fake", options=Options(workers=0, shard_items=3, prune=True))
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert wrong == []
    for seen in counts:
        assert seen[-1] == FILMS - 1
        assert all(FIRST - 1 <= count <= FILMS for count in seen)
        assert seen[0] < FILMS - 1  # it did read while there was something to write
    assert verify(IndexFolder.open(path)).ok
