"""`m3search serve`: the HTTP API and its page."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from m3search.cli.options import IndexOption, StoreOption
from m3search.errors import MissingExtra

if TYPE_CHECKING:
    from m3search.stores.place import Place
    from m3search.web.server import Running

BurnedIn = Literal["mask", "quarantine", "keep"]


def serve(
    index: IndexOption = None,
    store: StoreOption = None,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on. Others than this machine's need TLS, or --insecure.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any that is free.")] = 8765,
    tls_cert: Annotated[Path | None, typer.Option("--tls-cert", help="Certificate chain (PEM).")] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="Its private key (PEM).")] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Let other machines connect without TLS. They still need the token.")
    ] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", help="Another name that browsers reach this server by; may be repeated."),
    ] = None,
    new_token: Annotated[
        bool, typer.Option("--new-token", help="Make another token. The old one and all sessions end.")
    ] = False,
    burned_in: Annotated[
        BurnedIn, typer.Option("--burned-in", help="What looks like text in larger pictures: painted over, or kept.")
    ] = "mask",
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Decoding processes. Default: one per core, at most 4.")
    ] = None,
    upload_limit: Annotated[int, typer.Option("--upload-limit", min=1, help="MB that one upload may have.")] = 256,
    fetch_limit: Annotated[
        int,
        typer.Option(
            "--fetch-limit",
            min=0,
            help="MB of one item that are fetched from a zip file, bucket or PACS to show it.",
        ),
    ] = 1024,
    log: Annotated[
        bool, typer.Option("--log", help="Print a line for each request: route, status, time. Never what was asked.")
    ] = False,
    mcp: Annotated[
        bool, typer.Option("--mcp", help="Serve one assistant over standard input and output, and no port.")
    ] = False,
) -> None:
    """Serve the index to browsers and programs: a page to look with, and an HTTP API under /v1."""
    if mcp:
        _serve_assistant(index, store)
        return
    try:
        from m3search.web.server import serve as run_server
        from m3search.web.settings import Limits, Settings
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{error.name} is needed to serve: pip install 'm3search[serve]'") from error
    from m3search.stores.folder import locate

    if log:
        import logging

        logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
        logging.getLogger("m3search.web").setLevel(logging.INFO)
    settings = Settings(
        index=locate(index),
        store=store,
        host=host,
        port=port,
        tls_cert=tls_cert,
        tls_key=tls_key,
        insecure=insecure,
        allowed_hosts=tuple(allow_host or ()),
        burned_in=burned_in,
        limits=Limits(upload_bytes=upload_limit << 20, fetch_bytes=fetch_limit << 20),
    )
    if workers is not None:
        settings = replace(settings, workers=workers)
    run_server(settings, new_token=new_token, ready=lambda server, _: _greet(server, settings.index))


def _serve_assistant(index: str | None, store: str | None) -> None:
    try:
        from m3search.web.assistant import assistant
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{error.name} is needed for --mcp: pip install 'm3search[serve,mcp]'") from error
    from m3search.stores.folder import locate
    from m3search.web.live import Live

    live = Live(locate(index), threads=2, store=store)
    try:
        assistant(live).run()
    finally:
        live.close()


def _greet(server: Running, index: Place) -> None:
    """The link with the token, for a terminal alone: what goes to a file or a journal must not hold it."""
    from m3search.stores.place import beside
    from m3search.web.access import NAME

    if sys.stdout.isatty():
        typer.echo(f"open  {server.link}\nstop  Ctrl-C")
    else:
        typer.echo(f"m3search answers at {server.url}; its token is in {beside(index) / NAME}")
    sys.stdout.flush()
