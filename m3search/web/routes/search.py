"""Searching, uploading, exporting."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Request, UploadFile
from pydantic import ValidationError
from starlette.concurrency import iterate_in_threadpool
from starlette.responses import Response, StreamingResponse

from m3search.search import Engine, Results
from m3search.search.query import Encoded
from m3search.search.results import write_csv
from m3search.search.sheet import render
from m3search.stores import audit
from m3search.web import asking, shapes
from m3search.web.context import Context, Here, answer
from m3search.web.errors import invalid
from m3search.web.uploads import KEPT_S, Kept

NDJSON = "application/x-ndjson"
IMAGE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {}, "image/png": {}}, "description": "The picture."}
}

router = APIRouter(prefix="/v1", tags=["search"])

Files = Annotated[list[UploadFile], File(description="One examination: a file, a .hea with its .dat, or a series.")]
ModalityField = Annotated[
    shapes.ModalityName | None, Form(description="What a picture shows; else the encoder guesses.")
]


@router.post(
    "/search",
    response_model=shapes.Found,
    responses={
        200: {"content": {NDJSON: {}}, "description": "Results; as NDJSON what is said of them, then the hits."}
    },
)
async def search(body: shapes.Search, request: Request, here: Here) -> Response:
    """Search by words, uploads and stored items, or by any mixture of them."""
    return await _search(here, body, _encoded(here, body), _wants_lines(request))


@router.post(
    "/search/file",
    response_model=shapes.Found,
    responses={200: {"content": {NDJSON: {}}, "description": "As POST /v1/search."}},
)
async def search_file(
    request: Request,
    here: Here,
    file: Files,
    query: Annotated[
        str, Form(description="The JSON body of POST /v1/search; {} is enough.", max_length=100_000)
    ] = "{}",
    modality: ModalityField = None,
) -> Response:
    """Search by a file in one request. It is not kept."""
    try:
        body = shapes.Search.model_validate_json(query)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(["query", *map(str, first["loc"])])
        raise invalid(f"{place}: {first['msg']}") from None
    upload_id, kept = await _taken(here, file, modality)
    here.uploads.forget(upload_id)
    return await _search(here, body, [*_encoded(here, body), kept.encoded], _wants_lines(request))


@router.post("/uploads", status_code=201, response_model=shapes.UploadOut)
async def upload(here: Here, file: Files, modality: ModalityField = None) -> Response:
    """Decode one examination to search with. Only its vector and thumbnail are kept, in memory, for half an hour."""
    upload_id, kept = await _taken(here, file, modality)
    here.metrics.uploads.set(len(here.uploads))
    found = {
        "upload_id": upload_id,
        "modality": kept.modality,
        "modality_from": kept.modality_from,
        "parts": kept.parts,
        "item_id": kept.encoded.item_id or None,
        "notes": list(kept.notes),
        "expires_s": KEPT_S,
    }
    return answer(found, 201)


@router.get("/uploads/{upload_id}/thumbnail", response_class=Response, responses=IMAGE)
async def upload_thumbnail(upload_id: str, here: Here) -> Response:
    """The picture of an upload."""
    return image_response(here.uploads.get(upload_id).thumbnail)


@router.delete("/uploads/{upload_id}", status_code=204)
async def forget_upload(upload_id: str, here: Here) -> Response:
    """Forget an upload."""
    here.uploads.forget(upload_id)
    here.metrics.uploads.set(len(here.uploads))
    return Response(status_code=204)


@router.post(
    "/export",
    response_class=Response,
    responses={200: {"content": {"text/csv": {}, "text/html": {}}, "description": "The list as a file."}},
)
async def export(body: shapes.Export, here: Here) -> Response:
    """The shown list as CSV, or as one HTML file with thumbnails that fetches nothing."""
    encoded = _encoded(here, body)
    content = await here.live.run(_export, here.live.engine, body, encoded, here.settings.limits.results)
    kind = "text/csv; charset=utf-8" if body.format == "csv" else "text/html; charset=utf-8"
    name = f'attachment; filename="m3search.{body.format}"'
    return Response(content, headers={"content-disposition": name, "content-type": kind})


def image_response(picture: bytes) -> Response:
    """A stored JPEG or PNG."""
    return Response(picture, media_type="image/png" if picture.startswith(b"\x89PNG") else "image/jpeg")


async def _search(here: Context, body: shapes.Search, encoded: Sequence[Encoded], as_lines: bool) -> Response:
    limits, engine = here.settings.limits, here.live.engine
    if not as_lines:
        return answer(await here.live.run(_found, engine, body, encoded, limits.results))
    found, about = await here.live.run(asking.ask, engine, body, encoded, limits.stream)
    hits = found.hits[body.offset :]
    return StreamingResponse(iterate_in_threadpool(asking.lines(engine, about, hits)), media_type=NDJSON)


def _found(engine: Engine, body: shapes.Search, encoded: Sequence[Encoded], most: int) -> dict[str, Any]:
    found, about = asking.ask(engine, body, encoded, most)
    return about | {"hits": asking.hits_of(engine, found.hits[body.offset :])}


def _export(engine: Engine, body: shapes.Export, encoded: Sequence[Encoded], most: int) -> bytes:
    found, _ = asking.ask(engine, body, encoded, most)
    shown = Results(
        found.query, found.mode, found.took_ms, found.hits[body.offset :], found.fetch_thumbnails, found.scored
    )
    audit.record(engine.index, "export", (found.query, [hit.item_id for hit in shown]))
    if body.format == "html":
        return render([shown]).encode()
    file = io.StringIO(newline="")
    write_csv(file, [shown])
    return file.getvalue().encode()


async def _taken(here: Context, file: Sequence[UploadFile], modality: str | None) -> tuple[str, Kept]:
    return await here.uploads.take([(one.filename or "", one.file) for one in file], modality or "")


def _encoded(here: Context, body: shapes.Search) -> list[Encoded]:
    return [here.uploads.get(one).encoded for one in body.uploads]


def _wants_lines(request: Request) -> bool:
    return "ndjson" in request.headers.get("accept", "")
