"""One item: what is stored of it, and its pictures."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from m3search.modalities import views
from m3search.web import shapes, stored
from m3search.web.context import Here, answer
from m3search.web.errors import invalid, no_such_item
from m3search.web.routes.search import IMAGE, image_response

ID = re.compile(r"[0-9a-f]{32}")
Coordinate = Annotated[float, Query(ge=-1e7, le=1e7, allow_inf_nan=False)]
Length = Annotated[float, Query(ge=1, le=1e7, allow_inf_nan=False)]

router = APIRouter(prefix="/v1/items", tags=["items"])


@router.get("/{item_id}", response_model=shapes.ItemOut)
async def item(item_id: str, here: Here) -> Response:
    """All that is stored of an item, but for vectors and picture."""
    return answer(await here.live.run(stored.item, here.live.engine, _checked(item_id)))


@router.get("/{item_id}/parts", response_model=shapes.PartsOut)
async def parts(item_id: str, here: Here) -> Response:
    """Its slices, tiles or windows that can be found."""
    return answer(await here.live.run(stored.parts, here.live.engine, _checked(item_id)))


@router.get("/{item_id}/thumbnail", response_class=Response, responses=IMAGE)
async def thumbnail(item_id: str, here: Here) -> Response:
    """The stored picture, at most 256 pixels on its longer side (an ECG's 512)."""
    return image_response(await here.live.run(stored.thumbnail, here.live.engine, _checked(item_id)))


@router.get("/{item_id}/neighbours", response_model=shapes.Neighbours)
async def neighbours(
    item_id: str,
    here: Here,
    within: Annotated[int, Query(ge=0, le=50)] = 6,
    across: Annotated[int, Query(ge=0, le=50)] = 3,
) -> Response:
    """What is nearest to an item in its own modality, and in each other."""
    return answer(await here.live.run(stored.neighbours, here.live.engine, _checked(item_id), within, across))


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
