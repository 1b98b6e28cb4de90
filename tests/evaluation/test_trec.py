"""TREC's files: there and back, ties settled, names with spaces."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from m3search.errors import DataError
from m3search.evaluation.trec import read_qrels, read_run, write_qrels, write_run


def test_there_and_back(tmp_path: Path) -> None:
    qrels = {"pleural effusion": {"a b%20.png": 2, "c\td": 0}, "q": {"é": 1}}
    write_qrels(tmp_path / "qrels", qrels)
    assert read_qrels(tmp_path / "qrels") == qrels
    run = {"pleural effusion": [("a b%20.png", 0.5), ("c\td", -0.25)], "q": [("é", 1.0)]}
    write_run(tmp_path / "run", run, "my encoder")
    assert read_run(tmp_path / "run") == run
    assert all(len(line.split()) == 6 for line in (tmp_path / "run").read_text().splitlines())


def test_scores_fall_in_single_precision_however_many_tie(tmp_path: Path) -> None:
    write_run(tmp_path / "run", {"q": [(str(n), 0.7) for n in range(500)] + [("last", 0.7 - 1e-12)]}, "t")
    scores = [np.float32(score) for _, score in read_run(tmp_path / "run")["q"]]
    assert all(before > after for before, after in pairwise(scores))
    assert scores[0] - scores[-1] < 1e-4


def test_a_run_is_cut_at_its_depth(tmp_path: Path) -> None:
    write_run(tmp_path / "run", {"q": [(str(n), -float(n)) for n in range(20)]}, "t", depth=7)
    assert len(read_run(tmp_path / "run")["q"]) == 7


@pytest.mark.parametrize(
    ("read", "content", "message"),
    [
        (read_qrels, "q 0 d 1\nq d 1\n", "line 2 has 3 fields, not 4"),
        (read_qrels, "q 0 d high\n", "the relevance 'high' is no whole number"),
        (read_run, "q Q0 d first 0.1 t\n", "rank 'first' and score '0.1' must be numbers"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, read, content: str, message: str) -> None:
    (tmp_path / "file").write_text(content)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "file")
