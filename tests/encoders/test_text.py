"""Texts to token ids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from m3search.encoders.text import TextTokenizer
from m3search.errors import BundleError

VOCABULARY = 11  # of the tiny bundle


@pytest.fixture
def tokenizer(tiny_bundle: Path) -> TextTokenizer:
    return TextTokenizer(tiny_bundle / "tokenizer.json", max_tokens=8, vocabulary=VOCABULARY)


def test_pads_to_the_longest_text(tokenizer: TextTokenizer) -> None:
    ids, mask = tokenizer(["chest x-ray of pneumonia", "ecg"])
    np.testing.assert_array_equal(ids, [[2, 3, 4, 5], [6, 0, 0, 0]])
    np.testing.assert_array_equal(mask, [[1, 1, 1, 1], [1, 0, 0, 0]])
    assert ids.dtype == mask.dtype == np.int64


def test_truncates_to_max_tokens(tokenizer: TextTokenizer) -> None:
    ids, mask = tokenizer(["normal " * 50])
    assert ids.shape == mask.shape == (1, 8)
    assert (ids == 7).all()


def test_pads_to_a_fixed_length_where_the_tower_needs_it(tiny_bundle: Path) -> None:
    fixed = TextTokenizer(tiny_bundle / "tokenizer.json", max_tokens=6, vocabulary=VOCABULARY, fixed_length=True)
    ids, mask = fixed(["chest x-ray", "ecg"])
    np.testing.assert_array_equal(ids, [[2, 3, 0, 0, 0, 0], [6, 0, 0, 0, 0, 0]])
    np.testing.assert_array_equal(mask.sum(axis=1), [2, 1])


def test_other_vocabulary_is_refused(tiny_bundle: Path) -> None:
    with pytest.raises(BundleError, match="has 11 tokens, the text tower knows 30522"):
        TextTokenizer(tiny_bundle / "tokenizer.json", max_tokens=8, vocabulary=30522)


def test_file_that_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(BundleError, match="is not a tokenizer"):
        TextTokenizer(tmp_path / "tokenizer.json", max_tokens=8, vocabulary=VOCABULARY)
