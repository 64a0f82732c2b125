"""`/picket/http/1`: HTTP through the mesh, one request at a time on a stream.

::

    consumer                                 provider
    OPEN server, chain, certificate   ────▶  reads them
                                      ◀────  SERVES: does it speak HTTP here?
    ASK method, headers, messages     ────▶  gate (ingress) ──▶ the server's URL
                                      ◀────  HEAD status, headers
                                      ◀────  PIECE … END
    ASK …

Closing the stream is how the agent's going is told. A stream that is at rest is used
again, by the same agent for the same server.
"""

import enum
import re
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import attrs
import trio

from gossip.errors import PeerError
from gossip.wire import (
    Value,
    pack,
    take_bytes,
    take_int,
    take_list,
    take_str,
    unpack_untrusted,
)
from node.log import printable
from node.proxy import limits
from node.proxy.asks import (
    METADATA,
    Ask,
    Headers,
    Letter,
    Piece,
    Way,
    as_read,
    is_answered,
    is_asked,
)
from node.proxy.frames import FrameStream
from node.proxy.mesh import GONE
from node.proxy.session import Lost

HTTP_PROTOCOL: Final = "/picket/http/1"
_METHODS: Final = ("GET", "POST", "DELETE")
_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+")
_NO_VALUE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_HEAD_MAX: Final = 2 * limits.HEADER_BYTES_MAX
_NAME_MAX: Final = 64
_SENTENCE_BYTES_MAX: Final = 512


class HttpFrame(enum.IntEnum):
    """What a frame is."""

    OPEN = 1
    ASK = 2
    HEAD = 3
    PIECE = 4
    END = 5
    LOST = 6
    SERVES = 7


def encode_ask(ask: Ask) -> bytes:
    """The payload of ASK: u32 size of the head | head | envelopes and messages."""
    sizes: list[Value] = []
    blobs: list[bytes] = []
    for letter in ask.letters:
        envelope = letter.envelope or b""
        sizes += [len(envelope), len(letter.data)]
        blobs += [envelope, letter.data]
    meta = ask.target == METADATA
    return _join([ask.method, meta, ask.batch, _write(ask.headers), sizes], blobs)


def read_ask_untrusted(payload: bytes) -> Ask:
    """Read the payload of ASK. Raises `PeerError`."""
    head, rest = _split_untrusted(payload)
    method, metadata, batch, headers, sizes = take_list(head, 5, 5)
    name = take_str(method, 1, 8)
    if name not in _METHODS or type(metadata) is not bool or type(batch) is not bool:
        raise PeerError("an ask of an unknown kind")
    parts = [
        take_int(size, 0, limits.FRAME_BYTES_MAX)
        for size in take_list(sizes, 0, 2 * limits.LETTERS_MAX)
    ]
    if len(parts) % 2 or sum(parts) != len(rest):
        raise PeerError("an ask whose messages are cut short")
    blobs, at = [], 0
    for size in parts:
        blobs.append(rest[at : at + size])
        at += size
    pairs = zip(blobs[::2], blobs[1::2], strict=True)
    letters = tuple(Letter(data, envelope or None) for envelope, data in pairs)
    fits = len(letters) > 0 if batch else len(letters) == (name == "POST")
    if not fits or (batch and name != "POST") or (metadata and name != "GET"):
        raise PeerError(f"a {name} that does not go with what it brings")
    target = METADATA if metadata else ""
    return Ask(name, _read_asked(headers), letters, batch, target)


def encode_head(status: int, headers: Headers, *, events: bool) -> bytes:
    """The payload of HEAD."""
    return pack([status, events, _write(headers)])


def encode_piece(piece: Piece) -> bytes:
    """The payload of PIECE: u32 size of the head | head | data."""
    fields = [piece.id, piece.retry, piece.name]
    head: list[Value] = [None if f is None else f.encode() for f in fields]
    return _join(head, [piece.data])


def read_piece_untrusted(payload: bytes) -> Piece:
    """Read the payload of PIECE. Raises `PeerError`."""
    head, data = _split_untrusted(payload)
    fields: list[str | None] = []
    for field in take_list(head, 3, 3):
        try:
            told = None if field is None else take_bytes(field, 0, 4_096).decode()
        except UnicodeDecodeError as wrong:
            raise PeerError("an event whose fields are not UTF-8") from wrong
        if told is not None and not told.isprintable():
            raise PeerError("an event whose fields are not one line")
        fields.append(told)
    if fields[1] is not None and not (fields[1].isascii() and fields[1].isdigit()):
        raise PeerError("an event with a time that is none")
    return Piece(data, *fields)


def _join(head: list[Value], blobs: Iterable[bytes]) -> bytes:
    packed = pack(head)
    return b"".join((len(packed).to_bytes(4, "big"), packed, *blobs))


def _split_untrusted(payload: bytes) -> tuple[Value, bytes]:
    size = int.from_bytes(payload[:4], "big")
    if len(payload) < 4 + size:
        raise PeerError("a frame whose head is cut short")
    return unpack_untrusted(payload[4 : 4 + size], _HEAD_MAX), payload[4 + size :]


def _write(headers: Headers) -> list[Value]:
    return [[k.encode("latin-1"), v.encode("latin-1")] for k, v in headers]


def _read_headers(value: Value) -> Headers:
    found: list[tuple[str, str]] = []
    for pair in take_list(value, 0, 256):
        key, text = take_list(pair, 2, 2)
        name = take_bytes(key, 1, 256).decode("latin-1")
        line = take_bytes(text, 0, limits.HEADER_BYTES_MAX).decode("latin-1")
        told = line.strip(" \t")  # as every reader of HTTP does
        if _NAME.fullmatch(name) is None or _NO_VALUE.search(told):
            raise PeerError("a header that is none")
        found.append((name, told))
    return tuple(found)


def _read_asked(value: Value) -> Headers:
    """Headers that our own listener would have let travel, each once.

    What frames a request is ours to write, and what the gate compares must be what
    the server will read.
    """
    headers = _read_headers(value)
    if len({as_read(name) for name, _ in headers}) < len(headers):
        raise PeerError("an ask that says a header twice")
    for name, _ in headers:
        if not is_asked(name):
            raise PeerError(f"an ask with the header `{name}`, which stays behind")
    return headers


@attrs.define(eq=False)
class HttpMeshCarrier:
    """The consumer's end of one agent's way to one server; see `Carrier`.

    Attributes:
        open: Opens a stream and says OPEN on it. Raises `Lost`.
        name: The provider's.
    """

    open: Callable[[], Awaitable[FrameStream]]
    name: str
    _idle: deque[tuple[FrameStream, float]] = attrs.field(init=False, factory=deque)

    async def serves(self) -> bool:
        """Whether the server speaks HTTP there. Raises `Lost`."""
        frames = await self.open()
        try:
            kind, payload = await self.receive(frames)
            serves = kind == HttpFrame.SERVES and payload == b"\x01"
        except BaseException:
            with trio.CancelScope(shield=True):
                await frames.aclose()
            raise
        if serves:
            self.keep(frames)
        else:
            await frames.aclose()
        return serves

    async def ask(self, ask: Ask) -> "MeshAnswer":
        """Pass a request on. Raises `Lost`."""
        frames, fresh = await self._stream()
        answer = MeshAnswer(self, frames)
        try:
            try:
                await frames.send(HttpFrame.ASK, encode_ask(ask))
            except GONE as gone:
                raise self.ended() from gone
            await answer.read_head(fresh)
        except BaseException:
            with trio.CancelScope(shield=True):
                await answer.aclose()
            raise
        return answer

    def endpoint(self, data: bytes) -> Way | None:
        """The name of a stream at the provider; None if it is none."""
        name = data.decode("ascii", "replace")
        fits = name.isascii() and name.isalnum() and len(name) <= _NAME_MAX
        return Way(session=name) if fits else None

    async def _stream(self) -> tuple[FrameStream, bool]:
        too_old_s = trio.current_time() - limits.IDLE_STREAM_S
        while self._idle and self._idle[0][1] < too_old_s:
            await self._idle.popleft()[0].aclose()
        if self._idle:
            return self._idle.pop()[0], False
        return await self.open(), True

    def keep(self, frames: FrameStream) -> None:
        """Hold a stream at rest for the next request."""
        self._idle.append((frames, trio.current_time()))

    async def close(self) -> None:
        """Close the streams at rest: the agent shows other credentials now."""
        while self._idle:
            frames, _ = self._idle.pop()
            await frames.aclose()

    async def receive(self, frames: FrameStream) -> tuple[int, bytes]:
        """The next frame. Raises `Lost`."""
        try:
            frame = await frames.receive_untrusted()
        except PeerError as wrong:
            raise self.broke() from wrong
        if frame is None:
            raise self.ended()
        kind, payload = frame
        if kind == HttpFrame.LOST:
            told = payload[:_SENTENCE_BYTES_MAX].decode("utf-8", "replace")
            raise Lost(
                f"node `{self.name}` says: {printable(told)}",
                advice=f"see the log of node `{self.name}`",
            )
        return kind, payload

    def ended(self) -> Lost:
        return Lost(f"the link to node `{self.name}` has ended")

    def broke(self) -> Lost:
        return Lost(f"node `{self.name}` broke the mesh protocol")


class MeshAnswer:
    """One answer out of the mesh, as it comes; see `node.proxy.asks.Answer`."""

    status = 0
    headers: Headers = ()
    events = False

    def __init__(self, carrier: HttpMeshCarrier, frames: FrameStream) -> None:
        self._carrier = carrier
        self._frames = frames
        self._done = self._kept = False

    async def read_head(self, fresh: bool) -> None:
        """Wait for status and headers. Raises `Lost`."""
        kind, payload = await self._carrier.receive(self._frames)
        if fresh and kind == HttpFrame.SERVES:
            kind, payload = await self._carrier.receive(self._frames)
        if kind != HttpFrame.HEAD:
            raise self._carrier.broke()
        try:
            status, events, headers = take_list(
                unpack_untrusted(payload, _HEAD_MAX), 3, 3
            )
            self.status = take_int(status, 200, 599)
            self.headers = _read_headers(headers)
            if not all(is_answered(name) for name, _ in self.headers):
                raise PeerError("an answer with a header that stays behind")
        except PeerError as wrong:
            raise self._carrier.broke() from wrong
        self.events = events is True

    async def next(self) -> Piece | None:
        """The next event, or the whole body; None at the end. Raises `Lost`."""
        if self._done:
            return None
        kind, payload = await self._carrier.receive(self._frames)
        if kind == HttpFrame.END:
            self._done = True
            return None
        if kind != HttpFrame.PIECE:
            raise self._carrier.broke()
        try:
            return read_piece_untrusted(payload)
        except PeerError as wrong:
            raise self._carrier.broke() from wrong

    def rest(self) -> bool:
        """Keep the stream for the next request, if the answer is at its end."""
        if self._done and not self._kept:
            self._kept = True
            self._carrier.keep(self._frames)
        return self._done

    async def aclose(self) -> None:
        """Keep the stream, or close it if the answer is not at its end."""
        if not self.rest():
            await self._frames.aclose()


@attrs.define(eq=False)
class MeshOut:
    """The provider's end of an answer; see `node.proxy.asks.Out`."""

    frames: FrameStream
    on_end: Callable[[], None]
    """Called before the end is sent: the next ask may follow it at once."""
    _begun: bool = False

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """Send an answer in one piece."""
        if not self._begun:
            self._begun = True
            head = encode_head(status, headers, events=False)
            await self.frames.send(HttpFrame.HEAD, head)
        if body:
            await self.piece(Piece(body))
        await self.end()

    async def begin(self, status: int, headers: Headers) -> None:
        """Begin an answer of events."""
        self._begun = True
        await self.frames.send(
            HttpFrame.HEAD, encode_head(status, headers, events=True)
        )

    async def piece(self, piece: Piece) -> None:
        """Send one event; waits for a slow reader."""
        await self.frames.send(HttpFrame.PIECE, encode_piece(piece))

    async def end(self) -> None:
        """End it."""
        self.on_end()
        await self.frames.send(HttpFrame.END, b"")

    def endpoint(self, name: str) -> bytes:
        """The name alone: the consumer makes a path of it."""
        return name.encode()
