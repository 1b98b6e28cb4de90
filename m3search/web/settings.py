"""What a server is told: where it listens, who may ask, and how much one request may take."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from m3search.errors import UsageError
from m3search.stores.place import Place

PORT = 8765
PAGE = Path(__file__).parent / "page"
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may take."""

    body_bytes: int = 1 << 20  # of JSON
    upload_bytes: int = 256 << 20  # of all files of one upload
    upload_files: int = 1000  # slices of a series
    seconds: float = 30.0  # of an answer
    upload_seconds: float = 300.0  # of an upload or a stream, from the first byte to the last
    in_flight: int = 128  # requests that are answered at a time; more are told to come again
    uploads: int = 4  # of these, uploads
    results: int = 1000  # offset + limit
    stream: int = 10_000  # offset + limit as NDJSON
    fetch_bytes: int = 1 << 30  # of one item that lies in a zip file, a bucket or a PACS; 0: none is fetched
    fetch_seconds: float = 120.0  # the request ends before, and what comes is kept for the next one
    fetch_patience_s: float = 10.0  # for a PACS that does not answer
    fetched_bytes: int = 2 << 30  # of copies that are kept for further looks
    decode_seconds: float = 60.0  # of one file in a decoding process
    decode_bytes: int = 4 << 30  # memory of a decoding process


@dataclass(frozen=True, slots=True)
class Settings:
    """One server."""

    index: Place
    store: str | None = None  # address of a published copy that is searched instead
    host: str = "127.0.0.1"
    port: int = PORT  # 0: any that is free
    page: Path = PAGE
    tls_cert: Path | None = None
    tls_key: Path | None = None
    insecure: bool = False  # other machines may connect without TLS
    allowed_hosts: tuple[str, ...] = ()  # names beside the host's own that browsers may call this server by
    burned_in: Literal["mask", "quarantine", "keep"] = "mask"  # what looks like text in larger pictures
    workers: int = field(default_factory=lambda: min(4, os.cpu_count() or 1))  # decoding processes
    threads: int = field(default_factory=lambda: max(4, os.cpu_count() or 1))  # searches at a time
    limits: Limits = Limits()

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def hosts(self) -> frozenset[str]:
        """Names that a Host header may hold, without ports, lower case. Others are DNS rebinding, or a typing error."""
        names = {*LOCAL_NAMES, *self.allowed_hosts}
        if self.host not in ("0.0.0.0", "::", ""):
            names.add(self.host)
        return frozenset(name.casefold() for name in names)

    @property
    def scheme(self) -> str:
        """http or https."""
        return "https" if self.tls_cert else "http"

    def check(self) -> None:
        """Refuse what would let strangers listen in.

        Raises:
            UsageError: another address than loopback without TLS, half of a TLS pair, a file that is not there.
        """
        if (self.tls_cert is None) != (self.tls_key is None):
            raise UsageError("--tls-cert and --tls-key go together: give both files")
        for file in (self.tls_cert, self.tls_key):
            if file is not None and not file.is_file():
                raise UsageError(f"there is no file {file}")
        if not self.is_local and self.tls_cert is None and not self.insecure:
            raise UsageError(
                f"{self.host} can be reached from other machines, and without TLS everybody between reads along: give "
                "--tls-cert and --tls-key, or --insecure where a proxy on this machine does TLS"
            )
