"""`picket openapi` as its client meets it: over stdio, before a real HTTP server."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from gossip.errors import UserError
from node.openapi import (
    ApiServer,
    find_base,
    read_credentials,
    read_document,
    read_operations,
    serve_stdio,
)

DOCUMENT = {
    "openapi": "3.0.3",
    "servers": [{"url": "http://127.0.0.1:1/v1"}],
    "security": [{"key": []}],
    "components": {
        "securitySchemes": {
            "key": {"type": "apiKey", "in": "header", "name": "X-Key"},
            "bearer": {"type": "http", "scheme": "bearer"},
        }
    },
    "paths": {
        "/sales/{shop}": {
            "get": {
                "operationId": "sales",
                "parameters": [
                    {
                        "name": "shop",
                        "in": "path",
                        "required": True,
                        "schema": {"type": "string"},
                    }
                ],
                "responses": {
                    "200": {
                        "content": {
                            "application/json": {
                                "schema": {"type": "array", "items": {"type": "number"}}
                            }
                        }
                    }
                },
            }
        }
    },
}


IN_YAML = """
openapi: 3.0.3
servers:
- url: http://127.0.0.1:1/v1
security: [{key: []}]
components:
  securitySchemes:
    key: {type: apiKey, in: header, name: X-Key}
    bearer:
      type: http
      scheme: bearer
paths:
  /sales/{shop}:
    get:
      operationId: sales
      parameters:
        - name: shop
          in: path
          required: true
          schema: {type: string}
      responses:
        '200':
          content:
            application/json:
              schema:
                type: array
                items:
                  type: number
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    file = tmp_path / "api.json"
    file.write_text(json.dumps(DOCUMENT))
    return file


class Api:
    """An HTTP server that notes what it is asked and answers what it is told."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.reply = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n[1.50,2]"

    async def handle(self, stream: trio.SocketStream) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            piece = await stream.receive_some()
            if not piece:
                return
            head += piece
        self.asked.append(head)
        await stream.send_all(self.reply)
        await stream.aclose()


class Client:
    """The MCP client's ends of the pipes."""

    def __init__(
        self, sink: trio.lowlevel.FdStream, source: trio.lowlevel.FdStream
    ) -> None:
        self.sink, self.source, self.rest = sink, source, b""

    async def ask(
        self, method: str, key: int = 1, **params: object
    ) -> dict[str, object]:
        asked = {"jsonrpc": "2.0", "id": key, "method": method, "params": params}
        await self.sink.send_all(json.dumps(asked).encode() + b"\n")
        while b"\n" not in self.rest:
            self.rest += await self.source.receive_some()
        line, _, self.rest = self.rest.partition(b"\n")
        said: dict[str, object] = json.loads(line)
        return said


@asynccontextmanager
async def served(
    spec: Path, api: Api, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Client]:
    monkeypatch.setenv("SALES_KEY", "s3cret")
    document = read_document(spec)
    operations = {o.name: o for o in read_operations(spec, document)}
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    credentials = read_credentials(spec, document, {"key": "SALES_KEY"})
    base = f"http://127.0.0.1:{port}/v1"
    make = partial(ApiServer, "sales", base, operations, credentials)
    to_server, from_client = os.pipe()
    to_client, from_server = os.pipe()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, api.handle, [listener])
        nursery.start_soon(serve_stdio, make, to_server, from_server)
        async with (
            trio.lowlevel.FdStream(from_client) as sink,
            trio.lowlevel.FdStream(to_client) as source,
        ):
            with trio.fail_after(20):
                yield Client(sink, source)
        nursery.cancel_scope.cancel()


async def test_a_call_is_one_request_with_the_credential_and_an_exact_answer(
    spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Api()
    async with served(spec, api, monkeypatch) as client:
        opened = await client.ask("initialize", protocolVersion="2025-06-18")
        listed = await client.ask("tools/list")
        called = await client.ask("tools/call", name="sales", arguments={"shop": "a/b"})
    assert opened["result"]["protocolVersion"] == "2025-06-18"  # type: ignore[index] # JSON
    assert "s3cret" not in json.dumps(listed)
    head = api.asked[0].decode().lower()
    assert head.startswith("get /v1/sales/a%2fb http/1.1")
    assert "x-key: s3cret" in head
    assert '"structuredContent": {"result": [1.5, 2]}' in json.dumps(called)


async def test_what_does_not_fit_the_schema_never_becomes_a_request(
    spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Api()
    async with served(spec, api, monkeypatch) as client:
        for arguments in ({}, {"shop": 7}, {"shop": "a", "more": 1}, {"shop": ".."}):
            said = await client.ask("tools/call", name="sales", arguments=arguments)
            assert "error" in said
        assert "error" in await client.ask("tools/call", name="other", arguments={})
        assert "error" in await client.ask("resources/list")
    assert not api.asked


async def test_a_redirect_is_an_error_and_takes_no_credential_along(
    spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Api()
    api.reply = b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"
    async with served(spec, api, monkeypatch) as client:
        said = await client.ask("tools/call", name="sales", arguments={"shop": "a"})
    assert '"isError": true' in json.dumps(said)
    assert len(api.asked) == 1


async def test_a_server_that_breaks_off_is_told_and_ends_nothing(
    spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Api()
    api.reply = b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n["
    async with served(spec, api, monkeypatch) as client:
        said = await client.ask("tools/call", name="sales", arguments={"shop": "a"})
        assert '"isError": true' in json.dumps(said)
        assert "result" in await client.ask("ping")


def test_mistakes_are_one_sentence_each(spec: Path) -> None:
    document = read_document(spec)
    with pytest.raises(UserError, match="no security scheme `other`"):
        read_credentials(spec, document, {"other": "X"})
    with pytest.raises(UserError, match="is not set"):
        read_credentials(spec, document, {"key": "A_VARIABLE_THAT_NOBODY_SET"})
    with pytest.raises(UserError, match="--base"):
        find_base(spec, {"servers": [{"url": "/relative"}]}, None)
    spec.write_text("openapi: 3.0.0\nopenapi: 3.1.0\n")
    with pytest.raises(UserError, match="line 2: `openapi` stands here twice"):
        read_document(spec)
    spec.write_bytes(b"openapi: \xff")
    with pytest.raises(UserError, match="UTF-8"):
        read_document(spec)


def test_a_document_in_yaml_is_the_same_document(spec: Path) -> None:
    read = read_document(spec)
    spec.write_text(IN_YAML)
    assert read_document(spec) == read


@pytest.fixture
def cookies(spec: Path) -> Path:
    """The document with its key in a cookie, and more parameters."""
    text = json.dumps(DOCUMENT).replace('"in": "header"', '"in": "cookie"')
    listed = [
        {"name": name, "in": place, "schema": {"type": "string"}}
        for name, place in (("lang", "cookie"), ("X-Key", "cookie"), ("q", "query"))
    ]
    shop = '"parameters": ['
    text = text.replace(shop, f"{shop}{json.dumps(listed)[1:-1]}, ")
    spec.write_text(text)
    return spec


async def test_a_cookie_and_a_null_reach_the_server_as_they_should(
    cookies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Api()
    async with served(cookies, api, monkeypatch) as client:
        given = {"shop": "a", "lang": "de", "q": None}
        await client.ask("tools/call", name="sales", arguments=given)
    head = api.asked[0].decode().lower()
    assert head.startswith("get /v1/sales/a http/1.1")
    assert "\r\ncookie: lang=de; x-key=s3cret\r\n" in head
