"""The index as a whole, the browser's session, and what machines ask about a server."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from m3search import __version__
from m3search.search import Engine
from m3search.search.calibrate import METHODS
from m3search.stores import audit
from m3search.web import facets as counting
from m3search.web import shapes
from m3search.web.access import SESSION_S
from m3search.web.context import Here, answer
from m3search.web.errors import ApiError
from m3search.web.metrics import MEDIA_TYPE
from m3search.web.projection import projection
from m3search.web.settings import Limits

router = APIRouter(tags=["index"])


@router.post("/v1/facets", response_model=shapes.Facets)
async def facets(body: shapes.FacetsAsked, here: Here) -> Response:
    """How many items have which values, among those that match."""
    return answer(await here.live.run(_facets, here.live.engine, body))


@router.get("/v1/status", response_model=shapes.StatusOut)
async def status(here: Here) -> Response:
    """What the index holds and what it was built with."""
    found = await here.live.run(_status, here.live.engine, here.settings.limits)
    here.metrics.items.set(found["items"])
    return answer(found)


@router.get("/v1/projection", response_model=shapes.ProjectionOut)
async def project(here: Here, most: Annotated[int, Query(ge=10, le=20_000)] = 2000) -> Response:
    """Items in the plane in which their vectors differ most."""
    return answer(await here.live.run(projection, here.live.engine.store, most))


@router.post("/v1/session", response_model=shapes.SessionOut)
async def sign_in(here: Here) -> Response:
    """A cookie for a browser that knows the token, which thereby need not keep it."""
    found = answer({"signed_in": True, "expires_s": SESSION_S})
    found.headers["set-cookie"] = here.access.set_cookie(here.access.session(), SESSION_S)
    return found


@router.get("/v1/session", response_model=shapes.SessionOut)
async def session(request: Request, here: Here) -> Response:
    """For how long the cookie is still good; 0 where a token was sent in its place."""
    cookie = request.cookies.get(here.access.cookie, "")
    return answer({"signed_in": True, "expires_s": here.access.expires_in(cookie)})


@router.delete("/v1/session", status_code=204)
async def sign_out(here: Here) -> Response:
    """Remove the cookie."""
    return Response(status_code=204, headers={"set-cookie": here.access.set_cookie("", 0)})


@router.get("/healthz", response_model=shapes.Health)
async def health(here: Here) -> Response:
    """Whether searches are answered."""
    try:
        await here.live.run(lambda: here.live.engine.store.view)
    except Exception:
        raise ApiError(503, "index-unavailable", "the index cannot be read now", "") from None
    return answer({"status": "ok"})


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "In Prometheus' text format."}},
)
async def metrics(here: Here) -> Response:
    """Counts and times of requests."""
    here.metrics.items.set(await here.live.run(here.live.engine.store.count))
    return Response(here.metrics.text(), headers={"content-type": MEDIA_TYPE})


def _facets(engine: Engine, body: shapes.FacetsAsked) -> dict[str, Any]:
    found = counting.facets(engine.store, body.filters, body.modality, body.columns)
    if body.filters:
        audit.record(engine.index, "search", (body.filters, ()), count=found["matching"])
    return found


def _status(engine: Engine, limits: Limits) -> dict[str, Any]:
    manifest, record, view = engine.index.manifest, engine.store.record, engine.store.view
    runs = record.runs().to_pylist()
    last = runs[-1]["finished_at"] if runs else None
    segment = None
    if view is not None:
        tuning = view.segment.tuning
        segment = {
            "kind": view.segment.kind,
            "items": len(view.segment),
            "changed": view.changed,
            "target": tuning.target if tuning else None,
            "recall_items": tuning.recall_items if tuning else None,
            "recall_texts": tuning.recall_texts if tuning else None,
        }
    return {
        "version": __version__,
        "items": engine.store.count(),
        "by_modality": engine.store.tally("modality"),
        "encoder": engine.encoder.name,
        "fingerprint": manifest.fingerprint,
        "dim": manifest.dim,
        "failures": record.failures().num_rows,
        "last_run": last.isoformat() if last else None,
        "index_version": record.version,
        "segment": segment,
        "audit": manifest.audit,
        "limits": {"upload_bytes": limits.upload_bytes, "results": limits.results, "stream": limits.stream},
        "calibrations": list(METHODS) if engine.encoder.calibration().get("modalities") else ["none"],
    }
