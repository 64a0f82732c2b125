"""The metrics page: for whoever scrapes it by a name of ours, and no web page."""

import socket
from functools import partial

import pytest
import trio

from node.metrics import Metrics
from node.proxy.http import Origins
from node.proxy.httpd import listen_on, serve_http


async def get(port: int, host: str, path: str = "/metrics") -> bytes:
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        await stream.send_all(head.encode())
        return b"".join([chunk async for chunk in stream])


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", b"200"),
        ("localhost:{port}", b"200"),
        ("north.example:9464", b"200"),
        ("evil.example:{port}", b"403"),
        ("evil.example", b"403"),
    ],
)
async def test_a_host_that_is_not_ours_is_refused(host: str, status: bytes) -> None:
    faults: list[BaseException] = []
    listener: socket.socket = listen_on("127.0.0.1", 0)
    port = listener.getsockname()[1]
    ours = Origins.of_listener("127.0.0.1", port, ("north.example:9464",))
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            serve = partial(Metrics().serve, ours)
            nursery.start_soon(serve_http, listener, serve, faults.append)
            answer = await get(port, host.format(port=port))
            nursery.cancel_scope.cancel()
    assert answer.split(b" ")[1] == status
    assert (b"picket_links" in answer) == (status == b"200")
    assert faults == []
