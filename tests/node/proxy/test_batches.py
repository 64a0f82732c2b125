"""Batches before servers behind a command: each message judged, each call answered."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import httpx
import pytest
import trio

from enforcement.defend.policy import Policy
from node.proxy.batches import Batches
from node.proxy.provider import MeshProvider
from tests.support.proxies import (
    ECHO,
    TOKEN,
    Pipes,
    desk_of,
    echo_config,
    found,
    guard,
    site,
)

PATHS = pytest.mark.parametrize("path", ["gate", "mesh"])
OLD, NEW = "2025-03-26", "2025-11-25"
RULES = """
permit(principal, action, resource);
@id("no-forbidden")
forbid(principal, action == Action::"tools/call", resource)
when { resource.name == "forbidden" };
"""
POLICY = Policy.load({"rules.cedar": RULES})


def call(key: object, tool: str = "echo") -> dict[str, object]:
    params = {"name": tool, "arguments": {}, "_meta": {"progressToken": "t"}}
    return {"jsonrpc": "2.0", "id": key, "method": "tools/call", "params": params}


def opening(revision: str) -> dict[str, object]:
    about = {"name": "a", "version": "1"}
    params = {"protocolVersion": revision, "capabilities": {}, "clientInfo": about}
    return {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}


@attrs.frozen
class Posting:
    """A client at a server's address."""

    http: httpx.AsyncClient
    url: str

    async def __call__(self, *, json: object, accept: str = "*/*") -> httpx.Response:
        return await self.http.post(self.url, json=json, headers={"accept": accept})


@asynccontextmanager
async def opened(path: str, revision: str) -> AsyncIterator[Posting]:
    """A client in a session with a server here or on another node."""
    roster, places = found("branch", "vault")
    servers = {"vault-db": echo_config("vault-db")}
    vault = desk_of(places["vault"], roster, servers=servers)
    guard(vault, places["vault"], POLICY)
    async with trio.open_nursery() as nursery:
        desk = vault
        if path == "mesh":
            pipes = Pipes(nursery, MeshProvider(vault), places["branch"].node)
            desk = desk_of(places["branch"], roster, links=pipes)
            guard(desk, places["branch"], POLICY)
        headers = {"authorization": f"Bearer {TOKEN}"}
        async with (
            site(desk, "vault-db") as place,
            httpx.AsyncClient(headers=headers, trust_env=False, timeout=20) as http,
        ):
            post = Posting(http, place.url)
            answer = await post(json=opening(revision))
            http.headers["mcp-session-id"] = answer.headers["mcp-session-id"]
            yield post
        nursery.cancel_scope.cancel()


@PATHS
async def test_each_message_of_a_batch_is_judged_and_one_array_answers(
    path: str,
) -> None:
    note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    async with opened(path, OLD) as post:
        batch = [note, call(1), call("two", "forbidden"), call(3)]
        answer = await post(json=batch)
        assert answer.status_code == 200
        told = {each["id"]: each for each in answer.json()}
        assert {*told} == {1, "two", 3}
        assert told["two"]["error"]["data"]["picket"]["rule"] == "no-forbidden"
        assert "result" in told[1]
        assert "result" in told[3]
        assert (await post(json=[note])).status_code == 202


@PATHS
async def test_what_a_server_says_meanwhile_comes_as_events_and_so_do_the_answers(
    path: str,
) -> None:
    accept = "application/json, text/event-stream"
    async with opened(path, OLD) as post:
        batch = [call(1, "progress"), call(2)]
        answer = await post(json=batch, accept=accept)
        lines = [x for x in answer.text.splitlines() if x.startswith("data:")]
        said = [json.loads(line.removeprefix("data:")) for line in lines]
        assert said[0]["method"] == "notifications/progress"
        assert {each["id"] for each in said[1:]} == {1, 2}


@PATHS
async def test_a_batch_with_one_id_twice_is_refused_whole(path: str) -> None:
    async with opened(path, OLD) as post:
        assert (await post(json=[call(1), call(1)])).status_code == 400
        assert (await post(json=[call(1)])).status_code == 200


async def test_a_message_nobody_can_read_is_answered_and_holds_nobody_up() -> None:
    async with opened("gate", OLD) as post:
        answer = await post(json=[call("x" * 300), call(2)])
        assert sorted(str(each["id"]) for each in answer.json()) == ["2", "None"]


@PATHS
async def test_other_revisions_have_no_batches(path: str) -> None:
    async with opened(path, NEW) as post:
        refused = await post(json=[call(1)])
        assert refused.status_code == 400
        assert "error" in refused.json()


@pytest.mark.parametrize(("revision", "answers"), [(OLD, [1, 2, 3]), (NEW, [None])])
async def test_a_wrap_takes_batches_apart_too(
    revision: str, answers: list[int | None]
) -> None:
    command = (sys.executable, "-m", "node.cli.main", "wrap", "--standalone")
    process = await trio.lowlevel.open_process(
        [*command, "-c", "/nonexistent", "--", *ECHO],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[3],
    )
    assert process.stdin is not None
    assert process.stdout is not None
    heard: list[object] = []
    async with process.stdin, process.stdout:
        with trio.fail_after(20):
            rest = b""
            said = (opening(revision), [call(1), call(2), call(3)])
            for message, wanted in zip(said, (1, len(answers)), strict=True):
                await process.stdin.send_all(json.dumps(message).encode() + b"\n")
                while rest.count(b"\n") < wanted:
                    rest += await process.stdout.receive_some()
                heard = [json.loads(line)["id"] for line in rest.splitlines()]
                rest = b""
            await process.stdin.aclose()
            await process.wait()
    assert heard == answers


def test_only_a_server_names_the_revision_and_only_once() -> None:
    batches = Batches()
    assert batches.part(b"[1]") == []
    batches.hear(b'{"result":{"protocolVersion":"2025-03-26"}}')
    batches.hear(b'{"result":{"protocolVersion":"2025-11-25"}}')
    assert batches.part(b' [1, {"a":2}]') == [b"1", b'{"a":2}']
    assert batches.part(b"[]") == []
    assert batches.part(b"[1") == []
    assert batches.part(b"{}") == []
