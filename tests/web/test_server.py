"""A server on a port, as `m3search serve` runs it."""

from __future__ import annotations

import datetime
import http.client
import ipaddress
import socket
import ssl
import sys

import httpx
import pytest
from typer.testing import CliRunner

from m3search.cli.commands import app as cli
from m3search.errors import UsageError
from m3search.web.server import running, serve
from m3search.web.settings import Limits, Settings


@pytest.fixture(scope="module")
def server(served):
    with running(Settings(served, port=0, workers=1)) as server:
        yield server


def test_it_answers_on_loopback(server):
    assert server.url.startswith("http://127.0.0.1:")
    assert server.link == f"{server.url}/#token={server.token}"
    headers = {"authorization": f"Bearer {server.token}"}
    found = httpx.post(f"{server.url}/v1/search", json={"text": "effusion", "limit": 3}, headers=headers)
    assert len(found.json()["hits"]) == 3
    assert httpx.get(server.url).status_code == 200
    assert httpx.get(f"{server.url}/v1/status").status_code == 401


def test_a_browser_signs_in_once(server):
    with httpx.Client(base_url=server.url) as browser:
        assert browser.post("/v1/session", headers={"authorization": f"Bearer {server.token}"}).status_code == 200
        assert browser.get("/v1/status").status_code == 200
        assert browser.post("/v1/facets", json={}, headers={"origin": server.url}).status_code == 200
        assert browser.post("/v1/facets", json={}, headers={"origin": "http://127.0.0.1:1"}).status_code == 403


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /../../etc/passwd HTTP/1.1", b"GET //etc/passwd HTTP/1.1", b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1",
        b"GET http://evil.example/ HTTP/1.1", b"GET /v1/../v1/status HTTP/1.1", b"GET /./v1/status HTTP/1.1",
        b"GET /V1/status HTTP/1.1", b"GET //v1/status HTTP/1.1", b"GET /v1/status/ HTTP/1.1",
        b"GET /metrics/ HTTP/1.1", b"GET /v1%2fstatus HTTP/1.1", b"\x16\x03\x01\0\0", b"GET / HTTP/9.9",
        b"G\0T / HTTP/1.1",
    ],
)  # fmt: skip
def test_raw_requests_get_nothing(server, request_line):
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        raw.sendall(request_line + b"\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        answer = b""
        while chunk := raw.recv(65536):
            answer += chunk
    assert b"root:" not in answer
    assert b'"items"' not in answer
    assert b" 200 " not in answer.split(b"\r\n")[0] or b"<!doctype html>" in answer


def test_a_body_that_is_refused_is_answered_and_the_server_goes_on(served):
    limits = Limits(upload_bytes=1 << 20)
    with running(Settings(served, port=0, workers=1, limits=limits)) as server:
        headers = {"authorization": f"Bearer {server.token}", "content-type": "multipart/form-data; boundary=x"}

        def growing():
            yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.dcm"\r\n\r\n'
            for _ in range(4):
                yield b"\0" * (1 << 20)

        for content in (growing(), b"\0" * (4 << 20)):
            answer = httpx.post(f"{server.url}/v1/uploads", headers=headers, content=content, timeout=60)
            assert answer.status_code == 413
        assert httpx.get(f"{server.url}/healthz", timeout=60).status_code == 200


def test_two_hosts_in_one_request(server):
    port = int(server.url.rpartition(":")[2])
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.putrequest("GET", "/v1/status", skip_host=True)
    connection.putheader("Host", "127.0.0.1")
    connection.putheader("Host", "evil.example")
    connection.endheaders()
    assert connection.getresponse().status in (400, 401)
    connection.close()


def _certificate(folder):
    """A certificate of 127.0.0.1 that signs itself, and its key, as files."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    begin = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


def test_tls(served, tmp_path):
    cert, key = _certificate(tmp_path)
    with running(Settings(served, port=0, workers=1, tls_cert=cert, tls_key=key)) as server:
        assert server.url.startswith("https://127.0.0.1:")
        headers = {"authorization": f"Bearer {server.token}"}
        trusting = ssl.create_default_context(cafile=str(cert))
        with httpx.Client(base_url=server.url, verify=trusting, timeout=60) as browser:
            signed_in = browser.post("/v1/session", headers=headers)
            assert signed_in.headers["set-cookie"].endswith("; Secure")
            assert browser.post("/v1/facets", json={}, headers={"origin": server.url}).status_code == 200


def test_a_port_that_is_taken_is_named(server, served):
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(UsageError, match="--port"), running(Settings(served, port=port)):
        pass


def test_strangers_are_kept_out_before_anything_is_opened(tmp_path):
    with pytest.raises(UsageError, match="--insecure"):
        serve(Settings(tmp_path / "nothing", host="0.0.0.0"), ready=lambda *_: None)


def test_the_command_says_what_is_wrong(tmp_path, served):
    run = CliRunner().invoke(cli, ["serve", "--index", str(served), "--host", "0.0.0.0"])
    assert isinstance(run.exception, UsageError)
    run = CliRunner().invoke(cli, ["serve", "--index", str(tmp_path / "nothing"), "--port", "0"])
    assert "no index at" in str(run.exception)


def test_the_command_prints_no_token_where_nobody_looks(served, capsys):
    from m3search.cli.serve import _greet
    from m3search.web.server import Running

    _greet(Running("http://127.0.0.1:1", "SECRET"), served)
    said = capsys.readouterr().out
    assert "http://127.0.0.1:1" in said
    assert "serve.token" in said
    assert "SECRET" not in said


def test_a_missing_extra_is_named(served, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("m3search.web")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    run = CliRunner().invoke(cli, ["serve", "--index", str(served)])
    assert "pip install 'm3search[serve]'" in str(run.exception)
