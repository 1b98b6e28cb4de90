"""Names of files without the identifiers that folders and files are called by."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterable
from pathlib import Path, PurePosixPath

from m3search.privacy.patterns import UID
from m3search.privacy.pseudonyms import Pseudonyms

MASK = "~"  # begins a masked path component
CONTAINED_FROM = 4  # characters from which an identifier is also looked for inside a path component
OTHER_ARCHIVE = re.compile(r"@\d+/")  # begins the uris of every archive but an index's first


class PathMask:
    """Names files relative to an archive without the identifiers their folders and names may hold.

    A path component that holds an identifier of one of its own files, or a DICOM UID, is stored as "~" and its
    pseudonym. Who has the key and the archive can find the file again: `resolve` looks for the entry with it.

    `prefix` begins every uri: "" for the first archive of an index, "@1/" for the second, and so on. With `every`, no
    component is shown: the names of a PACS are UIDs, and short ones do not look like it.
    """

    def __init__(
        self, pseudonyms: Pseudonyms, known: Iterable[str] = (), prefix: str = "", every: bool = False
    ) -> None:
        self.prefix = prefix
        self._every = every
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
        """POSIX path relative to the archive, masked where an identifier is known or a UID stands."""
        parts = []
        for part in relative.parts:
            if self._every:
                parts.append(part if part.startswith(MASK) else self._mask(part))
                continue
            masked = self._mask(part) if self._masked or UID.search(part) else ""
            parts.append(masked if masked in self._masked or UID.search(part) else _spelled(part))
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
                name = next((entry.name for entry in path.iterdir() if part in self.forms(entry.name)), "")
                if not name:
                    raise FileNotFoundError(f"{uri} is no longer in the archive")
            path = path / name
        return path

    def forms(self, name: str) -> tuple[str, str]:
        """How the name of a file or folder may be stored: masked, or spelled so that it can be printed."""
        return self._mask(name), _spelled(name)

    def _mask(self, part: str) -> str:
        if part not in self._of:
            self._of[part] = MASK + self._pseudonyms.of(part)
        return self._of[part]


def _spelled(name: str) -> str:
    """A file's name as text that can be stored and printed: bytes of it that are no UTF-8 become "\\xff"."""
    return name if name.isascii() else name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
