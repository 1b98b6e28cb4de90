"""The fusion benchmark runs on any folder of manifests, without a trained bundle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import fusion
from m3search.phantoms import Phantom


def test_prints_every_method_and_both_kinds_of_denials(
    phantoms: tuple[Path, list[Phantom]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", str(phantoms[0]), "--split", "all", "--bundle", "fake", "--cache", str(tmp_path / "cache")]
    arguments += ["--min-relevant", "1"]
    fusion.main([*arguments, "--json"])
    found = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in found["calibration"]}
    assert set(rows) == {"none", "none + hubness", "full text", "hybrid (none)"}  # the fake has no statistics
    for row in rows.values():
        assert set(row["mixed"]) == set(row["within"]) == {"ct", "ecg", "pathology", "retina", "xray"}
        for name, value in row["mixed"].items():
            assert 0 < value <= row["within"][name] + 1e-9
    assert rows["full text"]["ratio"] > rows["none"]["ratio"]
    assert [row["name"] for row in found["negation"]] == [
        "text tower alone, judge's phrases", "query, judge's phrases", "text tower alone, as typed", "query, as typed",
    ]  # fmt: skip
    fusion.main(arguments)
    assert "| none |" in capsys.readouterr().out
