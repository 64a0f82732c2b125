"""The way to a server behind a Streamable HTTP URL, on connections used again.

::

    Ask ──▶ one request ──▶ Answer: JSON whole, events as they come

No request is sent twice: when a connection breaks, that request has failed.
"""

import socket
import ssl
from collections import deque
from typing import TypeAlias
from urllib.parse import urljoin, urlsplit

import attrs
import trio

from gossip.errors import LocalError, UserError
from node.proxy import limits
from node.proxy.asks import (
    METADATA,
    Answer,
    Ask,
    Headers,
    Piece,
    Way,
    answered,
    is_asked,
)
from node.proxy.httpread import KnownHead, ResponseReader, known_head
from node.proxy.raw import READ_BYTES, SocketWire
from node.proxy.resource import (
    Document,
    is_about_untrusted,
    named_document,
    places,
    stand_in,
)
from node.proxy.session import Lost
from node.proxy.tls import TlsUpstream

Connection: TypeAlias = SocketWire | TlsUpstream

_GONE = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)
_HEADS_MAX = 256
_ACCEPT = "application/json, text/event-stream"
_JSON = (("content-type", "application/json"),)


@attrs.frozen
class Url:
    """Where a server is."""

    tls: bool
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """As in a `Host` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    @property
    def text(self) -> str:
        """All of it."""
        return f"{'https' if self.tls else 'http'}://{self.authority}{self.target}"


def read_url(text: str) -> Url:
    """Read an http or https URL; raises UserError."""
    try:
        parts = urlsplit(text)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"`{text}` is not an http or https URL")
    query = f"?{parts.query}" if parts.query else ""
    return Url(
        parts.scheme == "https", parts.hostname, port, (parts.path or "/") + query
    )


@attrs.define(eq=False)
class HttpCarrier:
    """The way to the server at one URL; holds connections nobody uses just now."""

    url: Url
    resource: str = ""
    """What its RFC 9728 document calls it; empty: by its URL."""
    _idle: deque[Connection] = attrs.field(init=False, factory=deque)
    _trust: ssl.SSLContext | None = attrs.field(init=False, default=None)
    _named: str | None = attrs.field(init=False, default=None)
    """Where its last challenge said that document lies; None without a challenge."""
    _heads: dict[tuple[str, str, Headers, bool], bytes] = attrs.field(
        init=False, factory=dict, repr=False
    )
    """Of requests sent before, without their length: most are like the one before."""
    known: KnownHead | None = attrs.field(init=False, default=None, repr=False)
    """What the last answer that came whole looked like."""

    async def ask(self, ask: Ask) -> Answer:
        """Send one request; returns once the head of the answer is here.

        Raises:
            Lost: the server cannot be reached, or what came is no HTTP/1.1.
        """
        if ask.target == METADATA:
            return await self._document(ask)
        answer = await self._send(ask)
        named = named_document(answer.status, answer.headers, self.url.text)
        self._named = self._named if named is None else named
        return answer

    async def _document(self, ask: Ask) -> Document:
        """Its RFC 9728 document, from wherever it lies; only one that is about it."""
        resource = self.resource or self.url.text.partition("?")[0]
        for target in places(self.url.target, self._named or ""):
            answer = await self._send(attrs.evolve(ask, target=target))
            try:
                piece = None if answer.events else await answer.next()
            finally:
                with trio.CancelScope(shield=True):
                    await answer.aclose()
            if answer.status == 200 and piece is not None:
                if is_about_untrusted(piece.data, resource):
                    return Document(200, _JSON, piece.data)
                return Document(502, (), b"the server's document is not about it\n")
            if answer.status >= 500:
                return Document(502, (), b"the server's document is not there\n")
        if self._named is None:
            return Document(404, (), b"")
        return Document(200, _JSON, stand_in(resource))

    async def _send(self, ask: Ask) -> "HttpAnswer":
        stream = await self._connect()
        answer = HttpAnswer(self, stream)
        try:
            try:
                await stream.send_all(self._write(ask))
            except _GONE as gone:
                raise self._unreachable() from gone
            await answer.read_head()
        except BaseException:
            with trio.CancelScope(shield=True):
                await answer.aclose()
            raise
        return answer

    def endpoint(self, data: bytes) -> Way | None:
        """Where a stream wants its messages; None unless at this very server."""
        url = self.url
        try:
            there = read_url(urljoin(url.text, data.decode("ascii")))
        except (UnicodeDecodeError, UserError, ValueError):
            return None
        same = (there.tls, there.host, there.port) == (url.tls, url.host, url.port)
        plain = there.target.isprintable() and " " not in there.target
        return Way(target=there.target) if same and plain else None

    def learn(self, data: bytes, reader: ResponseReader) -> None:
        """An answer has come whole, at once."""
        head = known_head(data, reader)
        if head is not None:
            self.known = attrs.evolve(head, headers=answered(head.headers))

    def close(self) -> None:
        """Close the connections nobody uses."""
        while self._idle:
            self._idle.pop().close()

    def _write(self, ask: Ask) -> bytes:
        body = ask.body()
        key = ask.method, ask.target, ask.headers, bool(body)
        head = self._heads.get(key)
        if head is None:
            head = self._head(ask, bool(body))
            if not any(name == "authorization" for name, _ in ask.headers):
                if len(self._heads) >= _HEADS_MAX:
                    self._heads.clear()
                self._heads[key] = head  # and nobody's tokens
        if body or ask.method == "POST":
            return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)
        return head + b"\r\n"

    def _head(self, ask: Ask, has_body: bool) -> bytes:
        """All lines but the last, which says how long the body is.

        Raises:
            LocalError: a header that should have stayed behind is still there.
        """
        if not all(is_asked(name) for name, _ in ask.headers):
            raise LocalError("a header of one connection on its way to a server")
        url = self.url
        target = ask.target or url.target
        lines = [f"{ask.method} {target} HTTP/1.1", f"host: {url.authority}"]
        lines += [f"{name}: {value}" for name, value in ask.headers]
        if not any(name == "accept" for name, _ in ask.headers):
            lines.append(f"accept: {_ACCEPT if has_body else 'text/event-stream'}")
        if has_body:
            lines.append("content-type: application/json")
        return "".join(f"{line}\r\n" for line in lines).encode("latin-1", "replace")

    def _unreachable(self) -> Lost:
        return Lost(f"the server at `{self.url.authority}` cannot be reached")

    async def _secure(self, wire: SocketWire) -> TlsUpstream:
        if self._trust is None:
            self._trust = ssl.create_default_context()
            self._trust.set_alpn_protocols(["http/1.1"])
        stream = TlsUpstream(wire, self.url.host, self._trust)
        try:
            await stream.do_handshake()
        except BaseException:
            stream.close()
            raise
        return stream

    async def _connect(self) -> Connection:
        while self._idle:
            wire = self._idle.pop()
            if not wire.has_news():  # an idle connection with news has ended
                return wire
            wire.close()
        try:
            with trio.fail_after(limits.CONNECT_S):
                tcp = await trio.open_tcp_stream(self.url.host, self.url.port)
                wire = SocketWire(socket.socket(fileno=tcp.socket.detach()))
                return await self._secure(wire) if self.url.tls else wire
        except (trio.TooSlowError, *_GONE) as gone:
            raise self._unreachable() from gone

    def keep(self, wire: Connection) -> bool:
        """Hold a connection for the next request; False if there are enough."""
        if len(self._idle) >= limits.IDLE_CONNECTIONS_MAX:
            return False
        self._idle.append(wire)
        return True


class HttpAnswer:
    """One answer, as it comes; see `node.proxy.asks.Answer`."""

    status = 0
    headers: Headers = ()
    events = False

    def __init__(self, carrier: HttpCarrier, stream: Connection) -> None:
        self._carrier = carrier
        self._stream: Connection | None = stream
        self._reader: ResponseReader | None = None
        self._body: bytes | None = None
        self._pieces: deque[Piece] = deque()

    async def read_head(self) -> None:
        """Wait for status and headers. Raises `Lost`."""
        data, known = await self._receive(), self._carrier.known
        if known is not None:
            self._body = known.read(data)
            if self._body is not None:
                self.status, self.headers = known.status, known.headers
                return
        self._reader = reader = ResponseReader()
        reader.feed(data)
        whole = reader.done
        while not reader.head_done:
            reader.feed(await self._receive())
        self.status, self.headers = reader.status, answered(reader.headers)
        self.events = reader.is_events
        if whole:
            self._carrier.learn(data, reader)

    async def next(self) -> Piece | None:
        """The next event, or the whole body; None at the end. Raises `Lost`."""
        reader = self._reader
        if reader is None:
            body, self._body = self._body, None
            return Piece(body) if body else None
        if not self.events:
            while not reader.done:
                reader.feed(await self._receive())
            return reader.take_body()
        while not self._pieces:
            self._pieces += reader.take_events()
            if not self._pieces:
                if reader.done:
                    return None
                reader.feed(await self._receive())
        return self._pieces.popleft()

    async def _receive(self) -> bytes:
        assert self._stream is not None, "nothing is read after its end"
        try:
            return await self._stream.receive_some(READ_BYTES)
        except _GONE as gone:
            raise Lost("the connection to the server broke") from gone

    @property
    def _is_reusable(self) -> bool:
        """Whether all has come, and its connection stays open."""
        reader = self._reader
        if reader is None:
            return self.status > 0
        return reader.done and reader.keep_alive

    def rest(self) -> bool:
        """Give the connection back, if it can be used again."""
        if (
            self._stream is not None
            and self._is_reusable
            and self._carrier.keep(self._stream)
        ):
            self._stream = None
        return self._stream is None

    async def aclose(self) -> None:
        """Give the connection back, or close it if it cannot be used again."""
        stream = self._stream
        if stream is None or self.rest():
            return
        self._stream = None
        stream.close()
