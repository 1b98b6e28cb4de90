"""Look-up tables of DICOM, the Modality LUT and the VOI LUT (PS3.3 C.11.1.1, C.11.2.1.1), as the standard has them.

pydicom's own (3.0) knows tables of 8 and 16 bits only, and wraps around where the first value mapped is negative.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    from pydicom.dataset import Dataset

    from m3search.types import Float32

MOST_ENTRIES = 1 << 16  # which a descriptor of 16 bits states as 0
FEWEST_BITS, MOST_BITS = 8, 16


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """What each grey value becomes."""

    first: int  # the grey value that the first entry stands for
    values: npt.NDArray[np.uint16]  # (entries,)
    bits: int  # of an entry: the brightest it may be is 2 ** bits - 1

    def look_up(self, grey: npt.NDArray[np.generic]) -> Float32:
        """The entry of each grey value; the first one for all below, the last one for all above."""
        index = np.rint(grey).astype(np.int64) - self.first
        found: Float32 = self.values[index.clip(0, len(self.values) - 1)].astype(np.float32)
        return found


def table_of(item: Dataset, signed: bool, little_endian: bool) -> Table | None:
    """The table of one item of a sequence; None where it holds no data.

    Args:
        signed: the grey values that are looked up may be negative, and so may be the first one mapped. Writers state it
            as an unsigned number all the same: 64512 for -1024.
        little_endian: the byte order of the file.

    Raises:
        ValueError: fewer entries than the table declares, or a descriptor that is none.
    """
    if item.get("LUTData") is None:
        return None
    entries, first, bits = (int(number) for number in item.LUTDescriptor)
    entries = entries & (MOST_ENTRIES - 1) or MOST_ENTRIES
    values = _entries(item, entries, little_endian)
    if len(values) < entries:
        raise ValueError("a look-up table is shorter than it declares")
    values = values[:entries]
    if first > np.iinfo(np.int16).max and signed:
        first -= MOST_ENTRIES
    # Some descriptors state fewer bits than the entries have.
    bits = max(bits if FEWEST_BITS <= bits <= MOST_BITS else FEWEST_BITS, int(values.max()).bit_length())
    return Table(first, values, bits)


def _entries(item: Dataset, entries: int, little_endian: bool) -> npt.NDArray[np.uint16]:
    """LUTData as numbers. Entries of 8 bits are packed, two in a word, or stand in a word each: their count tells."""
    data = item.LUTData
    if not isinstance(data, bytes):
        words = np.atleast_1d(np.asarray(data, dtype=np.int64))
        data, little_endian = (words & 0xFFFF).astype("<u2").tobytes(), True
    if len(data) < 2 * entries and len(data) in (entries, entries + 1):
        return np.frombuffer(data, np.uint8).astype(np.uint16)
    return np.frombuffer(data[: len(data) // 2 * 2], "<u2" if little_endian else ">u2").astype(np.uint16)
