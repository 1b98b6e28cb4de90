"""An assistant's tools: the same answers, the same errors, the same audit."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from m3search.stores import audit
from m3search.stores.folder import IndexFolder
from m3search.web.assistant import assistant
from m3search.web.live import Live

mcp = pytest.importorskip("mcp")


@pytest.fixture(scope="module")
def ask(served):
    """ask(tool, **arguments) -> result of a call over the protocol, in process."""
    live = Live(served, 1)
    server = assistant(live)

    def ask(tool: str, **arguments: Any) -> Any:
        async def call() -> Any:
            async with mcp.Client(server) as client:
                return await client.call_tool(tool, arguments)

        return asyncio.run(call())

    yield ask
    live.close()


def _json(result):
    assert not result.is_error, result.content
    return json.loads(result.content[0].text)


def test_tools_are_described(served):
    live = Live(served, 1)

    async def list_tools():
        async with mcp.Client(assistant(live)) as client:
            return (await client.list_tools()).tools

    tools = {tool.name: tool for tool in asyncio.run(list_tools())}
    live.close()
    assert set(tools) == {"search", "item", "picture", "neighbours"}
    assert all(tool.description for tool in tools.values())


def test_answers_are_those_of_the_api(ask, api):
    body = {"text": "pleural effusion", "modality": ["xray"], "limit": 2}
    found, same = _json(ask("search", **body)), api.post("/v1/search", json=body).json()
    assert found | {"took_ms": 0} == same | {"took_ms": 0}
    item_id = found["hits"][0]["item_id"]
    assert _json(ask("item", item_id=item_id)) == api.get(f"/v1/items/{item_id}").json()
    near = api.get(f"/v1/items/{item_id}/neighbours?within=1&across=1").json()
    assert _json(ask("neighbours", item_id=item_id, within=1, across=1)) == near
    picture = ask("picture", item_id=item_id).content[0]
    assert picture.mime_type == "image/jpeg"
    assert base64.b64decode(picture.data) == api.get(f"/v1/items/{item_id}/thumbnail").content


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("search", {}, "a query is one of"),
        ("search", {"text": "x", "filters": "sex ="}, "expected"),
        ("search", {"text": "x", "limit": 51}, "limit"),
        ("item", {"item_id": "0" * 32}, "no such item"),
        ("item", {"item_id": "../../etc/passwd"}, "pattern"),
    ],
)
def test_errors_say_what_to_do(ask, tool, arguments, words):
    result = ask(tool, **arguments)
    assert result.is_error
    assert words in result.content[0].text


def test_what_an_assistant_does_is_logged(ask, served):
    _json(ask("search", text="asked by an assistant", limit=1))
    entries = list(audit.read(IndexFolder.open(served), audit.Asked(what="asked by an assistant")))
    assert [(entry.action, entry.count) for entry in entries] == [("search", 1)]
