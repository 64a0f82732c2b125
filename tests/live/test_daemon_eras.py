"""Real daemons: a server behind a command, met from another node in both eras."""

import sys
from pathlib import Path

import httpx2
import pytest
import trio
from mcp import MCPError
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import TextContent

from tests.live.test_daemon_guard import add_agent
from tests.support.callers import endpoint
from tests.support.daemons import cluster

# The SDK's client leaves its generators of events to the garbage collector.
pytestmark = [
    pytest.mark.live,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

PROGRAM = """
from mcp.server.mcpserver import MCPServer

mcp = MCPServer("books")


@mcp.tool()
def write_query(query: str) -> str:
    return query.upper()


mcp.run("stdio")
"""


async def test_a_server_far_away_is_met_in_both_eras_and_guarded_in_both(
    tmp_path: Path,
) -> None:
    program = tmp_path / "books.py"
    program.write_text(PROGRAM)
    names = ("ledger", "branch")
    grants = ["--grant", "agent", "--grant", "retail"]
    init = {name: [*grants, "--http", "127.0.0.1:0"] for name in names}
    init["ledger"] += ["--server", "sql"]
    server = f'\n[servers.sql]\ncommand = ["{sys.executable}", "{program}"]\n'
    with cluster(tmp_path, names, init=init, extra={"ledger": server}) as made:
        token = add_agent(made["branch"], "bot", "retail")
        made.start()
        headers = {"authorization": f"Bearer {token}"}
        for mode, revision in (
            ("legacy", "2025-11-25"),
            ("auto", "2026-07-28"),
            ("2026-07-28", "2026-07-28"),
        ):
            with trio.fail_after(60):
                async with (
                    httpx2.AsyncClient(
                        headers=headers, trust_env=False, timeout=30
                    ) as http,
                    Client(
                        streamable_http_client(
                            endpoint(made["branch"]), http_client=http
                        ),
                        mode=mode,
                    ) as client,
                ):
                    assert client.protocol_version == revision
                    result = await client.call_tool("write_query", {"query": "a note"})
                    (said,) = result.content
                    assert isinstance(said, TextContent)
                    assert said.text == "A NOTE"
                    query = {"query": "insert into financial_ledger values (1)"}
                    with pytest.raises(MCPError) as denied:
                        await client.call_tool("write_query", query)
                    told = denied.value.error.data["picket"]
                    assert told["rule"] == "ledger-admin-only"
        for node in made.nodes:
            reports = node.reports()
            assert all("hostile-request" not in str(each) for each in reports)
