"""FastMCP's converter as the oracle: the same tools, and the same requests from them.

It needs the environment that `make bench-rivals` makes; without it this is skipped.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from enforcement.defend.openapi import read_api_untrusted
from enforcement.mcp.strictjson import Json, read_json_untrusted

ORACLE = Path(sys.prefix) / "bench" / "fastmcp" / "bin" / "python"
PROGRAM = """
import asyncio, json, sys
import httpx2 as httpx
from fastmcp import Client, FastMCP

asked = []

def answer(request):
    path, body = request.url.raw_path.decode(), request.content.decode()
    body = json.loads(body) if body else None
    asked.append([request.method, path, body, request.headers.get("x-trace")])
    return httpx.Response(200, json={"ok": True})

async def main():
    given = json.load(sys.stdin)
    http = httpx.AsyncClient(
        transport=httpx.MockTransport(answer), base_url="http://api.invalid"
    )
    server, tools = FastMCP.from_openapi(given["document"], client=http), {}
    async with Client(server) as client:
        for tool in await client.list_tools():
            schema = tool.input_schema
            names = sorted(schema.get("properties", {}))
            tools[tool.name] = [names, sorted(schema.get("required", []))]
        for name, arguments in given["calls"]:
            await client.call_tool(name, arguments)
    print(json.dumps({"tools": tools, "asked": asked}))

asyncio.run(main())
"""

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not ORACLE.exists(), reason="`make bench-rivals` was not run"),
]


def parameter(name: str, place: str, kind: str = "string", **more: Json) -> Json:
    schema: Json = {"type": kind}
    if kind == "array":
        schema = {"type": kind, "items": {"type": "string"}}
    return {"name": name, "in": place, "schema": schema, **more}


def operation(name: str, *parameters: Json, body: Json = None) -> Json:
    made: dict[str, Json] = {
        "operationId": name,
        "parameters": [*parameters],
        "responses": {"200": {"description": "fine"}},
    }
    if body is not None:
        content: Json = {"application/json": {"schema": body}}
        made["requestBody"] = {"required": True, "content": content}
    return made


ID = parameter("id", "path", required=True)
PET: Json = {"$ref": "#/components/schemas/Pet"}
ORDER: Json = {
    "type": "object",
    "properties": {"id": {"type": "integer"}, "n": {"type": "integer"}},
    "required": ["n"],
}
DOCUMENT: Json = {
    "openapi": "3.1.0",
    "info": {"title": "pets", "version": "1"},
    "paths": {
        "/pets/{id}": {
            "get": operation(
                "get_pet",
                ID,
                parameter("q", "query"),
                parameter("tag", "query", "array"),
                parameter("flat", "query", "array", explode=False),
                parameter("n", "query", "integer"),
            ),
            "put": operation("put_pet", ID, parameter("X-Trace", "header"), body=PET),
        },
        "/orders/{id}": {"post": operation("order", ID, body=ORDER)},
        "/list": {
            "post": operation(
                "bulk", body={"type": "array", "items": {"type": "integer"}}
            )
        },
    },
    "components": {
        "schemas": {
            "Pet": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "young": {"type": "array", "items": PET},
                },
                "required": ["name"],
            }
        }
    },
}
CALLS: list[tuple[str, Json]] = [
    ("get_pet", {"id": "7", "q": "a&b c=d"}),
    ("get_pet", {"id": "a/b?c#d", "tag": ["x", "y z"], "n": 3}),
    ("get_pet", {"id": "%2f", "flat": ["x", "y"]}),
    ("put_pet", {"id": "1", "name": "n", "young": [{"name": "m"}], "X-Trace": "t"}),
    ("order", {"id__path": "p", "id": 3, "n": 1}),
    ("bulk", {"body": [1, 2]}),
]


def test_tools_and_requests_are_those_of_the_oracle() -> None:
    given = json.dumps({"document": DOCUMENT, "calls": CALLS})
    run = subprocess.run(
        [ORACLE, "-c", PROGRAM],
        input=given,
        capture_output=True,
        text=True,
        check=True,
        timeout=90,
    )
    theirs = json.loads(run.stdout)
    operations = {o.name: o for o in read_api_untrusted(DOCUMENT)}
    tools: dict[str, object] = {}
    for name, made in operations.items():
        schema = cast("dict[str, dict[str, str]]", made.tool["inputSchema"])
        tools[name] = [sorted(schema["properties"]), sorted(schema["required"])]
    assert tools == theirs["tools"]
    asked: list[object] = []
    for name, arguments in CALLS:
        call = operations[name].call(cast("dict[str, Json]", arguments))
        body = read_json_untrusted(call.body, 99) if call.body else None
        asked.append([call.method, call.target, body, call.headers.get("X-Trace")])
    assert asked == theirs["asked"]
