"""The texts of items as a second way to find them: BM25, heedful of what a text or a query denies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from m3search.search.negation import Said, read_denials
from m3search.stores.fulltext import FullText, stems
from m3search.vocabulary import denials_in

if TYPE_CHECKING:
    from m3search.filters import Filter
    from m3search.search.fuse import Ranked

MARGIN = 2  # times as many hits are asked for as are wanted, since some are dropped


def by_words(texts: FullText, said: Said, depth: int, where: Filter | None = None) -> Ranked:
    """Items whose text speaks of what is asked for, best first; none where a query only denies.

    "No pleural effusion" in a report speaks of an effusion too: items whose text denies a finding that the query asks
    for are dropped, and so are those whose text claims what the query denies.
    """
    if not said.kept:
        return []
    asked = denials_in(f"no {said.kept}")
    hits = texts.search(said.kept, MARGIN * depth, where)
    return [
        (hit.item_id, hit.score)
        for hit in hits
        if not asked & denials_in(hit.text) and not any(_claims(hit.text, words) for words in said.denied)
    ][:depth]


def _claims(text: str, words: str) -> bool:
    """Whether a text speaks of something without denying it."""
    return set(stems(words)) <= set(stems(read_denials(text).kept))
