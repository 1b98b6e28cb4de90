"""A DICOMweb server as this program asks it: QIDO-RS in pages, WADO-RS as stored, with patience and without a word of
what it says in any error: addresses hold UIDs, answers hold patients.

DICOM PS3.18. HTTP, JSON and multipart are the business of dicomweb-client.
"""

from __future__ import annotations

import logging
import os
import re
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from m3search.errors import ArchiveUnreachable, MissingExtra, UsageError

if TYPE_CHECKING:
    import requests

R = TypeVar("R")

TOKEN, TOKEN_FILE = "M3SEARCH_PACS_TOKEN", "M3SEARCH_PACS_TOKEN_FILE"
USER, PASSWORD = "M3SEARCH_PACS_USER", "M3SEARCH_PACS_PASSWORD"
CA_FILE = "M3SEARCH_PACS_CA_FILE"

UID = re.compile(r"[0-9A-Za-z][\w.-]{0,63}")  # wider than the standard's: PACS hold what scanners invent
STUDY_UID, SERIES_UID, SOP_UID, MODALITY, COUNT = "0020000D", "0020000E", "00080018", "00080060", "00201209"
PAGE = 500  # results of one query
BUSY = {408, 429, 502, 503, 504}  # of HTTP: worth waiting for
TRIES = 3  # of an answer that is broken, or a server's error: it may be of one examination
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
TIMEOUT_S = (10.0, 60.0)  # to connect, and between two bytes
# As stored: without a transfer syntax servers decompress what they send (PS3.18 8.7.3.5).
AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server is and how to deal with it. Secrets are in the environment, in files, or in netrc."""

    url: str
    ca_file: Path | None = None  # certificates to trust, PEM; else those of the system and of requests
    token_file: Path | None = None  # a bearer token, read anew when it is refused
    patience_s: float = 300.0  # how long a server that does not answer is waited for

    @property
    def host(self) -> str:
        """For messages."""
        return urlsplit(self.url).netloc


@dataclass(frozen=True, slots=True)
class Series:
    """One series as a server lists it."""

    study: str
    series: str
    modality: str  # a code of PS3.3 C.7.3.1.1.1
    count: int | None  # instances, where the server says


BROKEN, STALLED = 0, -1


class Refused(Exception):
    """The server does not give what was asked for. `status` is of HTTP, BROKEN or STALLED."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}" if status > 0 else "no whole answer")
        self.status = status


class Client:
    """One connection. For one thread at a time."""

    def __init__(self, server: Server, sleep: Callable[[float], None] = time.sleep) -> None:
        self._server = server
        self._sleep = sleep
        self._stalled = 0  # examinations one after the other whose answers stopped coming

    def series(self, modality: str) -> list[Series]:
        """Every series of one modality, sorted.

        Raises:
            ArchiveUnreachable: the server cannot be reached, refuses, or answers nonsense.
        """
        fields = ["StudyInstanceUID", "SeriesInstanceUID", "Modality", "NumberOfSeriesRelatedInstances"]

        def ask(offset: int) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = self._web.search_for_series(
                limit=PAGE, offset=offset, fields=fields, search_filters={"Modality": modality}
            )
            return found

        found = [
            Series(study, series, str(_value(row, MODALITY) or modality), _number(_value(row, COUNT)))
            for row in self._all(ask, SERIES_UID)
            if (study := _uid(row, STUDY_UID)) and (series := _uid(row, SERIES_UID))
        ]
        return sorted((one for one in found if one.modality == modality), key=lambda one: (one.study, one.series))

    def series_of(self, study: str) -> list[Series]:
        """Every series of one study, sorted. Raises as `series`."""

        def ask(offset: int) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = self._web.search_for_series(study, limit=PAGE, offset=offset)
            return found

        found = [
            Series(study, series, str(_value(row, MODALITY)), _number(_value(row, COUNT)))
            for row in self._all(ask, SERIES_UID)
            if (series := _uid(row, SERIES_UID))
        ]
        return sorted(found, key=lambda one: one.series)

    def instances(self, series: Series) -> list[str]:
        """SOP instance UIDs of a series, sorted. Raises as `series`."""

        def ask(offset: int) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = self._web.search_for_instances(
                series.study, series.series, limit=PAGE, offset=offset, fields=["SOPInstanceUID"]
            )
            return found

        return sorted({uid for row in self._all(ask, SOP_UID) if (uid := _uid(row, SOP_UID))})

    def retrieve(self, series: Series, wanted: Iterable[str], whole: bool, keep: Callable[[str, bytes], None]) -> None:
        """Give each wanted file of a series, as the server stores it, to `keep` with its SOP instance UID, once.

        Args:
            whole: ask for the series at once, and not for each instance.

        Raises:
            ArchiveUnreachable: the server is away for longer than it is waited for.
            Refused: it does not give this series, or an instance of it.
        """
        missing = set(wanted)

        def take(files: Iterable[bytes]) -> None:
            for content in files:
                uid = uid_of(content)
                if uid in missing:
                    keep(uid, content)
                    missing.discard(uid)

        def one_by_one(uid: str) -> None:
            take([self._web.retrieve_instance(series.study, series.series, uid)])

        if whole:
            self._one(lambda: take(self._web.iter_series(series.study, series.series)))
        else:
            for uid in sorted(missing):
                self._one(partial(one_by_one, uid))

    def _one(self, call: Callable[[], R]) -> R:
        """The result of a call about one examination, of which the rest does not depend.

        Raises as `retrieve`; several in a row that stall are the server's doing.
        """
        try:
            result = self._patiently(call, stalls=TRIES)
        except Refused as error:
            self._stalled = self._stalled + 1 if error.status == STALLED else 0
            if self._stalled == TRIES:
                raise ArchiveUnreachable(
                    f"{self._server.host} takes requests and sends next to nothing; what was indexed stays, and the "
                    "next run continues"
                ) from None
            raise
        self._stalled = 0
        return result

    def _all(self, ask: Callable[[int], list[dict[str, Any]]], key: str) -> Iterator[dict[str, Any]]:
        """Page after page. A server may give fewer results than asked for, so that only an empty page is the last."""
        seen: set[str] = set()
        offset = 0
        while True:
            try:
                page = self._patiently(partial(ask, offset))
            except Refused as error:
                raise self._refusal(error) from None
            fresh = [row for row in page if (uid := _uid(row, key)) and uid not in seen]
            seen.update(_uid(row, key) for row in fresh)
            yield from fresh
            if not page:
                return
            if not fresh:  # the same page again: it takes no notice of the offset
                if len(page) == PAGE:
                    raise ArchiveUnreachable(
                        f"{self._server.host} gives the same {len(page)} results for every page of a query: it "
                        "cannot be listed whole"
                    )
                return
            offset += len(page)

    def _refusal(self, error: Refused) -> ArchiveUnreachable:
        host = self._server.host
        words = {
            BROKEN: "answers with something that is no DICOM JSON; check that the address is of its DICOMweb service",
            401: f"refuses the credentials (401); set {TOKEN} or {TOKEN_FILE}, or {USER} and {PASSWORD}, or use netrc",
            403: "does not permit this user to search (403); ask its administrator",
            404: "has no DICOMweb service at this address (404)",
        }
        return ArchiveUnreachable(f"{host} {words.get(error.status, f'refuses to be searched ({error.status})')}")

    def _patiently(self, call: Callable[[], R], stalls: int | None = None) -> R:
        """The call's result; while the server is away or busy it is made again, with growing pauses.

        `stalls` are so many answers that stop coming after which it is Refused; None counts them as being away.
        """
        import requests

        from m3search.indexer.archives.pace import is_stalled

        began = time.monotonic()
        pause, broken, renewed = FIRST_PAUSE_S, 0, False
        while True:
            wait = pause
            try:
                return call()
            except requests.exceptions.SSLError:
                raise ArchiveUnreachable(
                    f"the certificate of {self._server.host} is not trusted; name its authority with --ca-file"
                ) from None
            except requests.HTTPError as error:
                answer = error.response if error.response is not None else requests.Response()
                status = answer.status_code or 0
                if status == 401 and not renewed:  # its token may just have been renewed
                    renewed = True
                elif status in BUSY:
                    wait = max(pause, _seconds(answer.headers.get("Retry-After")))
                elif status < 500 or (broken := broken + 1) == TRIES:
                    raise Refused(status) from None
            except (requests.exceptions.JSONDecodeError, requests.exceptions.ContentDecodingError):
                raise Refused(BROKEN) from None
            except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema):
                raise UsageError(f"{self._server.host} is no address that can be asked") from None
            except requests.RequestException as error:  # no connection, a broken one, a timeout
                if stalls and is_stalled(error) and not (stalls := stalls - 1):
                    raise Refused(STALLED) from None
            except (ValueError, LookupError, TypeError, AttributeError):  # of dicomweb-client for broken answers
                if (broken := broken + 1) == TRIES:
                    raise Refused(BROKEN) from None
            if time.monotonic() - began + wait > self._server.patience_s:
                raise ArchiveUnreachable(
                    f"{self._server.host} has not answered for {self._server.patience_s:.0f} s; what was indexed "
                    "stays, and the next run continues"
                ) from None
            self._sleep(wait)
            pause = min(pause * 2, LONGEST_PAUSE_S)

    @cached_property
    def _web(self) -> Any:
        return _connect(self._server)


def uid_of(content: bytes) -> str:
    """SOP instance UID of a DICOM file; "" where it is none that can be read."""
    from pydicom import dcmread

    try:
        dataset = dcmread(BytesIO(content), stop_before_pixels=True, specific_tags=["SOPInstanceUID"])
        return str(dataset.file_meta.get("MediaStorageSOPInstanceUID") or dataset.get("SOPInstanceUID") or "")
    except Exception:  # whatever it is, the file is missing
        return ""


def _connect(server: Server) -> Any:
    """A session of dicomweb-client that gives files as bytes: it would parse them, and written again they would be
    other bytes.
    """
    try:
        import requests
        from dicomweb_client import DICOMwebClient

        from m3search.indexer.archives.pace import Adapter
    except ModuleNotFoundError:
        raise MissingExtra("a PACS needs dicomweb-client: pip install 'm3search[pacs]'") from None
    for name in ("dicomweb_client.web", "dicomweb_client.session_utils"):
        logging.getLogger(name).disabled = True  # it logs addresses, which hold UIDs

    class Web(DICOMwebClient):
        def _http_get_multipart_application_dicom(  # type: ignore[override]
            self, url: str, media_types: Any = None, params: Any = None, stream: bool = True
        ) -> Iterator[bytes]:
            del media_types, stream  # as stored, and never whole in memory
            response = self._http_get(url, params=params, headers={"Accept": AS_STORED}, stream=True)
            if response.headers.get("Content-Type", "").startswith("application/dicom"):  # one file, not wrapped
                return iter([response.content])
            files: Iterator[bytes] = self._decode_multipart_message(response, stream=True)
            return files

    session = requests.Session()
    session.auth = _auth(server)
    ca_file = server.ca_file or os.environ.get(CA_FILE)
    if ca_file:
        _check_certificates(Path(ca_file))
    for scheme in ("http://", "https://"):
        session.mount(scheme, Adapter(ca_file))
    web = Web(server.url, session=session, permissive_uid=True, timeout=TIMEOUT_S)
    web.set_http_retry_params(retry=False)  # it does not know broken connections from other defects
    return web


def _check_certificates(file: Path) -> None:
    """Refuse what holds no certificates: requests would name its own path and OpenSSL's words for it."""
    try:
        ssl.create_default_context(cafile=file)
    except (OSError, ValueError):  # SSLError is an OSError
        raise UsageError(f"there is no file of PEM certificates at {file}") from None


def _auth(server: Server) -> Any:
    """What requests authenticates with; None leaves it to netrc."""
    from requests.auth import AuthBase, HTTPBasicAuth

    class Bearer(AuthBase):
        def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
            request.headers["Authorization"] = f"Bearer {_token(server)}"  # read each time: tokens are renewed
            return request

    if _token(server):
        return Bearer()
    if user := os.environ.get(USER):
        return HTTPBasicAuth(user.encode(), os.environ.get(PASSWORD, "").encode())
    return None


def _token(server: Server) -> str:
    file = server.token_file or os.environ.get(TOKEN_FILE)
    if not file:
        return os.environ.get(TOKEN, "")
    try:
        return Path(file).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        raise UsageError(f"there is no readable token in {file}") from None


def _value(row: Mapping[str, Any], tag: str) -> Any:
    """The first value of an attribute in DICOM JSON (PS3.18 F.2); None where there is none."""
    attribute = row.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    return values[0] if isinstance(values, list) and values else None


def _uid(row: Mapping[str, Any], tag: str) -> str:
    """A UID that may be part of a path; "" for anything else."""
    value = str(_value(row, tag) or "").strip()
    return value if UID.fullmatch(value) else ""


def _number(value: Any) -> int | None:
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() else None


def _seconds(stated: str | None) -> float:
    """Of a Retry-After header; its other form, a date, counts as nothing."""
    return float(stated) if stated and stated.isascii() and stated.isdigit() else 0.0
