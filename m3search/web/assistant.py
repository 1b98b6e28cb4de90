"""The index for assistants: a server of the Model Context Protocol on standard input and output.

An assistant may do what the account that starts it may do, and nothing is done that is not in the audit log. What it is
answered leaves this machine if the assistant's model runs elsewhere: that is for whoever connects them to know.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from mcp.server import MCPServer
from mcp.server.mcpserver import Image
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from m3search import __version__
from m3search.errors import M3SearchError
from m3search.search import Engine
from m3search.web import asking, shapes, stored
from m3search.web.errors import ApiError, of_library
from m3search.web.live import Live

R = TypeVar("R")

MOST = 50  # hits of one call: an assistant reads every one of them
ABOUT = (
    "Searches an archive of chest X-rays, CTs, fundus photographs, ECGs and pathology slides by similarity. A research "
    "tool, not a medical device: rankings are similarity, not findings. Texts and pictures may concern patients."
)
FILTERS = (
    "An expression over modality, format, text, labels, sex (F, M, O), age_band ('60-69'), body_part, view, "
    "laterality, year: sex = 'F' and year >= 2015 and labels contains 'Cardiomegaly'."
)
Id = Annotated[shapes.ItemId, Field(description="item_id of a hit: 32 hexadecimal digits.")]
Ids = Annotated[list[shapes.ItemId], Field(max_length=shapes.MOST_PARTS)]
Few = Annotated[int, Field(ge=0, le=20)]


def assistant(live: Live) -> MCPServer[Any]:
    """The server; `run()` serves until its input ends."""
    server: MCPServer[Any] = MCPServer("m3search", instructions=ABOUT, version=__version__, log_level="WARNING")

    @server.tool()
    async def search(
        text: Annotated[str | None, Field(max_length=10_000, description="A finding; denials are understood.")] = None,
        items: Ids = [],  # noqa: B006 - read only
        like: Ids = [],  # noqa: B006
        unlike: Ids = [],  # noqa: B006
        modality: list[shapes.ModalityName] = [],  # noqa: B006
        filters: Annotated[str | None, Field(max_length=4000, description=FILTERS)] = None,
        limit: Annotated[int, Field(ge=1, le=MOST)] = 10,
    ) -> dict[str, Any]:
        """Find items by words, by stored items, or by both, nearest first."""
        asked = {"text": text, "items": items, "like": like, "unlike": unlike, "modality": modality, "filters": filters}
        body = shapes.Search.model_validate(asked | {"limit": limit})
        return await _done(live, _search, body)

    @server.tool()
    async def item(item_id: Id) -> dict[str, Any]:
        """All that is stored of one item: text, labels, tags, and how its bytes became a vector."""
        return await _done(live, stored.item, item_id)

    @server.tool()
    async def picture(item_id: Id) -> Image:
        """The thumbnail of one item, at most 256 pixels (an ECG's 512)."""
        content = await _done(live, stored.thumbnail, item_id)
        return Image(data=content, format="png" if content.startswith(b"\x89PNG") else "jpeg")

    @server.tool()
    async def neighbours(item_id: Id, within: Few = 6, across: Few = 3) -> dict[str, Any]:
        """What is nearest to an item in its own modality, and in each other modality."""
        return await _done(live, stored.neighbours, item_id, within, across)

    return server


def _search(engine: Engine, body: shapes.Search) -> dict[str, Any]:
    found, about = asking.ask(engine, body, [], MOST)
    return about | {"hits": asking.hits_of(engine, found.hits)}


async def _done(live: Live, call: Callable[..., R], *arguments: Any) -> R:
    """The call's result, or its error in words an assistant can act on."""
    try:
        return await live.run(lambda: call(live.engine, *arguments))
    except ApiError as error:
        raise ToolError(_words(error)) from None
    except M3SearchError as error:
        raise ToolError(_words(of_library(error))) from None


def _words(error: ApiError) -> str:
    remedy = error.body["remedy"]
    return f"{error.body['message']}; {remedy}" if remedy else str(error.body["message"])
