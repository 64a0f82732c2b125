"""Agents with the official MCP SDK, and the SQL server they call, for live tests."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import trio
from mcp import MCPError
from mcp.client.session import ClientSession
from mcp.client.streamable_http import streamable_http_client

from tests.support.daemons import ROOT, Daemon

SERVER = ROOT / ".venv/servers/sqlite/bin/mcp-server-sqlite"


def provide(home: Path) -> str:
    path = home / "accounts.db"
    with sqlite3.connect(path) as sql:
        sql.execute("CREATE TABLE financial_ledger (amount INTEGER)")
        sql.execute("CREATE TABLE customers (name TEXT)")
        sql.execute("INSERT INTO customers VALUES ('a customer')")
    sql.close()
    return f'\n[servers.sql]\ncommand = ["{SERVER}", "--db-path", "{path}"]\n'


def endpoint(node: Daemon, server: str = "sql") -> str:
    status = node.ask("status")
    assert isinstance(status, dict)
    return f"http://{status['http']}/mcp/{server}"


@asynccontextmanager
async def session(url: str, token: str) -> AsyncIterator[ClientSession]:
    headers = {"authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=20, trust_env=False) as http,
        streamable_http_client(url, http_client=http) as streams,
        ClientSession(streams[0], streams[1]) as opened,
    ):
        await opened.initialize()
        yield opened


async def query(url: str, token: str, tool: str, text: str) -> str:
    """The answer's text, or the reason it was denied for."""
    outcome = ""
    try:
        with trio.fail_after(30):
            async with session(url, token) as opened:
                result = await opened.call_tool(tool, {"query": text})
                outcome = str(getattr(result.content[0], "text", ""))
    except* MCPError as refused:
        outcome = _reason(refused)
    return outcome


def _reason(refused: BaseException) -> str:
    while isinstance(refused, BaseExceptionGroup):
        refused = refused.exceptions[0]
    assert isinstance(refused, MCPError)
    assert isinstance(refused.error.data, dict)
    told = refused.error.data["picket"]
    return f"denied: {told['reason']} {told.get('rule') or ''}".strip()
