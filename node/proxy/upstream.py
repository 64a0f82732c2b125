"""The backend for a server behind a Streamable HTTP URL.

Each message is one POST; what comes back, as JSON or as events, is what the
server says. After the session has begun one GET listens for the rest.
"""

import contextlib
import json
import socket
import ssl
from collections import deque
from urllib.parse import urlsplit

import attrs
import httptools
import trio

from gossip.errors import UserError
from node.proxy import limits
from node.proxy.frames import ByteStream
from node.proxy.peek import Kind, Peek, peek
from node.proxy.raw import READ_BYTES, SocketWire
from node.proxy.session import Lost

_GONE = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)
_ACCEPT = "application/json, text/event-stream"
_IDLE_CONNECTIONS_MAX = 64
_HEAD_BYTES_MAX = limits.HEADER_BYTES_MAX + READ_BYTES
_CONNECT_S = 5.0
_RELISTEN_S = 1.0
_SAID_MAX = 8


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


class _Answer:
    """Collects one response; events are taken out as they come."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.head_done = self.done = self.keep_alive = False
        self._head_bytes = 0

    def feed(self, data: bytes) -> None:
        self._head_bytes += 0 if self.head_done else len(data)
        if self._head_bytes > _HEAD_BYTES_MAX:
            raise Lost("the server sent headers that are too large")
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as wrong:
            raise Lost("the server does not speak HTTP/1.1") from wrong
        if len(self.body) > limits.MESSAGE_BYTES_MAX:
            raise Lost("the server sent a message that is too large")

    @property
    def is_events(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")

    def take_events(self) -> list[bytes]:
        """The data of each event that is complete."""
        text = bytes(self.body).replace(b"\r\n", b"\n")
        *events, rest = text.split(b"\n\n")
        self.body[:] = rest
        found = []
        for event in events:
            lines = [n[5:] for n in event.split(b"\n") if n.startswith(b"data:")]
            if data := b"\n".join(n.removeprefix(b" ") for n in lines):
                found.append(data)
        return found

    # what httptools calls

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.head_done:
            text = value.strip(b" \t").decode("latin-1")
            self.headers[name.decode("latin-1").lower()] = text

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self.head_done = self.status >= 200

    def on_body(self, part: bytes) -> None:
        self.body += part

    def on_message_complete(self) -> None:
        self.done = self.head_done
        self.keep_alive = bool(self._parser.should_keep_alive())


class UpstreamBackend:
    """One session with a server behind a URL."""

    def __init__(self, url: str, nursery: trio.Nursery) -> None:
        self._url = read_url(url)
        self._nursery = nursery
        self._idle: deque[SocketWire] = deque()
        self._say, self._said = trio.open_memory_channel[bytes | Lost](_SAID_MAX)
        self._session: str | None = None
        self._version: str | None = None
        self._listening = False

    async def send(self, data: bytes, envelope: bytes | None) -> None:
        """POST one message; its answer comes by `receive`. Raises `Lost`."""
        assert envelope is None, "an envelope never goes to a server"
        seen = peek(data)
        stream = await self._request("POST", data)
        self._nursery.start_soon(self._answer, stream, seen)

    async def receive(self) -> bytes:
        """The server's next message. Raises `Lost`."""
        said = await self._said.receive()
        if isinstance(said, Lost):
            raise said
        return said

    async def aclose(self) -> None:
        """End the session there, if it answers soon."""
        with trio.move_on_after(1):
            if self._session is not None:
                with contextlib.suppress(Lost):
                    stream = await self._request("DELETE", b"")
                    await _read_head(stream, _Answer())
                    await stream.aclose()
        while self._idle:
            self._idle.pop().close()

    async def _request(self, method: str, body: bytes) -> ByteStream:
        url = self._url
        lines = [f"{method} {url.target} HTTP/1.1", f"host: {url.authority}"]
        lines.append(f"accept: {_ACCEPT if method == 'POST' else 'text/event-stream'}")
        if body:
            lines.append("content-type: application/json")
            lines.append(f"content-length: {len(body)}")
        if self._session is not None:
            lines.append(f"mcp-session-id: {self._session}")
        if self._version is not None:
            lines.append(f"mcp-protocol-version: {self._version}")
        head = "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"
        stream = await self._connect()
        try:
            await stream.send_all(head + body)
        except _GONE as gone:
            raise self._unreachable() from gone
        return stream

    def _unreachable(self) -> Lost:
        return Lost(f"the server at `{self._url.authority}` cannot be reached")

    async def _connect(self) -> ByteStream:
        while self._idle:
            wire = self._idle.pop()
            if not wire.has_news():  # an idle connection with news has ended
                return wire
            wire.close()
        try:
            with trio.fail_after(_CONNECT_S):
                if self._url.tls:
                    stream = await trio.open_ssl_over_tcp_stream(
                        self._url.host,
                        self._url.port,
                        https_compatible=True,
                        ssl_context=ssl.create_default_context(),
                    )
                    await stream.do_handshake()
                    return stream
                tcp = await trio.open_tcp_stream(self._url.host, self._url.port)
                return SocketWire(socket.socket(fileno=tcp.socket.detach()))
        except (trio.TooSlowError, *_GONE) as gone:
            raise self._unreachable() from gone

    async def _answer(self, stream: ByteStream, seen: Peek) -> None:
        """Read the answer to one POST and say what is in it."""
        answer = _Answer()
        try:
            await _read_head(stream, answer)
            answered = await self._read_body(stream, answer, seen)
            if seen.kind is Kind.REQUEST and not answered:
                raise Lost(f"the server answered HTTP {answer.status} and nothing more")
        except Lost as lost:
            await self._fail(seen, lost, answer.status)
        finally:
            await self._give_back(stream, answer)
        if seen.method == "notifications/initialized" and not self._listening:
            self._listening = True
            self._nursery.start_soon(self._listen)

    async def _read_body(self, stream: ByteStream, answer: _Answer, seen: Peek) -> bool:
        """Say each message; returns whether the request was answered."""
        answered = False
        if seen.method == "initialize" and answer.status == 200:
            self._session = answer.headers.get("mcp-session-id")
        while True:
            if answer.is_events:
                messages = answer.take_events()
            else:
                messages = [bytes(answer.body)] if answer.done and answer.body else []
            for message in messages:
                answered = await self._tell(message, seen) or answered
            if answer.done:
                return answered
            answer.feed(await _receive(stream))

    async def _tell(self, message: bytes, seen: Peek) -> bool:
        """Say one message; returns whether it answers ``seen``."""
        said = peek(message)
        if said.kind is Kind.UNREADABLE:
            return False
        ours = said.kind is Kind.RESPONSE and said.key == seen.key
        if ours and seen.method == "initialize" and not said.failed:
            version = json.loads(message)["result"].get("protocolVersion")
            self._version = version if isinstance(version, str) else None
        await self._say.send(message)
        return ours

    async def _fail(self, seen: Peek, lost: Lost, status: int) -> None:
        """A POST was not answered: a lost session, or one failed request."""
        if status == 0 or (status == 404 and self._session is not None):
            await self._say.send(lost)
        elif seen.key is not None:
            error = {"code": -32603, "message": str(lost)}
            failed = {"jsonrpc": "2.0", "id": seen.key[1], "error": error}
            await self._say.send(json.dumps(failed).encode())

    async def _listen(self) -> None:
        """Hear what belongs to no request, as long as the server offers it."""
        while True:
            answer = _Answer()
            try:
                stream = await self._request("GET", b"")
                try:
                    await _read_head(stream, answer)
                    if answer.status != 200 or not answer.is_events:
                        return
                    await self._read_body(stream, answer, Peek(Kind.NOTIFICATION))
                finally:
                    await self._give_back(stream, answer)
            except Lost:
                pass  # a POST will find out whether the server is gone
            await trio.sleep(_RELISTEN_S)

    async def _give_back(self, stream: ByteStream, answer: _Answer) -> None:
        if (
            isinstance(stream, SocketWire)
            and answer.done
            and answer.keep_alive
            and len(self._idle) < _IDLE_CONNECTIONS_MAX
        ):
            self._idle.append(stream)
            return
        soon = trio.CancelScope(shield=True, deadline=trio.current_time() + 1)
        with soon, contextlib.suppress(*_GONE):
            await stream.aclose()


async def _read_head(stream: ByteStream, answer: _Answer) -> None:
    while not answer.head_done:
        answer.feed(await _receive(stream))


async def _receive(stream: ByteStream) -> bytes:
    try:
        data = await stream.receive_some(READ_BYTES)
    except _GONE as gone:
        raise Lost("the connection to the server broke") from gone
    if not data:
        raise Lost("the server closed the connection")
    return data
