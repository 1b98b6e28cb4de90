"""Words of the items' texts: LanceDB's full-text index, or, where there is none, all texts are scanned.

The index is a part of the items table: `build` is for the writer, who holds the lock, before a segment is published.
Both ways rank by BM25 with the words' stems and without stop words; their scores differ a little, their use does not.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from m3search.errors import IndexNotFound
from m3search.filters import to_sql

if TYPE_CHECKING:
    from m3search.filters import Filter
    from m3search.stores.place import Place

INDEX_FROM = 20_000  # items; below, all texts are scanned in a fraction of a second
SPARE = 32  # hits asked for beyond k, among which ties are settled
K1, B = 1.2, 0.75  # of BM25
WORD = re.compile(r"[a-z0-9]+")
STOP_WORDS = frozenset({
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no", "not",
    "of", "on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this", "to", "was", "will",
    "with",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class TextHit:
    """One item whose text holds a word of the query."""

    item_id: str
    score: float  # BM25, above 0; comparable within one query only
    text: str


def build(tables: Place, index_from: int = INDEX_FROM) -> bool:
    """Make the index where there are enough items and none yet; LanceDB's `optimize` keeps it up to date.

    Returns whether there is one now. One commit.
    """
    table = _items(tables)
    if _indexed(table):
        return True
    if table.count_rows() < max(index_from, 1):
        return False
    from lancedb.index import FTS

    table.create_index("text", config=FTS())
    return True


class FullText:
    """Searches the texts of one index. Reads the newest commit at each call."""

    def __init__(self, tables: Place) -> None:
        """`tables`: the record's folder.

        Raises:
            IndexNotFound: there are no tables.
        """
        if not (tables / "items.lance").is_dir():
            raise IndexNotFound(f'no tables at {tables}; make an index with "m3search index ARCHIVE"')
        self._tables = tables
        self._scan: tuple[int, _Scan] | None = None  # of a version

    def search(self, words: str, k: int, where: Filter | None = None) -> list[TextHit]:
        """The min(k, matching) items whose texts hold most of the words, best first, equal scores by id."""
        hits = self._by_index(words, k, where) if _indexed(self._table) else self._by_scan(words, where)
        return sorted(hits, key=lambda hit: (-hit.score, hit.item_id))[:k]

    @cached_property
    def _table(self) -> Any:
        return _items(self._tables)

    def _by_index(self, words: str, k: int, where: Filter | None) -> list[TextHit]:
        from lancedb import query as lance

        make: Any = lance.MatchQuery  # whose annotations demand what has defaults
        match = make(words, "text")
        query = self._table.search(match, query_type="fts").limit(k + SPARE)
        if where is not None:
            query = query.where(to_sql(where), prefilter=True)
        rows = query.select(["item_id", "text", "_score"]).to_arrow().to_pylist()
        return [TextHit(row["item_id"], row["_score"], row["text"]) for row in rows]

    def _by_scan(self, words: str, where: Filter | None) -> list[TextHit]:
        version = int(self._table.version)
        if self._scan is None or self._scan[0] != version:
            self._scan = version, _Scan(self._rows(["item_id", "text"], None))
        hits = self._scan[1].search(words)
        if where is None or not hits:
            return hits
        allowed = {row["item_id"] for row in self._rows(["item_id"], where)}
        return [hit for hit in hits if hit.item_id in allowed]

    def _rows(self, columns: list[str], where: Filter | None) -> list[dict[str, Any]]:
        query = self._table.search().select(columns)
        rows: list[dict[str, Any]] = (query if where is None else query.where(to_sql(where))).to_arrow().to_pylist()
        return rows


class _Scan:
    """All texts, word by word, in memory."""

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self._rows = [row for row in rows if row["text"]]
        self._postings: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        self._lengths = []
        for place, row in enumerate(self._rows):
            counts = Counter(stems(row["text"]))
            self._lengths.append(counts.total())
            for word, count in counts.items():
                self._postings[word].append((place, count))

    def search(self, words: str) -> list[TextHit]:
        """Every item that holds a word, in any order."""
        if not self._rows:
            return []
        mean = sum(self._lengths) / len(self._lengths) or 1.0
        scores: defaultdict[int, float] = defaultdict(float)
        for word in dict.fromkeys(stems(words)):
            found = self._postings.get(word, [])
            rarity = math.log(1 + (len(self._rows) - len(found) + 0.5) / (len(found) + 0.5))
            for place, count in found:
                norm = K1 * (1 - B + B * self._lengths[place] / mean)
                scores[place] += rarity * count * (K1 + 1) / (count + norm)
        return [
            TextHit(self._rows[place]["item_id"], score, self._rows[place]["text"]) for place, score in scores.items()
        ]


def stems(text: str) -> list[str]:
    """Words in lower case without stop words and without the endings of the plural."""
    return [re.sub(r"(?<=[a-rt-z])s$", "", word) for word in WORD.findall(text.lower()) if word not in STOP_WORDS]


def _items(tables: Place) -> Any:
    from m3search.stores.lance import connect

    return connect(tables).open_table("items")


def _indexed(table: Any) -> bool:
    return any("text" in index.columns for index in table.list_indices())
