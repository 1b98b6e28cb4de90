"""Tokens, sessions, names and origins."""

from __future__ import annotations

import os

import pytest

from m3search.errors import UsageError
from m3search.web.access import Access, load_token
from m3search.web.settings import Settings

ACCESS = Access("secret", frozenset({"localhost", "127.0.0.1", "::1", "search.example"}), secure=False, port=8765)


def test_the_token_is_made_once_and_only_its_owner_can_read_it(tmp_path):
    token, made = load_token(tmp_path)
    assert made
    assert len(token) >= 32
    assert load_token(tmp_path) == (token, False)
    file = tmp_path / "serve.token"
    assert file.stat().st_mode & 0o777 == 0o600
    another, made = load_token(tmp_path, anew=True)
    assert made
    assert another != token
    assert [path.name for path in tmp_path.iterdir()] == ["serve.token"]


def test_servers_that_start_at_once_agree_on_a_token(tmp_path, monkeypatch):
    link = os.link

    def late(source, target):
        monkeypatch.setattr(os, "link", link)
        monkeypatch.setattr(os, "getpid", lambda: -1)
        first.append(load_token(tmp_path))
        link(source, target)

    first = []
    monkeypatch.setattr(os, "link", late)
    second = load_token(tmp_path)
    assert first == [(second[0], True)]
    assert not second[1]
    assert [path.name for path in tmp_path.iterdir()] == ["serve.token"]


def test_a_token_that_others_may_read_is_closed_to_them(tmp_path):
    token, _ = load_token(tmp_path)
    (tmp_path / "serve.token").chmod(0o644)
    assert load_token(tmp_path) == (token, False)
    assert (tmp_path / "serve.token").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("given", ["", "Secret", "secret ", "secre", "sécret", "secretsecret"])
def test_only_the_token_is_the_token(given):
    assert ACCESS.is_token("secret")
    assert not ACCESS.is_token(given)


def test_a_session_lasts_until_it_expires_and_cannot_be_prolonged():
    cookie = ACCESS.session(now=1000)
    assert ACCESS.expires_in(cookie, now=1000) == 12 * 3600
    assert ACCESS.expires_in(cookie, now=1000 + 12 * 3600) == 0
    expiry, _, signature = cookie.partition(".")
    assert ACCESS.expires_in(f"{int(expiry) + 1}.{signature}", now=1000) == 0


def test_another_token_ends_the_sessions():
    cookie = ACCESS.session(now=1000)
    assert Access("another", ACCESS.hosts, secure=False).expires_in(cookie, now=1000) == 0


@pytest.mark.parametrize("cookie", ["", ".", "x.y", "9" * 40 + ".0", "²." + "0" * 64, "1000", "-1.ab", "é.é"])
def test_what_is_no_session_is_none(cookie):
    assert ACCESS.expires_in(cookie, now=0) == 0


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("127.0.0.1:8765", True),
        ("127.0.0.1", True),
        ("LOCALHOST:1", True),
        ("[::1]:8765", True),
        ("search.example", True),
        ("", False),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.", False),
        ("[::2]", False),
        ("::1", False),
    ],
)
def test_hosts(host, known):
    assert ACCESS.knows_host(host) is known


@pytest.mark.parametrize(
    ("origin", "site", "own"),
    [
        ("http://127.0.0.1:8765", "", True),
        ("https://127.0.0.1:8765", "", True),
        ("", "same-origin", True),
        ("", "", False),
        ("", "same-site", False),
        ("null", "same-origin", False),
        ("http://127.0.0.1:8766", "same-origin", False),
        ("http://evil.example", "", False),
        ("file://127.0.0.1:8765", "", False),
    ],
)
def test_origins(origin, site, own):
    assert ACCESS.is_own_origin("127.0.0.1:8765", origin, site) is own


def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites():
    assert ACCESS.set_cookie("v", 60) == "m3search_8765=v; Path=/; Max-Age=60; HttpOnly; SameSite=Strict"
    assert Access("t", ACCESS.hosts, secure=True).set_cookie("v", 60).endswith("; Secure")


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "search.example", "::"])
def test_other_machines_need_tls_or_a_clear_word(tmp_path, host):
    with pytest.raises(UsageError, match="--insecure"):
        Settings(tmp_path, host=host).check()
    Settings(tmp_path, host=host, insecure=True).check()
    (tmp_path / "cert").touch()
    (tmp_path / "key").touch()
    Settings(tmp_path, host=host, tls_cert=tmp_path / "cert", tls_key=tmp_path / "key").check()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.2"])
def test_this_machine_needs_neither(tmp_path, host):
    Settings(tmp_path, host=host).check()


def test_half_of_tls_is_none(tmp_path):
    (tmp_path / "cert").touch()
    with pytest.raises(UsageError, match="go together"):
        Settings(tmp_path, tls_cert=tmp_path / "cert").check()
    with pytest.raises(UsageError, match="there is no file"):
        Settings(tmp_path, tls_cert=tmp_path / "cert", tls_key=tmp_path / "key").check()


def test_names_that_a_server_is_called_by(tmp_path):
    hosts = Settings(tmp_path, host="0.0.0.0", allowed_hosts=("Search.Example",)).hosts
    assert hosts == {"localhost", "127.0.0.1", "::1", "search.example"}
