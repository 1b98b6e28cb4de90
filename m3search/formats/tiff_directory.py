"""TIFF directories before a decoder believes them: none may state values, tiles or strips larger than the file.

libtiff, openslide and Pillow reserve what a directory announces before they read it: a flipped bit in a count is
gigabytes, and openslide ends the process when it does not get them. TIFF 6.0, section 2; BigTIFF, AWare Systems.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from m3search.errors import Reason, UnreadableFile

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
UNSIGNED = {3: "H", 4: "I", 16: "Q"}  # of SIZES' types, those that count bytes
BYTE_COUNTS = (279, 325)  # of strips, of tiles
TILE_SIDES = (322, 323)  # width, length
LARGEST_SIDE = 1 << 15  # pixels of a tile: usual are 256 to 4096, and every decoder holds a whole one
SUB_DIRECTORIES = 330
MOST_DIRECTORIES = 10_000
MOST_ENTRIES = 1 << 12
BEYOND_CLASSIC = 1 << 32  # bytes: classic files above (NDPI) hide the upper half of their offsets elsewhere


def check_directories(path: Path) -> None:
    """Refuse a TIFF that announces more than it has room for. Other files pass.

    Raises:
        UnreadableFile: CORRUPT.
    """
    if not are_plausible(path):
        raise UnreadableFile(
            path, Reason.CORRUPT, "its TIFF directory announces more than the file has room for; copy it again"
        )


def are_plausible(path: Path) -> bool:
    """False for a TIFF with a directory entry, a strip or a tile that is larger than the file, or a tile that would be
    larger than any when decoded.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16)
        is_big = head[2:4] in (b"+\0", b"\0+")
        if not head.startswith(MAGIC) or len(head) < 16 or (not is_big and size > BEYOND_CLASSIC):
            return True
        order = "<" if head[:2] == b"II" else ">"
        for entry in _entries(file, head, order, is_big):
            if entry.count * SIZES.get(entry.kind, 1) > size:
                return False
            if entry.tag in BYTE_COUNTS and max(_numbers(file, entry, order, is_big), default=0) > size:
                return False
            if entry.tag in TILE_SIDES and max(_numbers(file, entry, order, is_big), default=0) > LARGEST_SIDE:
                return False
    return True


@dataclass(frozen=True, slots=True)
class _Entry:
    tag: int
    kind: int  # a key of SIZES
    count: int
    value: bytes  # or, where that is too long, its offset


def _entries(file: BinaryIO, head: bytes, order: str, is_big: bool) -> Iterator[_Entry]:
    """Every entry of every directory that can be reached."""
    word, tally = (order + "Q", order + "Q") if is_big else (order + "I", order + "H")
    entry = struct.Struct(order + ("HHQ8s" if is_big else "HHI4s"))
    width = struct.calcsize(word)
    waiting = [struct.unpack(word, head[8:16] if is_big else head[4:8])[0]]
    seen: set[int] = set()
    while waiting and len(seen) < MOST_DIRECTORIES:
        at = waiting.pop()
        if not at or at in seen or at >= 1 << 62:
            continue
        seen.add(at)
        file.seek(at)
        counted = file.read(struct.calcsize(tally))
        if len(counted) < struct.calcsize(tally):
            continue
        number = min(struct.unpack(tally, counted)[0], MOST_ENTRIES)
        block = file.read(number * entry.size + width)
        number = min(number, len(block) // entry.size)
        for fields in entry.iter_unpack(block[: number * entry.size]):
            found = _Entry(*fields)
            yield found
            if found.tag == SUB_DIRECTORIES and found.count == 1:
                waiting.append(struct.unpack(word, found.value[:width])[0])
        if len(following := block[number * entry.size :]) == width:
            waiting.append(struct.unpack(word, following)[0])


def _numbers(file: BinaryIO, entry: _Entry, order: str, is_big: bool) -> tuple[int, ...]:
    """The values of an entry, as many of them as there are in the file."""
    letter = UNSIGNED.get(entry.kind)
    if letter is None:
        return ()
    size = entry.count * SIZES[entry.kind]
    content = entry.value[:size]
    if size > len(entry.value):
        at = struct.unpack(order + ("Q" if is_big else "I"), entry.value)[0]
        if at >= 1 << 62:
            return ()
        file.seek(at)
        content = file.read(size)
    there = len(content) // SIZES[entry.kind]
    return struct.unpack(f"{order}{there}{letter}", content[: there * SIZES[entry.kind]])
