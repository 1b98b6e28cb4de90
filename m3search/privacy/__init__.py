"""What keeps direct identifiers out of an index: pseudonyms, masked paths, scrubbed texts.

This is pseudonymisation, not anonymisation: images, free text and embeddings can still identify a person, so an index
is to be protected like the archive it was made from.
"""

from __future__ import annotations

from m3search.privacy.paths import CONTAINED_FROM, MASK, OTHER_ARCHIVE, PathMask
from m3search.privacy.pseudonyms import Pseudonyms
from m3search.privacy.sealed import LINK, Sealed
from m3search.privacy.texts import PLACEHOLDERS, REMOVED, findings, scrub

__all__ = [
    "CONTAINED_FROM",
    "LINK",
    "MASK",
    "OTHER_ARCHIVE",
    "PLACEHOLDERS",
    "REMOVED",
    "PathMask",
    "Pseudonyms",
    "Sealed",
    "findings",
    "scrub",
]
