"""Every vector compared by torch: the nearest, however the work is cut."""

from __future__ import annotations

import numpy as np
import pytest

from m3search.errors import MissingExtra
from m3search.stores import torch_flat
from m3search.stores.chosen import Chosen
from m3search.stores.torch_flat import BLOCK, TorchFlat

DIM, K = 16, 3
COUNT = 5 * BLOCK + 7  # more than K blocks, and a part of one


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((COUNT, DIM)).astype(np.float16)


@pytest.fixture(scope="module")
def queries() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((5, DIM)).astype(np.float32)


def nearest(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    return np.argsort(-(queries @ vectors.astype(np.float32).T), axis=1)[:, :K]


@pytest.mark.parametrize("tile", [COUNT, COUNT - 1, 4 * BLOCK, BLOCK, 2])
def test_the_nearest_whatever_the_tile(vectors, queries, tile) -> None:
    scores, rows = TorchFlat(vectors, "cpu", tile).search(queries, K)
    np.testing.assert_array_equal(rows, nearest(vectors, queries))
    wanted = np.take_along_axis(queries @ vectors.astype(np.float32).T, rows, 1)
    np.testing.assert_allclose(scores, wanted, rtol=1e-5)


def test_a_large_batch_is_answered_in_pieces(vectors, queries, monkeypatch) -> None:
    monkeypatch.setattr(torch_flat, "SCORES", 2 * 3 * 4 * COUNT)  # two queries at a time
    _, rows = TorchFlat(vectors, "cpu").search(queries, K)
    np.testing.assert_array_equal(rows, nearest(vectors, queries))


def test_of_those_that_are_allowed(vectors, queries) -> None:
    mask = np.zeros(COUNT, dtype=bool)
    mask[::7] = True
    _, rows = TorchFlat(vectors, "cpu").search(queries, K, Chosen(mask))
    np.testing.assert_array_equal(rows, nearest(vectors[::7], queries) * 7)


def test_a_device_that_is_not_there_is_named(vectors, monkeypatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(MissingExtra, match="no GPU here"):
        TorchFlat(vectors)
