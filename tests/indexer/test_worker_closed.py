"""A worker that is closed while its process starts."""

from __future__ import annotations

from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from m3search.errors import Reason, UnreadableFile
from m3search.indexer.runners.process import Usage, Worker


def test_a_worker_closed_while_its_process_starts_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(Usage())
    start = ForkServerProcess.start
    started: list[ForkServerProcess] = []

    def closed_meanwhile(process: ForkServerProcess) -> None:
        worker.close()  # as another thread does for a request that nobody waits for any more
        start(process)
        started.append(process)

    monkeypatch.setattr(ForkServerProcess, "start", closed_meanwhile)
    answer = worker.ask(len, Path("a.dcm"), ("abc",), seconds=30, memory=1 << 30)
    assert isinstance(answer, UnreadableFile)
    assert answer.reason is Reason.CRASHED
    started[0].join(10)
    assert not started[0].is_alive()
