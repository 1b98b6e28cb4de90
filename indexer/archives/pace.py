"""Answers over HTTP that must keep coming: a server that sends a byte now and then would else be waited for for days.

A socket's timeout counts anew from every byte. Here the bytes of each window of time are counted, too.
"""

from __future__ import annotations

import io
import time
from http.client import HTTPResponse
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ReadTimeoutError

if TYPE_CHECKING:
    from pathlib import Path

WINDOW_S = 60.0
LEAST_BYTES = 16 << 10  # in a window: a modem of 1990 sent more


class _Paced(io.RawIOBase):
    """The bytes of a socket, as long as they come fast enough."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._began = time.monotonic()
        self._came = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        """As of any raw stream.

        Raises:
            TimeoutError: fewer than LEAST_BYTES came within WINDOW_S.
        """
        count: int | None = self._raw.readinto(buffer)
        self._came += count or 0
        now = time.monotonic()
        if now - self._began > WINDOW_S:
            if self._came < LEAST_BYTES and count:
                raise TimeoutError("too few bytes came")
            self._began, self._came = now, 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(HTTPResponse):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.fp = io.BufferedReader(_Paced(self.fp.detach()))


class _Plain(HTTPConnection):
    response_class = _Answer


class _Encrypted(HTTPSConnection):
    response_class = _Answer


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _EncryptedPool(HTTPSConnectionPool):
    ConnectionCls = _Encrypted


class Adapter(HTTPAdapter):
    """Sends the requests of a session: paced, and to hosts that `ca_file` vouches for, where there is one."""

    def __init__(self, ca_file: Path | str | None) -> None:
        self._ca_file = ca_file
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _EncryptedPool}

    def proxy_manager_for(self, *arguments: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*arguments, **options)
        manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _EncryptedPool}
        return manager

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        if self._ca_file:  # of a session's own setting requests makes less than of $REQUESTS_CA_BUNDLE
            options["verify"] = str(self._ca_file)
        return super().send(request, *arguments, **options)


def is_stalled(error: requests.RequestException) -> bool:
    """True where a server took the request and then stopped sending."""
    return isinstance(error, requests.ReadTimeout) or any(isinstance(one, ReadTimeoutError) for one in error.args)
