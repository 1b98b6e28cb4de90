"""The worker pool: results, failures as values, and crashes that cost one file."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from m3search.errors import Reason, UnreadableFile
from m3search.indexer.runners.local import LocalRunner, Task


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
