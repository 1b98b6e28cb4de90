"""What all routes share, and how they get at it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from fastapi import Depends, Request
from starlette.responses import Response

from m3search.web.access import Access
from m3search.web.fetched import Fetched
from m3search.web.live import Live
from m3search.web.metrics import Metrics
from m3search.web.rendering import Renderings
from m3search.web.settings import Settings
from m3search.web.uploads import Uploads
from m3search.web.workers import Workers


@dataclass(frozen=True, slots=True)
class Context:
    """One server's parts."""

    settings: Settings
    access: Access
    metrics: Metrics
    live: Live
    workers: Workers
    fetched: Fetched
    uploads: Uploads
    renderings: Renderings


def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


async def _of(request: Request) -> Context:  # a coroutine, which costs no thread
    return _context(request)


Here = Annotated[Context, Depends(_of)]


def answer(value: Any, status: int = 200) -> Response:
    """JSON as fast as may be: what is answered is built here and needs no second look."""
    return Response(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), status, media_type="application/json")
