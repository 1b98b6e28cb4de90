"""A few write points of an index run, killed at or met by a full disk. All of them: `python -m tests.faults`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import campaign


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[campaign.Nursery]:
    library = campaign.compiled(tmp_path_factory.mktemp("shim"))
    if library is None:
        pytest.skip("needs Linux and a C compiler")
    with campaign.nursery(library) as one:
        yield one


@pytest.mark.parametrize("scenario", campaign.SCENARIOS)
def test_rows_are_those_of_an_undisturbed_run(scenario: str, runs: campaign.Nursery, tmp_path: Path) -> None:
    outcome = campaign.run(scenario, tmp_path, runs, campaign.Points(sample=2))
    assert outcome.wrong == []
    assert outcome.points > 50
    assert outcome.tried == {"kill": 2, "disk full": 2}
    assert outcome.survived["kill"] == 0


def test_rows_are_those_of_an_undisturbed_run_after_kills_at_any_moment(runs: campaign.Nursery, tmp_path: Path) -> None:
    outcome = campaign.run_kills("changed archive", tmp_path, runs, kills=2)
    assert outcome.wrong == []
    assert outcome.tried == {campaign.AT_A_MOMENT: 2}
