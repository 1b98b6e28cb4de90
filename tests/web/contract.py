"""Calls that schemathesis makes up from the OpenAPI document: no server error, every answer as the document says.

    python -m tests.web.contract [--examples 5000] [--seed 0]

An index of phantoms under the fake encoder is served on a port; all operations together are called so many times, half
of them with values that the document allows, half with others.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from m3search.web.server import Running, running
from m3search.web.settings import Settings

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
FILTERS = ("sex = 'F'", "year >= 2015 and not labels contains 'x'", "text contains 'effusion'", "modality in (ct, ecg)")
TURNS = 1000  # at most: each has a seed of its own
LISTS = ("items", "like", "unlike")  # of a search: stored items


def campaign(server: Running, examples: int, number: int = 0, files: Sequence[bytes] = ()) -> Counter[str]:
    """Call every operation until there were so many calls. Returns how often each answered with which status.

    Args:
        number: seed.
        files: what some uploads hold.

    Raises:
        schemathesis' failures: an answer breaks the contract; the message holds the call as a curl command.
    """
    headers = {"authorization": f"Bearer {server.token}"}
    found = httpx.post(f"{server.url}/v1/search", json={"text": "x", "limit": 100}, headers=headers).json()
    ids = [hit["item_id"] for hit in found["hits"]]
    schema = schemathesis.openapi.from_url(f"{server.url}/v1/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    modes = list(schemathesis.GenerationMode)
    answers: Counter[str] = Counter()

    def call(case: Any, choice: int) -> None:
        if choice % 3:  # else made up altogether: unknown items, filters that are no expressions, files that are none
            _make_sense(case, ids, files, choice)
        answer = case.call_and_validate(headers=headers, checks=CHECKS, timeout=60)
        answers[f"{case.method} {case.path} {answer.status_code}"] += 1

    turn = 0
    while (missing := examples - answers.total()) > 0:  # again: some have no wrong values, some few right ones
        share = math.ceil(missing / (len(operations) * len(modes)))
        for operation in operations:
            for mode in modes:
                _many(operation, mode, share, TURNS * number + turn, call)
        turn += 1
    return answers


def _many(operation: Any, mode: Any, examples: int, number: int, call: Callable[[Any, int], None]) -> None:
    @seed(number)
    @settings(
        max_examples=examples, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode), choice=st.integers(0, 999))
    def ask(case: Any, choice: int) -> None:
        call(case, choice)

    try:
        ask()
    except Unsatisfiable:  # an operation without parameters has no wrong ones
        if mode is not schemathesis.GenerationMode.NEGATIVE:
            raise


def _make_sense(case: Any, ids: Sequence[str], files: Sequence[bytes], choice: int) -> None:
    """Put what there is in the place of values that have the right kind and would hardly ever exist."""
    if isinstance(case.path_parameters, dict) and "item_id" in case.path_parameters:
        case.path_parameters["item_id"] = ids[choice % len(ids)]
    if not isinstance(case.body, dict):
        return
    for name in LISTS:
        if isinstance(case.body.get(name), list):
            case.body[name] = [ids[(choice + place) % len(ids)] for place in range(len(case.body[name]))]
    if isinstance(case.body.get("filters"), str):
        case.body["filters"] = FILTERS[choice % len(FILTERS)]
    if isinstance(case.body.get("uploads"), list):
        case.body["uploads"] = []
    if isinstance(case.body.get("query"), str):
        case.body["query"] = '{"limit": 3}'
    if files and isinstance(case.body.get("file"), list):
        case.body["file"] = [files[choice % len(files)]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, serve, call, print."""
    from m3search.indexer import Options, index
    from m3search.phantoms import write_archive

    parser = argparse.ArgumentParser(prog="python -m tests.web.contract", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--examples", type=int, default=5000, help="calls at least")
    parser.add_argument("--seed", type=int, default=0, help="another one makes other calls")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        write_archive(Path(folder) / "archive", patients=3, seed=7)
        index(Path(folder) / "archive", Path(folder) / "i", model="fake", options=Options(workers=0))
        began = time.monotonic()
        with running(Settings(Path(folder) / "i", port=0)) as server:
            found = [path.read_bytes() for path in sorted((Path(folder) / "archive").rglob("*")) if path.is_file()]
            answers = campaign(server, options.examples, options.seed, found)
    for name, count in sorted(answers.items()):
        sys.stdout.write(f"{count:6} {name}\n")
    seconds = time.monotonic() - began
    sys.stdout.write(f"{answers.total()} calls in {seconds:.0f} s, every answer as the document says\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
