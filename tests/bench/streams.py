"""What many open event streams cost: memory of the listener, and a message to each.

Run as ``python -m tests.bench.streams [COUNT]``: agents hold that many GET streams,
1 000 by default, each through the gate to one server behind a URL. Prints JSON.
"""

import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import trio

from node.proxy.httpd import Exchange, listen_on, serve_http
from tests.bench._servers import ANSWERS
from tests.bench.gate import started
from tests.support.proxies import TOKEN

MODULE: Final = (sys.executable, "-m", "tests.bench.streams")
NEWS: Final = b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'
PER_SESSION: Final = 20
DEADLINE_S: Final = 120


async def serve_upstream() -> None:
    """A server whose streams all say the same when its stdin does."""
    held: list[Exchange] = []

    async def answer(exchange: Exchange) -> None:
        if exchange.request.method == "GET":
            await exchange.start_events()
            held.append(exchange)
            return
        key = json.loads(exchange.request.body)["id"]
        told = {"jsonrpc": "2.0", "id": key, "result": ANSWERS["initialize"]}
        name = ("mcp-session-id", str(key))
        await exchange.answer(200, json.dumps(told).encode(), headers=[name])

    sock = listen_on("127.0.0.1", 0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_http, sock, answer, _shout)
        sys.stdout.write(f"{sock.getsockname()[1]}\n")
        sys.stdout.flush()
        await trio.lowlevel.wait_readable(sys.stdin.fileno())
        for exchange in held:
            await exchange.event(NEWS)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()


def _shout(fault: BaseException) -> None:
    raise fault


def resident_mb(pid: int) -> float:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1_024
    return 0.0


async def hold(port: int, count: int, say: Callable[[], Awaitable[None]]) -> float:
    """Open the streams, have the server speak, hear it on each; returns seconds."""
    streams: list[trio.SocketStream] = []
    for number in range(count):
        session = str(number // PER_SESSION)
        if number % PER_SESSION == 0:
            await _open(port, session)
        streams.append(await _listen(port, session))
    begun = time.perf_counter()
    await say()
    for stream in streams:
        heard = b""
        while NEWS not in heard:
            heard += await stream.receive_some(4_096)
    took_s = time.perf_counter() - begun
    for stream in streams:
        await stream.aclose()
    return took_s


async def _open(port: int, session: str) -> None:
    params = {"protocolVersion": "2025-11-25", "capabilities": {}}
    asked = {"jsonrpc": "2.0", "id": int(session), "method": "initialize"}
    body = json.dumps({**asked, "params": params}).encode()
    stream = await _send(port, "POST", body, "")
    await stream.receive_some(4_096)
    await stream.aclose()


async def _listen(port: int, session: str) -> trio.SocketStream:
    stream = await _send(port, "GET", b"", f"mcp-session-id: {session}\r\n")
    head = await stream.receive_some(4_096)
    assert b"text/event-stream" in head, head
    return stream


async def _send(port: int, method: str, body: bytes, more: str) -> trio.SocketStream:
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    head = (
        f"{method} /mcp/echo HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
        f"authorization: Bearer {TOKEN}\r\naccept: text/event-stream\r\n"
        f"content-type: application/json\r\n{more}content-length: {len(body)}\r\n\r\n"
    )
    await stream.send_all(head.encode() + body)
    return stream


async def measure(count: int) -> dict[str, float]:
    """Run it."""
    listening = (sys.executable, "-m", "tests.bench._servers", "listener", "url")
    with started(*MODULE, "upstream") as upstream:
        assert upstream.stdout is not None
        port = upstream.stdout.readline().decode().strip()
        with started(*listening, port) as listener:
            assert listener.stdout is not None
            own = int(listener.stdout.readline())
            empty_mb = resident_mb(listener.pid)
            full_mb = 0.0

            async def say() -> None:
                nonlocal full_mb
                full_mb = resident_mb(listener.pid)
                assert upstream.stdin is not None
                upstream.stdin.write(b"\n")

            with trio.fail_after(DEADLINE_S):
                took_s = await hold(own, count, say)
    return {
        "streams": count,
        "empty_mb": round(empty_mb, 1),
        "resident_mb": round(full_mb, 1),
        "all_heard_s": round(took_s, 3),
    }


def main(words: list[str]) -> None:
    """Measure, or serve the upstream."""
    if words == ["upstream"]:
        trio.run(serve_upstream)
        return
    figures = trio.run(measure, int(words[0]) if words else 1_000)
    sys.stdout.write(json.dumps({"bench": "streams", **figures}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
