"""Items decoded once into arrays on disk, prepared as an index run would."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from m3search import formats, modalities
from m3search.encoders.bundle import PREPROCESSING
from m3search.errors import DataError, UnreadableFile
from m3search.types import InputSpec, Source

if TYPE_CHECKING:
    import numpy.typing as npt

    from m3search.datasets.rows import Row

CACHE_VERSION = 2  # raised when what `decode` gives changes


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """Decoded inputs of one modality: parts of all rows, one after the other."""

    rows: tuple[Row, ...]  # those that could be read
    parts: npt.NDArray[Any]  # (P, ...) as InputSpec describes, mapped from disk
    first: npt.NDArray[np.int64]  # (R + 1,): the parts of row r are first[r] to first[r + 1]

    def __len__(self) -> int:
        return len(self.rows)

    def spread(self, limit: int) -> Inputs:
        """At most `limit` items, evenly spread."""
        chosen = np.unique(np.linspace(0, len(self) - 1, min(limit, len(self))).astype(np.int64))
        parts = np.concatenate([self.parts[self.first[i] : self.first[i + 1]] for i in chosen])
        first = np.concatenate([[0], np.cumsum((self.first[1:] - self.first[:-1])[chosen])])
        return Inputs(tuple(self.rows[i] for i in chosen), parts, first)


def decode(row: Row, spec: InputSpec) -> npt.NDArray[Any] | str:
    """The inputs of one row, one per part, prepared as an index run would; a message where it cannot be read."""
    try:
        kind = formats.sniff(row.path)
        if kind is None:
            return f"{row.path.name}: no known format"
        modality = modalities.get(row.modality)
        source = Source(row.modality, kind, row.series or (row.path,), "manifest")
        return modality.prepare(modality.read(source, spec), spec)
    except (UnreadableFile, OSError) as error:
        return str(error)


def load_inputs(
    rows: Sequence[Row], spec: InputSpec, cache: Path, workers: int = 0, say: Callable[[str], None] = print
) -> Inputs:
    """Inputs of rows of one modality, decoded once and kept in `cache`; a changed file, spec or reader is decoded anew.

    Args:
        workers: processes; 0 is one per core.

    Raises:
        DataError: not one row could be read.
    """
    files = [file for row in rows for file in row.series or (row.path,) if file.exists()]
    stamps = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    content = json.dumps([CACHE_VERSION, PREPROCESSING, asdict(spec), stamps])
    key = hashlib.blake2b(content.encode(), digest_size=12).hexdigest()
    array, index = cache / f"{rows[0].modality}-{key}.npy", cache / f"{rows[0].modality}-{key}.json"
    if not index.exists():
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)  # decoded images show patients
        _decode_all(rows, spec, array, index, workers, say)
    counts = json.loads(index.read_text())
    kept = tuple(row for row, count in zip(rows, counts, strict=True) if count)
    first = np.concatenate([[0], np.cumsum([count for count in counts if count])]).astype(np.int64)
    return Inputs(kept, np.load(array, mmap_mode="r"), first)


def _decode_all(
    rows: Sequence[Row], spec: InputSpec, array: Path, index: Path, workers: int, say: Callable[[str], None]
) -> None:
    """Writes parts and the number of parts of each row; the index last, so that a killed run starts over."""
    with ProcessPoolExecutor(workers or len(os.sched_getaffinity(0))) as pool:
        results = list(pool.map(partial(decode, spec=spec), rows, chunksize=8))
    problems = [result for result in results if isinstance(result, str)]
    for problem in problems[:5]:
        say(f"  left out: {problem}")
    if len(problems) > 5:
        say(f"  left out: {len(problems) - 5} more")
    decoded = [result for result in results if not isinstance(result, str)]
    if not decoded:
        raise DataError(f"none of {len(rows)} {rows[0].modality} items could be read; the first: {problems[0]}")
    np.save(array, np.concatenate(decoded))
    index.write_text(json.dumps([0 if isinstance(result, str) else len(result) for result in results]))
