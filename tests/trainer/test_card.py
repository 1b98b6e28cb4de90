"""What a bundle and its card say of retrieval between modalities."""

from __future__ import annotations

from m3search.trainer.card import _between
from m3search.trainer.export import _told
from m3search.trainer.measure import Measured


def test_retrieval_between_modalities_is_told_by_pair_and_in_the_mean() -> None:
    found = _told(Measured({}, {}, {"xray→ct": 0.51234, "ct→xray": 0.3}))
    assert found == {"xray→ct": {"crossmodal": 0.5123}, "ct→xray": {"crossmodal": 0.3}}
    unbound = {"xray→ct": {"crossmodal": 0.25}, "xray": {"text_to_image": 0.9}}
    line = _between({"baselines": {"specialists": unbound, "of one modality": {}}, "figures": found})
    assert "specialists 0.250, this bundle 0.406." in line
    assert "of one modality" not in line


def test_nothing_is_told_where_no_pair_of_modalities_shares_a_concept() -> None:
    assert _between({"baselines": {"specialists": {"xray": {"text_to_image": 0.9}}}, "figures": {}}) == ""
