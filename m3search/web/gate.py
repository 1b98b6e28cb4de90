"""What every request passes before a route sees it: host, token, origin, size, time, number. And every answer: headers.

Written against ASGI itself: a framework's middleware costs as much as a search of a small index.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any

from m3search.web.access import Access
from m3search.web.errors import ApiError, internal
from m3search.web.metrics import Metrics
from m3search.web.settings import Limits

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

log = logging.getLogger("m3search.web")

UPLOADS = ("/v1/uploads", "/v1/search/file")
OPEN = ("/healthz", "/v1/openapi.json")  # without a token
SAFE = ("GET", "HEAD", "OPTIONS")
PAGE_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
DATA_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)
PAGE_HEADERS = (*HEADERS, (b"content-security-policy", PAGE_POLICY.encode()), (b"cache-control", b"no-cache"))
DATA_HEADERS = (*HEADERS, (b"content-security-policy", DATA_POLICY.encode()), (b"cache-control", b"no-store"))


class Gate:
    """Wraps an application."""

    def __init__(self, app: App, access: Access, limits: Limits, metrics: Metrics) -> None:
        self._app = app
        self.access = access
        self._limits = limits
        self._metrics = metrics
        self._in_flight = 0
        self._uploading = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(Exchange(scope, receive, send))
        else:  # no websockets here
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, exchange: Exchange) -> None:
        began = time.perf_counter()
        self._in_flight += 1
        self._uploading += exchange.is_upload
        self._metrics.in_flight.set(self._in_flight)
        try:
            self._check(exchange)
            await self._answer(exchange)
        except ApiError as error:
            await exchange.refuse(error)
        except Exception as error:  # a defect: its traceback may quote a request, so only its place is logged
            log.error("internal error %s at %s", type(error).__name__, _place(error))
            await exchange.refuse(internal())
        finally:
            self._in_flight -= 1
            self._uploading -= exchange.is_upload
            self._metrics.in_flight.set(self._in_flight)
            self._note(exchange, time.perf_counter() - began)

    def _check(self, exchange: Exchange) -> None:
        """Raises ApiError where the request may not pass."""
        access, limits, header = self.access, self._limits, exchange.header
        if not access.knows_host(header("host")):
            raise ApiError(
                400, "bad-host", "this server is not called so",
                "use the address that it printed, or name this one with --allow-host",
            )  # fmt: skip
        if exchange.is_private:
            self._check_token(exchange)
        if self._in_flight > limits.in_flight:
            raise ApiError(503, "busy", "too many requests at once", "try again in a second")
        if exchange.is_upload and self._uploading > limits.uploads:
            raise ApiError(429, "too-many-uploads", "too many uploads at once", "try again when one has ended")
        exchange.most = limits.upload_bytes + limits.body_bytes if exchange.is_upload else limits.body_bytes
        if header("content-length").isdigit() and int(header("content-length")) > exchange.most:
            raise too_large(exchange.most)

    def _check_token(self, exchange: Exchange) -> None:
        access, header = self.access, exchange.header
        kind, _, given = header("authorization").partition(" ")
        if kind.casefold() == "bearer":
            if not access.is_token(given.strip()):
                raise ApiError(401, "bad-token", "this token is not valid", "take it from what m3search serve printed")
            return
        cookie = _cookie(header("cookie"), access.cookie)
        if not cookie:
            raise ApiError(401, "no-token", "a token is needed", "open the link that m3search serve printed")
        if not access.expires_in(cookie):
            raise ApiError(401, "bad-token", "this session has ended", "open the link that m3search serve printed")
        if exchange.method not in SAFE and not access.is_own_origin(
            header("host"), header("origin"), header("sec-fetch-site")
        ):
            raise ApiError(403, "cross-site", "this request comes from another site's page", "")

    async def _answer(self, exchange: Exchange) -> None:
        """Run the application until it is done, its time is over, or nobody waits for it any more."""
        limits = self._limits
        seconds = limits.upload_seconds if exchange.is_upload or exchange.is_stream else limits.seconds
        work = asyncio.ensure_future(self._app(exchange.scope, exchange.receive, exchange.send))
        gone = asyncio.ensure_future(exchange.gone())
        try:
            done, _ = await asyncio.wait({work, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if work in done:
                work.result()
            elif gone in done:
                self._metrics.cancelled.inc()
            else:
                await exchange.refuse(
                    ApiError(504, "timed-out", f"no answer was found within {seconds:g} seconds", "ask for less")
                )
        finally:
            gone.cancel()
            work.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)

    def _note(self, exchange: Exchange, seconds: float) -> None:
        route = getattr(exchange.scope.get("route"), "path", "") or ("page" if not exchange.is_private else "none")
        status = str(exchange.status or 499)  # as others write it: the client went before an answer
        method = exchange.method if exchange.method in (*SAFE, "POST", "DELETE", "PUT", "PATCH") else "other"
        self._metrics.requests.labels(route, method, status).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        log.info("%s %s %s %.1f ms", method, route, status, seconds * 1000)


class Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send
        self._headers: dict[bytes, bytes] = dict(scope["headers"])
        self.method: str = scope["method"]
        path: str = scope["path"]
        self.is_private = is_private(path) and path not in OPEN
        self.is_upload = self.method == "POST" and path in UPLOADS
        self.is_stream = "ndjson" in self.header("accept")
        self._answer_headers = DATA_HEADERS if self.is_private or path in OPEN else PAGE_HEADERS
        self.most = 0  # bytes of the body
        self._read = 0
        self._complete = asyncio.Event()  # the body was read
        self._refused: ApiError | None = None
        self._over = False  # the gate has answered in place of the application
        self.status = 0

    def header(self, name: str) -> str:
        """Its value; "" where it is not there."""
        return self._headers.get(name.encode(), b"").decode("latin-1")

    async def receive(self) -> Message:
        """For the application: refuses a body that is larger than may be."""
        message = await self._receive()
        if message["type"] == "http.request":
            self._read += len(message.get("body", b""))
            if self._read > self.most:
                self._refused = too_large(self.most)  # the framework turns what is raised here into an error of its own
                raise self._refused
            if not message.get("more_body"):
                self._complete.set()
        return message

    async def gone(self) -> None:
        """Returns when the client went."""
        if self.method in SAFE and not self._headers.get(b"content-length"):
            await self._receive()  # the empty body, for which no route asks
        else:
            await self._complete.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def send(self, message: Message) -> None:
        """For the application: adds headers, and lets a refusal pass in place of what the framework made of it."""
        if self._refused is not None:
            await self.refuse(self._refused)
        if self._over:
            return
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *self._answer_headers]
        await self._send(message)

    async def refuse(self, error: ApiError) -> None:
        """Answer with an error, unless an answer has begun."""
        if self.status:
            return
        self.status, self._over = error.status, True
        answer = error.response
        headers = [*answer.raw_headers, *self._answer_headers]
        await self._send({"type": "http.response.start", "status": error.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": answer.body})


def is_private(path: str) -> bool:
    """Whether a path is one of the API's; all others are files of the page, which anybody may have."""
    return path in ("/v1", "/metrics", "/healthz") or path.startswith("/v1/")


def too_large(most: int) -> ApiError:
    """A body beyond its limit."""
    return ApiError(413, "too-large", f"at most {most / 2**20:.0f} MB are taken here", "send less, or index the files")


def _cookie(header: str, name: str) -> str:
    try:
        morsel = SimpleCookie(header).get(name)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


def _place(error: BaseException) -> str:
    """Where an exception was raised: module and line, nothing of its values."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_globals.get('__name__', '')}:{trace.tb_lineno}"
