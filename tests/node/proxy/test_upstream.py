"""The promises of the backend for a server behind a URL."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import attrs
import pytest
import trio

from gossip.errors import UserError
from node.proxy.httpd import Exchange, listen_on, serve_http
from node.proxy.session import Lost
from node.proxy.upstream import UpstreamBackend, read_url

ASK = b'{"jsonrpc":"2.0","id":%d,"method":"%s","params":{}}'
READY = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
NEWS = b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'


def answer_of(key: int) -> bytes:
    return b'{"jsonrpc":"2.0","id":%d,"result":{"protocolVersion":"2025-06-18"}}' % key


@attrs.define
class Upstream:
    """A Streamable HTTP server that answers as its calls' methods say."""

    seen: list[Exchange] = attrs.field(factory=list)

    async def handle(self, exchange: Exchange) -> None:
        self.seen.append(exchange)
        request = exchange.request
        if request.method == "GET":
            await exchange.start_events()
            await exchange.event(NEWS)
            return
        if request.method == "DELETE":
            await exchange.answer(200)
            return
        message = json.loads(request.body)
        key = message.get("id")
        match message["method"]:
            case "notifications/initialized":
                await exchange.answer(202)
            case "events":
                await exchange.start_events()
                await exchange.event(NEWS)
                await exchange.event(answer_of(key))
                await exchange.end_events()
            case "cut":
                await exchange.start_events()
                await exchange.event(NEWS)
                await exchange.end_events()
            case "fault":
                await exchange.answer(500, b"a defect", "text/plain")
            case "gone":
                await exchange.answer(404)
            case "garbage":
                await exchange.answer(200, b"not json")
            case _:
                headers = [("mcp-session-id", "s1")]
                await exchange.answer(200, answer_of(key), headers=headers)


@asynccontextmanager
async def upstream() -> AsyncIterator[tuple[Upstream, UpstreamBackend]]:
    sock = listen_on("127.0.0.1", 0)
    server = Upstream()
    faults: list[BaseException] = []
    url = f"http://127.0.0.1:{sock.getsockname()[1]}/mcp?a=b"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_http, sock, server.handle, faults.append)
        backend = UpstreamBackend(url, nursery)
        yield server, backend
        await backend.aclose()
        nursery.cancel_scope.cancel()
    assert faults == []


async def hear(backend: UpstreamBackend) -> dict[str, object]:
    with trio.fail_after(10):
        heard: dict[str, object] = json.loads(await backend.receive())
        return heard


async def test_session_and_revision_travel_on_every_later_request() -> None:
    async with upstream() as (server, backend):
        await backend.send(ASK % (0, b"initialize"), None)
        assert (await hear(backend))["id"] == 0
        await backend.send(READY, None)
        assert (await hear(backend))["method"] == "notifications/tools/list_changed"
        await backend.send(ASK % (1, b"ping"), None)
        assert (await hear(backend))["id"] == 1

        first, *later = [e.request.headers for e in server.seen]
        assert "mcp-session-id" not in first
        assert {h["mcp-session-id"] for h in later} == {"s1"}
        assert {h["mcp-protocol-version"] for h in later} == {"2025-06-18"}
        assert {e.request.method for e in server.seen} == {"POST", "GET"}


async def test_the_session_is_ended_there_too() -> None:
    async with upstream() as (server, backend):
        await backend.send(ASK % (0, b"initialize"), None)
        await hear(backend)
        await backend.aclose()

        assert server.seen[-1].request.method == "DELETE"


async def test_connections_are_used_again() -> None:
    async with upstream() as (server, backend):
        for key in range(5):
            await backend.send(ASK % (key, b"ping"), None)
            assert (await hear(backend))["id"] == key

        # The second may begin before the first is given back.
        assert len({id(e._connection) for e in server.seen}) <= 2


async def test_what_comes_before_an_answer_comes_first() -> None:
    async with upstream() as (_, backend):
        await backend.send(ASK % (1, b"events"), None)

        assert "method" in await hear(backend)
        assert (await hear(backend))["id"] == 1


@pytest.mark.parametrize("method", [b"cut", b"fault", b"garbage"])
async def test_a_request_that_is_not_answered_fails_alone(method: bytes) -> None:
    async with upstream() as (_, backend):
        await backend.send(ASK % (1, method), None)
        heard = await hear(backend)
        if "method" in heard:
            heard = await hear(backend)
        assert "error" in heard

        await backend.send(ASK % (2, b"ping"), None)
        assert (await hear(backend))["id"] == 2


async def test_a_session_the_server_forgot_is_lost() -> None:
    async with upstream() as (_, backend):
        await backend.send(ASK % (0, b"initialize"), None)
        await hear(backend)
        await backend.send(ASK % (1, b"gone"), None)
        with pytest.raises(Lost):
            await hear(backend)


async def test_a_server_that_is_not_there_is_lost_with_its_address() -> None:
    with listen_on("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
    async with trio.open_nursery() as nursery:
        backend = UpstreamBackend(f"http://127.0.0.1:{port}/mcp", nursery)
        with pytest.raises(Lost, match=f"127.0.0.1:{port}"):
            await backend.send(ASK % (1, b"ping"), None)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\x00\x01\x02",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n" + b"x" * 5_000_000,
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 5_000_000,
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 1_000_000,
    ],
)
async def test_a_server_that_talks_nonsense_ends_that_session_only(
    said: bytes,
) -> None:
    async def talk(stream: trio.SocketStream) -> None:
        try:
            async with stream:
                await stream.receive_some(65_536)
                await stream.send_all(said)
        except trio.BrokenResourceError:
            pass

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, talk, 0)
        port = listeners[0].socket.getsockname()[1]
        backend = UpstreamBackend(f"http://127.0.0.1:{port}/", nursery)
        await backend.send(ASK % (1, b"ping"), None)
        with suppress(Lost):
            assert "error" in await hear(backend)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "url", ["", "ftp://a/", "http://", "http://a:port/", "http://[::1", "a.example"]
)
def test_a_url_that_is_none_is_named(url: str) -> None:
    with pytest.raises(UserError):
        read_url(url)


@pytest.mark.parametrize(
    ("url", "authority", "target"),
    [
        ("http://a.example", "a.example", "/"),
        ("https://a.example:8443/mcp?x=1#f", "a.example:8443", "/mcp?x=1"),
        ("http://[::1]:80/", "[::1]", "/"),
    ],
)
def test_a_url_is_taken_apart(url: str, authority: str, target: str) -> None:
    read = read_url(url)
    assert (read.authority, read.target) == (authority, target)
