"""A served index of phantoms and a real browser in front of it."""

from __future__ import annotations

import csv
import os
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import m3search
from m3search.phantoms.archive import Phantom, write_archive

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parents[3]
SCREENSHOTS = ROOT / ".cache" / "screenshots"
PATIENTS = 4
FILMS = 20  # patients with an X-ray: of fewer items of a kind, the server does not say how a hit stands among them
HOSTILE = "<img src=x onerror=\"document.title='pwned'\"><script>document.title='pwned'</script> & 'quotes'"


@dataclass(frozen=True)
class Archive:
    """Synthetic patients, and the index of them."""

    folder: Path
    index: Path
    phantoms: list[Phantom]

    def first(self, modality: str, **like: Any) -> Phantom:
        """The first phantom of a modality with these fields."""
        return next(
            one
            for one in self.phantoms
            if one.modality == modality and all(getattr(one, name) == value for name, value in like.items())
        )


@dataclass(frozen=True)
class Site:
    """A running server."""

    url: str
    link: str
    archive: Archive


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("page")
    phantoms = write_archive(folder / "archive", patients=PATIENTS, seed=3)
    films = write_archive(folder / "archive", patients=FILMS, seed=3, modalities=["xray"])
    phantoms = [*films, *(one for one in phantoms if one.modality != "xray")]
    _plant_hostile_text(folder / "archive" / "retina" / "manifest.csv")
    from m3search.indexer import Options

    report = m3search.index(folder / "archive", folder / "index", options=Options(workers=0))
    assert report.failed == 0
    return Archive(folder / "archive", folder / "index", phantoms)


def _plant_hostile_text(manifest: Path) -> None:
    with manifest.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[0]["text"] = HOSTILE
    with manifest.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="session")
def site(archive: Archive) -> Iterator[Site]:
    pytest.importorskip("fastapi", reason="the serve extra is not installed")
    from m3search.web.server import running
    from m3search.web.settings import Settings

    with running(Settings(index=archive.index, port=0)) as server:
        yield Site(server.url.rstrip("/"), server.link, archive)


class Trap:
    """A proxy that connects nobody: whatever the browser asks of another machine is noted here."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            with connection:
                connection.settimeout(2)
                try:
                    self.asked.append(connection.recv(200).split(b"\r\n")[0].decode("latin-1"))
                except OSError:
                    self.asked.append("a connection without a request")

    def close(self) -> None:
        self._listener.close()


@pytest.fixture(scope="session")
def trap() -> Iterator[Trap]:
    trap = Trap()
    yield trap
    trap.close()


@pytest.fixture(scope="session")
def browser(trap: Trap) -> Iterator[Browser]:
    """Debian's Chromium; all but this machine is behind the trap."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (dev extra)")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []  # root cannot have one
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=program, args=arguments, proxy={"server": trap.url, "bypass": "127.0.0.1"}
        )
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Browser, site: Site) -> Iterator[Callable[..., Page]]:
    """opened(address="", **context options) -> a signed-in page. At the end: nothing went wrong, nothing left."""
    contexts = []
    wrong: list[str] = []
    strangers: list[str] = []
    allowed: list[str] = []  # patterns of console errors that a test provokes

    def open_page(address: str = "", signed_in: bool = True, expects: str = "", **options: Any) -> Page:
        context = browser.new_context(viewport=options.pop("viewport", {"width": 1360, "height": 860}), **options)
        contexts.append(context)
        allowed.extend([expects] if expects else [])
        page = context.new_page()
        page.set_default_timeout(40_000)  # machines are slow where many tests run at once
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("console", lambda message: wrong.append(message.text) if _is_complaint(message) else None)
        page.on("response", lambda answer: wrong.append(_refusal(answer)) if answer.status >= 400 else None)
        context.on(
            "request", lambda request: strangers.append(request.url) if _strange(request.url, site.url) else None
        )
        if signed_in:
            page.goto(site.link)
            page.wait_for_selector(".welcome .chip")
        if address or not signed_in:
            page.goto(site.url + address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert strangers == []
    assert [one for one in wrong if not any(re.search(pattern, one) for pattern in allowed)] == []


def _is_complaint(message: Any) -> bool:
    """Errors and warnings, but for those that `_refusal` tells better."""
    return message.type in ("error", "warning") and not message.text.startswith("Failed to load resource: the server")


def _refusal(answer: Any) -> str:
    try:
        return f"{answer.status} {answer.url}: {answer.text()[:300]}"
    except Exception:  # the page has gone on
        return f"{answer.status} {answer.url}"


def _strange(url: str, home: str) -> bool:
    return not url.startswith((home + "/", "data:", "blob:" + home))


@pytest.fixture
def shoot() -> Callable[[Page, str], None]:
    """shoot(page, name): a screenshot for people to look at, in .cache/screenshots."""

    def shoot(page: Page, name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOTS / f"{name}.png", animations="disabled")

    return shoot
