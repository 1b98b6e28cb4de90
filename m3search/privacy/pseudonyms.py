"""Keyed pseudonyms: HMAC-SHA-256 with a key per index, in a file of mode 600.

Equal identifiers give equal pseudonyms within one index, and nothing without its key file.
"""

from __future__ import annotations

import hmac
import os
import secrets
from hashlib import sha256
from pathlib import Path

KEY_BYTES = 32
PSEUDONYM_HEX = 16  # 64 bits: a collision among 10 million patients has a chance of 3 in a million


class Pseudonyms:
    """Keyed pseudonyms of one index. `key_file` is created with mode 600 where it is missing."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def load(cls, key_file: Path) -> Pseudonyms:
        """The pseudonyms of the index whose key lies in `key_file`.

        Raises:
            OSError: the key file can be neither read nor created.
        """
        try:
            handle = os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return cls(key_file.read_bytes())
        with os.fdopen(handle, "wb") as file:
            key = secrets.token_bytes(KEY_BYTES)
            file.write(key)
        return cls(key)

    def of(self, identifier: str) -> str:
        """16 hexadecimal digits; "" for ""."""
        if not identifier:
            return ""
        return hmac.new(self._key, identifier.encode("utf-8", "surrogatepass"), sha256).hexdigest()[:PSEUDONYM_HEX]
