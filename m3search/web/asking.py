"""From a request's body to the engine's query, and from its results to an answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from m3search import filters
from m3search.search import Query
from m3search.search.negation import read_denials
from m3search.web.errors import invalid, no_such_item
from m3search.web.facets import selection

if TYPE_CHECKING:
    from m3search.search import Engine, Results
    from m3search.search.query import Encoded
    from m3search.types import Hit
    from m3search.web.shapes import Search

NAMES = {
    "xray": "chest X-rays", "ct": "CTs", "retina": "fundus photographs", "ecg": "ECGs", "pathology": "pathology slides",
}  # fmt: skip
SCORES = {
    "cosine": "Cosine of the angle between the query and the item as the encoder sees them: 1 is the same.",
    "calibrated": "Nearness of words and item without what sets all texts apart from all items: 0 is as near as the "
    "average item.",
    "bm25": "How many of the query's words stand in the item's text, rare words counting more (BM25); to be compared "
    "within this list only.",
    "fused": "1 is first by nearness and by words, both; the further down in either, the lower.",
}  # fmt: skip


def ask(engine: Engine, search: Search, encoded: Sequence[Encoded], most: int) -> tuple[Results, dict[str, Any]]:
    """Results from the first hit to the last asked for, and what is said of them beside the hits.

    Raises:
        ApiError: no such item, or further down than `most`.
        UsageError: the query cannot be asked.
        FilterError: the filter cannot be understood.
    """
    if search.offset + search.limit > most:
        raise invalid(f"offset and limit may add up to {most}", "narrow the search with filters")
    _require(engine, [*search.items, *search.like, *search.unlike])
    query = _query(search, encoded)
    found = engine.search_many(
        [query],
        k=search.offset + search.limit,
        modality=sorted(set(search.modality)) or None,
        where=search.filters or None,
        mode=search.mode,
        group=search.group_by,
        calibration=search.calibration,
        hubness=search.hubness,
        rerank=search.rerank,
        standing=True,
    )[0]
    where = selection(filters.parse(search.filters) if search.filters else None, search.modality)
    items = engine.store.count()
    about = {
        "query": found.query,
        "mode": found.mode,
        "took_ms": round(found.took_ms, 2),
        "score_kind": found.scored,
        "score_words": SCORES[found.scored],
        "denied": list(read_denials(search.text).denied) if search.text else [],
        "matching": items if where is None else engine.store.count(where),
        "items": items,
        "offset": search.offset,
        "limit": search.limit,
        "more": len(found) == search.offset + search.limit,
    }
    return found, about


def hits_of(engine: Engine, hits: Sequence[Hit]) -> list[dict[str, Any]]:
    """Hits as they are answered."""
    rows = engine.store.rows([hit.item_id for hit in hits], ["item_id", "format", "parts"]).to_pylist()
    stored = {row["item_id"]: row for row in rows}
    return [_hit(hit, stored.get(hit.item_id, {})) for hit in hits]


def lines(engine: Engine, about: dict[str, Any], hits: Sequence[Hit], at_once: int = 200) -> Iterator[bytes]:
    """NDJSON: what is said of the hits, then a hit a line."""
    yield orjson.dumps(about) + b"\n"
    for start in range(0, len(hits), at_once):
        some = hits_of(engine, hits[start : start + at_once])
        yield b"".join(orjson.dumps(hit) + b"\n" for hit in some)


def _hit(hit: Hit, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "rank": hit.rank,
        "item_id": hit.item_id,
        "modality": hit.modality,
        "score": round(hit.score, 6),
        "explained": explained(hit),
        "standing": hit.standing,
        "uri": hit.uri,
        "text": hit.text,
        "labels": list(hit.labels),
        "study_key": hit.study_key,
        "patient_key": hit.patient_key,
        "best_part": hit.best_part,
        "format": row.get("format") or "",
        "parts": row.get("parts") or 1,
    }


def explained(hit: Hit) -> str:
    """A hit's standing in words; "" where it is not known."""
    if hit.standing is None:
        return ""
    names = NAMES.get(hit.modality, hit.modality)
    if hit.standing >= 0.9995:
        return f"as near to the query as the index's {names} come"
    if hit.standing < 0.5:
        return f"further from the query than most of the index's {names}"
    share = f"{100 * hit.standing:.1f}".removesuffix(".0")
    return f"nearer to the query than {share} % of the index's {names}"


def _query(search: Search, encoded: Sequence[Encoded]) -> Query:
    text = search.text.strip() if search.text else ""
    return Query(
        text=text,
        encoded=tuple(encoded),
        items=tuple(search.items),
        like=tuple(search.like),
        unlike=tuple(search.unlike),
        weights={str(kind): weight for kind, weight in search.weights.items()},
    )


def _require(engine: Engine, item_ids: Sequence[str]) -> None:
    if item_ids and engine.store.rows(wanted := list(dict.fromkeys(item_ids)), ["item_id"]).num_rows < len(wanted):
        raise no_such_item()
