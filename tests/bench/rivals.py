"""Other Python gateways beside Picket in one run, same server, same client; JSON.

Run as ``python -m tests.bench.rivals``. FastMCP's proxy, with a client that stays
connected, stands before an HTTP server. PyPI's ``mcp-proxy`` stands before a stdio server
and speaks HTTP, as Picket's listener does before a command; and the other way round, where
Picket has nothing of the kind and its listener before a URL stands beside it. Each is called
in turn with the server alone. pip brings each rival into an environment of its own under
``.venv/bench``, the first time only.
"""

import socket
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.bench._servers import MODULE
from tests.bench.gate import (
    INIT,
    Call,
    body,
    compare,
    http,
    report,
    started,
)
from tests.bench.gate import stdio as stdio_caller
from tests.support.proxies import ECHO

HOME: Final = Path(sys.prefix) / "bench"
PACKAGES: Final = {
    "fastmcp": ("fastmcp==4.1.2",),
    "mcp-proxy": ("mcp-proxy==0.12.0", "mcp<2"),
}
READY_S: Final = 60
FASTMCP: Final = """
import anyio, sys
from fastmcp import Client
from fastmcp.server import create_proxy

async def main(url, port):
    async with Client(url) as client:
        proxy = create_proxy(client)
        await proxy.run_async(
            transport="http", port=port, show_banner=False, log_level="error"
        )

anyio.run(main, sys.argv[1], int(sys.argv[2]))
"""


def installed(name: str) -> Path:
    """The folder of programs of an environment with the rival in it."""
    home = HOME / name
    if not (home / "made").exists():
        venv.create(home, with_pip=False, clear=True)
        command = (sys.executable, "-m", "pip", "--python", home / "bin/python")
        subprocess.run((*command, "install", "-q", *PACKAGES[name]), check=True)
        (home / "made").touch()
    return home / "bin"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def running(port: int, *command: object) -> Iterator[None]:
    """A rival, from when it accepts connections."""
    process = subprocess.Popen(
        [str(word) for word in command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end_s = time.monotonic() + READY_S
        while time.monotonic() < end_s and process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def caller(port: int) -> Iterator[Call]:
    """A client on one connection that takes JSON or events."""
    session = b""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def post(said: bytes) -> bytes:
            sock.sendall(
                b"POST /mcp HTTP/1.1\r\nhost: 127.0.0.1:%d\r\naccept: application/json"
                b", text/event-stream\r\ncontent-type: application/json\r\n%b"
                b"content-length: %d\r\n\r\n%b" % (port, session, len(said), said)
            )
            answer = b""
            while not _is_whole(answer):
                part = sock.recv(65_536)
                assert part, answer
                answer += part
            return answer

        opened = post(INIT).lower().partition(b"mcp-session-id: ")[2]
        session = b"mcp-session-id: %b\r\n" % opened.split(b"\r\n")[0]
        post(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')

        def call() -> None:
            answer = post(body())
            assert b'"result"' in answer, answer

        yield call


@contextmanager
def opened_stdio(*command: str) -> Iterator[Call]:
    """A client of a stdio server that wants to be initialized."""
    with started(*command) as process:
        writer, reader = process.stdin, process.stdout
        assert writer is not None
        assert reader is not None

        def ask(said: bytes) -> bytes:
            writer.write(said + b"\n")
            return bytes(reader.readline())

        ask(INIT)
        writer.write(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')

        def call() -> None:
            answer = ask(body())
            assert b'"result"' in answer, answer

        yield call


def _is_whole(answer: bytes) -> bool:
    head, found, rest = answer.partition(b"\r\n\r\n")
    if not found:
        return False
    size = head.lower().partition(b"content-length: ")[2]
    if size:
        return len(rest) >= int(size.split(b"\r\n")[0])
    return rest.endswith(b"0\r\n\r\n")


def bench_before_http() -> None:
    """FastMCP's proxy and Picket's listener before one HTTP server."""
    programs = installed("fastmcp")
    with ExitStack() as stack:
        upstream = stack.enter_context(started(*MODULE, "upstream"))
        assert upstream.stdout is not None
        port = int(upstream.stdout.readline())
        direct = stack.enter_context(http(port, "echo"))
        ours = stack.enter_context(started(*MODULE, "listener", "url", str(port)))
        assert ours.stdout is not None
        picket = stack.enter_context(http(int(ours.stdout.readline()), "echo"))
        own = free_port()
        url = f"http://127.0.0.1:{port}/mcp/echo"
        command = (programs / "python", "-c", FASTMCP, url, own)
        stack.enter_context(running(own, *command))
        rival = stack.enter_context(caller(own))
        _report("fastmcp, http to http", direct, picket, rival)
        program = str(installed("mcp-proxy") / "mcp-proxy")
        words = ("--transport", "streamablehttp", url)
        rival = stack.enter_context(opened_stdio(program, *words))
        _report("mcp-proxy, stdio to http", direct, picket, rival)


def bench_before_stdio() -> None:
    """``mcp-proxy`` and Picket's listener before one stdio server."""
    programs = installed("mcp-proxy")
    with ExitStack() as stack:
        direct = stack.enter_context(stdio_caller(*ECHO))
        ours = stack.enter_context(started(*MODULE, "listener", "child", "0"))
        assert ours.stdout is not None
        picket = stack.enter_context(http(int(ours.stdout.readline()), "echo"))
        own = free_port()
        command = (programs / "mcp-proxy", "--port", own, "--", *ECHO)
        stack.enter_context(running(own, *command))
        rival = stack.enter_context(caller(own))
        _report("mcp-proxy, http to stdio", direct, picket, rival)


def _report(name: str, direct: Call, picket: Call, rival: Call) -> None:
    ours, theirs = compare(direct, picket), compare(direct, rival)
    times = theirs["added_p50_ms"] / ours["added_p50_ms"]
    figures = {
        "direct_p50_ms": ours["direct_p50_ms"],
        "picket_added_p50_ms": ours["added_p50_ms"],
        "picket_added_p99_ms": ours["added_p99_ms"],
        "rival_added_p50_ms": theirs["added_p50_ms"],
        "rival_added_p99_ms": theirs["added_p99_ms"],
        "times": round(times, 1),
    }
    report(f"beside {name}", figures)


def main() -> None:
    """Run both."""
    bench_before_http()
    bench_before_stdio()


if __name__ == "__main__":
    main()
