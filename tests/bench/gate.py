"""Added latency of the gate, beside a direct call in the same run; prints JSON.

Run as ``python -m tests.bench.gate``. Each guarded call alternates with a direct
one to the same kind of server, so that a noisy machine is noisy for both.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import trio

from enforcement.defend.policy import Policy
from enforcement.effects import Position
from enforcement.events import ClientMessage, ServerMessage
from node.birth import starter_policy
from node.config import ServerConfig
from node.proxy.door import WrapDoor, listen_on_path
from node.proxy.httpd import Exchange, listen_on, serve_http
from node.proxy.provider import MeshProvider
from node.proxy.session import Session
from tests.support.proxies import ECHO, SUITE, TOKEN, Pipes, desk_of, found, guard, site

CALLS = 2_000
WARM_UP = 200
MODULE = (sys.executable, "-m", "tests.bench.gate")
BODY = json.dumps(
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "echo", "arguments": {"query": "select 1 from stock"}},
    }
).encode()
INIT = (
    b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":'
    b'"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}'
)
RESULT = b'{"jsonrpc":"2.0","id":%d,"result":{"content":[]}}'
ANSWERS: dict[str, object] = {
    "initialize": {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "echo", "version": "1"},
    },
    "tools/list": {"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]},
}

Call = Callable[[], None]


@contextmanager
def started(*command: str) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None, bufsize=0
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


@contextmanager
def stdio(*command: str) -> Iterator[Call]:
    """A caller of a stdio server."""
    with started(*command) as process:
        assert process.stdin is not None
        reader = process.stdout
        writer = process.stdin
        assert reader is not None

        def call() -> None:
            writer.write(BODY + b"\n")
            answer = b""
            while not answer.endswith(b"\n"):
                answer += reader.read(65_536)
            assert b'"result"' in answer, answer

        yield call


@contextmanager
def http(port: int, server: str) -> Iterator[Call]:
    """A caller of an HTTP server, on one connection."""
    session = b""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def post(body: bytes) -> bytes:
            sock.sendall(
                b"POST /mcp/%b HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n"
                b"authorization: Bearer %b\r\naccept: application/json, "
                b"text/event-stream\r\ncontent-type: application/json\r\n%b"
                b"content-length: %d\r\n\r\n%b"
                % (server.encode(), port, TOKEN.encode(), session, len(body), body)
            )
            answer = b""
            while True:
                answer += sock.recv(65_536)
                head, found_head, rest = answer.partition(b"\r\n\r\n")
                if found_head:
                    size = head.lower().partition(b"content-length: ")[2]
                    if len(rest) >= int(size.split(b"\r\n")[0]):
                        return answer

        opened = post(INIT).lower().partition(b"mcp-session-id: ")[2]
        session = b"mcp-session-id: %b\r\n" % opened.split(b"\r\n")[0]

        def call() -> None:
            answer = post(BODY)
            assert b'"result"' in answer, answer

        yield call


def compare(direct: Call, guarded: Call) -> dict[str, float]:
    """Call both in turn; returns milliseconds."""
    took: dict[Call, list[float]] = {direct: [], guarded: []}
    for turn in range(WARM_UP + CALLS):
        for call, times in took.items():
            begun = time.perf_counter()
            call()
            if turn >= WARM_UP:
                times.append((time.perf_counter() - begun) * 1_000)
    return _compared(took[direct], took[guarded])


def _compared(direct: list[float], guarded: list[float]) -> dict[str, float]:
    cuts = {
        name: statistics.quantiles(times, n=100)
        for name, times in (("direct", direct), ("guarded", guarded))
    }
    return {
        "direct_p50_ms": round(cuts["direct"][49], 3),
        "guarded_p50_ms": round(cuts["guarded"][49], 3),
        "added_p50_ms": round(cuts["guarded"][49] - cuts["direct"][49], 3),
        "added_p99_ms": round(cuts["guarded"][98] - cuts["direct"][98], 3),
    }


def report(what: str, figures: dict[str, float]) -> None:
    sys.stdout.write(json.dumps({"bench": "gate", "path": what, **figures}) + "\n")
    sys.stdout.flush()


def bench_stdio(home: Path) -> None:
    """The wrap, alone and with a daemon, beside the bare server."""
    wrap = (sys.executable, "-m", "node.cli.main", "wrap", "--server", "echo")
    with stdio(*ECHO) as direct:
        with stdio(*wrap, "--standalone", "-c", "/nonexistent", "--", *ECHO) as call:
            report("wrap --standalone", compare(direct, call))
        (home / "config.toml").write_text('name = "branch"\n')
        with started(*MODULE, "daemon", str(home)) as daemon:
            assert daemon.stdout is not None
            daemon.stdout.readline()
            with stdio(*wrap, "-c", str(home), "--", *ECHO) as call:
                report("wrap with a daemon", compare(direct, call))


def crowded_policy() -> dict[str, str]:
    """The tutorial policy and a hundred rules more, each about another tool."""
    rules = (
        f'@id("crowd-{n}")\nforbid(principal, action, resource == '
        f'Tool::"echo/tool-{n}")\nwhen {{ context.params has query }};\n'
        for n in range(100)
    )
    return {**starter_policy(), "crowd.cedar": "".join(rules)}


def cpu_us(pid: int) -> int:
    """CPU time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return ticks * 1_000_000 // os.sysconf("SC_CLK_TCK")


def bench_http() -> None:
    """The listener before an HTTP server and before a stdio server."""
    with ExitStack() as stack:
        upstream = stack.enter_context(started(*MODULE, "upstream"))
        assert upstream.stdout is not None
        port = int(upstream.stdout.readline())
        direct = stack.enter_context(http(port, "echo"))
        for kind in ("url", "child"):
            with started(*MODULE, "listener", kind, str(port)) as listener:
                assert listener.stdout is not None
                with http(int(listener.stdout.readline()), "echo") as call:
                    begun_us = cpu_us(listener.pid)
                    figures = compare(direct, call)
                    spent_us = cpu_us(listener.pid) - begun_us
                figures["cpu_us_per_call"] = round(spent_us / (WARM_UP + CALLS))
                report(f"http before a {kind}", figures)


def bench_gate_alone() -> None:
    """What deciding costs, without moving a byte: a request and its answer."""
    roster, places = found("branch")
    desk = desk_of(places["branch"], roster)
    guard(desk, places["branch"], Policy.load(crowded_policy()))
    me = places["branch"]
    gate = desk.new_gate(Position.LOCAL, me.principal, "echo", me.node)
    asked, answered = ClientMessage(BODY), ServerMessage(RESULT % 1)
    times = []
    for _ in range(WARM_UP + CALLS):
        begun, now = time.perf_counter(), desk.clock.unix_ms()
        gate.handle(asked, now)
        gate.handle(answered, now)
        times.append((time.perf_counter() - begun) * 1_000)
    cuts = statistics.quantiles(times[WARM_UP:], n=100)
    report("gate alone", {"p50_ms": round(cuts[49], 3), "p99_ms": round(cuts[98], 3)})


async def bench_mesh() -> None:
    """A signed call through both gates, streams in memory, beside a local one."""
    roster, places = found("branch", "vault")
    policy = Policy.load(starter_policy())
    config = ServerConfig(name="vault-db", command=ECHO)
    vault = desk_of(places["vault"], roster, servers={"vault-db": config})
    guard(vault, places["vault"], policy)
    async with trio.open_nursery() as nursery:
        pipes = Pipes(nursery, MeshProvider(vault), places["branch"].node)
        branch = desk_of(places["branch"], roster, links=pipes)
        guard(branch, places["branch"], policy)
        local = await vault.open(nursery, places["vault"].principal, "vault-db")
        far = await branch.open(nursery, places["branch"].principal, "vault-db")
        took: dict[Session, list[float]] = {local: [], far: []}
        for turn in range(WARM_UP + CALLS // 2):
            for session, times in took.items():
                begun = time.perf_counter()
                await session.client_said(BODY)
                (answer,) = await session.server_said(await session.backend.receive())
                assert b'"result"' in answer, answer
                if turn >= WARM_UP:
                    times.append((time.perf_counter() - begun) * 1_000)
        for session in took:
            await session.backend.aclose()
        nursery.cancel_scope.cancel()
    report(f"signed, two gates ({SUITE.provider})", _compared(took[local], took[far]))


async def serve_upstream() -> None:
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
            await exchange.answer(200, json.dumps(told).encode())
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


async def serve_listener(kind: str, port: int) -> None:
    """Picket's listener, with a hundred rules."""
    config = (
        ServerConfig(name="echo", url=f"http://127.0.0.1:{port}/mcp/echo")
        if kind == "url"
        else ServerConfig(name="echo", command=ECHO)
    )
    roster, places = found("branch")
    desk = desk_of(places["branch"], roster, servers={"echo": config})
    guard(desk, places["branch"], Policy.load(crowded_policy()))
    async with site(desk) as place, trio.open_nursery() as nursery:
        await _until_done(nursery, str(place.port))


async def serve_daemon(home: str) -> None:
    """The daemon's end of the wrap, with the tutorial policy."""
    roster, places = found("branch")
    desk = desk_of(places["branch"], roster)
    guard(desk, places["branch"], Policy.load(starter_policy()))
    async with trio.open_nursery() as nursery:
        listener = listen_on_path(Path(home) / "wrap.sock")
        nursery.start_soon(WrapDoor(desk).serve, listener)
        await _until_done(nursery, "ready")


async def _until_done(nursery: trio.Nursery, ready: str) -> None:
    """Serve until the parent closes our stdin."""
    sys.stdout.write(ready + "\n")
    sys.stdout.flush()
    await trio.lowlevel.wait_readable(sys.stdin.fileno())
    nursery.cancel_scope.cancel()


def _shout(fault: BaseException) -> None:
    raise fault


def main(words: list[str]) -> None:
    match words:
        case []:
            bench_gate_alone()
            with tempfile.TemporaryDirectory() as home:
                bench_stdio(Path(home))
            bench_http()
            trio.run(bench_mesh)
        case ["upstream"]:
            trio.run(serve_upstream)
        case ["listener", kind, port]:
            trio.run(serve_listener, kind, int(port))
        case ["daemon", home]:
            trio.run(serve_daemon, home)


if __name__ == "__main__":
    main(sys.argv[1:])
