"""A PACS behind TLS with a certificate of the hospital's own, and one that stops sending."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from m3search.errors import ArchiveUnreachable, UsageError
from m3search.indexer import Options, Report, index, retry_failures
from m3search.indexer import Pacs as Settings
from m3search.indexer.archives import dicomweb
from m3search.search import Engine

from .films import write_films
from .server import Pacs, serving

pytest.importorskip("dicomweb_client", reason="needs the pacs extra")

from m3search.indexer.archives import pace


@dataclass(frozen=True)
class Authority:
    """A certificate authority of nobody's knowledge, and what it made."""

    certificate: Path

    def context(self, folder: Path, host: str) -> ssl.SSLContext:
        """Of a server that says it is `host`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / f"{host}.pem")
        return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Writes ca.pem, and 127.0.0.1.pem and 192.0.2.1.pem that it signed, each with its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = tmp_path_factory.mktemp("tls")
    now = datetime.datetime.now(datetime.UTC)
    root_key = ec.generate_private_key(ec.SECP256R1())
    root = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Hospital")])

    def builder(subject: x509.Name, key: Any) -> x509.CertificateBuilder:
        day = datetime.timedelta(days=1)
        return (
            x509.CertificateBuilder(root, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + day)
        )

    ca = builder(root, root_key).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    (folder / "ca.pem").write_bytes(ca.sign(root_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    for host in ("127.0.0.1", "192.0.2.1"):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "PACS")])
        signed = builder(subject, key).add_extension(name, critical=False).sign(root_key, hashes.SHA256())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (folder / f"{host}.pem").write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return Authority(folder / "ca.pem")


@pytest.fixture
def films(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pacs:
    """What a server holds: five studies of a film each. And nothing of the environment counts."""
    names = (dicomweb.TOKEN, dicomweb.TOKEN_FILE, dicomweb.USER, dicomweb.PASSWORD, dicomweb.CA_FILE)
    for name in (*names, "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(dicomweb, "FIRST_PAUSE_S", 0.01)
    held = Pacs()
    for film in write_films(tmp_path / "films", range(5)):
        held.add(film)
    return held


def run(server: Pacs, path: Path, **settings: Any) -> Report:
    options = Options(workers=0, pacs=Settings(**({"patience_s": 20.0} | settings)))
    return index(server.url, path, model="fake", options=options)


def test_a_certificate_of_the_hospitals_own_needs_its_authority(
    films: Pacs, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(films, tls=authority.context(authority.certificate.parent, "127.0.0.1")) as server:
        assert server.url.startswith("https://")
        with pytest.raises(ArchiveUnreachable, match=r"is not trusted; name its authority with --ca-file"):
            run(server, tmp_path / "index")
        assert server.asked == []  # nothing was said to who could not say who he is
        assert run(server, tmp_path / "index", ca_file=authority.certificate).indexed == 5
        monkeypatch.setenv(dicomweb.CA_FILE, str(authority.certificate))
        assert run(server, tmp_path / "index").unchanged == 5


def test_what_is_typed_counts_more_than_the_environment_of_requests(
    films: Pacs, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import certifi

    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certifi.where())
    with serving(films, tls=authority.context(authority.certificate.parent, "127.0.0.1")) as server:
        assert run(server, tmp_path / "index", ca_file=authority.certificate).indexed == 5


def test_a_certificate_of_another_host_is_refused(films: Pacs, authority: Authority, tmp_path: Path) -> None:
    with (
        serving(films, tls=authority.context(authority.certificate.parent, "192.0.2.1")) as server,
        pytest.raises(ArchiveUnreachable, match="is not trusted"),
    ):
        run(server, tmp_path / "index", ca_file=authority.certificate)
    assert films.asked == []


def test_a_file_without_certificates_is_named(films: Pacs, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("none")
    for file in (tmp_path / "ca.pem", tmp_path / "missing.pem"):
        with serving(films) as server, pytest.raises(UsageError, match=f"no file of PEM certificates at {file}"):
            run(server, tmp_path / "index", ca_file=file)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds where a minute is waited."""
    monkeypatch.setattr(dicomweb, "TIMEOUT_S", (1.0, 0.4))
    monkeypatch.setattr(pace, "WINDOW_S", 0.4)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("misdeed", ["say nothing", "trickle"])
@pytest.mark.parametrize("encrypted", [False, True], ids=["http", "https"])
def test_a_study_that_stops_coming_costs_itself(
    films: Pacs, authority: Authority, tmp_path: Path, misdeed: str, encrypted: bool
) -> None:
    bad = next(iter(films.instances.values()))
    films.before = lambda path: misdeed if f"/{bad.study}/" in path and "instances?" not in path else None
    tls = authority.context(authority.certificate.parent, "127.0.0.1") if encrypted else None
    ca_file = authority.certificate if encrypted else None
    with serving(films, tls=tls) as server:
        report = run(server, tmp_path / "index", ca_file=ca_file)
        assert (report.indexed, report.failed) == (4, 1)
        asked = [path for path in server.asked if f"/{bad.study}/" in path and "instances?" not in path]
        assert len(asked) == dicomweb.TRIES
        failure = Engine.open(tmp_path / "index").failures()[0]
        assert failure["reason"] == "unreachable"
        assert "stops sending" in failure["message"]
        assert bad.study not in str(failure)
        films.before = lambda path: None
        pacs = Settings(ca_file=ca_file)
        again = retry_failures(tmp_path / "index", options=Options(workers=0, pacs=pacs))
    assert [(one.indexed, one.failed) for one in again] == [(1, 0)]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("misdeed", ["say nothing", "trickle"])
def test_a_server_that_stops_sending_ends_the_run(
    films: Pacs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, misdeed: str
) -> None:
    monkeypatch.setattr("m3search.indexer.archives.pacs.CONNECTIONS", 1)
    films.before = lambda path: misdeed if "/studies/" in path and "instances?" not in path else None
    with serving(films) as server, pytest.raises(ArchiveUnreachable, match="sends next to nothing"):
        run(server, tmp_path / "index")
    films.before = lambda path: misdeed
    films.over.clear()
    with serving(films) as server, pytest.raises(ArchiveUnreachable, match="has not answered for 1 s"):
        run(server, tmp_path / "other", patience_s=1.0)


@pytest.mark.usefixtures("impatient")
def test_a_slow_answer_that_keeps_coming_is_waited_for(
    films: Pacs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How much comes in a window counts, and not how long all of it takes."""
    monkeypatch.setattr(pace, "LEAST_BYTES", 500)
    slow = next(iter(films.instances.values()))
    films.drop = 250
    assert len(slow.content) / films.drop * 0.05 > 2 * pace.WINDOW_S
    films.before = lambda path: "trickle" if f"/{slow.study}/" in path and "instances?" not in path else None
    with serving(films) as server:
        assert run(server, tmp_path / "index").indexed == 5
    assert films.sent.count(slow.uid) == 1
