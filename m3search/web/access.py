"""Who may ask: a bearer token made at the first start, and a session cookie for browsers that know it.

The token lies in the index folder, readable by its owner alone, as the tables do. The cookie's value is an expiry
signed with the token: nothing is kept of sessions, they outlive a restart, and a new token ends them all.
"""

from __future__ import annotations

import hmac
import os
import secrets
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from m3search.errors import IndexUnwritable
from m3search.stores.place import Place, beside

NAME = "serve.token"
SESSION_S = 12 * 3600
COOKIE = "m3search"  # and the port: cookies are shared by all ports of a host


def load_token(index: Place, *, anew: bool = False) -> tuple[str, bool]:
    """The token of an index, and whether it was made just now.

    Raises:
        IndexUnwritable: it can be neither read nor made.
    """
    file = beside(index) / NAME
    try:
        if not anew and (token := _read(file)):
            file.chmod(0o600)
            return token, False
        token = secrets.token_urlsafe(32)
        temporary = file.with_name(f"{NAME}.{os.getpid()}.tmp")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            out.write(token + "\n")
        try:
            if anew or (file.exists() and not _read(file)):
                temporary.replace(file)
            else:
                os.link(temporary, file)
        except FileExistsError:  # of servers that start at once on one index, the first one's counts
            return _read(file), False
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise IndexUnwritable(f"{file}: the server's token cannot be kept there ({error.strerror})") from error
    return token, True


def _read(file: Path) -> str:
    return file.read_text(encoding="ascii").strip() if file.exists() else ""


@dataclass(frozen=True, slots=True)
class Access:
    """Tells friends from strangers."""

    token: str
    hosts: frozenset[str]  # see Settings.hosts
    secure: bool  # whether cookies are sent over TLS alone
    port: int = 0

    @property
    def cookie(self) -> str:
        """The session cookie's name."""
        return f"{COOKIE}_{self.port}"

    def knows_host(self, header: str) -> bool:
        """Whether a Host header names this server."""
        return _name_of(header) in self.hosts

    def is_token(self, given: str) -> bool:
        """Compared in constant time."""
        return hmac.compare_digest(given.encode(), self.token.encode())

    def session(self, now: float | None = None) -> str:
        """A value for the session cookie."""
        expiry = str(int((now or time.time()) + SESSION_S))
        return f"{expiry}.{self._signature(expiry)}"

    def expires_in(self, cookie: str, now: float | None = None) -> int:
        """Seconds that a session cookie is still good for; 0 for none."""
        expiry, _, signature = cookie.partition(".")
        if not (expiry.isascii() and expiry.isdigit() and len(expiry) < 16):
            return 0
        if not hmac.compare_digest(signature.encode(), self._signature(expiry).encode()):
            return 0
        return max(0, int(expiry) - int(now or time.time()))

    def is_own_origin(self, host: str, origin: str, fetch_site: str) -> bool:
        """Whether a request that changes something comes from a page of this server.

        Browsers send one of both with every such request; SameSite=Strict keeps the cookie from others anyway.
        """
        if origin:
            found = urlsplit(origin)
            return found.scheme in ("http", "https") and found.netloc.casefold() == host.casefold()
        return fetch_site == "same-origin"

    def set_cookie(self, value: str, seconds: int) -> str:
        """The Set-Cookie header; 0 seconds removes it."""
        secure = "; Secure" if self.secure else ""
        return f"{self.cookie}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"

    def _signature(self, expiry: str) -> str:
        return hmac.new(self.token.encode(), f"session {expiry}".encode(), sha256).hexdigest()


def _name_of(host: str) -> str:
    """A Host header without its port: "[::1]:8765" is "::1"."""
    if host.startswith("["):
        return host[1:].partition("]")[0].casefold()
    return host.partition(":")[0].casefold()
