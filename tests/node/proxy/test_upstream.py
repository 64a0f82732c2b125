"""The promises of the way to a server behind a URL."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from gossip.errors import UserError
from node.proxy.asks import METADATA, Ask, Letter, Piece
from node.proxy.httpd import Exchange, listen_on, serve_http
from node.proxy.session import Lost
from node.proxy.upstream import HttpCarrier, read_url

ASK = b'{"jsonrpc":"2.0","id":%d,"method":"%s","params":{}}'
NEWS = b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'


def post(key: int, method: bytes) -> Ask:
    return Ask("POST", (("mcp-session-id", "s1"),), (Letter(ASK % (key, method)),))


async def hear_all(carrier: HttpCarrier) -> None:
    answer = await carrier.ask(post(1, b"ping"))
    try:
        while await answer.next() is not None:
            pass
    finally:
        await answer.aclose()


@attrs.define
class Upstream:
    """A Streamable HTTP server that answers as its calls' methods say."""

    seen: list[Exchange] = attrs.field(factory=list)

    async def handle(self, exchange: Exchange) -> None:
        self.seen.append(exchange)
        request = exchange.request
        if request.method == "GET":
            await exchange.answer(200, b'{"resource":"here"}')
            return
        message = json.loads(request.body)
        match message["method"]:
            case "events":
                await exchange.start_events([("mcp-session-id", "s2")])
                await exchange.raw_event(b"id: 1\nretry: 50\ndata: \n\n")
                await exchange.event(NEWS)
                await exchange.end_events()
            case "cut":
                await exchange.start_events()
                await exchange.event(NEWS)
                exchange._connection._wire.close()
            case "fault":
                await exchange.answer(500, b"a defect", "text/plain")
            case "hang":
                await exchange.start_events()
            case _:
                await exchange.answer(200, b"{}", headers=[("x-own", "1")])


@asynccontextmanager
async def upstream() -> AsyncIterator[tuple[Upstream, HttpCarrier]]:
    sock = listen_on("127.0.0.1", 0)
    server = Upstream()
    faults: list[BaseException] = []
    url = f"http://127.0.0.1:{sock.getsockname()[1]}/mcp?a=b"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_http, sock, server.handle, faults.append)
        carrier = HttpCarrier(read_url(url))
        yield server, carrier
        carrier.close()
        nursery.cancel_scope.cancel()
    assert faults == []


async def test_status_headers_and_body_come_back_as_they_are() -> None:
    async with upstream() as (server, carrier):
        answer = await carrier.ask(post(1, b"ping"))
        assert (answer.status, dict(answer.headers)["x-own"]) == (200, "1")
        assert await answer.next() == Piece(b"{}")
        assert await answer.next() is None
        await answer.aclose()

        fault = await carrier.ask(post(2, b"fault"))
        assert (fault.status, await fault.next()) == (500, Piece(b"a defect"))
        await fault.aclose()

        sent = server.seen[0].request.headers
        assert sent["mcp-session-id"] == "s1"
        assert sent["host"] == carrier.url.authority


async def test_a_head_written_before_is_that_of_its_own_requests_only() -> None:
    async with upstream() as (server, carrier):
        letters = (Letter(ASK % (1, b"ping")), Letter(ASK % (22, b"ping")))
        for token in ("a", "a", "b", ""):
            headers = (("authorization", token),) if token else (("x-own", "1"),)
            for letter in letters:
                answer = await carrier.ask(Ask("POST", headers, (letter,)))
                while await answer.next() is not None:
                    pass
                await answer.aclose()

        heard = [e.request.headers.get("authorization") for e in server.seen]
        assert heard == ["a"] * 4 + ["b"] * 2 + [None] * 2
        bodies = [e.request.body for e in server.seen]
        assert bodies == [letter.data for letter in letters] * 4
        assert len(carrier._heads) == 1  # and nobody's tokens in it


async def test_heads_do_not_fill_the_memory() -> None:
    async with upstream() as (_, carrier):
        for n in range(600):
            carrier._write(Ask("POST", (("x-own", str(n)),), (Letter(b"{}"),)))

        assert len(carrier._heads) <= 256


async def test_events_keep_their_ids_and_their_time_to_reconnect() -> None:
    async with upstream() as (_, carrier):
        answer = await carrier.ask(post(1, b"events"))
        assert answer.events
        assert await answer.next() == Piece(b"", "1", "50")
        assert await answer.next() == Piece(NEWS, name="message")
        assert await answer.next() is None
        await answer.aclose()


async def test_connections_are_used_again() -> None:
    async with upstream() as (server, carrier):
        for key in range(5):
            answer = await carrier.ask(post(key, b"ping"))
            while await answer.next() is not None:
                pass
            await answer.aclose()

        assert len({id(e._connection) for e in server.seen}) == 1


async def test_an_answer_given_up_closes_its_connection() -> None:
    async with upstream() as (server, carrier):
        answer = await carrier.ask(post(1, b"hang"))
        await answer.aclose()
        with trio.fail_after(10):
            await server.seen[0].done.wait()
        assert server.seen[0].gone


async def test_an_answer_that_breaks_off_is_no_answer() -> None:
    async with upstream() as (_, carrier):
        answer = await carrier.ask(post(1, b"cut"))
        assert await answer.next() == Piece(NEWS, name="message")
        with pytest.raises(Lost):
            await answer.next()
        await answer.aclose()


async def test_the_document_about_tokens_is_asked_for_where_rfc_9728_says() -> None:
    async with upstream() as (server, carrier):
        answer = await carrier.ask(Ask("GET", target=METADATA))
        await answer.aclose()
        path = server.seen[0].request.path
        assert path == "/.well-known/oauth-protected-resource/mcp"


async def test_a_server_that_is_not_there_is_lost_with_its_address() -> None:
    with listen_on("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
    carrier = HttpCarrier(read_url(f"http://127.0.0.1:{port}/mcp"))
    with pytest.raises(Lost, match=f"127.0.0.1:{port}"):
        await carrier.ask(post(1, b"ping"))


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\x00\x01\x02",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n" + b"x" * 5_000_000,
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 5_000_000,
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 1_000_000,
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nx: a\r\n  b: c\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nx: a\rb: c\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}" * 2,
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
        + b"data: x" * 1_000_000,
    ],
)
async def test_a_server_that_talks_nonsense_fails_that_request_only(
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
        carrier = HttpCarrier(read_url(f"http://127.0.0.1:{port}/"))
        with pytest.raises(Lost):
            await hear_all(carrier)
        nursery.cancel_scope.cancel()


async def heard(stream: trio.SocketStream) -> bytes:
    try:
        return bytes(await stream.receive_some(65_536))
    except trio.BrokenResourceError:
        return b""


async def test_an_answer_nobody_asked_for_answers_no_later_request() -> None:
    """A server cannot leave the answer to one agent's call on a kept connection."""
    first = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nright"
    asked, poisoned = list[int](), trio.Event()

    async def talk(stream: trio.SocketStream) -> None:
        async with stream:
            while await heard(stream):
                asked.append(stream.socket.getpeername()[1])
                await stream.send_all(first)
                if len(asked) == 1:
                    await stream.send_all(first.replace(b"right", b"wrong"))
                    poisoned.set()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, talk, 0)
        port = listeners[0].socket.getsockname()[1]
        carrier = HttpCarrier(read_url(f"http://127.0.0.1:{port}/"))
        for turn in range(2):
            try:
                answer = await carrier.ask(post(turn, b"ping"))
                piece = await answer.next()
                assert piece == Piece(b"right")
                await answer.aclose()
            except Lost:
                assert turn == 0  # both answers came in one read
            await poisoned.wait()
        assert len({*asked}) == 2
        carrier.close()
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
