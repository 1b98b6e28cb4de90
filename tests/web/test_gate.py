"""What every request passes: host, token, origin, size, number, time; and what every answer carries."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.testclient import TestClient

from m3search.web.access import Access
from m3search.web.gate import Gate
from m3search.web.metrics import Metrics
from m3search.web.settings import Limits
from tests.web.conftest import HOST, error_of

ACCESS = Access("secret", frozenset({"127.0.0.1"}), secure=False)
BEARER = (b"authorization", b"Bearer secret")
LOCAL = (b"host", b"127.0.0.1")


def scope(method: str = "GET", path: str = "/v1/x", headers: tuple[tuple[bytes, bytes], ...] = (LOCAL, BEARER)) -> Any:
    return {"type": "http", "method": method, "path": path, "headers": list(headers)}


class Conversation:
    """Plays the server that an application talks to."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.messages = list(messages)
        self.sent: list[dict[str, Any]] = []
        self.leave = asyncio.Event()

    async def receive(self) -> Any:
        if self.messages:
            return self.messages.pop(0)
        await self.leave.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])


async def _echo(scope: Any, receive: Any, send: Any) -> None:
    """Reads the body and says that it was there."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


def gate(app: Any = _echo, **limits: Any) -> Gate:
    return Gate(app, ACCESS, Limits(**limits), Metrics())


def body(*chunks: bytes) -> list[dict[str, Any]]:
    last = len(chunks) - 1
    return [{"type": "http.request", "body": chunk, "more_body": place < last} for place, chunk in enumerate(chunks)]


def test_a_body_that_states_too_much_is_not_read():
    talk = Conversation(*body(b"x"))
    length = (b"content-length", b"1000000")
    asyncio.run(gate(body_bytes=100)(scope("POST", headers=(LOCAL, BEARER, length)), talk.receive, talk.send))
    assert talk.status == 413
    assert talk.messages  # nobody asked for it


def test_a_body_that_grows_beyond_its_limit_is_refused_whatever_the_application_makes_of_it():
    async def careless(scope: Any, receive: Any, send: Any) -> None:
        try:
            await _echo(scope, receive, send)
        except Exception:
            await send({"type": "http.response.start", "status": 400, "headers": []})
            await send({"type": "http.response.body", "body": b"could not be parsed"})

    for app in (_echo, careless):
        talk = Conversation(*body(b"x" * 60, b"x" * 60))
        asyncio.run(gate(app, body_bytes=100)(scope("POST"), talk.receive, talk.send))
        assert talk.status == 413
        assert [message["type"] for message in talk.sent] == ["http.response.start", "http.response.body"]


def test_uploads_have_a_limit_of_their_own():
    for path, status in (("/v1/uploads", 200), ("/v1/search/file", 200), ("/v1/search", 413)):
        talk = Conversation(*body(b"x" * 150))
        limited = gate(body_bytes=100, upload_bytes=100)
        asyncio.run(limited(scope("POST", path), talk.receive, talk.send))
        assert talk.status == status, path


def test_time_is_limited():
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    talk = Conversation()
    asyncio.run(gate(slow, seconds=0.01)(scope(), talk.receive, talk.send))
    assert talk.status == 504


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_nobody_waits_for_is_given_up(method):
    ended = []

    async def talk_and_leave() -> None:
        talk = Conversation(*body(b""))
        working = asyncio.Event()

        async def long(scope: Any, receive: Any, send: Any) -> None:
            if method == "POST":
                await receive()
            working.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise

        answer = asyncio.ensure_future(gate(long)(scope(method), talk.receive, talk.send))
        await working.wait()
        talk.leave.set()
        await answer
        assert talk.sent == []

    asyncio.run(talk_and_leave())
    assert ended == ["cancelled"]


@pytest.mark.parametrize(
    ("limits", "path", "status"),
    [({"in_flight": 2}, "/v1/x", 503), ({"uploads": 2}, "/v1/uploads", 429)],
)
def test_only_so_many_at_once(limits, path, status):
    async def crowd() -> list[int]:
        let_go = asyncio.Event()

        async def waiting(scope: Any, receive: Any, send: Any) -> None:
            await let_go.wait()
            await _echo(scope, receive, send)

        crowded = gate(waiting, **limits)
        talks = [Conversation(*body(b"")) for _ in range(3)]
        first = [asyncio.ensure_future(crowded(scope("POST", path), t.receive, t.send)) for t in talks[:2]]
        await asyncio.sleep(0)
        await crowded(scope("POST", path), talks[2].receive, talks[2].send)
        let_go.set()
        await asyncio.gather(*first)
        after = Conversation(*body(b""))
        await crowded(scope("POST", path), after.receive, after.send)
        assert (b"retry-after", b"1") in talks[2].sent[0]["headers"]
        return [talk.status for talk in (*talks, after)]

    assert asyncio.run(crowd()) == [200, 200, status, 200]


def test_a_defect_is_answered_without_what_it_says(caplog):
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("DOE^JANE")

    talk = Conversation()
    asyncio.run(gate(broken)(scope(), talk.receive, talk.send))
    assert talk.status == 500
    assert b"DOE" not in talk.sent[1]["body"]
    assert "internal error RuntimeError at" in caplog.text
    assert "DOE" not in caplog.text


def test_websockets_are_turned_away():
    talk = Conversation({"type": "websocket.connect"})
    asyncio.run(gate()({"type": "websocket", "path": "/v1/x", "headers": []}, talk.receive, talk.send))
    assert talk.sent == [{"type": "websocket.close", "code": 1008}]


# The whole application -----------------------------------------------------------------------------------------------
def _routes(api: TestClient) -> list[tuple[str, str]]:
    document = api.get("/v1/openapi.json").json()
    return [
        (method.upper(), path.replace("{item_id}", "0" * 32).replace("{upload_id}", "u" + "0" * 22))
        for path, methods in document["paths"].items()
        for method in methods
        if path != "/healthz"
    ]


def test_no_route_answers_a_stranger(api, stranger):
    routes = _routes(api)
    assert len(routes) >= 20
    for method, path in routes:
        assert error_of(stranger.request(method, path)) == "no-token", (method, path)
        for header in ("Bearer wrong", "Bearer ", "bearer é", f"Basic {api.headers['authorization'][7:]}", "x" * 5000):
            answer = stranger.request(method, path, headers={"authorization": header.encode("latin-1")})
            assert error_of(answer) in ("bad-token", "no-token"), (method, path, header)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"


def test_a_session_stands_for_the_token(api, stranger):
    assert error_of(stranger.get("/v1/session")) == "no-token"
    signed_in = api.post("/v1/session")
    cookie = signed_in.headers["set-cookie"].partition(";")[0]
    api.cookies.clear()
    assert "HttpOnly; SameSite=Strict" in signed_in.headers["set-cookie"]
    own = {"cookie": cookie, "origin": HOST}
    assert stranger.get("/v1/status", headers={"cookie": cookie}).status_code == 200
    assert 0 < stranger.get("/v1/session", headers={"cookie": cookie}).json()["expires_s"] <= 12 * 3600
    assert stranger.post("/v1/facets", json={}, headers=own).status_code == 200
    for foreign in ({}, {"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
        for method, path in (("POST", "/v1/facets"), ("DELETE", "/v1/session"), ("POST", "/v1/uploads")):
            answer = stranger.request(method, path, headers={"cookie": cookie, **foreign})
            assert error_of(answer) == "cross-site", foreign
            assert answer.status_code == 403
    gone = stranger.delete("/v1/session", headers=own)
    assert gone.status_code == 204
    assert "Max-Age=0" in gone.headers["set-cookie"]
    for broken in ("m3search_8765=1.2", "m3search_8765=", cookie[:-1] + "0", "=;;=\x7f", "m3search_8765"):
        assert error_of(stranger.get("/v1/status", headers={"cookie": broken})) in ("bad-token", "no-token"), broken


@pytest.mark.parametrize("host", ["evil.example", "", "127.0.0.1.evil.example:8765"])
def test_another_name_is_dns_rebinding(api, host):
    for path in ("/", "/v1/status", "/healthz", "/v1/openapi.json"):
        assert error_of(api.get(path, headers={"host": host})) == "bad-host"


def test_answers_carry_what_keeps_browsers_safe(api, items):
    picture = f"/v1/items/{items['xray'][0]['item_id']}/thumbnail"
    for path in ("/", "/v1/status", "/v1/nothing", picture, "/v1/openapi.json", "/healthz"):
        headers = api.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert "http" not in headers["content-security-policy"]
        assert "server" not in headers
        assert "access-control-allow-origin" not in headers
        if path.startswith("/v1"):
            assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "PATCH", "TRACE", "HEAD", "QUERY"])
def test_other_methods_are_not_allowed(api, method):
    for path in ("/v1/search", "/v1/status"):
        answer = api.request(method, path, headers={"origin": "http://evil.example"})
        assert answer.status_code == 405
        assert "access-control-allow-origin" not in answer.headers


def test_the_page_needs_no_token_and_nothing_from_elsewhere(stranger):
    page = stranger.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert stranger.get("/docs").status_code == 404
    assert stranger.get("/redoc").status_code == 404


TRAVERSALS = (
    "../settings.py", "..%2fsettings.py", "%2e%2e/settings.py", "%2e%2e%2fsettings.py", "..%5csettings.py",
    "....//settings.py", "/etc/passwd", "%2fetc%2fpasswd", "..%252fsettings.py", "%c0%ae%c0%ae/settings.py",
    "..%00/settings.py", "index.html%00.png", "index.html/../../settings.py", "css/../../settings.py", "~root",
    "..;/settings.py", "file:///etc/passwd", "\\\\host\\share", "C:%5cWindows", "a" * 5000, "%ff%fe",
)  # fmt: skip


@pytest.mark.parametrize("path", TRAVERSALS)
def test_a_path_leads_to_no_file_of_elsewhere(api, path):
    for prefix in ("/", "/v1/items/", "/v1/uploads/", "/v1/"):
        for suffix in ("", "/thumbnail", "/image", "/view"):
            answer = api.get(prefix + path + suffix)
            assert answer.status_code in (400, 404, 405, 422), (prefix, suffix, answer.status_code)
            error_of(answer)
