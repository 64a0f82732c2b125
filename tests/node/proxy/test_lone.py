"""The stateless revision before servers behind a command: no session, no mixing."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import trio

from node.proxy import limits
from node.proxy.lone import is_stateless
from node.proxy.provider import MeshProvider
from tests.conformance.rig import OPEN
from tests.support.proxies import (
    OTHER_TOKEN,
    TOKEN,
    Pipes,
    desk_of,
    echo_config,
    found,
    guard,
    site,
)

PATHS = pytest.mark.parametrize("path", ["gate", "mesh"])
VERSION = "2026-07-28"


@asynccontextmanager
async def before(path: str) -> AsyncIterator[str]:
    """A server behind a command, here or on another node; its URL."""
    roster, places = found("branch", "vault")
    vault = desk_of(
        places["vault"], roster, servers={"vault-db": echo_config("vault-db")}
    )
    guard(vault, places["vault"], OPEN, strict=True)
    async with trio.open_nursery() as nursery:
        desk = vault
        if path == "mesh":
            pipes = Pipes(nursery, MeshProvider(vault), places["branch"].node)
            desk = desk_of(places["branch"], roster, links=pipes)
            guard(desk, places["branch"], OPEN, strict=True)
        async with site(desk, "vault-db") as place:
            yield place.url
        nursery.cancel_scope.cancel()


def call(key: int, tool: str, **arguments: object) -> dict[str, object]:
    meta = {"io.modelcontextprotocol/protocolVersion": VERSION, "progressToken": "t"}
    params = {"name": tool, "arguments": arguments, "_meta": meta}
    return {"jsonrpc": "2.0", "id": key, "method": "tools/call", "params": params}


def headers(tool: str = "", token: str = TOKEN, **other: str) -> dict[str, str]:
    named = {"mcp-protocol-version": VERSION, "mcp-method": "tools/call"}
    named["authorization"] = f"Bearer {token}"
    return {**named, **({"mcp-name": tool} if tool else {}), **other}


async def ask(
    http: httpx.AsyncClient, url: str, key: int, tool: str, **arguments: object
) -> httpx.Response:
    return await http.post(
        url, json=call(key, tool, **arguments), headers=headers(tool)
    )


def text(answer: httpx.Response) -> str:
    return str(answer.json()["result"]["content"][0]["text"])


@PATHS
async def test_a_request_needs_no_session_and_children_serve_again(path: str) -> None:
    async with before(path) as url, httpx.AsyncClient(trust_env=False) as http:
        first, second = [text(await ask(http, url, 1, "pid")) for _ in range(2)]
        assert first == second


@PATHS
async def test_requests_at_once_have_children_of_their_own(path: str) -> None:
    async with before(path) as url, httpx.AsyncClient(trust_env=False) as http:
        pids: set[str] = set()

        async def slow() -> None:
            pids.add(text(await ask(http, url, 1, "sleep", seconds=0.3)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(slow)
            pids.add(text(await ask(http, url, 1, "pid")))
        assert len(pids) == 2


@PATHS
async def test_what_a_server_says_meanwhile_goes_to_who_asked(path: str) -> None:
    asked = call(7, "progress")
    async with before(path) as url, httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(url, json=asked, headers=headers("progress"))
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.text.splitlines() if line.startswith("data:")]
        said = [json.loads(line.removeprefix("data:")) for line in lines]
        assert [m.get("method", m.get("id")) for m in said] == [
            "notifications/progress",
            7,
        ]


# httpx leaves its generators of lines to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@PATHS
async def test_who_listens_hears_what_a_call_of_the_same_agent_changes(
    path: str,
) -> None:
    told = headers(**{"mcp-method": "subscriptions/listen"})
    asked = {**call(7, "x"), "method": "subscriptions/listen"}
    async with (
        before(path) as url,
        httpx.AsyncClient(trust_env=False, timeout=20) as http,
    ):
        async with http.stream("POST", url, json=asked, headers=told) as stream:
            lines = stream.aiter_lines()

            async def heard() -> str:
                async for line in lines:
                    if line.startswith("data:"):
                        return str(json.loads(line.removeprefix("data:"))["method"])
                return "the end"

            assert await heard() == "notifications/subscriptions/acknowledged"
            pid = text(await ask(http, url, 1, "pid"))
            answer = await ask(http, url, 1, "news")
            assert "tools/list_changed" in answer.text
            assert "prompts/list_changed" not in answer.text
            assert await heard() == "notifications/prompts/list_changed"
            assert text(await ask(http, url, 7, "pid")) != pid, "its id is in use"
            with trio.move_on_after(0.3):
                await ask(http, url, 2, "never")
            assert text(await ask(http, url, 3, "pid")) != pid, "a call is open there"
        with trio.fail_after(10):
            assert text(await ask(http, url, 4, "pid")) != pid, "nobody listens"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@PATHS
async def test_all_who_listen_hear_it_and_may_stop_without_ending_the_child(
    path: str,
) -> None:
    told = headers(**{"mcp-method": "subscriptions/listen"})
    heard: list[tuple[int, str]] = []
    both, changed = trio.Event(), trio.Event()
    async with (
        before(path) as url,
        httpx.AsyncClient(trust_env=False, timeout=20) as http,
    ):

        async def listen(key: int) -> None:
            asked = {**call(key, "x"), "method": "subscriptions/listen"}
            async with http.stream("POST", url, json=asked, headers=told) as stream:
                async for line in stream.aiter_lines():
                    if not line.startswith("data:"):
                        continue
                    said = json.loads(line.removeprefix("data:"))["method"]
                    heard.append((key, said.rpartition("/")[2]))
                    if len(heard) == 2:
                        both.set()
                    if len(heard) == 4:
                        changed.set()

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(listen, 7)
                nursery.start_soon(listen, 8)
                await both.wait()
                pid = text(await ask(http, url, 1, "pid"))
                await ask(http, url, 1, "news")
                await changed.wait()
                nursery.cancel_scope.cancel()
            assert sorted(heard) == [
                (7, "acknowledged"),
                (7, "list_changed"),
                (8, "acknowledged"),
                (8, "list_changed"),
            ]
            seen = {text(await ask(http, url, key, "pid")) for key in (2, 3)}
            assert seen == {pid}
            assert text(await ask(http, url, 7, "pid")) != pid, "its id is spent there"


@PATHS
async def test_who_goes_away_takes_the_child_along(path: str) -> None:
    async with before(path) as url, httpx.AsyncClient(trust_env=False) as http:
        pid = int(text(await ask(http, url, 1, "pid")))
        with trio.move_on_after(0.5):
            await ask(http, url, 2, "never")
        assert int(text(await ask(http, url, 3, "pid"))) != pid


@PATHS
async def test_a_child_that_dies_fails_its_own_call_only(path: str) -> None:
    async with before(path) as url, httpx.AsyncClient(trust_env=False) as http:
        dead = await ask(http, url, 1, "die")
        assert dead.json()["error"]["data"]["picket"]["reason"] == "server"
        assert text(await ask(http, url, 2, "pid"))


@PATHS
@pytest.mark.parametrize(
    ("changed", "status", "code"),
    [
        ({"mcp-name": "other"}, 400, -32020),
        ({"mcp-method": "tools/list"}, 400, -32020),
        ({"mcp-protocol-version": "2027-01-01"}, 400, -32020),
        ({"mcp-name": None}, 400, -32020),
    ],
)
async def test_headers_must_be_there_and_say_what_the_message_says(
    path: str, changed: dict[str, str | None], status: int, code: int
) -> None:
    told = {k: v for k, v in {**headers("pid"), **changed}.items() if v is not None}
    async with before(path) as url, httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(url, json=call(1, "pid"), headers=told)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


@PATHS
async def test_an_unknown_method_is_not_found_and_nothing_else_is_served(
    path: str,
) -> None:
    async with before(path) as url, httpx.AsyncClient(trust_env=False) as http:
        asked = {**call(1, "x"), "method": "server/discover"}
        told = headers(**{"mcp-method": "server/discover"})
        answer = await http.post(url, json=asked, headers=told)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, -32601)
        for method in ("GET", "DELETE"):
            refused = await http.request(method, url, headers=told)
            assert refused.status_code == 405


@PATHS
@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ({"method": "initialize", "params": {}}, 404, -32601),
        ({"method": "ping"}, 400, -32602),
        ({"method": "ping", "params": {"_meta": {}}}, 400, -32602),
    ],
)
async def test_no_message_of_another_era_reaches_a_child(
    path: str, asked: dict[str, object], status: int, code: int
) -> None:
    async with before(path) as url, httpx.AsyncClient(trust_env=False) as http:
        told = headers(**{"mcp-method": str(asked["method"])})
        message = {"jsonrpc": "2.0", "id": 1, **asked}
        answer = await http.post(url, json=message, headers=told)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_an_agent_has_no_more_than_its_share_of_children(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "LONE_CHILDREN_MAX", 1)
    refused: list[str] = []
    async with (
        before("gate") as url,
        httpx.AsyncClient(trust_env=False) as http,
        trio.open_nursery() as nursery,
    ):

        async def hang(key: int) -> None:
            answer = await ask(http, url, key, "never")
            refused.append(answer.json()["error"]["message"])
            nursery.cancel_scope.cancel()

        for key in (1, 2):
            nursery.start_soon(hang, key)
    assert refused == ["too many requests of this agent wait for this server"]


async def test_all_agents_together_have_so_many_children_and_rest_makes_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "LONE_CHILDREN_IN_ALL_MAX", 1)
    roster, places = found("vault")
    servers = {name: echo_config(name) for name in ("vault-db", "other")}
    vault = desk_of(places["vault"], roster, servers=servers)
    guard(vault, places["vault"], OPEN, strict=True)
    async with (
        site(vault, "vault-db") as place,
        httpx.AsyncClient(trust_env=False, timeout=20) as http,
        trio.open_nursery() as nursery,
    ):
        other = place.url.replace("vault-db", "other")
        pids = [text(await ask(http, url, 1, "pid")) for url in (place.url, other) * 2]
        assert len({*pids}) == 4, "each made room for the next"
        refused: list[str] = []

        async def hang(url: str) -> None:
            answer = await ask(http, url, 1, "never")
            refused.append(answer.json()["error"]["message"])
            nursery.cancel_scope.cancel()

        nursery.start_soon(hang, place.url)
        nursery.start_soon(hang, other)
    assert refused == ["too many servers run here; ask again later"]


async def test_a_child_that_rests_for_long_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "LONE_CHILD_REST_S", 0.2)
    async with before("gate") as url, httpx.AsyncClient(trust_env=False) as http:
        pid = text(await ask(http, url, 1, "pid"))
        with trio.fail_after(10):
            while True:
                await trio.sleep(0.5)
                if text(await ask(http, url, 2, "pid")) != pid:
                    return


async def test_another_agents_token_opens_nothing() -> None:
    async with before("gate") as url, httpx.AsyncClient(trust_env=False) as http:
        told = headers("pid", OTHER_TOKEN)
        assert (
            await http.post(url, json=call(1, "pid"), headers=told)
        ).status_code == 401


def test_only_who_says_so_needs_no_session() -> None:
    assert is_stateless({"mcp-protocol-version": VERSION})
    assert is_stateless({"mcp-method": "tools/list"})
    assert not is_stateless({"mcp-protocol-version": "2025-11-25"})
    assert not is_stateless({"mcp-session-id": "x", "mcp-method": "tools/list"})
    assert not is_stateless({})
