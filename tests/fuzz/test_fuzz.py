"""A short run of the fuzzer. At length: `python -m tests.fuzz --files 10000`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.campaign import Campaign, run, write_case
from tests.fuzz.mutate import BINARY, TEXT, mutate
from tests.fuzz.seeds import Seed, seeds

FILES = 190  # five of each kind


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Seed]:
    return seeds(tmp_path_factory.mktemp("seeds"))


def test_damaged_files_of_every_format_end_as_an_item_or_a_named_failure() -> None:
    outcome = run(Campaign(FILES, seed=5, seconds=240))
    assert outcome.run_crashes == []
    assert outcome.defects == []
    assert (outcome.runs, outcome.verified, outcome.timeouts) == (1, 1, 0)
    assert outcome.items > 0
    assert outcome.items + sum(outcome.failures.values()) + outcome.ignored >= FILES
    assert outcome.peak_bytes < 2 << 30


def test_seeds_are_whole(sources: list[Seed], tmp_path: Path) -> None:
    from m3search.indexer import Options, index

    for seed in sources:
        place = tmp_path / "archive" / seed.kind.replace(" ", "_").replace("ct_", "c_t_") / seed.folder
        place.mkdir(parents=True)
        for name, content in seed.files.items():
            (place / name).write_bytes(content)
    report = index(tmp_path / "archive", tmp_path / "i", model="fake", options=Options(workers=0))
    assert report.failed == 1  # the PDF, a report of a study without images; the structured report is of the film's
    # Those that hold the same bytes are one item; none is missing that holds its own.
    assert report.indexed >= len(sources) - 4


def test_the_same_numbers_give_the_same_bytes(sources: list[Seed], tmp_path: Path) -> None:
    for number in (0, 7, 40):
        first, again = (write_case(tmp_path / name, sources, number, 3) for name in ("first", "again"))
        assert first.parent.name == again.parent.name
        assert [file.read_bytes() for file in sorted(first.iterdir())] == [
            file.read_bytes() for file in sorted(again.iterdir())
        ]


def test_every_kind_of_damage_changes_something(sources: list[Seed]) -> None:
    content = sources[0].files["film.dcm"]
    done = {mutate(content, [content], str(key))[0] for key in range(100)}
    assert done == set(BINARY)
    assert set(TEXT) > set(BINARY)
    changed = sum(mutate(content, [bytes(100)], str(key))[1] != content for key in range(100))
    assert changed > 90
