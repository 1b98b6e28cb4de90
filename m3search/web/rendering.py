"""Items larger than their thumbnails: found in the archive, drawn in a limited process."""

from __future__ import annotations

import json
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from m3search.errors import UnreadableFile
from m3search.modalities import views
from m3search.stores import audit
from m3search.web import archive
from m3search.web.errors import AWAY, ApiError, archive_away, file_changed, invalid, no_such_item, unrenderable

if TYPE_CHECKING:
    from m3search.modalities.ct import Slice
    from m3search.search import Engine
    from m3search.types import InputSpec, Source
    from m3search.web.fetched import Fetched
    from m3search.web.live import Live
    from m3search.web.settings import Settings
    from m3search.web.workers import Workers

R = TypeVar("R")

REMEMBERED = 256  # items whose files and slices are known
SEEN_S = 60.0  # scrolling through an item is one look at it in the audit log


@dataclass(frozen=True, slots=True)
class _Known:
    """Where an item lies and what can be seen of it."""

    source: Source
    spec: InputSpec
    about: dict[str, Any]
    slices: tuple[Slice, ...]
    stats: dict[Path, tuple[int, int]]  # size and time of each file when it was found as indexed


class Renderings:
    """Draws items of the index."""

    def __init__(self, live: Live, workers: Workers, fetched: Fetched, settings: Settings) -> None:
        self._live = live
        self._fetched = fetched
        self._workers = workers
        self._policy = settings.burned_in
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._seen: dict[str, float] = {}
        self._lock = Lock()

    async def describe(self, item_id: str) -> dict[str, Any]:
        """What can be looked at; raises ApiError."""
        return (await self._find(item_id)).about

    async def image(
        self, item_id: str, place: int | None, window: tuple[float, float] | None, size: int, form: views.ImageFormat
    ) -> bytes:
        """A slice (from 0; None is the middle one), a frame (from 1), or a slide from afar; raises ApiError."""
        known = await self._find(item_id)
        look = views.Look(size, form, self._policy)
        match known.about["kind"]:
            case "ct":
                number = len(known.slices) // 2 if place is None else place
                if not 0 <= number < len(known.slices):
                    raise invalid(f"slice must be from 0 to {len(known.slices) - 1}")
                one = known.slices[number]
                preset = known.about["preset"]
                window = window or (tuple(known.about["presets"][preset]) if preset else None)
                return await self._draw(known, one.path, views.ct_slice, known.source, one, window, look)
            case "picture":
                return await self._draw(
                    known, known.source.files[0], views.picture, known.source, known.spec, place or 1, look
                )
            case "slide":
                return await self._draw(known, known.source.files[0], views.overview, known.source, look)
        raise _no_rendering("an ECG is drawn by /ecg")

    async def region(self, item_id: str, box: views.Box, size: int) -> bytes:
        """A rectangle of a slide; raises ApiError."""
        known = await self._find(item_id)
        if known.about["kind"] != "slide":
            raise _no_rendering("it is no slide")
        look = views.Look(size, "jpeg", self._policy)
        return await self._draw(known, known.source.files[0], views.region, known.source, box, look)

    async def ecg(self, item_id: str, start: float, form: Literal["svg", "png", "json"]) -> bytes | dict[str, Any]:
        """Ten seconds on paper, or as numbers; raises ApiError."""
        known = await self._find(item_id)
        if known.about["kind"] != "ecg":
            raise _no_rendering("it is no ECG")
        if start >= known.about["seconds"]:
            raise invalid(f"start must be below {known.about['seconds']:g} s, where the record ends")
        path = known.source.files[0]
        if form == "json":
            return await self._draw(known, path, views.ecg_samples, known.source, start)
        return await self._draw(known, path, views.ecg_paper, known.source, start, form)

    async def _draw(self, known: _Known, path: Path, call: Callable[..., R], *arguments: Any) -> R:
        _check_unchanged(known, path)
        try:
            return await self._workers.run(call, path, *arguments)
        except UnreadableFile as error:
            raise unrenderable(error) from None

    async def _find(self, item_id: str) -> _Known:
        engine = self._live.engine
        known = await self._live.run(self._remembered, engine, item_id)
        if known is None:
            known = await self._look(engine, item_id)
        await self._live.run(self._log, engine, item_id)
        return known

    def _remembered(self, engine: Engine, item_id: str) -> _Known | None:
        """What is known of an item that is still there: it may have been deleted, its files may have moved."""
        if not engine.store.rows([item_id], ["item_id"]).num_rows:
            with self._lock:
                self._known.pop(item_id, None)
            self._fetched.forget(item_id)
            raise no_such_item()
        with self._lock:
            known = self._known.get(item_id)
            if known is not None:
                self._known.move_to_end(item_id)
        if known is None:
            return None
        self._fetched.touch(item_id)
        try:
            _check_unchanged(known, known.source.files[0])
        except ApiError:
            return None
        return known

    async def _look(self, engine: Engine, item_id: str) -> _Known:
        row = await self._live.run(_row, engine, item_id)
        source = await self._source(engine, row)
        spec = engine.encoder.input_of(source.modality)
        if tile_mpp := json.loads(row["provenance"] or "{}").get("tile_mpp"):  # as its tiles were cut
            spec = replace(spec, tile_mpp=tile_mpp)
        try:
            about, slices = await self._workers.run(views.describe, source.files[0], source, spec)
        except UnreadableFile as error:
            raise unrenderable(error) from None
        if about["kind"] in ("ecg", "slide"):
            locators = await self._live.run(_locators, engine, item_id)
            about |= _places(about, locators)
        known = _Known(source, spec, about, slices, {path: _stat(path) for path in source.files})
        with self._lock:
            self._known[item_id] = known
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return known

    async def _source(self, engine: Engine, row: dict[str, Any]) -> Source:
        """Where the item lies on this machine, else copies of what lies elsewhere."""
        try:
            return await self._live.run(archive.source_of, engine.index, row)
        except ApiError as error:
            if error.body["code"] != AWAY:
                raise
        return await self._fetched.source(engine.index, row)

    def _log(self, engine: Engine, item_id: str) -> None:
        now = time.monotonic()
        with self._lock:
            self._seen = {item: when for item, when in self._seen.items() if now - when < SEEN_S}
            if item_id in self._seen:
                return
            self._seen[item_id] = now
        audit.record(engine.index, "show", ("", [item_id]))


def _row(engine: Engine, item_id: str) -> dict[str, Any]:
    rows = engine.store.record.rows([item_id], archive.COLUMNS).to_pylist()
    if not rows:
        raise no_such_item()
    row: dict[str, Any] = rows[0]
    return row


def _locators(engine: Engine, item_id: str) -> list[str]:
    found: list[str] = engine.store.parts_of([item_id])["locator"].to_pylist()
    return found


def _places(about: dict[str, Any], locators: list[str]) -> dict[str, Any]:
    """Where the parts lie that were searched: windows of an ECG, tiles of a slide."""
    if about["kind"] == "slide":
        corners = [name.removeprefix("tile=").split(",") for name in locators if name.startswith("tile=")]
        return {"tiles": [[int(x), int(y)] for x, y in corners]}
    stretches = [name.removeprefix("window=").removesuffix("s").split("-") for name in locators if "window=" in name]
    windows = [{"start": float(start), "seconds": round(float(end) - float(start), 3)} for start, end in stretches]
    return {"windows": windows or [{"start": 0.0, "seconds": about["seconds"]}]}


def _stat(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:
        raise archive_away() from None
    return stat.st_size, stat.st_mtime_ns


def _check_unchanged(known: _Known, path: Path) -> None:
    """The file is the one that was found, and no link has taken its place since."""
    if os.path.realpath(path) != str(path):
        raise archive_away()
    if _stat(path) != known.stats[path]:
        raise file_changed()


def _no_rendering(why: str) -> ApiError:
    return ApiError(409, "no-rendering", f"this item cannot be shown so: {why}", "see /v1/items/{id}/view")
