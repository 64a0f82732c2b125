"""The official SDK's client and published servers, with real gates between."""

import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import httpx2
import pytest
import trio
from mcp import MCPError, StdioServerParameters
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import TextContent

from enforcement.defend.policy import Policy
from enforcement.effects import Audit, Proof, Verdict
from node.birth import starter_policy
from node.config import ServerConfig
from node.proxy.provider import MeshProvider
from tests.support.proxies import TOKEN, FakeSink, Pipes, desk_of, found, guard, site

pytestmark = pytest.mark.live

SERVERS = Path(__file__).parents[2] / ".venv" / "servers"
OPEN = Policy.load({"open.cedar": "permit(principal, action, resource);\n"})
STRICT = Policy.load(starter_policy())
Mode = Literal["legacy", "auto", "2026-07-28"]
STANDALONE = ["-m", "node.cli.main", "wrap", "--standalone", "-c", "/nonexistent"]


def server(name: str, *options: str) -> list[str]:
    """The command of a published server, or skip."""
    program = SERVERS / name / "bin" / f"mcp-server-{name}"
    if not program.exists():
        pytest.skip(f"mcp-server-{name} is not here; `make servers` brings it")
    return [str(program), *options]


@pytest.fixture
def bank(tmp_path: Path) -> ServerConfig:
    """A database server with a few rows."""
    file = tmp_path / "bank.db"
    with sqlite3.connect(file) as db:
        db.execute("create table stock (item text, count int)")
        db.execute("insert into stock values ('coins', 7)")
        db.execute("create table system_config (k text)")
    db.close()
    command = server("sqlite", "--db-path", str(file))
    return ServerConfig(name="vault-db", command=tuple(command))


@asynccontextmanager
async def over_http(url: str, mode: Mode) -> AsyncIterator[Client]:
    headers = {"authorization": f"Bearer {TOKEN}"}
    async with httpx2.AsyncClient(headers=headers, trust_env=False, timeout=30) as http:
        transport = streamable_http_client(url, http_client=http)
        async with Client(transport, mode=mode) as client:
            yield client


async def ask(client: Client, query: str) -> str:
    result = await client.call_tool("read_query", {"query": query})
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


async def check(client: Client) -> None:
    """Ordinary calls pass; a rule of the tutorial policy stops another."""
    tools = {tool.name for tool in (await client.list_tools()).tools}
    assert "read_query" in tools
    assert "coins" in await ask(client, "select * from stock")
    with pytest.raises(MCPError) as denied:
        await ask(client, "select * from SYSTEM_config")
    assert denied.value.error.data["picket"]["rule"] == "retail-no-system-config"
    assert "coins" in await ask(client, "select * from stock")


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_local_server_over_http(bank: ServerConfig, mode: Mode) -> None:
    roster, places = found("vault")
    sink = FakeSink()
    desk = desk_of(places["vault"], roster, servers={"vault-db": bank}, sink=sink)
    guard(desk, places["vault"], STRICT)
    async with (
        site(desk, "vault-db") as place,
        over_http(place.url, mode) as client,
    ):
        await check(client)
    audits = [told for told in sink.heard if isinstance(told, Audit)]
    assert sum(a.verdict is Verdict.DENIED for a in audits) == 1


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_server_on_another_node(bank: ServerConfig, mode: Mode) -> None:
    roster, places = found("branch", "vault")
    vault = desk_of(places["vault"], roster, servers={"vault-db": bank})
    guard(vault, places["vault"], STRICT)
    async with trio.open_nursery() as nursery:
        pipes = Pipes(nursery, MeshProvider(vault), places["branch"].node)
        branch = desk_of(places["branch"], roster, links=pipes)
        guard(branch, places["branch"], STRICT)
        async with (
            site(branch, "vault-db") as place,
            over_http(place.url, mode) as client,
        ):
            await check(client)
        nursery.cancel_scope.cancel()


async def test_a_fallen_egress_hands_the_provider_a_proof(bank: ServerConfig) -> None:
    """The branch's own policy lets it through under the cluster's digest."""
    roster, places = found("branch", "vault")
    sink = FakeSink()
    vault = desk_of(places["vault"], roster, servers={"vault-db": bank}, sink=sink)
    guard(vault, places["vault"], STRICT)
    fallen = Policy(digest=STRICT.digest, rules=OPEN.rules, secret=frozenset())
    async with trio.open_nursery() as nursery:
        pipes = Pipes(nursery, MeshProvider(vault), places["branch"].node)
        branch = desk_of(places["branch"], roster, links=pipes)
        guard(branch, places["branch"], fallen)
        async with (
            site(branch, "vault-db") as place,
            over_http(place.url, "legacy") as client,
        ):
            await check(client)
        nursery.cancel_scope.cancel()
    (proof,) = [told for told in sink.heard if isinstance(told, Proof)]
    assert proof.node == places["branch"].node
    assert proof.rule == "retail-no-system-config"


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_wrapped_server_over_stdio(bank: ServerConfig, mode: Mode) -> None:
    parameters = StdioServerParameters(
        command=sys.executable,
        args=[*STANDALONE, "--server", "vault-db", "--", *bank.command],
        cwd=Path(__file__).parents[2],
    )
    async with Client(parameters, mode=mode) as client:
        assert "coins" in await ask(client, "select * from stock")
        with pytest.raises(MCPError) as denied:
            await client.call_tool(
                "write_query", {"query": "insert into financial_ledger values (1)"}
            )
        assert denied.value.error.data["picket"]["rule"] == "ledger-admin-only"


async def test_the_time_server_over_http() -> None:
    clock = ServerConfig(name="clock", command=tuple(server("time")))
    roster, places = found("vault")
    desk = desk_of(places["vault"], roster, servers={"clock": clock})
    guard(desk, places["vault"], OPEN)
    async with site(desk, "clock") as place, over_http(place.url, "auto") as client:
        result = await client.call_tool("get_current_time", {"timezone": "UTC"})
        assert not result.is_error


# The SDK's client leaves its generators of events to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("mode", ["legacy", "auto", "2026-07-28"])
@pytest.mark.parametrize("path", ["http", "mesh", "wrap"])
async def test_an_sdk_server_behind_a_command_in_both_eras(
    path: str, mode: Mode, tmp_path: Path
) -> None:
    program = tmp_path / "tally.py"
    program.write_text(STDIO_TALLY)
    command = (sys.executable, str(program))
    if path == "wrap":
        parameters = StdioServerParameters(
            command=sys.executable,
            args=[*STANDALONE, "--server", "vault-db", "--", *command],
            cwd=Path(__file__).parents[2],
        )
        async with Client(parameters, mode=mode) as client:
            await count_up(client)
        return
    roster, places = found("branch", "vault")
    tally = ServerConfig(name="vault-db", command=command)
    vault = desk_of(places["vault"], roster, servers={"vault-db": tally})
    guard(vault, places["vault"], OPEN, strict=True)
    async with trio.open_nursery() as nursery:
        desk = vault
        if path == "mesh":
            pipes = Pipes(nursery, MeshProvider(vault), places["branch"].node)
            desk = desk_of(places["branch"], roster, links=pipes)
            guard(desk, places["branch"], OPEN, strict=True)
        async with (
            site(desk, "vault-db") as place,
            over_http(place.url, mode) as client,
        ):
            await count_up(client)
            wanted = "2025-11-25" if mode == "legacy" else "2026-07-28"
            assert client.protocol_version == wanted
        nursery.cancel_scope.cancel()


async def count_up(client: Client) -> None:
    """A call, with all of its progress."""
    seen: list[float] = []

    async def keep(progress: float, total: float | None, message: str | None) -> None:
        del total, message
        seen.append(progress)

    result = await client.call_tool("count", {"to": 3}, progress_callback=keep)
    (content,) = result.content
    assert isinstance(content, TextContent)
    assert (content.text, seen) == ("3", [1, 2, 3])


# The SDK's client leaves its generators of events to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_an_sdk_server_behind_a_url(tmp_path: Path) -> None:
    """The SDK's own Streamable HTTP server, reached by URL, progress included."""
    program = tmp_path / "tally.py"
    program.write_text(TALLY)
    process = await trio.lowlevel.open_process(
        [sys.executable, str(program)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        with trio.fail_after(30):
            port = int(await process.stdout.receive_some(16))
        url = f"http://127.0.0.1:{port}/mcp"
        tally = ServerConfig(name="tally", url=url)
        roster, places = found("vault")
        desk = desk_of(places["vault"], roster, servers={"tally": tally})
        guard(desk, places["vault"], OPEN)
        async with site(desk, "tally") as place, over_http(place.url, "legacy") as c:
            await count_up(c)
    finally:
        process.kill()
        await process.wait()
        await process.stdout.aclose()


STDIO_TALLY = """
from mcp.server.mcpserver import Context, MCPServer

mcp = MCPServer("tally")


@mcp.tool()
async def count(to: int, ctx: Context) -> str:
    for done in range(1, to + 1):
        await ctx.report_progress(done, to)
    return str(to)


mcp.run("stdio")
"""

TALLY = """
import socket
import sys

import uvicorn
from mcp.server.mcpserver import Context, MCPServer

mcp = MCPServer("tally")


@mcp.tool()
async def count(to: int, ctx: Context) -> str:
    for done in range(1, to + 1):
        await ctx.report_progress(done, to)
    return str(to)


sock = socket.create_server(("127.0.0.1", 0))
print(sock.getsockname()[1], flush=True)
app = mcp.streamable_http_app()
uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[sock])
"""
