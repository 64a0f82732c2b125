"""Added latency of the gate, beside a direct call in the same run; prints JSON.

Run as ``python -m tests.bench.gate``. Each guarded call alternates with a direct
one to the same kind of server, so that a noisy machine is noisy for both. Each call
asks for something else. The listener does all that a daemon's does: tools pinned,
schemas, trust, a hundred rules, an audit row in the store for each call.
"""

import itertools
import json
import select
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
from enforcement.defend.rate import Rate
from enforcement.detect.pins import Pins, read_manifest_untrusted
from enforcement.detect.scan import Scanner
from enforcement.effects import Position
from enforcement.events import ClientMessage, ServerMessage
from enforcement.mcp.strictjson import Json
from gossip.units import UnixMs
from node.birth import starter_policy
from node.config import ServerConfig
from node.proxy.provider import MeshProvider
from node.proxy.session import Session
from tests.bench._servers import MODULE, RESULT, crowded_policy
from tests.support.births import NOW
from tests.support.proxies import ECHO, SUITE, TOKEN, Pipes, desk_of, found, guard
from tests.support.sessions import PERMIT, Town, gate, post

CALLS = 2_000
WARM_UP = 200
AT_ONCE = 8
BURSTS = 20
BODY = (
    b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo",'
    b' "arguments": {"query": "select %d from stock_%d where depot = \'north\'"}}}'
)
COUNT = itertools.count()
INIT = (
    b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":'
    b'"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}'
)
Call = Callable[[], None]


def body() -> bytes:
    """A call unlike the ones before it."""
    number = next(COUNT)
    return BODY % (number, number % 97)


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
            writer.write(body() + b"\n")
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

        def post(said: bytes) -> bytes:
            sock.sendall(written(port, server, session, said))
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
            answer = post(body())
            assert b'"result"' in answer, answer

        yield call


def written(port: int, server: str, session: bytes, said: bytes) -> bytes:
    """A POST as it travels; ``session`` is a whole header line, or nothing."""
    return (
        b"POST /mcp/%b HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n"
        b"authorization: Bearer %b\r\naccept: application/json, "
        b"text/event-stream\r\ncontent-type: application/json\r\n%b"
        b"content-length: %d\r\n\r\n%b"
        % (server.encode(), port, TOKEN.encode(), session, len(said), said)
    )


@contextmanager
def crowd(port: int, server: str) -> Iterator[Callable[[int], float]]:
    """Calls on several connections at once; takes how many, returns the seconds."""
    with ExitStack() as stack:
        poll = stack.enter_context(select.epoll())
        lines: dict[int, tuple[socket.socket, bytes]] = {}
        for _ in range(AT_ONCE):
            address = ("127.0.0.1", port)
            sock = stack.enter_context(socket.create_connection(address))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(written(port, server, b"", INIT))
            opened = sock.recv(65_536).lower().partition(b"mcp-session-id: ")[2]
            session = b"mcp-session-id: %b\r\n" % opened.split(b"\r\n")[0]
            lines[sock.fileno()] = (sock, session if opened else b"")
            poll.register(sock, select.EPOLLIN)

        def run(calls: int) -> float:
            begun, asked, answered = time.perf_counter(), 0, 0
            for sock, session in lines.values():
                sock.sendall(written(port, server, session, body()))
                asked += 1
            while answered < asked:
                for fd, _ in poll.poll():
                    sock, session = lines[fd]
                    answer = sock.recv(65_536)
                    assert b'"result"' in answer, answer
                    answered += 1
                    if asked < calls:
                        sock.sendall(written(port, server, session, body()))
                        asked += 1
            return time.perf_counter() - begun

        yield run


def compare(direct: Call, guarded: Call) -> dict[str, float]:
    """Call both in turn; returns milliseconds."""
    took: dict[Call, list[float]] = {direct: [], guarded: []}
    for turn in range(WARM_UP + CALLS):
        for call, times in took.items():
            begun = time.perf_counter()
            call()
            if turn >= WARM_UP:
                times.append((time.perf_counter() - begun) * 1_000)
    return compared(took[direct], took[guarded])


def compared(direct: list[float], guarded: list[float]) -> dict[str, float]:
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


def report_both(what: str, direct: Call, guarded: Call, scanning: Call) -> None:
    """Measure a gate that only judges calls, and one that looks at answers, too."""
    report(what, compare(direct, guarded))
    report(f"{what}, scanning answers", compare(direct, scanning))


def report(what: str, figures: dict[str, float]) -> None:
    sys.stdout.write(json.dumps({"bench": "gate", "path": what, **figures}) + "\n")
    sys.stdout.flush()


def bench_stdio(home: Path) -> None:
    """The wrap, alone and with a daemon, beside the bare server."""
    wrap = (sys.executable, "-m", "node.cli.main", "wrap", "--server", "echo")
    with stdio(*ECHO) as direct:
        with stdio(*wrap, "--standalone", "-c", "/nonexistent", "--", *ECHO) as call:
            report("wrap --standalone", compare(direct, call))
        with ExitStack() as stack:
            calls: list[Call] = []
            for words in ([], ["scanning"]):
                place = home / "-".join(["daemon", *words])
                place.mkdir()
                (place / "config.toml").write_text('name = "branch"\n')
                serve = (*MODULE, "daemon", str(place), *words)
                daemon = stack.enter_context(started(*serve))
                assert daemon.stdout is not None
                daemon.stdout.readline()
                wrapped = stdio(*wrap, "-c", str(place), "--", *ECHO)
                calls.append(stack.enter_context(wrapped))
            report_both("wrap with a daemon", direct, *calls)


def cpu_us(pid: int) -> float:
    """CPU time of all threads of a process so far."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    spent_ns = sum(int((t / "schedstat").read_text().split()[0]) for t in tasks)
    return spent_ns / 1_000


def bench_http() -> None:
    """The listener before an HTTP server and before a stdio server."""
    _bench_http("url")
    _bench_http("url", "without sessions")
    _bench_http("child")


def _bench_http(kind: str, *words: str) -> None:
    what = ", ".join((f"http before a {kind}", *words))
    with ExitStack() as stack:
        upstream = stack.enter_context(started(*MODULE, "upstream", *words))
        assert upstream.stdout is not None
        port = int(upstream.stdout.readline())
        direct = stack.enter_context(http(port, "echo"))
        listening = (*MODULE, "listener", kind, str(port))
        listener = stack.enter_context(started(*listening))
        scanning = stack.enter_context(started(*listening, "scanning"))
        assert listener.stdout is not None
        assert scanning.stdout is not None
        own = int(listener.stdout.readline())
        with (
            http(own, "echo") as call,
            http(int(scanning.stdout.readline()), "echo") as scanned,
        ):
            report_both(what, direct, call, scanned)
        report(f"{what}, crowded", _crowded(listener, own))


def _crowded(listener: "subprocess.Popen[bytes]", port: int) -> dict[str, float]:
    """How many calls a core carries, and what that does to the event loop."""
    assert listener.stdin is not None
    assert listener.stdout is not None
    spent: list[float] = []
    rates: list[float] = []
    calls = CALLS // BURSTS
    with crowd(port, "echo") as call:
        call(WARM_UP)
        listener.stdin.write(b"\n")  # forget the lag so far
        for _ in range(BURSTS):
            begun_us = cpu_us(listener.pid)
            rates.append(calls / call(calls))
            spent.append((cpu_us(listener.pid) - begun_us) / calls)
    listener.stdin.write(b"\n")
    lag: dict[str, float] = json.loads(listener.stdout.readline())
    return {
        "cpu_us_per_call": round(statistics.median(spent)),
        "calls_per_core_s": round(1e6 / statistics.median(spent)),
        "calls_per_s": round(statistics.median(rates)),
        **lag,
    }


def bench_gate_alone() -> None:
    """What deciding costs, without moving a byte: a request and its answer."""
    roster, places = found("branch")
    desk = desk_of(places["branch"], roster)
    guard(desk, places["branch"], Policy.load(crowded_policy()))
    me = places["branch"]
    gate = desk.new_gate(Position.LOCAL, me.principal, "echo", me.node)
    times = []
    for _ in range(WARM_UP + CALLS):
        said = body()
        begun, now = time.perf_counter(), desk.clock.unix_ms()
        gate.handle(ClientMessage(said), now)
        gate.handle(ServerMessage(RESULT % 1), now)
        times.append((time.perf_counter() - begun) * 1_000)
    cuts = statistics.quantiles(times[WARM_UP:], n=100)
    report("gate alone", {"p50_ms": round(cuts[49], 3), "p99_ms": round(cuts[98], 3)})


def bench_scanning() -> None:
    """What looking at answers costs: two gates in turn, one of which does."""
    town = Town()
    agent = town.agent("bot", "retail")
    tool: Json = {"name": "echo", "inputSchema": {"type": "object"}}
    for letters in (20, 1_000, 10_000):
        text = ("The report lists revenue by region. " * 300)[:letters].encode()
        reply = b'{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"%s"}]}}'
        times: dict[bool, list[float]] = {False: [], True: []}
        gates = {}
        for scans in times:
            shared = post(
                town,
                Policy.load({"p": PERMIT}),
                rate=Rate(per_second=1e6, burst=1_000_000),
            )
            shared.pins = Pins()
            shared.pins.see(read_manifest_untrusted("sql", tool))
            shared.scanner = Scanner() if scans else None
            gates[scans] = gate(Position.LOCAL, town, agent, shared)
        for turn in range(WARM_UP + CALLS // 2):
            for scans, guarded in gates.items():
                said, now = body(), UnixMs(NOW + turn)
                begun = time.perf_counter()
                guarded.handle(ClientMessage(said), now)
                guarded.handle(ServerMessage(reply % text), now)
                if turn >= WARM_UP:
                    times[scans].append((time.perf_counter() - begun) * 1_000)
        without, scanning = (statistics.median(times[scans]) for scans in times)
        figures = {
            "without_p50_ms": round(without, 4),
            "added_p50_ms": round(scanning - without, 4),
        }
        report(f"gate alone, scanning an answer of {letters} letters", figures)


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
                await session.client_said(body())
                (answer,) = await session.server_said(await session.backend.receive())
                assert b'"result"' in answer, answer
                if turn >= WARM_UP:
                    times.append((time.perf_counter() - begun) * 1_000)
        for session in took:
            await session.backend.aclose()
        nursery.cancel_scope.cancel()
    report(f"signed, two gates ({SUITE.provider})", compared(took[local], took[far]))


def main() -> None:
    bench_gate_alone()
    bench_scanning()
    with tempfile.TemporaryDirectory() as home:
        bench_stdio(Path(home))
    bench_http()
    trio.run(bench_mesh)


if __name__ == "__main__":
    main()
