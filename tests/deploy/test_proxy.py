"""The proxy's configuration, as a real nginx takes it, before two real readers of one index."""

from __future__ import annotations

import datetime
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

import m3search
from m3search.phantoms.archive import Phantom
from m3search.web.server import Running, running
from m3search.web.settings import Settings

NAME = "search.hospital.example"
TEMPLATE = Path(m3search.__file__).parent / "deploy" / "nginx.conf.template"
PLACES = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx: apt-get install nginx-light"),
]


@dataclass(frozen=True, slots=True)
class Site:
    """What tests ask, and the readers behind it with what ends each."""

    client: httpx.Client
    readers: list[Running]
    ends: list[ExitStack]


@pytest.fixture
def site(indexed: Path, tmp_path: Path) -> Iterator[Site]:
    """A client of nginx, on a socket of its own; the readers have one port, as containers do, at two addresses."""
    _certify(tmp_path)
    index = shutil.copytree(indexed, tmp_path / "index")
    with ExitStack() as one, ExitStack() as two, ExitStack() as rest:
        settings = Settings(index, host="127.0.0.2", port=0, workers=1, allowed_hosts=(NAME,))
        first = one.enter_context(running(settings))
        port = int(first.url.rpartition(":")[2])
        second = two.enter_context(running(replace(settings, host="127.0.0.3", port=port)))
        socket = _start_nginx(tmp_path, [first, second], rest)
        context = ssl.create_default_context(cafile=tmp_path / "chain.pem")
        transport = httpx.HTTPTransport(uds=str(socket), verify=context)
        client = rest.enter_context(httpx.Client(transport=transport, base_url=f"https://{NAME}", timeout=30))
        client.headers["authorization"] = f"Bearer {first.token}"
        yield Site(client, [first, second], [one, two])


def _certify(folder: Path) -> None:
    x509 = pytest.importorskip("cryptography.x509", reason="needs the pacs extra")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "chain.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )  # fmt: skip


def _start_nginx(folder: Path, readers: list[Running], until: ExitStack) -> Path:
    """Of the template only what names places of a container is changed."""
    socket = folder / "s"
    text = TEMPLATE.read_text().replace("${NAME}", NAME).replace("/certificates/", f"{folder}/")
    text = text.replace("listen 443 ssl", f"listen unix:{socket} ssl")
    for number, reader in enumerate(readers, 1):
        text = text.replace(f"reader-{number}:8765", reader.url.removeprefix("http://"))
    places = "\n".join(f"{place}_temp_path {folder}/{place};" for place in PLACES)
    conf = folder / "nginx.conf"
    conf.write_text(f"daemon off; pid {folder}/pid; error_log {folder}/log; events {{}}\nhttp {{ {places}\n{text} }}\n")
    nginx = subprocess.Popen(["nginx", "-p", folder, "-c", conf], stderr=subprocess.DEVNULL)
    until.callback(nginx.wait, 20)
    until.callback(nginx.terminate)
    for _ in range(200):
        if socket.exists():
            return socket
        assert nginx.poll() is None, (folder / "log").read_text()
        time.sleep(0.05)
    raise AssertionError("nginx does not listen")


def test_the_proxy_serves_page_searches_and_uploads(site: Site, phantoms: tuple[Path, list[Phantom]]) -> None:
    client = site.client
    page = client.get("/")
    assert page.status_code == 200
    assert page.headers["strict-transport-security"]
    assert "default-src 'self'" in page.headers["content-security-policy"]
    film = next(phantom for phantom in phantoms[1] if phantom.path.endswith(".dcm") and phantom.modality == "xray")
    content = (phantoms[0] / film.path).read_bytes()
    upload = client.post("/v1/uploads", files=[("file", ("film.dcm", content))]).json()["upload_id"]
    for _ in range(8):  # always the reader that took it
        found = client.post("/v1/search", json={"uploads": [upload], "limit": 1})
        assert found.status_code == 200, found.text
    assert client.get("/healthz", headers={"host": "other.example"}).status_code == 400


def test_a_reader_that_went_is_replaced_by_the_other(site: Site) -> None:
    client = site.client
    assert client.post("/v1/session").status_code < 300
    token = client.headers.pop("authorization")
    (serving,) = {number for number, reader in enumerate(site.readers) if _served(reader, token)}
    site.ends[serving].close()
    for _ in range(4):
        assert client.get("/v1/status").status_code == 200  # by the cookie: the other reader knows the session
    assert _served(site.readers[1 - serving], token)


def _served(reader: Running, token: str) -> bool:
    """Whether a reader answered anything about sessions or status so far."""
    counted = httpx.get(f"{reader.url}/metrics", headers={"authorization": token}).text
    return any(f'route="/v1/{name}"' in counted for name in ("session", "status"))
