"""Identifiers that whoever holds an index's key can read again, and nobody else: how a hit leads back to its study.

A pseudonym cannot be turned back, so the UID of a study on a PACS is stored beside it, encrypted with a key that is
derived from `pseudonym.key` (AES-SIV, RFC 5297: equal identifiers give equal texts, and a changed text is noticed).
"""

from __future__ import annotations

import base64
import hmac
from hashlib import sha512
from typing import TYPE_CHECKING

from m3search.errors import MissingExtra, UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

    from m3search.privacy.pseudonyms import KeyFile

LINK = "study"  # key of an item's provenance under which its study's sealed UID stands
PURPOSE = b"m3search: links to studies"


class Sealed:
    """Of one index, whose key lies in `key_file`. What it seals is ASCII, to be stored."""

    def __init__(self, key_file: KeyFile) -> None:
        self._key_file = key_file

    def seal(self, identifier: str) -> str:
        """Raises MissingExtra without the package `cryptography`."""
        return base64.urlsafe_b64encode(self._cipher().encrypt(identifier.encode(), None)).decode()

    def open(self, sealed: str) -> str:
        """The identifier.

        Raises:
            UsageError: it was sealed with another key, or changed.
            MissingExtra: without the package `cryptography`.
        """
        cipher = self._cipher()
        from cryptography.exceptions import InvalidTag

        try:
            return cipher.decrypt(base64.urlsafe_b64decode(sealed), None).decode()
        except (InvalidTag, ValueError):
            raise UsageError(f"the link to its study was sealed with another {self._key_file.name}") from None

    def _cipher(self) -> AESSIV:
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESSIV
        except ModuleNotFoundError:
            raise MissingExtra("links to a PACS need cryptography: pip install 'm3search[pacs]'") from None
        return AESSIV(hmac.new(self._key_file.read_bytes(), PURPOSE, sha512).digest())
