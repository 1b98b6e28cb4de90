"""One text encoder beside five: ratios of single runs and of all, and what is printed of them."""

from __future__ import annotations

import json

import pytest

from benchmarks.specialists import Outcome, as_json, figure_table, ratio_table, ratios_of
from m3search.evaluation.figures import Part, QueryScore, figure_of
from m3search.evaluation.tables import MEAN
from m3search.trainer.measure import Measured
from m3search.trainer.validate import Figures


def measured(**values: list[float]) -> Measured:
    """Of each modality, the same scores of as many patients for both questions."""
    parts = {
        name: Part.of([QueryScore(f"q{n}", name, "", f"p{n}", value, 0.1, 1, 10) for n, value in enumerate(own)])
        for name, own in values.items()
    }
    reached = {name: figure_of([part]).value for name, part in parts.items()}
    figures = {name: Figures(10, 3, value, value, 0.1, value, 0.1) for name, value in reached.items()}
    return Measured(figures, {name: (part, part) for name, part in parts.items()}, {})


FIVE = measured(ct=[0.4, 0.4, 0.4], ecg=[0.2, 0.3, 0.4])
RUNS = {
    "seed 0": Outcome(FIVE, measured(ct=[0.4, 0.4, 0.4], ecg=[0.2, 0.3, 0.4])),
    "seed 1": Outcome(FIVE, measured(ct=[0.2, 0.2, 0.2], ecg=[0.4, 0.6, 0.8])),
}


def test_ratios_of_each_run_and_of_all() -> None:
    found = ratios_of(RUNS)
    means = {run: {name: ratio.mean for name, ratio in ratios.items()} for run, ratios in found.items()}
    assert means["seed 0"] == pytest.approx({"ct": 1, "ecg": 1, MEAN: 1})
    assert means["seed 1"] == pytest.approx({"ct": 0.5, "ecg": 2, MEAN: 1.25})
    assert means["all runs"] == pytest.approx({"ct": 0.75, "ecg": 1.5, MEAN: 1.125})
    # every patient's own ratio is the same in all draws, so other patients would change nothing
    assert (found["seed 1"]["ecg"].low, found["seed 1"]["ecg"].high) == pytest.approx((2, 2))


def test_a_single_run_has_no_row_of_all() -> None:
    assert set(ratios_of({"m3bind-small": RUNS["seed 0"]})) == {"m3bind-small"}


def test_what_is_printed() -> None:
    ratios = ratios_of(RUNS)
    assert ratio_table(ratios).splitlines()[3] == (
        "| seed 1 | 0.500 [0.500, 0.500] | 2.000 [2.000, 2.000] | 1.250 [1.250, 1.250] |"
    )
    lines = figure_table(RUNS).splitlines()
    assert lines[2].startswith("| specialists | ct | 0.400 (0.400 to 0.400) |")
    assert lines[5].startswith("| one text encoder | ct | 0.300 (0.200 to 0.400) |")
    assert lines[7].startswith("| one text encoder | mean | 0.375 (0.350 to 0.400) |")
    assert figure_table({"seed 0": RUNS["seed 0"]}).splitlines()[2].startswith("| specialists | ct | 0.400 |")
    told = json.loads(as_json(ratios, RUNS))
    assert told["figures"]["seed 1"]["one text encoder"]["ct"]["image_to_image"] == pytest.approx(0.2)
    assert told["relative to the specialists"]["all runs"]["ct"]["mean"] == pytest.approx(0.75)
