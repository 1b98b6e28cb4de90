"""Pseudonyms and path masking: what keeps direct identifiers out of the index.

Identifiers become keyed hashes (HMAC-SHA-256, key per index, file mode 600): equal inputs give equal keys within one
index, nothing without its key file. This is pseudonymisation, not anonymisation: images, free text and embeddings can
still identify a person, so an index is to be protected like the archive it was made from.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
from collections.abc import Container, Iterable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path, PurePosixPath

KEY_BYTES = 32
PSEUDONYM_HEX = 16  # 64 bits: a collision among 10 million patients has a chance of 3 in a million
MASK = "~"  # begins a masked path component
CONTAINED_FROM = 4  # characters from which an identifier is also looked for inside a path component
OTHER_ARCHIVE = re.compile(r"@\d+/")  # begins the uris of every archive but an index's first


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
        if not key_file.exists() or not key_file.stat().st_size:  # empty: its disk was full, or its writer was killed
            _write_key(key_file, secrets.token_bytes(KEY_BYTES))
        return cls(key_file.read_bytes())

    def of(self, identifier: str) -> str:
        """16 hexadecimal digits; "" for ""."""
        if not identifier:
            return ""
        return hmac.new(self._key, identifier.encode("utf-8", "surrogatepass"), sha256).hexdigest()[:PSEUDONYM_HEX]


def _write_key(key_file: Path, key: bytes) -> None:
    """Whole or not at all: half a key would hash, and its other half could never be guessed back."""
    temporary = key_file.with_name(f"{key_file.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    if key_file.exists() and not key_file.stat().st_size:
        key_file.unlink()
    with suppress(FileExistsError):  # another process was faster: its key counts
        os.link(temporary, key_file)
    temporary.unlink()


class PathMask:
    """Names files relative to an archive without the identifiers their folders and names may hold.

    A path component that holds an identifier of one of its own DICOM files is stored as "~" and its pseudonym. Who has
    the key and the archive can find the file again: `resolve` looks for the entry with that pseudonym.

    `prefix` begins every uri: "" for the first archive of an index, "@1/" for the second, and so on.
    """

    def __init__(self, pseudonyms: Pseudonyms, known: Iterable[str] = (), prefix: str = "") -> None:
        self.prefix = prefix
        self._pseudonyms = pseudonyms
        self._of: dict[str, str] = {}
        self._masked = {part for uri in known for part in PurePosixPath(uri).parts if part.startswith(MASK)}

    def learn(self, relative: Path, identifiers: Iterable[str]) -> None:
        """Remember which components of `relative` hold one of `identifiers`."""
        found = [identifier.casefold() for identifier in identifiers if identifier]
        for part in relative.parts:
            folded, stem = part.casefold(), Path(part).stem.casefold()
            if any(
                identifier in (folded, stem) or (len(identifier) >= CONTAINED_FROM and identifier in folded)
                for identifier in found
            ):
                self._masked.add(self._mask(part))

    def learn_words(self, relative: Path, *known: Container[str]) -> None:
        """Remember which components of `relative` hold a whole word that is in one of `known` (case-folded)."""
        for part in relative.parts:
            folded = part.casefold()
            words = {folded, Path(folded).stem, *re.split(r"[_\s.]+", folded), *re.split(r"[\W_]+", folded)}
            if any(word in identifiers for word in words for identifiers in known):
                self._masked.add(self._mask(part))

    def uri(self, relative: Path) -> str:
        """POSIX path relative to the archive, masked where an identifier is known."""
        parts = []
        for part in relative.parts:
            masked = self._mask(part) if self._masked else ""
            parts.append(masked if masked in self._masked else _spelled(part))
        uri = self.prefix + ("/".join(parts) or ".")
        # A folder of the first archive that is called "@1" must not look like the second archive.
        return uri if self.prefix or not OTHER_ARCHIVE.match(uri) else f"./{uri}"

    def resolve(self, root: Path, uri: str) -> Path:
        """The file of `uri` below `root`.

        Raises:
            FileNotFoundError: no entry has that name or pseudonym.
        """
        path = root
        for part in PurePosixPath(uri.removeprefix(self.prefix)).parts:
            name = part
            if (part.startswith(MASK) or "\\" in part) and not os.path.lexists(path / part):
                entries = (entry.name for entry in path.iterdir())
                name = next((entry for entry in entries if part in (self._mask(entry), _spelled(entry))), "")
                if not name:
                    raise FileNotFoundError(f"{uri} is no longer in the archive")
            path = path / name
        return path

    def _mask(self, part: str) -> str:
        if part not in self._of:
            self._of[part] = MASK + self._pseudonyms.of(part)
        return self._of[part]


def _spelled(name: str) -> str:
    """A file's name as text that can be stored and printed: bytes of it that are no UTF-8 become "\\xff"."""
    return name if name.isascii() else name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def scrub(text: str, identifiers: Iterable[str]) -> str:
    """The text with each of `identifiers` (4 characters or more, any case) replaced by "[removed]"."""
    for identifier in sorted(set(identifiers), key=len, reverse=True):
        if len(identifier) >= CONTAINED_FROM:
            text = re.sub(re.escape(identifier), "[removed]", text, flags=re.IGNORECASE)
    return text
