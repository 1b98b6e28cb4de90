"""One item: what is stored of it, and its pictures."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from m3search.modalities import MODALITIES, views
from m3search.search import Engine
from m3search.stores import audit
from m3search.web import archive, asking, shapes
from m3search.web.context import Here, answer
from m3search.web.errors import invalid, no_such_item
from m3search.web.provenance import sentences
from m3search.web.routes.search import IMAGE, image_response

ID = re.compile(r"[0-9a-f]{32}")
TEXTS = (
    "modality_from", "format", "uri", "locator", "text", "sex", "age_band", "body_part", "view", "laterality",
    "patient_key", "study_key", "series_key", "run_id",
)  # fmt: skip
Coordinate = Annotated[float, Query(ge=-1e7, le=1e7, allow_inf_nan=False)]
Length = Annotated[float, Query(ge=1, le=1e7, allow_inf_nan=False)]

router = APIRouter(prefix="/v1/items", tags=["items"])


@router.get("/{item_id}", response_model=shapes.ItemOut)
async def item(item_id: str, here: Here) -> Response:
    """All that is stored of an item, but for vectors and picture."""
    return answer(await here.live.run(_item, here.live.engine, _checked(item_id)))


@router.get("/{item_id}/parts", response_model=shapes.PartsOut)
async def parts(item_id: str, here: Here) -> Response:
    """Its slices, tiles or windows that can be found."""
    return answer(await here.live.run(_parts, here.live.engine, _checked(item_id)))


@router.get("/{item_id}/thumbnail", response_class=Response, responses=IMAGE)
async def thumbnail(item_id: str, here: Here) -> Response:
    """The stored picture, at most 256 pixels on its longer side (an ECG's 512)."""
    return image_response(await here.live.run(_thumbnail, here.live.engine, _checked(item_id)))


@router.get("/{item_id}/neighbours", response_model=shapes.Neighbours)
async def neighbours(
    item_id: str,
    here: Here,
    within: Annotated[int, Query(ge=0, le=50)] = 6,
    across: Annotated[int, Query(ge=0, le=50)] = 3,
) -> Response:
    """What is nearest to an item in its own modality, and in each other."""
    return answer(await here.live.run(_neighbours, here.live.engine, _checked(item_id), within, across))


@router.get("/{item_id}/view", response_model=shapes.ViewOut)
async def view(item_id: str, here: Here) -> Response:
    """What of it can be looked at, larger: slices, size, presets, leads. Reads the archive."""
    return answer(await here.renderings.describe(_checked(item_id)))


@router.get("/{item_id}/image", response_class=Response, responses=IMAGE)
async def image(
    item_id: str,
    here: Here,
    slice: Annotated[int | None, Query(ge=0, description="Of a CT, from 0; default: the middle one.")] = None,
    frame: Annotated[int, Query(ge=1, description="Of a picture of several frames, from 1.")] = 1,
    window: Annotated[
        str | None, Query(max_length=40, description="CENTRE,WIDTH in HU, or lung, mediastinum, bone.")
    ] = None,
    size: Annotated[int, Query(ge=16, le=4096, description="Longer side at most; nothing is enlarged.")] = 1024,
    format: views.ImageFormat = "jpeg",
) -> Response:
    """A CT slice under a window, a picture, or a slide from afar."""
    place = slice if slice is not None else (frame if frame > 1 else None)
    picture = await here.renderings.image(_checked(item_id), place, _window(window), size, format)
    return image_response(picture)


@router.get("/{item_id}/region", response_class=Response, responses=IMAGE)
async def region(
    item_id: str,
    here: Here,
    x: Coordinate,
    y: Coordinate,
    w: Length,
    h: Length,
    size: Annotated[int, Query(ge=16, le=2048)] = 512,
) -> Response:
    """A rectangle of a slide, in pixels of its finest level; white where it leaves the slide."""
    return image_response(await here.renderings.region(_checked(item_id), views.Box(x, y, w, h), size))


@router.get(
    "/{item_id}/ecg",
    response_class=Response,
    responses={
        200: {
            "content": {"image/svg+xml": {}, "image/png": {}, "application/json": {}},
            "description": "Ten seconds, 25 mm/s and 10 mm/mV, in true millimetres as SVG; or samples.",
        }
    },
)
async def ecg(
    item_id: str,
    here: Here,
    start: Annotated[float, Query(ge=0, le=1e6, allow_inf_nan=False, description="Seconds into the record.")] = 0.0,
    format: Literal["svg", "png", "json"] = "svg",
) -> Response:
    """Ten seconds of an ECG on paper, or as numbers."""
    drawn = await here.renderings.ecg(_checked(item_id), start, format)
    if isinstance(drawn, bytes):
        return Response(drawn, media_type="image/svg+xml" if format == "svg" else "image/png")
    return answer(drawn)


def _checked(item_id: str) -> str:
    if not ID.fullmatch(item_id):
        raise no_such_item()
    return item_id


def _window(window: str | None) -> tuple[float, float] | None:
    if window is None:
        return None
    if window in views.PRESETS:
        return views.PRESETS[window]
    centre, _, width = window.partition(",")
    try:
        values = float(centre), float(width)
    except ValueError:
        values = 0.0, 0.0
    if not (abs(values[0]) <= 1e5 and 1 <= values[1] <= 1e5):
        raise invalid(f"window is CENTRE,WIDTH in Hounsfield units, or one of {', '.join(views.PRESETS)}")
    return values


def _item(engine: Engine, item_id: str) -> dict[str, Any]:
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
        "files": len(row["files"] or ()),
        "provenance": steps.stored,
        "provenance_words": steps.words,
        "encoder": f"{engine.encoder.name}@{manifest.fingerprint[:8]}",
        "dim": manifest.dim,
        "indexed_at": row["indexed_at"].isoformat() if row["indexed_at"] else None,
        "archive": archive.is_there(engine.index, row),
    }


_COLUMNS = ("item_id", "modality", *TEXTS, "labels", "year", "parts", "files", "provenance", "indexed_at")


def _parts(engine: Engine, item_id: str) -> dict[str, Any]:
    _require(engine, item_id)
    found = engine.store.parts_of([item_id])
    pairs = zip(found["index"].to_pylist(), found["locator"].to_pylist(), strict=True)
    return {"parts": [{"index": index, "locator": locator} for index, locator in pairs]}


def _thumbnail(engine: Engine, item_id: str) -> bytes:
    _require(engine, item_id)
    picture = engine.thumbnail(item_id)
    if not picture:
        raise no_such_item()
    return picture


def _neighbours(engine: Engine, item_id: str, within: int, across: int) -> dict[str, Any]:
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
