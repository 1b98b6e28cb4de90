"""The ASGI application of one index."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match, Mount
from starlette.staticfiles import StaticFiles

from m3search import __version__
from m3search.errors import M3SearchError
from m3search.stores.folder import IndexFolder
from m3search.stores.place import AWAY
from m3search.web.access import Access, load_token
from m3search.web.context import Context
from m3search.web.errors import ApiError, internal, invalid, of_library, store_unreachable
from m3search.web.fetched import Fetched
from m3search.web.gate import Gate, is_private
from m3search.web.live import Live
from m3search.web.metrics import Metrics
from m3search.web.rendering import Renderings
from m3search.web.routes import about, items, search
from m3search.web.settings import Settings
from m3search.web.shapes import ErrorAnswer
from m3search.web.uploads import Uploads
from m3search.web.workers import Workers

ABOUT = "Search over a medical archive of several modalities. A research tool, not a medical device."
ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorAnswer, "description": "The request is wrong, or not allowed."},
    "5XX": {"model": ErrorAnswer, "description": "The server cannot answer (now)."},
}


class Application(Gate):
    """What a server runs: the gate, and behind it the routes."""

    def __init__(self, settings: Settings, token: str) -> None:
        """
        Raises:
            NoIndex: there is no usable index.
        """
        self.settings = settings
        self.token = token
        metrics = Metrics()
        access = Access(token, settings.hosts, settings.scheme == "https", settings.port)
        live = Live(settings.index, settings.threads, settings.store)
        workers = Workers(settings.workers, settings.limits, metrics)
        self.context = Context(
            settings, access, metrics, live, workers, fetched := Fetched(settings.limits),
            uploads=Uploads(live, workers, settings), renderings=Renderings(live, workers, fetched, settings),
        )  # fmt: skip
        self.api = _api(self.context)
        super().__init__(self.api, access, settings.limits, metrics)

    def close(self) -> None:
        """End threads and processes, forget uploads."""
        self.context.workers.close()
        self.context.live.close()
        self.context.fetched.close()
        self.context.uploads.close()


def create_app(settings: Settings) -> Application:
    """The application, with the token of its index, which is made where there is none.

    Raises:
        NoIndex: there is no usable index.
        IndexUnwritable: the token cannot be kept.
    """
    return Application(settings, token_of(settings)[0])


def token_of(settings: Settings, *, anew: bool = False) -> tuple[str, bool]:
    """The token of the index, and whether it was made just now.

    Raises:
        NoIndex: there is no index.
        IndexUnwritable: the token cannot be kept.
    """
    IndexFolder.open(settings.index)
    return load_token(settings.index, anew=anew)


def _api(context: Context) -> FastAPI:
    api = FastAPI(
        title="m3search",
        version=__version__,
        description=ABOUT,
        docs_url=None,  # they would load scripts from elsewhere
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        lifespan=_lifespan(context),
        responses=ERRORS,
        exception_handlers=HANDLERS,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    api.state.context = context
    for routes in (search.router, items.router, about.router):
        api.include_router(routes)
    api.openapi = _described(api, context.access.cookie)  # type: ignore[method-assign]
    if context.settings.page.is_dir():
        api.router.routes.append(_Page("/", StaticFiles(directory=context.settings.page, html=True), name="page"))
    return api


def _described(api: FastAPI, cookie: str) -> Callable[[], dict[str, Any]]:
    """The document, with what the gate asks for: it stands before the framework, which knows nothing of it."""
    describe = api.openapi

    def openapi() -> dict[str, Any]:
        if api.openapi_schema is None:
            document = describe()
            document.setdefault("components", {})["securitySchemes"] = {
                "token": {"type": "http", "scheme": "bearer", "description": "What m3search serve printed."},
                "session": {"type": "apiKey", "in": "cookie", "name": cookie, "description": "Of browsers."},
            }
            document["security"] = [{"token": []}, {"session": []}]
            document["paths"]["/healthz"]["get"]["security"] = []
        assert api.openapi_schema is not None
        return api.openapi_schema

    return openapi


class _Page(Mount):
    """Everything that is no route of the API: else a wrong method there would be looked for among the files."""

    def matches(self, scope: Any) -> tuple[Match, Any]:
        """See `Mount`."""
        return (Match.NONE, {}) if is_private(scope["path"]) else super().matches(scope)


def _lifespan(context: Context) -> Callable[[FastAPI], Any]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await context.live.run(context.live.warm)
        yield

    return lifespan


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response


async def _of_library(_: Request, error: Exception) -> Response:
    assert isinstance(error, M3SearchError)
    return of_library(error).response


async def _of_framework(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return ApiError.of_status(error.status_code).response


async def _invalid(_: Request, error: Exception) -> Response:
    """Names the field and what is wrong with it, and never its value."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(step) for step in first["loc"] if step != "body") or "the body"
    return invalid(f"{place}: {first['msg']}").response


async def _of_storage(_: Request, error: Exception) -> Response:
    """Lance's own words for an index on S3 that went away within a search."""
    if AWAY not in str(error):
        raise error
    return store_unreachable().response


async def _internal(_: Request, error: Exception) -> Response:  # noqa: ARG001 - the gate logs its place
    return internal().response


HANDLERS: dict[Any, Any] = {
    ApiError: _refused,
    M3SearchError: _of_library,
    HTTPException: _of_framework,
    RequestValidationError: _invalid,
    RuntimeError: _of_storage,
    Exception: _internal,
}
