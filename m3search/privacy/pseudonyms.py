"""Keyed pseudonyms: HMAC-SHA-256 with a key per index, in a file of mode 600.

Equal identifiers give equal pseudonyms within one index, and nothing without its key file.
"""

from __future__ import annotations

import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from m3search.errors import NoIndex

KEY_BYTES = 32
PSEUDONYM_HEX = 16  # 64 bits: a collision among 10 million patients has a chance of 3 in a million


class KeyFile(Protocol):
    """A `Path`, or what stands for one on other storage."""

    @property
    def name(self) -> str: ...

    def read_bytes(self) -> bytes: ...


class Pseudonyms:
    """Keyed pseudonyms of one index. `key_file` is created with mode 600 where it is missing, on this machine alone."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def load(cls, key_file: KeyFile) -> Pseudonyms:
        """The pseudonyms of the index whose key lies in `key_file`.

        Raises:
            NoIndex: an index on S3 has lost it.
            OSError: the key file can be neither read nor created.
        """
        if isinstance(key_file, Path) and (not key_file.exists() or not key_file.stat().st_size):
            _write_key(key_file, cls.new_key())  # empty: its disk was full, or its writer was killed
        try:
            return cls(key_file.read_bytes())
        except FileNotFoundError:
            raise NoIndex(f"{key_file} is missing; restore it: without it no patient is recognised again") from None

    @staticmethod
    def new_key() -> bytes:
        """For a new index."""
        return secrets.token_bytes(KEY_BYTES)

    def of(self, identifier: str) -> str:
        """16 hexadecimal digits; "" for ""."""
        if not identifier:
            return ""
        return hmac.digest(self._key, identifier.encode("utf-8", "surrogatepass"), "sha256").hex()[:PSEUDONYM_HEX]


def _write_key(key_file: Path, key: bytes) -> None:
    """Whole or not at all: half a key would hash, and its other half could never be guessed back."""
    temporary = key_file.with_name(f"{key_file.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        if key_file.exists() and not key_file.stat().st_size:
            key_file.unlink()
        with suppress(FileExistsError, FileNotFoundError):  # another process was faster, and swept: its key counts
            os.link(temporary, key_file)
    finally:
        temporary.unlink(missing_ok=True)
