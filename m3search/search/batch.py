"""Files of queries.

    *.npy     vectors, (Q, D)
    *.jsonl   one object per line: "text", "image", "item", "like", "unlike", "weights" as in `Engine.search`, and "id"
    others    one text per line, with an id and a tab before it or without

A query without an id is called by its number, from 1. Paths in a .jsonl are relative to it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m3search.errors import UsageError
from m3search.search.query import Query

if TYPE_CHECKING:
    from m3search.types import Float32

KEYS = ("id", "text", "image", "item", "like", "unlike", "weights")


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Queries for `Engine.search_many`, and what to call each."""

    names: tuple[str, ...]
    queries: list[Query] | Float32


def read_queries(path: Path) -> Batch:
    """The queries of a file, see above.

    Raises:
        UsageError: there is no such file, it holds no query, two share an id, or one is wrong; names the line.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path} of queries")
    if path.suffix == ".npy":
        return _vectors(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UsageError(f"{path} is no text in UTF-8; vectors go into a .npy file") from None
    read = _from_json if path.suffix == ".jsonl" else _from_text
    found = list(read(path, [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]))
    if not found:
        raise UsageError(f"{path} holds no query")
    name, times = Counter(name for name, _ in found).most_common(1)[0]
    if times > 1:
        raise UsageError(f"{path} has {times} queries with the id {name!r}")
    return Batch(tuple(name for name, _ in found), [query for _, query in found])


def _vectors(path: Path) -> Batch:
    import numpy as np

    try:
        vectors = np.load(path, allow_pickle=False)
    except ValueError as error:
        raise UsageError(f"{path} is no array of numbers: {error}") from error
    if vectors.ndim != 2 or not len(vectors) or not np.issubdtype(vectors.dtype, np.floating):
        raise UsageError(f"{path} must hold floating-point vectors (Q, D), not {vectors.dtype} {vectors.shape}")
    return Batch(tuple(map(str, range(1, len(vectors) + 1))), vectors.astype(np.float32))


def _from_text(path: Path, lines: list[tuple[int, str]]) -> Iterator[tuple[str, Query]]:
    for place, (number, line) in enumerate(lines, start=1):
        name, tab, text = line.partition("\t")
        with_place = f"{path}, line {number}"
        yield (name.strip(), _query(with_place, text=text)) if tab else (str(place), _query(with_place, text=line))


def _from_json(path: Path, lines: list[tuple[int, str]]) -> Iterator[tuple[str, Query]]:
    for place, (number, line) in enumerate(lines, start=1):
        with_place = f"{path}, line {number}"
        try:
            value = json.loads(line)
        except ValueError:
            raise UsageError(f"{with_place} is no JSON object") from None
        if not isinstance(value, dict) or (unknown := sorted(set(value) - set(KEYS))):
            wrong = f" with {unknown[0]!r}" if isinstance(value, dict) else ""
            raise UsageError(f"{with_place} is no query{wrong}; its keys may be {', '.join(KEYS)}")
        name = str(value.pop("id", place))
        if images := value.pop("image", None):
            value["image"] = [path.parent / image for image in ([images] if isinstance(images, str) else images)]
        yield name, _query(with_place, **value)


def _query(place: str, **values: Any) -> Query:
    try:
        return Query.of(**values)
    except (UsageError, TypeError, ValueError) as error:
        raise UsageError(f"{place}: {error}") from error
