"""The README's five lines: a lone node guards a stdio server we did not write."""

import shlex
import sqlite3
from pathlib import Path

import pytest
import trio
from mcp import MCPError
from mcp.client.session import ClientSession
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.support.callers import SERVER
from tests.support.daemons import Daemon, picket, until

WRITE = "INSERT INTO financial_ledger VALUES (1)"

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not SERVER.exists(), reason="`make servers` was not run"),
]


async def test_a_lone_node_guards_a_wrapped_server(tmp_path: Path) -> None:
    home, books = tmp_path / "here", tmp_path / "books.db"
    with sqlite3.connect(books) as sql:
        sql.execute("CREATE TABLE financial_ledger (amount INTEGER)")
    sql.close()
    printed = picket("init", str(home), "--name", "here", "--solo").stdout
    daemon = Daemon("here", home, 0)
    daemon.start()
    try:
        daemon.wait_ready()
        command, *words = shlex.split(printed.splitlines()[-1].replace("NAME", "sql"))
        assert words.pop() == "COMMAND"
        wrapped = StdioServerParameters(  # as a client starts it: no PATH, elsewhere
            command=command,
            args=[*words, str(SERVER), "--db-path", str(books)],
            env={"PATH": ""},
            cwd=tmp_path,
        )
        with trio.fail_after(30):
            async with (
                stdio_client(wrapped) as streams,
                ClientSession(streams[0], streams[1]) as session,
            ):
                await session.initialize()
                assert len((await session.list_tools()).tools) == 6
                passed = await session.call_tool("read_query", {"query": "SELECT 1"})
                assert not passed.is_error
                with pytest.raises(MCPError, match="ledger-admin-only"):
                    await session.call_tool("write_query", {"query": WRITE})

        def rows() -> str:
            return picket("audit", "-c", str(home)).stdout

        until(lambda: rows().count("denied") == 1)
        assert rows().count("allowed") >= 3
        listed = picket("quarantine", "list", "-c", str(home)).stdout
        assert "agent" in listed
        why = picket("quarantine", "why", "me", "-c", str(home)).stdout
        assert "privilege-escalation" in why
        assert daemon.end() == 0
    finally:
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.process.kill()
            daemon.process.wait()
