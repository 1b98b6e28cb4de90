"""A little of `python -m tests.web.contract`."""

from __future__ import annotations

from m3search.web.server import running
from m3search.web.settings import Settings
from tests.web.contract import campaign


def test_made_up_calls_are_answered_as_the_document_says(served):
    with running(Settings(served, port=0, workers=1)) as server:
        answers = campaign(server, examples=80)
    assert answers.total() >= 80
    assert {name.rpartition(" ")[2][0] for name in answers} <= {"2", "4"}
