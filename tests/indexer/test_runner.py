"""The worker pool: results, failures as values, and crashes that cost one file."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from m3search.errors import Reason, UnreadableFile
from m3search.indexer.runners.allowance import Allowance, memory_of_machine
from m3search.indexer.runners.base import Task
from m3search.indexer.runners.local import LocalRunner


def double(number: int) -> int:
    return 2 * number


def die_at_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGSEGV)
    return number


def fail(number: int) -> int:
    if number == 1:
        raise ValueError("Doe^Jane 1950-01-01")  # what a decoder's message may quote
    if number == 2:
        raise UnreadableFile("2.dcm", Reason.TRUNCATED, "ends early")
    return number


def hang_at_three(number: int) -> int:
    if number == 3:
        ctypes.PyDLL(None).sleep(1000)  # as a decoder that loops: holding the interpreter's lock
    return number


def swell(mebibytes: int) -> int:
    return int(np.ones(mebibytes << 20, dtype=np.uint8)[::4096].sum(dtype=np.int64)) // 256


def fail_twice(counter: Path) -> int:
    """As a share that is away for a moment."""
    with counter.open("a") as file:
        file.write("x")
    if (tries := counter.stat().st_size) < 3:
        raise OSError(116, "Stale file handle")
    return tries


def fail_always(counter: Path) -> int:
    with counter.open("a") as file:
        file.write("x")
    raise OSError(5, "Input/output error")


def core_limit(number: int) -> tuple[int, int]:
    return resource.getrlimit(resource.RLIMIT_CORE)


def tasks(count: int) -> list[Task[int]]:
    return [Task(number, Path(f"{number}.dcm"), number) for number in range(count)]


@pytest.mark.parametrize("workers", [0, 2])
def test_every_task_comes_back_once_with_its_key(workers: int) -> None:
    with LocalRunner(workers) as runner:
        assert dict(runner.map(double, tasks(20))) == {number: 2 * number for number in range(20)}


@pytest.mark.parametrize("workers", [0, 2])
def test_what_a_call_raises_comes_back_as_a_value_without_its_message(workers: int) -> None:
    with LocalRunner(workers) as runner:
        results = dict(runner.map(fail, tasks(4)))
    assert results[0] == 0
    assert results[3] == 3
    assert isinstance(results[1], UnreadableFile)
    assert results[1].path == Path("1.dcm")
    assert "Doe" not in str(results[1])
    assert isinstance(results[2], UnreadableFile)
    assert results[2].reason is Reason.TRUNCATED


def test_a_crash_costs_one_file() -> None:
    with LocalRunner(2) as runner:
        results = dict(runner.map(die_at_three, tasks(12)))
    assert len(results) == 12
    crashed = results.pop(3)
    assert isinstance(crashed, UnreadableFile)
    assert crashed.reason is Reason.CRASHED
    assert results == {number: number for number in range(12) if number != 3}


def test_files_in_flight_beside_a_crash_are_read_once_each_in_any_number_of_crashes() -> None:
    with LocalRunner(2) as runner:
        results = dict(
            runner.map(die_at_three, [Task(key, Path(f"{key}.dcm"), 3 if key % 5 == 0 else 1) for key in range(20)])
        )
    assert {key for key, result in results.items() if isinstance(result, UnreadableFile)} == {0, 5, 10, 15}
    assert runner.usage.crashes == 8  # each of the four has a second try


def test_a_call_that_does_not_end_costs_one_file() -> None:
    with LocalRunner(2, Allowance(seconds=20)) as runner:
        results = dict(runner.map(hang_at_three, tasks(8)))
    hung = results.pop(3)
    assert isinstance(hung, UnreadableFile)
    assert hung.reason is Reason.TIMEOUT
    assert "20 seconds" in hung.message
    assert results == {number: number for number in range(8) if number != 3}


def test_a_memory_bomb_costs_one_file_and_the_limit_holds() -> None:
    with LocalRunner(1, Allowance(memory_bytes=1 << 30)) as runner:
        calls = [Task(size, Path(f"{size}.dcm"), size) for size in (1, 4096, 64)]
        results = dict(runner.map(swell, calls))
    bomb = results.pop(4096)
    assert isinstance(bomb, UnreadableFile)
    assert bomb.reason is Reason.MEMORY
    assert results == {1: 1, 64: 64}
    assert runner.usage.peak_bytes < 1 << 30
    assert runner.usage.out_of_memory == 2


def test_what_does_not_fit_beside_others_is_read_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Allowance, "share", lambda self, workers: 1 << 30)
    monkeypatch.setattr(Allowance, "whole", lambda self: 4 << 30)
    with LocalRunner(1) as runner:
        assert dict(runner.map(swell, [Task(0, Path("large.dcm"), 1500)])) == {0: 1500}
    assert runner.usage.out_of_memory == 1


def test_storage_that_fails_for_a_moment_is_asked_again(tmp_path: Path) -> None:
    with LocalRunner(0) as runner:
        results = dict(runner.map(fail_twice, [Task(0, Path("a.dcm"), tmp_path / "a")])) | dict(
            runner.map(fail_always, [Task(1, Path("b.dcm"), tmp_path / "b")])
        )
    assert results[0] == 3
    assert isinstance(results[1], UnreadableFile)
    assert results[1].reason is Reason.UNREACHABLE
    assert "Input/output error" in results[1].message
    assert (tmp_path / "b").stat().st_size == 3


def test_workers_leave_no_core_file() -> None:
    """It would hold a patient's pixels."""
    with LocalRunner(1) as runner:
        assert dict(runner.map(core_limit, tasks(1)))[0][0] == 0


def test_every_worker_gets_a_share_of_the_machine() -> None:
    assert Allowance().share(1) == Allowance().whole() <= max(memory_of_machine(), 2 << 30)
    assert Allowance().share(1000) == 2 << 30
    assert Allowance(memory_bytes=5).share(7) == Allowance(memory_bytes=5).whole() == 5


KILLED = """
import os, runpy, sys
from pathlib import Path
if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    import test_runner
    from m3search.indexer.runners.base import Task
    from m3search.indexer.runners.local import LocalRunner
    with LocalRunner(2) as runner:
        list(runner.map(test_runner.tell_and_hang, [Task(0, Path("a"), sys.argv[2]), Task(1, Path("b"), sys.argv[2])]))
"""


def tell_and_hang(folder: str) -> None:
    (Path(folder) / str(os.getpid())).touch()
    ctypes.PyDLL(None).sleep(1000)


def test_no_worker_outlives_a_run_that_is_killed(tmp_path: Path) -> None:
    """Not even one whose decoder hangs and never lets go of the interpreter."""
    script = tmp_path / "run.py"
    script.write_text(KILLED)
    workers = tmp_path / "workers"
    workers.mkdir()
    run = subprocess.Popen([sys.executable, script, Path(__file__).parent, workers], stderr=subprocess.DEVNULL)
    wait_until(lambda: len(list(workers.iterdir())) == 2)
    pids = [int(path.name) for path in workers.iterdir()]
    run.send_signal(signal.SIGKILL)
    run.wait()
    wait_until(lambda: not any(is_alive(pid) for pid in pids))


def wait_until(condition: object, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.1)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
