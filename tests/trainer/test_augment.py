"""Augmented ECGs stay what they are: beats and measures change with the signal they belong to."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from m3search.modalities.ecg_layout import beside, layout_of
from m3search.modalities.ecg_measures import LEAD_MEASURES, RHYTHM, VOLTAGES
from m3search.phantoms import ecg as phantom
from m3search.trainer.augment import augment_signals
from m3search.types import InputSpec

SPEC = InputSpec("signal", rate_hz=100, seconds=10, beat_seconds=0.96)
LAYOUT = layout_of(SPEC)


@pytest.fixture(scope="module")
def batch() -> torch.Tensor:
    """(32, 12, columns): one phantom, many times."""
    rng = np.random.default_rng(0)
    leads = phantom.render(rng, phantom.choose(rng, "normal"), 100.0)
    row = np.concatenate([leads, beside(leads, SPEC)], axis=1)
    return torch.from_numpy(np.stack([row] * 32))


def augmented(batch: torch.Tensor) -> torch.Tensor:
    return augment_signals(batch, SPEC.rate_hz, torch.Generator().manual_seed(1), LAYOUT)


def test_the_same_seed_gives_the_same_batch_and_the_input_is_left_alone(batch: torch.Tensor) -> None:
    before = batch.clone()
    torch.testing.assert_close(augmented(batch), augmented(batch), equal_nan=True)
    torch.testing.assert_close(batch, before, equal_nan=True)
    assert augmented(batch).shape == batch.shape


def test_beats_keep_to_the_height_of_the_signal(batch: torch.Tensor) -> None:
    changed = augmented(batch)
    for one in changed:
        lead = int(torch.isfinite(one[:, 0]).nonzero()[0])
        tallest = one[lead, LAYOUT.signal].max() - one[lead, LAYOUT.signal].min()
        beat = one[lead, LAYOUT.usual].max() - one[lead, LAYOUT.usual].min()
        assert 0.5 < beat / tallest < 1.3


def test_a_dropped_lead_is_missing_throughout_but_not_in_the_rhythm(batch: torch.Tensor) -> None:
    changed = augmented(batch)
    gone = torch.isnan(changed[:, :, 0])
    assert gone.any()
    assert not gone.all(1).any()
    for part in (LAYOUT.signal, LAYOUT.usual, LAYOUT.spread, LAYOUT.other, LAYOUT.measures):
        assert torch.isnan(changed[:, :, part][gone]).all()
        if part is not LAYOUT.measures:  # of measures, voltages may be missing elsewhere too
            assert torch.isfinite(changed[:, :, part][~gone]).all()
    rate = changed[:, list(RHYTHM).index("rate"), LAYOUT.rhythm.start]
    assert torch.isfinite(rate).all()


def test_voltages_follow_the_gain_or_vanish_and_the_rest_hardly_moves(batch: torch.Tensor) -> None:
    changed = augmented(batch)
    names = list(LEAD_MEASURES)
    volts = [name in VOLTAGES for name in names]
    measures, before = changed[:, :, LAYOUT.measures], batch[:, :, LAYOUT.measures]
    there = torch.isfinite(changed[:, :, 0])
    moved = (measures - before)[there]
    width = torch.tensor([high - low for low, high in LEAD_MEASURES.values()])
    others = moved[:, [not v for v in volts]] / width[[not v for v in volts]]
    assert others.abs().max() < 0.35  # five standard deviations of the noise, and more
    assert others.std() == pytest.approx(0.05, rel=0.1)
    voltage = measures[:, :, volts]
    scaled = torch.isnan(voltage) & there[:, :, None]
    assert 0.05 < scaled.float().mean() < 0.6
    heights = changed[:, :, LAYOUT.usual].amax(2) - changed[:, :, LAYOUT.usual].amin(2)
    volt = measures[:, :, names.index("log QRS")]
    known = torch.isfinite(volt)
    assert (volt[known] - heights[known].log()).abs().mean() < 0.25
