"""Running an application: on a port, with its link printed for whoever may see the token."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import uvicorn

from m3search.errors import UsageError
from m3search.web.app import Application, token_of
from m3search.web.settings import Settings

GOODBYE_S = 10  # for requests that are being answered when the server ends
IDLE_S = 30  # before a connection that asks nothing is closed


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers."""

    url: str
    token: str

    @property
    def link(self) -> str:
        """What a person opens. The token stands in the fragment, which browsers send to nobody."""
        return f"{self.url}/#token={self.token}"


def serve(settings: Settings, *, new_token: bool = False, ready: Callable[[Running, bool], None]) -> None:
    """Serve until interrupted.

    Args:
        new_token: make another one; the old one and all sessions end.
        ready: called when the server answers, with whether its token is new.

    Raises:
        UsageError: the settings would let strangers listen, or the port is taken.
        NoIndex: there is no usable index.
    """
    settings.check()
    token, is_new = token_of(settings, anew=new_token)
    with _bound(settings) as (listener, settings):
        application = Application(settings, token)
        server = _Server(_config(application), lambda: ready(_running(settings, token), is_new))
        try:
            server.run([listener])
        finally:
            application.close()


@contextmanager
def running(settings: Settings) -> Iterator[Running]:
    """A server in a thread, for tests and notebooks."""
    settings.check()
    token, _ = token_of(settings)
    with _bound(settings) as (listener, settings):
        application = Application(settings, token)
        answers = threading.Event()
        server = _Server(_config(application), answers.set)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            while not answers.wait(0.1):
                if not thread.is_alive():
                    raise RuntimeError("the server ended before it answered")
            yield _running(settings, token)
        finally:
            server.should_exit = True
            thread.join(GOODBYE_S)
            application.close()


class _Server(uvicorn.Server):
    """Tells when it listens."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()


def _config(application: Application) -> uvicorn.Config:
    settings = application.settings
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it quotes what it cannot parse
    return uvicorn.Config(
        application,
        log_config=None,
        access_log=False,  # its lines hold what was asked
        server_header=False,
        proxy_headers=False,  # nobody's word is taken for who asks
        ws="none",
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=GOODBYE_S,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )


@contextmanager
def _bound(settings: Settings) -> Iterator[tuple[socket.socket, Settings]]:
    """A listening socket, and the settings with its port."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
        except OSError as error:
            place = f"{settings.host}:{settings.port}"
            raise UsageError(f"{place} cannot be listened on ({error.strerror}); choose another --port") from error
        yield listener, replace(settings, port=listener.getsockname()[1])
    finally:
        listener.close()


def _running(settings: Settings, token: str) -> Running:
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return Running(f"{settings.scheme}://{host}:{settings.port}", token)
