"""A DICOMweb server in a thread, which misbehaves as it is told: for tests."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydicom import dcmread

Answer = tuple[int, dict[str, str], bytes]  # status, headers, body
BOUNDARY = "--frontier--7"
JSON = {"Content-Type": "application/dicom+json"}


@dataclass(frozen=True)
class Instance:
    study: str
    series: str
    uid: str
    modality: str
    content: bytes


@dataclass
class Pacs:
    """What the server holds, and how it behaves."""

    instances: dict[str, Instance] = field(default_factory=dict)
    authorization: str = ""  # that every request must carry
    cap: int = 1000  # results of one page, whatever is asked for
    offsets: bool = True  # whether it takes notice of "offset"
    counts: bool = True  # whether it says how many instances a series has
    before: Callable[[str], Answer | str | None] = lambda path: None  # an answer to give instead; or a misdeed:
    # "hang up", "say nothing", "trickle" (`drop` bytes at a time)
    drop: int = 1
    asked: list[str] = field(default_factory=list)  # paths with queries
    sent: list[str] = field(default_factory=list)  # SOP instance UIDs, as often as they were sent
    headers: list[dict[str, str]] = field(default_factory=list)
    url: str = ""
    over: threading.Event = field(default_factory=threading.Event)  # ends what the server keeps waiting

    def add(self, path: Path) -> Instance:
        """Take in a DICOM file."""
        dataset = dcmread(path, stop_before_pixels=True)
        one = Instance(
            dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID, dataset.Modality,
            path.read_bytes(),
        )  # fmt: skip
        self.instances[one.uid] = one
        return one

    def answer(self, target: str) -> Answer:
        """To a GET."""
        address = urlsplit(target)
        query = {key: values[0] for key, values in parse_qs(address.query).items()}
        match address.path.removeprefix("/dicom-web/").split("/"):
            case ["series"]:
                return self._page(self._series(query.get("Modality", "")), query)
            case ["studies", study, "series"]:
                return self._page([row for row in self._series() if row["0020000D"] == _ui(study)], query)
            case ["studies", study, "series", series, "instances"]:
                rows = [{"00080018": _ui(one.uid)} for one in self._of(study, series)]
                return self._page(rows, query)
            case ["studies", study, "series", series]:
                return self._files(self._of(study, series))
            case ["studies", study, "series", series, "instances", uid]:
                return self._files([one for one in self._of(study, series) if one.uid == uid])
        return 404, {}, b""

    def _of(self, study: str, series: str) -> list[Instance]:
        return [one for one in self.instances.values() if (one.study, one.series) == (study, series)]

    def _series(self, modality: str = "") -> list[dict[str, Any]]:
        counts: dict[tuple[str, str, str], int] = {}
        for one in self.instances.values():
            if modality in ("", one.modality):
                key = one.study, one.series, one.modality
                counts[key] = counts.get(key, 0) + 1
        count = (lambda number: {"00201209": {"vr": "IS", "Value": [number]}}) if self.counts else lambda _: {}
        return [
            {"0020000D": _ui(study), "0020000E": _ui(series), "00080060": {"vr": "CS", "Value": [code]}} | count(number)
            for (study, series, code), number in counts.items()
        ]

    def _page(self, rows: list[dict[str, Any]], query: dict[str, str]) -> Answer:
        start = int(query.get("offset", 0)) if self.offsets else 0
        page = rows[start : start + min(int(query.get("limit", self.cap)), self.cap)]
        return (200, JSON, json.dumps(page).encode()) if page else (204, {}, b"")

    def _files(self, instances: list[Instance]) -> Answer:
        if not instances:
            return 404, {}, b""
        self.sent += [one.uid for one in instances]
        return multipart([one.content for one in instances])


def multipart(files: list[bytes]) -> Answer:
    """Files as WADO-RS gives them."""
    parts = [f"\r\n--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode() + file for file in files]
    kind = f'multipart/related; type="application/dicom"; boundary="{BOUNDARY}"'
    return 200, {"Content-Type": kind}, b"".join([*parts, f"\r\n--{BOUNDARY}--\r\n".encode()])


def _ui(uid: str) -> dict[str, Any]:
    return {"vr": "UI", "Value": [uid]}


@contextmanager
def serving(pacs: Pacs, port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[Pacs]:
    """Serve on loopback; `pacs.url` is the address."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with lock:
                pacs.asked.append(self.path)
                pacs.headers.append(dict(self.headers))
                instead = pacs.before(self.path)
                if instead == "hang up":
                    self.close_connection = True
                    return
                if pacs.authorization and self.headers.get("Authorization") != pacs.authorization:
                    status, headers, body = 401, {"WWW-Authenticate": 'Basic realm="PACS"'}, b""
                else:
                    status, headers, body = pacs.answer(self.path) if isinstance(instead, str | None) else instead
            if instead == "say nothing":
                self.close_connection = True
                pacs.over.wait(30)
                return
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            if instead == "trickle":
                self.close_connection = True
                for start in range(0, len(body), pacs.drop):
                    if pacs.over.wait(0.05):
                        return
                    try:
                        self.wfile.write(body[start : start + pacs.drop])
                    except OSError:  # nobody listens any more
                        return
                return
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pacs.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}/dicom-web"
    try:
        yield pacs
    finally:
        pacs.over.set()
        server.shutdown()
        server.server_close()
