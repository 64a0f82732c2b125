"""The promises of the small HTTP server to whoever may connect to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import attrs
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gossip.errors import UserError
from node.proxy import limits
from node.proxy.httpd import LOOKOUT_S, Exchange, listen_on, serve_http

GET = b"GET /a HTTP/1.1\r\nhost: here\r\n\r\n"
GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


@attrs.define
class Served:
    """A running server and what became of its requests."""

    port: int
    exchanges: list[Exchange] = attrs.field(factory=list)
    faults: list[BaseException] = attrs.field(factory=list)
    leave: trio.Event = attrs.field(factory=trio.Event)

    async def handle(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)
        match exchange.request.path:
            case "/later":
                return
            case "/refused":
                await exchange.answer(401)
            case "/fault":
                raise ValueError("a defect")
            case "/slow":
                await self.leave.wait()
                await exchange.answer(200, b"at last")
            case "/events":
                await exchange.start_events()
                await exchange.event(b"one\nevent: lie\r\ndata: two")
                await exchange.end_events()
            case "/flood":
                await exchange.start_events()
                while not exchange.gone:
                    await exchange.event(b"x" * 65_536)
                    await trio.lowlevel.checkpoint()
            case _:
                await exchange.answer(200, exchange.request.body or b"-")

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def say(self, data: bytes) -> bytes:
        """Send ``data`` on a fresh connection; everything that comes back."""
        stream = await self.connect()
        async with stream:
            with suppress(*GONE):
                await stream.send_all(data)
                await stream.send_eof()
            return await everything(stream)


async def everything(stream: trio.SocketStream) -> bytes:
    heard = b""
    with trio.fail_after(10), suppress(*GONE):
        while data := await stream.receive_some(65_536):
            heard += data
    return heard


@asynccontextmanager
async def served() -> AsyncIterator[Served]:
    sock = listen_on("127.0.0.1", 0)
    server = Served(sock.getsockname()[1])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_http, sock, server.handle, server.faults.append)
        yield server
        nursery.cancel_scope.cancel()


def post(size: int, body: bytes = b"") -> bytes:
    head = b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: %d\r\n\r\n"
    return head % size + body


async def test_requests_on_one_connection_are_answered_in_order() -> None:
    async with served() as server:
        heard = await server.say(post(3, b"one") + post(3, b"two") + post(5, b"three"))

        assert [heard.count(b) for b in (b"200 OK", b"one", b"two", b"three")] == [
            *(3, 1, 1, 1)
        ]
        assert heard.index(b"one") < heard.index(b"two") < heard.index(b"three")


async def test_http_1_0_is_answered_and_closed() -> None:
    async with served() as server:
        stream = await server.connect()
        async with stream:
            await stream.send_all(b"GET / HTTP/1.0\r\nhost: here\r\n\r\n")
            assert b"connection: close" in await everything(stream)


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"\x16\x03\x01\x02\x00", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\n folded: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost : a\r\n\r\n", 400),
        (
            b"POST / HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n"
            b"\r\n0\r\n\r\nGET /fault HTTP/1.1\r\n\r\n",
            400,
        ),
        (b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\na: " + b"x" * limits.HEADER_BYTES_MAX, 431),
        (b"GET /" + b"x" * limits.HEADER_BYTES_MAX + b" HTTP/1.1\r\n\r\n", 431),
        (post(limits.BODY_MAX + 1), 413),
        (post(10**30), 400),
        (
            b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
            + (b"100000\r\n" + b"x" * 0x100000 + b"\r\n") * 5,
            413,
        ),
    ],
)
async def test_what_is_no_clear_request_is_refused_and_closed(
    said: bytes, status: int
) -> None:
    async with served() as server:
        heard = await server.say(said)

        assert heard.startswith(b"HTTP/1.1 %d " % status)
        assert heard.count(b"HTTP/1.1 ") == 1
        assert all(e.request.path != "/fault" for e in server.exchanges)


async def test_a_body_at_the_limit_passes() -> None:
    async with served() as server:
        size = limits.BODY_MAX
        heard = await server.say(post(size, b"x" * size))

        assert heard.startswith(b"HTTP/1.1 200 ")
        assert heard.endswith(b"x" * 100)


async def test_a_gigabyte_is_refused_before_it_is_sent() -> None:
    async with served() as server:
        stream = await server.connect()
        async with stream:
            await stream.send_all(post(2**30))
            assert b" 413 " in await everything(stream)


async def test_a_client_may_wait_for_leave_to_send_its_body() -> None:
    async with served() as server:
        stream = await server.connect()
        async with stream:
            head = post(4).replace(b"\r\n\r\n", b"\r\nexpect: 100-continue\r\n\r\n")
            await stream.send_all(head)
            assert b"100 Continue" in await stream.receive_some(100)
            await stream.send_all(b"body")
            assert b"body" in await stream.receive_some(1_000)


async def test_white_space_after_a_header_is_no_part_of_it() -> None:
    async with served() as server:
        await server.say(b"GET / HTTP/1.1\r\nhost: here \t \r\n\r\n")

        assert server.exchanges[0].request.headers["host"] == "here"


async def test_trailers_are_not_believed() -> None:
    async with served() as server:
        await server.say(
            b"POST / HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n"
            b"2\r\nhi\r\n0\r\nauthorization: Bearer x\r\n\r\n"
        )
        assert "authorization" not in server.exchanges[0].request.headers


async def test_an_event_cannot_smuggle_another() -> None:
    async with served() as server:
        heard = await server.say(GET.replace(b"/a", b"/events"))

        assert b"event: lie" not in heard.replace(b"data: event: lie", b"")
        assert heard.endswith(b"0\r\n\r\n")


async def test_a_fault_ends_its_connection_and_nothing_else() -> None:
    async with served() as server:
        assert await server.say(GET.replace(b"/a", b"/fault")) == b""
        assert len(server.faults) == 1

        assert b"200 OK" in await server.say(GET)


async def test_a_client_that_leaves_early_is_noticed() -> None:
    async with served() as server:
        stream = await server.connect()
        await stream.send_all(GET.replace(b"/a", b"/later"))
        with trio.fail_after(5):
            while not server.exchanges:
                await trio.lowlevel.checkpoint()
            await stream.aclose()
            await server.exchanges[0].done.wait()

        assert server.exchanges[0].gone
        await server.exchanges[0].answer(200, b"too late")


async def test_a_handler_at_work_is_cancelled_when_its_client_leaves() -> None:
    async with served() as server:
        stream = await server.connect()
        await stream.send_all(GET.replace(b"/a", b"/slow"))
        with trio.fail_after(5):
            while not server.leave.statistics().tasks_waiting:
                await trio.lowlevel.checkpoint()
            await stream.aclose()
            while server.leave.statistics().tasks_waiting:
                await trio.lowlevel.checkpoint()

        assert server.exchanges[0].gone


@pytest.mark.parametrize("late", [False, True])
async def test_what_comes_while_a_handler_is_at_work_is_read_after_it(
    late: bool,
) -> None:
    async with served() as server:
        stream = await server.connect()
        async with stream:
            await stream.send_all(GET.replace(b"/a", b"/slow"))
            with trio.fail_after(5):
                while not server.exchanges:
                    await trio.lowlevel.checkpoint()
                if late:  # somebody else reads by now
                    await trio.sleep(4 * LOOKOUT_S)
                await stream.send_all(post(4, b"next") + post(5, b"third"))
                server.leave.set()
                heard = b""
                while b"third" not in heard:
                    heard += await stream.receive_some(1_000)

        assert heard.index(b"at last") < heard.index(b"next")
        assert len(server.exchanges) == 3


async def test_a_client_that_stops_reading_stops_only_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "IDLE_S", 0.3)
    async with served() as server:
        stream = await server.connect()
        async with stream:
            await stream.send_all(GET.replace(b"/a", b"/flood"))
            for _ in range(50):
                assert b"200 OK" in await server.say(GET)
            with trio.fail_after(5):
                await server.exchanges[0].done.wait()


@pytest.mark.parametrize("said", [b"", b"GET / HT", post(10, b"half")])
async def test_a_client_that_dawdles_is_let_go(
    monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(limits, "IDLE_S", 0.1)
    monkeypatch.setattr(limits, "REQUEST_S", 0.1)
    async with served() as server:
        stream = await server.connect()
        async with stream:
            await stream.send_all(said)
            assert await everything(stream) == b""


async def test_more_connections_than_there_is_room_for_are_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "CONNECTIONS_MAX", 2)
    async with served() as server:
        held = [await server.connect() for _ in range(2)]
        for stream in held:
            await stream.send_all(GET)
            assert await stream.receive_some(1_000)
        assert await server.say(GET) == b""
        for stream in held:
            await stream.aclose()
        with trio.fail_after(5):
            while not await server.say(GET):
                await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("said", [b"", b"GET / HT", b"GET /refused HTTP/1.1\r\n\r\n"])
async def test_strangers_shut_nobody_out(
    monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(limits, "CONNECTIONS_MAX", 12)
    monkeypatch.setattr(limits, "STRANGERS_PER_ADDRESS_MAX", 8)
    async with served() as server:
        friend = await server.connect()
        await friend.send_all(GET)
        assert await friend.receive_some(1_000)
        strangers = [await server.connect() for _ in range(30)]
        for stream in strangers:
            with suppress(*GONE):
                await stream.send_all(said)
        with trio.fail_after(2):
            assert b"200 OK" in await server.say(GET)
            await friend.send_all(GET)
            assert b"200 OK" in await friend.receive_some(1_000)
        for stream in (friend, *strangers):
            await stream.aclose()


@pytest.mark.parametrize("said", [b"", b"GET / HT"])
async def test_who_asks_nothing_is_let_go_in_seconds(
    monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(limits, "FIRST_REQUEST_S", 0.1)
    async with served() as server:
        stream = await server.connect()
        async with stream:
            await stream.send_all(said)
            with trio.fail_after(2):
                assert await everything(stream) == b""


async def test_who_is_refused_has_no_further_request_on_that_connection() -> None:
    async with served() as server:
        stream = await server.connect()
        async with stream:
            await stream.send_all(GET.replace(b"/a", b"/refused"))
            with trio.fail_after(2):
                assert b"connection: close" in await everything(stream)


def test_a_taken_address_is_named() -> None:
    with listen_on("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(UserError, match=f"127.0.0.1:{port}"):
            listen_on("127.0.0.1", port)


@given(st.lists(st.binary(max_size=200) | st.just(GET), max_size=6))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
async def test_no_bytes_hurt_the_server(parts: list[bytes]) -> None:
    async with served() as server:
        await server.say(b"".join(parts))

        assert server.faults == []
        assert b"200 OK" in await server.say(GET)
