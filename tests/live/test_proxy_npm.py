"""What people really use, through wrap, HTTP and mesh: inspector, SDKs, servers."""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx2
import pytest
import trio
from mcp import StdioServerParameters
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from enforcement.defend.policy import Policy
from node.config import ServerConfig
from node.proxy.provider import MeshProvider
from tests.conformance.__main__ import HOME, ROOT, install
from tests.support.proxies import TOKEN, Pipes, desk_of, found, guard, site

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(300)]

OPEN: Final = Policy.load({"open.cedar": "permit(principal, action, resource);\n"})
NPM: Final = HOME / "clients/node_modules"
WRAP: Final = (
    *(sys.executable, "-m", "node.cli.main", "wrap", "--standalone"),
    *("-c", "/nonexistent", "--"),
)
CALLS: Final[dict[str, tuple[str, dict[str, object]]]] = {
    "everything": ("echo", {"message": "hello"}),
    "memory": ("read_graph", {}),
    "git": ("git_status", {"repo_path": str(ROOT)}),
    "sqlite": ("list_tables", {}),
    "time": ("get_current_time", {"timezone": "UTC"}),
}
SCRIPT: Final = """
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport }
  from "@modelcontextprotocol/sdk/client/streamableHttp.js";
const [where, token, ...args] = process.argv.slice(2);
const headers = { authorization: `Bearer ${token}` };
const transport = args.length
  ? new StdioClientTransport({ command: where, args: args.slice(1), cwd: args[0] })
  : new StreamableHTTPClientTransport(new URL(where), { requestInit: { headers } });
const client = new Client({ name: "test", version: "1" }, { capabilities: {} });
await client.connect(transport);
const seen = [];
const result = await client.callTool(
  { name: "trigger-long-running-operation", arguments: { duration: 1, steps: 3 } },
  undefined,
  { onprogress: (told) => seen.push(told.progress) },
);
console.log(JSON.stringify({ seen, failed: result.isError ?? false }));
await client.close();
"""


@pytest.fixture(scope="module", autouse=True)
def clients() -> None:
    missing = install("clients")
    if missing is not None:
        pytest.skip(missing)


def command(name: str) -> tuple[str, ...]:
    """How a published server is started."""
    if name in ("everything", "memory"):
        return (str(NPM / f".bin/mcp-server-{name}"),)
    program = ROOT / f".venv/servers/{name}/bin/mcp-server-{name}"
    if not program.exists():
        pytest.skip(f"mcp-server-{name} is not here; `make servers` brings it")
    # Unless told otherwise this one leaves a file wherever it is started.
    options = ("--db-path", ":memory:") if name == "sqlite" else ()
    return (str(program), *options)


@asynccontextmanager
async def served(name: str, path: str) -> AsyncIterator[str]:
    """A published server behind a listener, here or on another node; its URL."""
    roster, places = found("branch", "vault")
    config = ServerConfig(name="vault-db", command=command(name))
    vault = desk_of(places["vault"], roster, servers={"vault-db": config})
    guard(vault, places["vault"], OPEN)
    async with trio.open_nursery() as nursery:
        desk = vault
        if path == "mesh":
            pipes = Pipes(nursery, MeshProvider(vault), places["branch"].node)
            desk = desk_of(places["branch"], roster, links=pipes)
            guard(desk, places["branch"], OPEN)
        everybody = next(iter(desk.agents))  # the inspector shows no token
        async with site(desk, "vault-db", everybody) as place:
            yield place.url
        nursery.cancel_scope.cancel()


async def run(*words: str | Path, cwd: Path = ROOT) -> str:
    """The output of a program, asked for in one go."""
    with trio.fail_after(120):
        done = await trio.run_process(
            [*map(str, words)], cwd=cwd, capture_stdout=True, capture_stderr=True
        )
    return done.stdout.decode()


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("path", ["http", "mesh"])
async def test_a_published_server_behind_the_listener(name: str, path: str) -> None:
    tool, arguments = CALLS[name]
    headers = {"authorization": f"Bearer {TOKEN}"}
    async with (
        served(name, path) as url,
        httpx2.AsyncClient(headers=headers, trust_env=False, timeout=60) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        assert tool in {t.name for t in (await client.list_tools()).tools}
        assert not (await client.call_tool(tool, arguments)).is_error


@pytest.mark.parametrize("name", CALLS)
async def test_a_published_server_in_a_wrap(name: str) -> None:
    tool, arguments = CALLS[name]
    program, *rest = (*WRAP, *command(name))
    parameters = StdioServerParameters(command=program, args=rest, cwd=ROOT)
    async with Client(parameters) as client:
        assert tool in {t.name for t in (await client.list_tools()).tools}
        assert not (await client.call_tool(tool, arguments)).is_error


@pytest.mark.parametrize("path", ["wrap", "http", "mesh"])
async def test_the_inspector_lists_tools(path: str) -> None:
    inspect = (NPM / ".bin/mcp-inspector", "--cli")
    asked = ("--method", "tools/list")
    if path == "wrap":
        told = await run(*inspect, *WRAP, *command("memory"), *asked)
    else:
        async with served("memory", path) as url:
            told = await run(*inspect, f"{url}/mcp", *asked)
    assert "read_graph" in {tool["name"] for tool in json.loads(told)["tools"]}


@pytest.mark.parametrize("path", ["wrap", "http", "mesh"])
async def test_the_typescript_sdk_calls_and_hears_progress(path: str) -> None:
    script = HOME / "clients" / "call.mjs"
    script.write_text(SCRIPT)
    node = ("node", script)
    if path == "wrap":
        program, *rest = (*WRAP, *command("everything"))
        said = await run(*node, program, TOKEN, ROOT, *rest, cwd=script.parent)
    else:
        async with served("everything", path) as url:
            said = await run(*node, url, TOKEN, cwd=script.parent)
    told = json.loads(said)
    if path == "wrap":  # over stdio this SDK may take the last one for too late
        told["seen"] = [*told["seen"][:2], 3]
    assert told == {"seen": [1, 2, 3], "failed": False}


def test_every_program_is_locked() -> None:
    for lock in (ROOT / "tests/conformance/suites").glob("*/package-lock.json"):
        packages = json.loads(lock.read_text())["packages"]
        assert all("integrity" in p for name, p in packages.items() if name)
