"""The benchmark of parts knows where it put its findings."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import places


def test_a_ct_differs_from_a_normal_one_where_it_says() -> None:
    item, where = places.series("pleural effusion", "normal chest", seed=3)
    normal = places.ct.render(np.random.default_rng(3), (places.Finding("normal chest"),), slices=places.SLICES)
    differs = {row for row, part in enumerate(item.parts) if not np.array_equal(part.data, normal.hu[row])}
    assert differs == where
    assert len(where) == places.INSERTED


def test_prints_each_finding_beside_chance(capsys: pytest.CaptureFixture[str]) -> None:
    places.main(["--bundle", "fake", "--items", "1", "--json"])
    rows = json.loads(capsys.readouterr().out)
    assert [row["query"] for row in rows] == [*places.CT_FINDINGS, *places.TISSUES.values()]
    assert all(row["right"] in (0, 1) and 0 < row["chance"] < 0.2 for row in rows)
