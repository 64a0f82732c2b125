"""A small HTTP/1.1 server on raw sockets: requests in, answers out, no routes.

::

    reading ──whole request──▶ handler ──answered──▶ reading …
                                  └──not yet──▶ somebody answers later

A handler may return before its `Exchange` is answered, so whoever holds the
answer writes it straight to the socket: no task waits in between. Or it takes its
time: then, from `LOOKOUT_S` on, another task reads meanwhile, so that the end of the
client is noticed. Most handlers never need one.
"""

import math
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Final

import attrs
import trio

from gossip.errors import UserError
from node.proxy import limits
from node.proxy.httpparse import Request, RequestParser
from node.proxy.raw import SocketWire, serve_wires
from node.proxy.tls import TlsWire


@attrs.define(eq=False)
class Exchange:
    """One request and its answer, given once, now or later, from any task."""

    request: Request
    keep_alive: bool
    _connection: "_Connection" = attrs.field(repr=False)
    is_done: bool = attrs.field(init=False, default=False)
    _ending: trio.Event | None = attrs.field(init=False, default=None, repr=False)
    streaming: bool = attrs.field(init=False, default=False)
    gone: bool = attrs.field(init=False, default=False)
    """The client ended before the answer did; whoever still handles it is cancelled."""
    on_gone: Callable[[], None] | None = attrs.field(init=False, default=None)

    @property
    def done(self) -> trio.Event:
        """Set once it has been answered, or never will be."""
        if self._ending is None:
            self._ending = trio.Event()
            if self.is_done:
                self._ending.set()
        return self._ending

    async def answer(
        self,
        status: int,
        body: bytes = b"",
        content_type: str = "application/json",
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Send a whole answer. Nothing happens when the client is gone."""
        if self.is_done:
            return
        self.keep_alive &= self._connection.welcome(status)
        named = [*headers]
        if status not in _BODILESS:
            named.append(("content-length", str(len(body))))
        if body:
            named.append(("content-type", content_type))
        await self._send(_head(status, named, self.keep_alive) + body)
        self._finish()

    async def start_events(
        self, headers: Sequence[tuple[str, str]] = (), status: int = 200
    ) -> None:
        """Begin an answer of server-sent events."""
        if self.is_done:
            return
        self.streaming = True
        self._connection.welcome(status)
        self._connection.look_out()
        named = [
            *headers,
            ("content-type", "text/event-stream"),
            ("cache-control", "no-store"),
            ("transfer-encoding", "chunked"),
        ]
        await self._send(_head(status, named, self.keep_alive))

    async def event(self, data: bytes) -> None:
        """Send one event; ``data`` has no line end in it, or gets several lines."""
        lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        await self.raw_event(
            b"event: message\n%b\n" % b"".join(b"data: %b\n" % n for n in lines)
        )

    async def raw_event(self, event: bytes) -> None:
        """Send one event as it is, its blank line included."""
        await self._send(b"%x\r\n%b\r\n" % (len(event), event))

    async def comment(self) -> None:
        """Send a sign of life that no client takes for a message."""
        await self._send(b"3\r\n:\n\n\r\n")

    async def end_events(self) -> None:
        """End an answer of server-sent events."""
        if not self.is_done:
            await self._send(b"0\r\n\r\n")
            self._finish()

    async def _send(self, data: bytes) -> None:
        if not self.gone:
            await self._connection.send(data)

    def _finish(self) -> None:
        if not self.is_done:
            self._end()
            self._connection.answered(self.keep_alive)

    def _end(self) -> None:
        self.is_done = True
        if self._ending is not None:
            self._ending.set()

    def cut(self) -> None:
        """Break off: nothing more can be said that the client would understand."""
        self._connection.cut()

    def abandon(self) -> None:
        """The client is gone: whoever would answer is told."""
        if not self.is_done:
            self.gone = True
            self._end()
            if self.on_gone is not None:
                self.on_gone()


LOOKOUT_S: Final = 0.02
_SOON_S: Final = 10.0
_BODILESS = (204, 304)
_PHRASES = {int(status): status.phrase for status in HTTPStatus}

Handler = Callable[[Exchange], Awaitable[None]]


class _Connection:
    """One client's connection: reads requests, runs the handler, in order."""

    def __init__(
        self, wire: SocketWire | TlsWire, handler: Handler, lookouts: "_Lookouts"
    ) -> None:
        self._wire = wire
        self._handler = handler
        self._lookouts = lookouts
        self._scope = trio.CancelScope()
        self._parser = RequestParser()
        self._open: Exchange | None = None
        self._handling = False
        self._last = False
        self._sending = 0
        self._seen: bytes | None = None
        self._sight: trio.Event | None = None
        self.is_stranger = True

    def welcome(self, status: int) -> bool:
        """Note what a request is answered; whether another may follow.

        Who has not had one granted is a stranger: they have seconds, not minutes.
        """
        self.is_stranger = self.is_stranger and status >= 400
        return not self.is_stranger

    @property
    def is_served(self) -> bool:
        """Whether a request waits for its answer."""
        return self._open is not None

    def dismiss(self) -> None:
        """End it at once."""
        self._scope.cancel()

    async def send(self, data: bytes) -> None:
        """Send, giving up on a client that takes nothing for too long."""
        sent = self._wire.send_now(data)
        if sent == len(data):
            return
        self._sending += 1
        self._scope.deadline = trio.current_time() + limits.IDLE_S
        try:
            await self._wire.send_all(data[sent:])
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # its end is noticed by whoever reads
        finally:
            self._sending -= 1
            if self._sending == 0 and self._open is not None:
                self._scope.deadline = math.inf

    def cut(self) -> None:
        """End the connection at once."""
        self._scope.cancel()

    def answered(self, keep_alive: bool) -> None:
        """An exchange is complete: wait for the next request, but not for ever."""
        self._open = None
        self._lookouts.rest(self)
        due = trio.current_time() + limits.IDLE_S
        if not due - limits.IDLE_S / 16 < self._scope.deadline <= due:
            self._scope.deadline = due  # not each time: the change is not free
        if not keep_alive:
            self._last = True
            self._scope.deadline = trio.current_time() + limits.LINGER_S
            self._wire.close_write()

    async def run(self) -> None:
        """Serve until either side ends."""
        first_s = min(limits.FIRST_REQUEST_S, limits.IDLE_S)
        self._scope.deadline = trio.current_time() + first_s
        try:
            with self._scope:
                while data := await self._receive():
                    if not self._last:
                        await self._take(data)
        except trio.ClosedResourceError:
            pass
        finally:
            if self._open is not None:
                self._open.abandon()
            self._wire.close()

    async def _receive(self) -> bytes:
        if self._sight is None:
            return await self._wire.receive_some()
        await self._sight.wait()
        seen, self._seen, self._sight = self._seen, None, None
        return seen or b""

    def is_slow(self) -> None:
        """Its request takes a while, so nothing here ends for being late."""
        if self._sending == 0:
            self._scope.deadline = math.inf
        self.look_out()

    def look_out(self) -> None:
        """Have the client's end noticed while the handler is at work."""
        if self._handling and self._sight is None:
            self._sight = trio.Event()
            self._lookouts.post(self._look_out, self._sight)

    async def _look_out(self, sight: trio.Event) -> None:
        try:
            self._seen = await self._wire.receive_some()
        except trio.ClosedResourceError:
            self._seen = b""
        sight.set()
        if not self._seen and self._open is not None:
            self._open.abandon()
            self._scope.cancel()

    async def _take(self, data: bytes) -> None:
        parser, begun = self._parser, self._has_begun()
        parser.feed(data)
        if parser.refusal is not None:
            await self._wait_answered()
            status, sentence = parser.refusal
            parser.ready.clear()
            await self.send(_refusal(status, sentence))
            self.answered(keep_alive=False)
            return
        if self._has_begun() and not begun and self._open is None:
            self._scope.deadline = trio.current_time() + limits.REQUEST_S
        if parser.expects:
            parser.expects = False
            await self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        while parser.ready and not self._last:
            await self._wait_answered()
            request, keep_alive = parser.ready.pop(0)
            if self._scope.deadline < trio.current_time() + _SOON_S:
                self._scope.deadline = math.inf
            self._open = exchange = Exchange(request, keep_alive, self)
            self._lookouts.begin(self)
            self._handling = True
            await self._handler(exchange)
            self._handling = False

    def _has_begun(self) -> bool:
        return self._parser.has_head if self.is_stranger else self._parser.begun

    async def _wait_answered(self) -> None:
        if self._open is not None:
            await self._open.done.wait()


class _Lookouts:
    """Posts a lookout for each connection whose request takes longer than most."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._new: dict[_Connection, None] = {}
        self._known: dict[_Connection, None] = {}
        self._work = trio.Event()

    def begin(self, connection: _Connection) -> None:
        """A request is being handled from now on."""
        self._new[connection] = None
        if not self._work.is_set():
            self._work.set()

    def rest(self, connection: _Connection) -> None:
        """It has been answered, or never will be."""
        self._new.pop(connection, None)
        self._known.pop(connection, None)

    def post(
        self, look_out: Callable[[trio.Event], Awaitable[None]], sight: trio.Event
    ) -> None:
        """Start a lookout at once."""
        self._nursery.start_soon(look_out, sight)

    async def run(self) -> None:
        """Find the slow ones, until cancelled."""
        while True:
            await self._work.wait()
            await trio.sleep(LOOKOUT_S)
            slow, self._known, self._new = self._known, self._new, {}
            for connection in slow:
                connection.is_slow()
            if not self._known:
                self._work = trio.Event()


def _head(status: int, headers: Sequence[tuple[str, str]], keep_alive: bool) -> bytes:
    lines = [f"HTTP/1.1 {status} {_PHRASES.get(status, '')}\r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in headers]
    if not keep_alive:
        lines.append("connection: close\r\n")
    return ("".join(lines) + "\r\n").encode("latin-1")


def _refusal(status: int, sentence: str) -> bytes:
    body = sentence.encode() + b"\n"
    headers = [("content-type", "text/plain"), ("content-length", str(len(body)))]
    return _head(status, headers, keep_alive=False) + body


def listen_on(host: str, port: int) -> socket.socket:
    """Bind and listen; port 0 takes any free one.

    Raises:
        UserError: the address is taken or not ours; names it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(limits.CONNECTIONS_MAX)
    except OSError as refused:
        sock.close()
        raise UserError(
            f"cannot listen on `{host}:{port}`: {refused.strerror};"
            " choose another address or stop what uses it"
        ) from refused
    sock.setblocking(False)
    return sock


async def serve_http(
    sock: socket.socket,
    handler: Handler,
    on_fault: Callable[[BaseException], None],
    tls: ssl.SSLContext | None = None,
) -> None:
    """Serve until cancelled, with TLS if there is a context. Owns ``sock``.

    A fault of the handler ends its connection, and ``on_fault`` is told; nothing
    a client sends can end the server.
    """

    def make(accepted: socket.socket) -> SocketWire | TlsWire:
        return SocketWire(accepted) if tls is None else TlsWire(accepted, tls)

    strangers: dict[str, dict[_Connection, None]] = {}

    async def serve(wire: SocketWire | TlsWire) -> None:
        connection = _Connection(wire, handler, lookouts)
        at_once = strangers.setdefault(wire.address, {})
        for known in [c for c in at_once if not c.is_stranger]:
            del at_once[known]
        if len(at_once) >= limits.STRANGERS_PER_ADDRESS_MAX:
            oldest = next((c for c in at_once if not c.is_served), connection)
            at_once.pop(oldest, None)
            oldest.dismiss()
        at_once[connection] = None
        try:
            await connection.run()
        except* Exception as faults:  # one connection never takes the daemon down
            on_fault(faults)
        finally:
            lookouts.rest(connection)
            at_once.pop(connection, None)
            if not at_once and strangers.get(wire.address) is at_once:
                del strangers[wire.address]

    async with trio.open_nursery() as nursery:
        lookouts = _Lookouts(nursery)
        nursery.start_soon(lookouts.run)
        await serve_wires(sock, limits.CONNECTIONS_MAX, serve, make)
