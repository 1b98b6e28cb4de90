"""Which bytes an item is made of: the digest of a file, the id of an item. The same bytes always have the same id."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from blake3 import blake3

ITEM_ID_HEX = 32  # 128 bits of BLAKE3


def digest_of(path: Path) -> str:
    """BLAKE3 of a file's bytes, hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    return str(blake3().update_mmap(path).hexdigest())


def item_id_of(digests: Iterable[str]) -> str:
    """The id of the item that is made of the files with these digests, in any order; copies count once."""
    return str(blake3("\n".join(sorted(set(digests))).encode()).hexdigest())[:ITEM_ID_HEX]
