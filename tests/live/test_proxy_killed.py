"""A listener killed in mid-call, and one with a thousand streams: real processes."""

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

from node.proxy.httpd import Exchange, listen_on, serve_http
from tests.bench.streams import measure

pytestmark = pytest.mark.live

ROOT = Path(__file__).parents[2]
ACCEPT = "application/json, text/event-stream"
CALL = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "pay", "arguments": {}},
}


@attrs.define
class Slow:
    """A server that takes a call and does not answer."""

    calls: list[Exchange] = attrs.field(factory=list)
    taken: trio.Event = attrs.field(factory=trio.Event)

    async def handle(self, exchange: Exchange) -> None:
        if json.loads(exchange.request.body)["method"] == "tools/call":
            self.calls.append(exchange)
            self.taken.set()
        else:
            await exchange.answer(202)


@asynccontextmanager
async def rig(port: int) -> AsyncIterator[tuple[trio.Process, dict[str, str]]]:
    """Listeners before a server, in a process of their own."""
    command = [sys.executable, "-m", "tests.conformance.rig"]
    process = await trio.lowlevel.open_process(
        [*command, f"http://127.0.0.1:{port}/mcp"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        with trio.fail_after(60):
            line = await process.stdout.receive_some(4_096)
        yield process, json.loads(line)
    finally:
        process.kill()
        await process.wait()
        await process.stdin.aclose()
        await process.stdout.aclose()


@pytest.mark.parametrize("path", ["gate", "mesh"])
async def test_a_call_whose_guard_is_killed_is_made_once_and_fails(path: str) -> None:
    sock, server, faults = listen_on("127.0.0.1", 0), Slow(), list[BaseException]()
    port = sock.getsockname()[1]
    outcome: list[str] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_http, sock, server.handle, faults.append)
        async with rig(port) as (process, urls):

            async def call() -> None:
                async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
                    try:
                        await http.post(
                            urls[path], json=CALL, headers={"accept": ACCEPT}
                        )
                    except httpx.TransportError as broken:
                        outcome.append(type(broken).__name__)

            with trio.fail_after(60):
                async with trio.open_nursery() as calls:
                    calls.start_soon(call)
                    await server.taken.wait()
                    process.kill()
                await server.calls[0].done.wait()
        nursery.cancel_scope.cancel()
    assert faults == []
    assert len(server.calls) == 1
    assert server.calls[0].gone
    assert len(outcome) == 1


async def test_a_thousand_streams_fit_into_200_mb_and_each_hears() -> None:
    figures = await measure(1_000)
    assert figures["resident_mb"] <= 200
