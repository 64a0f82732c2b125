"""Pins, schemas, tags and proofs with real sockets: HTTP of both eras, stdio, mesh."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import httpx
import pytest
import trio

from enforcement.defend.policy import Policy
from node.config import ServerConfig
from node.proxy.httpd import Exchange, listen_on, serve_http
from node.proxy.provider import MeshProvider
from tests.support.proxies import TOKEN, Pipes, desk_of, echo_config, found, guard, site

POLICY = Policy.load(
    {
        "p.cedar": """permit(principal, action, resource);
@id("listed") forbid(principal, action == Action::"tools/call", resource)
unless { context.listed };
forbid(principal, action == Action::"reveal", resource == Tag::"phi");
"""
    }
)
PATHS = pytest.mark.parametrize("path", ["gate", "mesh"])
NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}}
RECORD = {"type": "object", "properties": {"ssn": {"type": "string", "x-tags": "phi"}}}
PAGES = [
    [{"name": "count", "inputSchema": NUMBER}],
    [{"name": "record", "inputSchema": {"type": "object"}, "outputSchema": RECORD}],
]


@attrs.define
class Server:
    """Lists its tools on two pages, in JSON or in events, and notes its calls."""

    in_events: bool
    calls: list[str] = attrs.field(factory=list)
    lists: int = 0

    async def handle(self, exchange: Exchange) -> None:
        if exchange.request.method != "POST":
            await exchange.answer(405)
            return
        said = json.loads(exchange.request.body)
        params = said.get("params", {})
        result: dict[str, object] = {}
        if said["method"] == "tools/list":
            self.lists += 1
            page = int(params.get("cursor", 0))
            assert exchange.request.headers.get("mcp-name") is None
            result["tools"] = PAGES[page]
            if page + 1 < len(PAGES):
                result["nextCursor"] = str(page + 1)
        elif said["method"] == "tools/call":
            self.calls.append(params["name"])
            result["structuredContent"] = {"ssn": "123-45"}
        answer = {"jsonrpc": "2.0", "id": said["id"], "result": result}
        data = json.dumps(answer).encode()
        if self.in_events:
            await exchange.start_events()
            await exchange.event(data)
            await exchange.end_events()
        else:
            await exchange.answer(200, data)


@asynccontextmanager
async def before(
    path: str, in_events: bool = False
) -> AsyncIterator[tuple[Server, str, httpx.AsyncClient]]:
    sock, server = listen_on("127.0.0.1", 0), Server(in_events)
    faults: list[BaseException] = []
    url = f"http://127.0.0.1:{sock.getsockname()[1]}/mcp"
    config = ServerConfig(name="vault-db", url=url)
    roster, places = found("branch", "vault")
    vault = desk_of(places["vault"], roster, servers={"vault-db": config})
    guard(vault, places["vault"], POLICY, strict=True)
    headers = {
        "accept": "application/json, text/event-stream",
        "authorization": f"Bearer {TOKEN}",
    }
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_http, sock, server.handle, faults.append)
        desk = vault
        if path == "mesh":
            pipes = Pipes(nursery, MeshProvider(vault), places["branch"].node)
            desk = desk_of(places["branch"], roster, links=pipes)
            guard(desk, places["branch"], POLICY, strict=True)
        async with (
            site(desk, "vault-db") as place,
            httpx.AsyncClient(headers=headers, timeout=20, trust_env=False) as http,
        ):
            with trio.fail_after(30):
                yield server, place.url, http
        nursery.cancel_scope.cancel()
    assert faults == []


def call(key: int, tool: str, **arguments: object) -> dict[str, object]:
    params = {"name": tool, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": key, "method": "tools/call", "params": params}


def reason(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["data"]["picket"]["reason"])


@PATHS
@pytest.mark.parametrize("in_events", [False, True])
async def test_calls_without_a_listing_are_checked_against_one_the_gate_makes(
    path: str, in_events: bool
) -> None:
    async with before(path, in_events) as (server, url, http):
        assert reason(await http.post(url, json=call(1, "hidden"))) == "rule"
        assert reason(await http.post(url, json=call(2, "count", n="x"))) == "schema"
        assert server.calls == []
        answer = await http.post(url, json=call(3, "count", n=3))
        assert "result" in answer.text
        assert server.calls == ["count"]
        lists = server.lists
        await http.post(url, json=call(4, "count", n=3))
        assert server.lists == lists, "what is pinned is not asked again"


@PATHS
async def test_tagged_data_leaves_no_provider_for_who_may_not_see_it(path: str) -> None:
    async with before(path) as (server, url, http):
        answer = await http.post(url, json=call(1, "record"))
        assert server.calls == ["record"]
        assert "123-45" not in answer.text
        assert "redacted: phi" in answer.text


@PATHS
async def test_headers_of_the_call_are_not_those_of_the_gates_own_question(
    path: str,
) -> None:
    headers = {"mcp-method": "tools/call", "mcp-name": "count"}
    async with before(path) as (server, url, http):
        answer = await http.post(url, json=call(1, "count", n=1), headers=headers)
        assert "result" in answer.text
        assert server.calls == ["count"]


async def test_a_stdio_server_far_away_is_asked_before_its_first_call() -> None:
    roster, places = found("branch", "vault")
    vault = desk_of(
        places["vault"], roster, servers={"vault-db": echo_config("vault-db")}
    )
    guard(vault, places["vault"], POLICY, strict=True)
    async with trio.open_nursery() as nursery:
        pipes = Pipes(nursery, MeshProvider(vault), places["branch"].node)
        branch = desk_of(places["branch"], roster, links=pipes)
        guard(branch, places["branch"], POLICY, strict=True)
        (principal,) = branch.agents.values()
        session = await branch.open(nursery, principal, "vault-db")
        answers: list[dict[str, object]] = []
        both = trio.Event()

        async def keep(data: bytes) -> None:
            answers.append(json.loads(data))
            if len(answers) == 2:
                both.set()

        nursery.start_soon(session.pump, keep)
        for key, tool in ((1, "echo"), (2, "pid")):
            data = json.dumps(call(key, tool)).encode()
            assert await session.client_said(data) == []
        with trio.fail_after(20):
            await both.wait()
        by_key = {answer["id"]: answer for answer in answers}
        assert "result" in by_key[1]
        assert "`listed`" in json.dumps(by_key[2]), "it does not list `pid`"
        await branch.close(session)
        nursery.cancel_scope.cancel()
