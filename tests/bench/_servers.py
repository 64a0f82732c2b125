"""The servers that `tests.bench.gate` starts and calls, each a process of its own."""

import json
import os
import secrets
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from enforcement.defend.policy import Policy
from enforcement.effects import Proof, Witness
from node.birth import starter_policy
from node.clerk import Clerk
from node.config import ServerConfig
from node.garbage import collect_rarely
from node.metrics import Metrics
from node.proxy.desk import Desk
from node.proxy.door import WrapDoor, listen_on_path
from node.proxy.httpd import Exchange, listen_on, serve_http
from node.store import Store
from tests.support.proxies import ECHO, desk_of, found, guard, site

MODULE = (sys.executable, "-m", "tests.bench._servers")
LAG_PERIOD_S = 0.01
RESULT = b'{"jsonrpc":"2.0","id":%d,"result":{"content":[]}}'
ANSWERS: dict[str, object] = {
    "initialize": {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "echo", "version": "1"},
    },
    "tools/list": {
        "tools": [
            {
                "name": "echo",
                "inputSchema": {
                    "type": "object",
                    "properties": {
                        "query": {"type": "string", "maxLength": 1_000},
                        "limit": {"type": "integer"},
                    },
                    "required": ["query"],
                    "additionalProperties": False,
                },
            }
        ]
    },
}


def crowded_policy() -> dict[str, str]:
    """The tutorial policy and a hundred rules more, each about another tool."""
    rules = (
        f'@id("crowd-{n}")\nforbid(principal, action, resource == '
        f'Tool::"echo/tool-{n}")\nwhen {{ context.params has query }};\n'
        for n in range(100)
    )
    return {**starter_policy(), "crowd.cedar": "".join(rules)}


async def serve_upstream(*, sessions: bool) -> None:
    """An HTTP server that answers at once."""

    async def answer(exchange: Exchange) -> None:
        body = exchange.request.body
        if exchange.request.method != "POST":
            await exchange.answer(405)
            return
        said = json.loads(body)
        key = said.get("id")
        if key is None:
            await exchange.answer(202)
        elif said["method"] in ANSWERS:
            told = {"jsonrpc": "2.0", "id": key, "result": ANSWERS[said["method"]]}
            opens = sessions and said["method"] == "initialize"
            named = [("mcp-session-id", secrets.token_hex(16))] if opens else []
            await exchange.answer(200, json.dumps(told).encode(), headers=named)
        elif said["method"] == "tools/call":
            await exchange.answer(200, RESULT % key)
        else:
            error = {"code": -32601, "message": "no such method"}
            told = {"jsonrpc": "2.0", "id": key, "error": error}
            await exchange.answer(200, json.dumps(told).encode())

    sock = listen_on("127.0.0.1", 0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_http, sock, answer, _shout)
        await _until_done(nursery, str(sock.getsockname()[1]))


async def serve_listener(kind: str, port: int, *, scans: bool = False) -> None:
    """Picket's listener, with a hundred rules; perhaps answers are looked at, too."""
    config = (
        ServerConfig(name="echo", url=f"http://127.0.0.1:{port}/mcp/echo")
        if kind == "url"
        else ServerConfig(name="echo", command=ECHO)
    )
    roster, places = found("branch")
    desk = desk_of(places["branch"], roster, servers={"echo": config})
    policy = Policy.load(crowded_policy())
    guard(desk, places["branch"], policy, strict=True, scans=scans)
    with tempfile.TemporaryDirectory() as home:
        async with kept(desk, Path(home)), site(desk) as place:
            collect_rarely()  # as a daemon does
            sys.stdout.write(f"{place.port}\n")
            sys.stdout.flush()
            await _tell_lag()


@asynccontextmanager
async def kept(desk: Desk, home: Path) -> AsyncIterator[None]:
    """Give a desk the sink of a daemon: metrics, and a store for the audit."""
    store = Store(home / "store.sqlite")
    desk.sink = Clerk(store, NoEvidence(), Metrics())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.run)
        yield
        store.stop()
    store.close()


class NoEvidence:
    def witness(self, seen: Witness) -> None:
        del seen

    def proof(self, proven: Proof) -> None:
        del proven


async def _tell_lag() -> None:
    """How late the loop wakes a timer, told at every second line on stdin."""
    late_ms: list[float] = []

    async def watch() -> None:
        while True:
            due = trio.current_time() + LAG_PERIOD_S
            await trio.sleep_until(due)
            late_ms.append((trio.current_time() - due) * 1_000)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        stdin = sys.stdin.fileno()
        while True:
            await trio.lowlevel.wait_readable(stdin)
            if not os.read(stdin, 1):
                break
            late_ms.clear()
            await trio.lowlevel.wait_readable(stdin)
            os.read(stdin, 1)
            cuts = statistics.quantiles(late_ms, n=100)
            told = {"lag_p50_ms": round(cuts[49], 2), "lag_p99_ms": round(cuts[98], 2)}
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()
        nursery.cancel_scope.cancel()


async def serve_daemon(home: str, *, scans: bool = False) -> None:
    """The daemon's end of the wrap, as `serve_listener`."""
    roster, places = found("branch")
    desk = desk_of(places["branch"], roster)
    policy = Policy.load(crowded_policy())
    guard(desk, places["branch"], policy, strict=True, scans=scans)
    async with kept(desk, Path(home)), trio.open_nursery() as nursery:
        listener = listen_on_path(Path(home) / "wrap.sock")
        nursery.start_soon(WrapDoor(desk).serve, listener)
        await _until_done(nursery, "ready")


async def _until_done(nursery: trio.Nursery, ready: str) -> None:
    """Serve until the parent closes our stdin."""
    collect_rarely()
    sys.stdout.write(ready + "\n")
    sys.stdout.flush()
    await trio.lowlevel.wait_readable(sys.stdin.fileno())
    nursery.cancel_scope.cancel()


def _shout(fault: BaseException) -> None:
    raise fault


def main(words: list[str]) -> None:
    match words:
        case ["upstream"]:
            trio.run(partial(serve_upstream, sessions=True))
        case ["upstream", "without sessions"]:
            trio.run(partial(serve_upstream, sessions=False))
        case ["listener", kind, port, *scanning]:
            serve = partial(serve_listener, kind, int(port), scans=bool(scanning))
            trio.run(serve)
        case ["daemon", home, *scanning]:
            trio.run(partial(serve_daemon, home, scans=bool(scanning)))


if __name__ == "__main__":
    main(sys.argv[1:])
