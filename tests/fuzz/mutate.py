"""Damage: what bad media, broken copies and hostile senders do to files. The same numbers give the same bytes."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Callable, Sequence

HEADER = 1024  # bytes at the beginning in which most of what decoders believe is stated
ABSURD = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
NUMBERS = re.compile(rb"\d+")

Mutation = Callable[[random.Random, bytes, Sequence[bytes]], bytes]


def mutate(content: bytes, others: Sequence[bytes], key: str) -> tuple[str, bytes]:
    """The name of one kind of damage, and the damaged content. `others` are whole files to take pieces from."""
    chance = random.Random(key)
    kinds = TEXT if _is_text(content) else BINARY
    name = chance.choice(list(kinds))
    return name, kinds[name](chance, content, others)


def _is_text(content: bytes) -> bool:
    return b"\0" not in content[:HEADER] and len(content) < 1 << 16 and content[:1].isalnum()


def _place(chance: random.Random, content: bytes) -> int:
    """Half of the time in the header."""
    end = min(HEADER, len(content)) if chance.random() < 0.5 else len(content)
    return chance.randrange(max(end, 1))


def flip_bits(chance: random.Random, content: bytes, others: Sequence[bytes]) -> bytes:
    damaged = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 5, 20, 100))):
        damaged[_place(chance, content)] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def replace_bytes(chance: random.Random, content: bytes, others: Sequence[bytes]) -> bytes:
    damaged = bytearray(content)
    for _ in range(chance.choice((1, 2, 5, 20))):
        damaged[_place(chance, content)] = chance.choice((0, 0xFF, 0x7F, 0x80, chance.randrange(256)))
    return bytes(damaged)


def absurd_length(chance: random.Random, content: bytes, others: Sequence[bytes]) -> bytes:
    damaged = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4))):
        form = chance.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
        limit = 1 << 8 * struct.calcsize(form)
        word = struct.pack(form, chance.choice(ABSURD) % limit)
        at = _place(chance, content)
        damaged[at : at + len(word)] = word
    return bytes(damaged)


def truncate(chance: random.Random, content: bytes, others: Sequence[bytes]) -> bytes:
    return content[: _place(chance, content)]


def splice(chance: random.Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """The beginning of one file, the rest of another."""
    other = chance.choice(others)
    at = _place(chance, content)
    return content[:at] + other[at if chance.random() < 0.5 else chance.randrange(len(other)) :]


def cut_out(chance: random.Random, content: bytes, others: Sequence[bytes]) -> bytes:
    at = _place(chance, content)
    return content[:at] + content[at + chance.choice((1, 2, 4, 16, 512, 4096)) :]


def repeat(chance: random.Random, content: bytes, others: Sequence[bytes]) -> bytes:
    at, size = _place(chance, content), chance.choice((1, 2, 8, 128, 4096))
    return content[:at] + content[at : at + size] * chance.choice((2, 3, 50)) + content[at:]


def blank(chance: random.Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """Sectors that were never written."""
    at, size = _place(chance, content), chance.choice((4, 64, 512, 4096, 65536))
    return content[:at] + bytes(min(size, len(content) - at)) + content[at + size :]


def absurd_number(chance: random.Random, content: bytes, others: Sequence[bytes]) -> bytes:
    """In a text: another number in the place of one that stands there."""
    found = list(NUMBERS.finditer(content))
    if not found:
        return content[: len(content) // 2]
    at = chance.choice(found)
    number = chance.choice((b"0", b"-1", b"1e308", b"99999999999", b"4294967296", b"NaN", b"", b"65537", b"0.0000001"))
    return content[: at.start()] + number + content[at.end() :]


BINARY: dict[str, Mutation] = {
    "flip bits": flip_bits, "replace bytes": replace_bytes, "absurd length": absurd_length, "truncate": truncate,
    "splice": splice, "cut out": cut_out, "repeat": repeat, "blank": blank,
}  # fmt: skip
TEXT: dict[str, Mutation] = {**BINARY, "absurd number": absurd_number, "another number": absurd_number}
