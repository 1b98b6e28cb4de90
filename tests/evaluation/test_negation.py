"""Negation: perfect, deaf and contrary encoders, each with figures that can be worked out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from made import labelled

from m3search.evaluation.figures import figure_of
from m3search.evaluation.negation import Denied, negation_sets
from m3search.evaluation.prompts import DENIALS, TYPED_DENIALS, fill

DENYING = ("absent", "fails", "ruled out", "cannot", "excluded", "no ", "without")
FOUND = labelled(
    *[("xray", "Pleural effusion" if n < 4 else "No Finding", f"p{n}") for n in range(10)],
    vectors=[[np.cos(angle), np.sin(angle)] for angle in np.linspace(0, np.pi / 2, 10)],
)


def encoder(denied: Sequence[float]) -> object:
    """Claims of an effusion point where effusions are; denials as given."""
    return lambda texts: np.array(
        [denied if any(word in text.lower() for word in DENYING) else [1, 0] for text in texts], dtype=np.float32
    )


def test_an_encoder_that_understands() -> None:
    (found,) = negation_sets(FOUND, encoder([0, 1]))
    assert [one.label for one in found.findings] == ["Pleural effusion"], "nobody is without No Finding"
    assert figure_of([found.part("pairs")]).value == 1
    assert figure_of([found.part("denial")]).value == 1
    assert figure_of([found.part("claim")]).value == 1


def test_an_encoder_that_is_deaf_to_denials() -> None:
    (found,) = negation_sets(FOUND, encoder([1, 0]))
    assert figure_of([found.part("pairs")]).value == 0.5
    assert figure_of([found.part("pairs")]).chance == 0.5
    assert figure_of([found.part("denial")]).value == 0, "it hears the finding's name alone"
    assert figure_of([found.part("claim")]).value == 1


def test_scores_need_not_be_comparable_only_ranks_count() -> None:
    """Denials of another length and offset, in the same order as the claims: still deaf."""
    (found,) = negation_sets(FOUND, encoder([0.3, 1e-9]))
    assert figure_of([found.part("pairs")]).value == 0.5


def test_a_pair_counts_where_the_one_with_the_finding_falls_further() -> None:
    carries = np.arange(6) < 3
    shuffled = Denied("Pneumonia", carries, np.array([[5.0, 4, 3, 2, 1, 0]]), np.array([[5.0, 4, 2, 3, 1, 0]]))
    # Item 2 falls by one, item 3 rises by one: of the nine pairs those with one of them are right, the others tie.
    assert shuffled.values("pairs", np.ones((1, 6)))[0] == pytest.approx((5 + 4 / 2) / 9)


def test_random_denials_are_chance() -> None:
    rng = np.random.default_rng(0)
    rows = [("xray", "Pleural effusion" if n % 3 == 0 else "No Finding", f"p{n}") for n in range(300)]
    found = labelled(*rows, vectors=rng.standard_normal((300, 32)))
    (random,) = negation_sets(found, lambda texts: rng.standard_normal((len(texts), 32)).astype(np.float32))
    figure = figure_of([random.part("pairs")])
    assert figure.value == pytest.approx(0.5, abs=0.05)
    assert figure.low < figure.value < figure.high


def test_findings_need_items_on_both_sides() -> None:
    rows = [("xray", "Pneumonia", f"p{n}") for n in range(5)] + [("xray", "Cardiomegaly", "p9")]
    assert negation_sets(labelled(*rows, vectors=np.eye(6)), lambda texts: np.ones((len(texts), 6))) == []


def test_denials_differ_from_claims_and_say_both() -> None:
    for claim, denial in (*DENIALS, *TYPED_DENIALS):
        claims, denied = (fill([text], "xray", "Pleural effusion") for text in (claim, denial))
        assert len(claims) == len(denied) > 0
        for one, other in zip(claims, denied, strict=True):
            assert one != other
            assert "pleural effusion" in one.lower()
            assert "pleural effusion" in other.lower()
            assert any(word in other.lower() for word in DENYING)
            assert not any(word in one.lower() for word in DENYING)
    assert fill(["{label} is absent."], "ecg", "ST depression") == ["ST depression is absent."]


def test_each_source_by_itself_and_each_label() -> None:
    (found,) = negation_sets(FOUND, encoder([0, 1]), by_source=True)
    assert found.source == ""
    assert found.by_label("pairs")["Pleural effusion"].queries == 4
