"""A server behind a URL on one daemon, called at another over a real link: both eras."""

from pathlib import Path

import httpx2
import pytest
import trio
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from tests.conformance.__main__ import serving
from tests.live.test_daemon_guard import add_agent
from tests.support.callers import endpoint
from tests.support.daemons import cluster

pytestmark = [
    pytest.mark.live,
    # The SDK's client leaves its generators of events to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


async def test_both_eras_pass_between_two_daemons_with_progress(tmp_path: Path) -> None:
    with serving("tests.conformance.server") as port:
        url = f"http://127.0.0.1:{port.strip()}/mcp"
        names = ("ledger", "branch")
        init = {name: ["--grant", "agent", "--http", "127.0.0.1:0"] for name in names}
        init["ledger"] += ["--server", "far"]
        extra = {"ledger": f'\n[servers.far]\nurl = "{url}"\n'}
        with cluster(tmp_path, names, init=init, extra=extra) as made:
            token = add_agent(made["branch"], "bot", "agent")
            made.start()
            there = endpoint(made["branch"], "far")
            for mode in ("legacy", "auto"):
                with trio.fail_after(60):
                    await check(there, token, mode)
            for node in made.nodes:
                assert node.end() == 0
                assert "Traceback" not in node.log


async def check(url: str, token: str, mode: str) -> None:
    seen: list[float] = []

    async def keep(progress: float, total: float | None, message: str | None) -> None:
        del total, message
        seen.append(progress)

    headers = {"authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(headers=headers, trust_env=False, timeout=30) as http:
        transport = streamable_http_client(url, http_client=http)
        async with Client(transport, mode=mode) as client:
            tools = {tool.name for tool in (await client.list_tools()).tools}
            assert "test_simple_text" in tools
            for _ in range(20):
                result = await client.call_tool("test_simple_text", {})
                assert not result.is_error
            await client.call_tool(
                "test_tool_with_progress", {}, progress_callback=keep
            )
    assert seen == [0, 50, 100]
