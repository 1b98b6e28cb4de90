"""What is answered of a stored item. Each raises ApiError where there is none of that id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from m3search.modalities import MODALITIES
from m3search.stores import audit
from m3search.web import archive, asking
from m3search.web.errors import no_such_item
from m3search.web.provenance import sentences

if TYPE_CHECKING:
    from m3search.search import Engine

TEXTS = (
    "modality_from", "format", "uri", "locator", "text", "sex", "age_band", "body_part", "view", "laterality",
    "patient_key", "study_key", "series_key", "run_id",
)  # fmt: skip
_COLUMNS = ("item_id", "modality", *TEXTS, "labels", "year", "parts", "files", "provenance", "indexed_at")


def item(engine: Engine, item_id: str) -> dict[str, Any]:
    """All of it but for vectors and picture."""
    rows = engine.store.record.rows([item_id], [*_COLUMNS]).to_pylist()
    if not rows:
        raise no_such_item()
    row, manifest = rows[0], engine.index.manifest
    audit.record(engine.index, "show", ("", [item_id]))
    steps = sentences(row["provenance"])
    return {
        "item_id": item_id,
        "modality": row["modality"],
        **{name: row[name] or "" for name in TEXTS},
        "labels": list(row["labels"] or ()),
        "year": row["year"],
        "parts": row["parts"] or 1,
        "files": archive.files_of(row),
        "provenance": steps.stored,
        "provenance_words": steps.words,
        "encoder": f"{engine.encoder.name}@{manifest.fingerprint[:8]}",
        "dim": manifest.dim,
        "indexed_at": row["indexed_at"].isoformat() if row["indexed_at"] else None,
        "archive": archive.is_there(engine.index, row),
    }


def parts(engine: Engine, item_id: str) -> dict[str, Any]:
    """Its slices, tiles or windows that can be found."""
    _require(engine, item_id)
    found = engine.store.parts_of([item_id])
    pairs = zip(found["index"].to_pylist(), found["locator"].to_pylist(), strict=True)
    return {"parts": [{"index": index, "locator": locator} for index, locator in pairs]}


def thumbnail(engine: Engine, item_id: str) -> bytes:
    """JPEG or PNG."""
    _require(engine, item_id)
    picture = engine.thumbnail(item_id)
    if not picture:
        raise no_such_item()
    return picture


def neighbours(engine: Engine, item_id: str, within: int, across: int) -> dict[str, Any]:
    """The nearest of its own modality, and of each other; so many of each."""
    rows = engine.store.rows([item_id], ["item_id", "modality"]).to_pylist()
    if not rows:
        raise no_such_item()
    own = rows[0]["modality"]
    there = engine.store.tally("modality")

    def nearest(modality: str, count: int) -> list[dict[str, Any]]:
        if not count:
            return []
        found = engine.search(item=item_id, modality=modality, k=count + 1, standing=True)
        return asking.hits_of(engine, [hit for hit in found if hit.item_id != item_id][:count])

    others = [name for name in MODALITIES if name != own and name in there] if across else []
    return {"within": nearest(own, within), "across": {name: nearest(name, across) for name in others}}


def _require(engine: Engine, item_id: str) -> None:
    if not engine.store.rows([item_id], ["item_id"]).num_rows:
        raise no_such_item()
