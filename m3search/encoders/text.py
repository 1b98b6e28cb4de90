"""Texts to token ids, with the `tokenizers` library alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from m3search.errors import BundleError

if TYPE_CHECKING:
    import numpy.typing as npt

    Int64 = npt.NDArray[np.int64]


class TextTokenizer:
    """Truncates to `max_tokens` (special tokens included) and pads each batch to its longest text."""

    def __init__(self, file: Path, max_tokens: int, vocabulary: int, fixed_length: bool = False) -> None:
        """
        Args:
            vocabulary: how many tokens the file must have.
            fixed_length: pad to `max_tokens` instead.

        Raises:
            BundleError: the file is no tokenizer, or not the one whose vocabulary the text tower knows. A tokenizer
                that loads with an empty vocabulary silently turns every word into [UNK] and every search into noise.
        """
        from tokenizers import Tokenizer

        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises plain Exception
            raise BundleError(f"{file} is not a tokenizer ({error}); copy or download the bundle again") from error
        size = self._tokenizer.get_vocab_size()
        if size != vocabulary:
            raise BundleError(f"{file} has {size} tokens, the text tower knows {vocabulary}; copy the bundle again")
        self._tokenizer.enable_truncation(max_length=max_tokens)
        padding = self._tokenizer.padding or {}
        pad_token = str(padding.get("pad_token", "[PAD]"))
        pad_id = self._tokenizer.token_to_id(pad_token)
        if pad_id is None:
            raise BundleError(f"{file} has no padding token {pad_token!r}; export the bundle again")
        length = max_tokens if fixed_length else None
        self._tokenizer.enable_padding(pad_id=pad_id, pad_token=pad_token, length=length)
        self.max_tokens = max_tokens
        self.pad_id = int(pad_id)

    def __call__(self, texts: Sequence[str]) -> tuple[Int64, Int64]:
        """Token ids and attention mask, int64 (B, L), L the length of the longest text (or `max_tokens`)."""
        encodings = self._tokenizer.encode_batch(list(texts))
        ids = np.array([encoding.ids for encoding in encodings], dtype=np.int64)
        mask = np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64)
        return ids, mask
