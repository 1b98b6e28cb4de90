"""Errors in one shape: {"error": {"code", "message", "remedy"}}. None holds what a file said of a person."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.responses import Response

from m3search.errors import (
    FilterError,
    IndexUnwritable,
    M3SearchError,
    MissingExtra,
    NoIndex,
    Reason,
    StoreUnreachable,
    UnreadableFile,
    UsageError,
)

AWAY = "archive-away"
RETRY_S = 1  # what Retry-After says
OF_STATUS = {
    404: ("not-found", "there is nothing here", "the routes are listed at /v1/openapi.json"),
    405: ("method-not-allowed", "this route has no such method", "the routes are listed at /v1/openapi.json"),
    406: ("not-acceptable", "this route cannot answer so", ""),
    415: ("wrong-media-type", "this route takes another media type", ""),
}
GONE = (Reason.VANISHED, Reason.MISSING_FILE, Reason.UNREACHABLE, Reason.PERMISSION)


class ApiError(Exception):
    """An error with the status it is answered with."""

    def __init__(self, status: int, code: str, message: str, remedy: str = "", **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"code": code, "message": message, "remedy": remedy, **more}

    @property
    def response(self) -> Response:
        """As it is sent."""
        headers = {"retry-after": str(RETRY_S)} if self.status in (429, 503) else {}
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        return Response(orjson.dumps({"error": self.body}), self.status, headers, "application/json")

    @classmethod
    def of_status(cls, status: int) -> ApiError:
        """What the framework raises by number alone."""
        code, message, remedy = OF_STATUS.get(status, ("invalid-request", "the request cannot be understood", ""))
        return cls(status, code, message, remedy)


def no_such_item() -> ApiError:
    return ApiError(404, "no-such-item", "the index has no such item", "it may have been deleted: search anew")


def no_such_upload() -> ApiError:
    return ApiError(404, "no-such-upload", "this upload is not kept any more", "upload the file again")


def invalid(message: str, remedy: str = "") -> ApiError:
    return ApiError(422, "invalid-request", message, remedy)


def internal() -> ApiError:
    return ApiError(500, "internal", "this is a defect of m3search", "please report it, with what the server printed")


def of_library(error: M3SearchError) -> ApiError:
    """What the library says to a person, for a program."""
    if isinstance(error, UnreadableFile):
        return unreadable(error)
    message, _, remedy = str(error).rpartition("; ")
    message, remedy = (message, remedy) if message else (str(error), "")
    if isinstance(error, FilterError):
        return ApiError(400, "bad-filter", message, remedy)
    if isinstance(error, UsageError):
        return ApiError(400, "usage", message, remedy)
    if isinstance(error, NoIndex | IndexUnwritable):  # their messages name places on this machine
        return ApiError(503, "index-unavailable", "the index cannot be used now", 'see what "m3search verify" says')
    if isinstance(error, StoreUnreachable):
        return store_unreachable()
    if isinstance(error, MissingExtra):
        return ApiError(500, "missing-extra", message, remedy)
    return internal()


def unreadable(error: UnreadableFile) -> ApiError:
    """Of an upload. The file's name stays out: it may name a person."""
    if error.reason in (Reason.TIMEOUT, Reason.INTERNAL):
        return ApiError(
            422, "unreadable-file", "the file could not be read in the time and memory that a file is given",
            "try it with m3search index, which has larger limits", reason=error.reason.value,
        )  # fmt: skip
    message, _, remedy = error.message.rpartition("; ")
    message, remedy = (message, remedy) if message else (error.message, "")
    return ApiError(422, "unreadable-file", message, remedy, reason=error.reason.value)


def unrenderable(error: UnreadableFile) -> ApiError:
    """Of a stored item, whose file was readable once."""
    if error.reason in GONE:
        return archive_away()
    if error.reason is Reason.BURNED_IN:
        return ApiError(
            409, "burned-in-text", "this picture is said to hold text that may name a person",
            "whoever may see it starts the server with --burned-in keep",
        )  # fmt: skip
    if error.reason in (Reason.UNSUPPORTED, Reason.TOO_LARGE):
        message, _, remedy = error.message.rpartition("; ")
        message, remedy = (message, remedy) if message else (error.message, "")
        return ApiError(409, "no-rendering", f"this item cannot be shown so: {message}", remedy)
    if error.reason is Reason.NO_SPACE:
        return ApiError(507, "no-space", "no space is left for the copy of the item's file that is shown", "free some")
    if error.reason in (Reason.TIMEOUT, Reason.MEMORY):
        return ApiError(504, "timed-out", "drawing this took more time or memory than one picture is given", "")
    return ApiError(
        409, "file-changed", f"the item's file cannot be read any more ({error.reason.value})",
        "run m3search index on its archive",
    )  # fmt: skip


def store_unreachable() -> ApiError:
    return ApiError(
        503, "store-unreachable", "what holds the index is of another machine, and does not answer or refuses",
        "try again when it is back; what it asks for is to be in the environment of m3search serve",
    )  # fmt: skip


def archive_away() -> ApiError:
    return ApiError(
        409, AWAY, "the item's file is not in its archive now",
        "mount the archive where it was indexed, or run m3search index on it",
    )  # fmt: skip


def archive_unreachable() -> ApiError:
    return ApiError(
        502, "archive-unreachable", "the PACS or the storage that holds this item does not answer, or refuses",
        "try again when it is back; what it asks for (M3SEARCH_PACS_TOKEN, keys of a bucket) is to be in the "
        "environment of m3search serve",
    )  # fmt: skip


def file_changed() -> ApiError:
    return ApiError(
        409, "file-changed", "the item's file has changed since it was indexed", "run m3search index on its archive"
    )
