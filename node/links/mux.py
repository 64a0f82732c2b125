"""Many streams on one link: yamux on the wire, with bounds, and never blocked.

py-libp2p's own `Yamux` writes to the socket from the task that reads it, and
answers each small read with a window update. Here whatever the reader has to
say goes into a queue that another task empties, so that two peers who both
write cannot wait for each other; windows are given back in portions, and are
enforced. The wire format is yamux's (hashicorp/yamux, spec.md).
"""

import contextlib
import math
from typing import Final, NoReturn

import trio
from libp2p.abc import ISecureConn
from libp2p.io.exceptions import ConnectionClosedError, IOException
from libp2p.network.connection.exceptions import RawConnError
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable, MuxedStreamError
from libp2p.stream_muxer.yamux.yamux import Yamux

from gossip.errors import PeerError
from node.links.events import (
    GOODBYE_S,
    PING_EVERY_S,
    QUEUE_BYTES_MAX,
    SILENCE_S,
    LinkEnd,
)
from node.links.security import PqConnection
from node.links.stream import HEADER, WINDOW_BYTES, LinkStream, frame_header

DATA, WINDOW_UPDATE, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
STREAMS_PER_LINK_MAX: Final = 256
OUT_EASY_BYTES: Final = 262_144
MEASURE_EVERY_S: Final = 60.0
"""So often a ping goes to a peer that talks, too: for the round trip's sake."""
NOW_BYTES_MAX: Final = 16_384
NOW_EVERY_S: Final = 0.001
"""A short frame after a pause is sent on the spot; those that follow are gathered."""


class LinkMux(Yamux):
    """One connection: reads in one task, writes in another, pings in a third.

    Attributes:
        why: None while the link lives.
        fault: What the peer did, in words, if ``why`` is `LinkEnd.MISBEHAVED`.
        unread: Bytes that arrived on any stream and were not yet read.
        adopted: Set once somebody uses the connection as a link, or it ended.
        round_trip_s: As our last ping measured it; infinite before.
    """

    def __init__(self, secured_conn: ISecureConn, peer_id: ID) -> None:
        assert isinstance(secured_conn, PqConnection)
        super().__init__(secured_conn, peer_id)
        self.link = secured_conn
        self.why: LinkEnd | None = None
        self.fault = ""
        self.unread = 0
        self.adopted = trio.Event()
        self._open: dict[int, LinkStream] = {}
        self._out = bytearray()
        self._rest = b""
        """Sealed, and to be sent before anything else."""
        self._sent_now_at = 0.0
        self._heard_at = 0.0
        self.round_trip_s = math.inf
        self._ping: tuple[int, float] = (-1, -math.inf)
        """Our last: its number, and when it was posted."""
        self._writing_since: float | None = None
        self._writer = trio.lowlevel.ParkingLot()
        self._room = trio.lowlevel.ParkingLot()
        self._accepts, self._accepted = trio.open_memory_channel[LinkStream](
            STREAMS_PER_LINK_MAX
        )

    async def start(self) -> None:
        """Run until the link ends. No exception of a peer's making leaves."""
        self._heard_at = trio.current_time()
        self._established = True
        self.event_started.set()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._pump)
                nursery.start_soon(self._watch)
                await self.handle_incoming()
                nursery.cancel_scope.cancel()
        finally:
            self.fail(LinkEnd.SHUTDOWN)
            self.event_closed.set()

    async def handle_incoming(self) -> None:
        """Read frames until the link ends."""
        buffer = bytearray()
        while self.why is None:
            try:
                buffer += await self.link.read()
                self._heard_at = trio.current_time()
                self._take_frames(buffer)
            except PeerError as error:
                self.fail(LinkEnd.MISBEHAVED, str(error))
            except ConnectionClosedError:
                self.fail(LinkEnd.PEER_CLOSED)
            except (IOException, RawConnError, OSError):
                self.fail(LinkEnd.BROKEN)

    def _take_frames(self, buffer: bytearray) -> None:
        at = 0
        while len(buffer) - at >= HEADER.size:
            version, kind, flags, stream_id, length = HEADER.unpack_from(buffer, at)
            if version != 0 or kind > GO_AWAY:
                raise PeerError("not a yamux frame")
            body_at = at + HEADER.size
            end = body_at
            if kind == DATA:
                if length > WINDOW_BYTES:
                    raise PeerError("a yamux frame larger than any window")
                end += length
                if end > len(buffer):
                    break
            self._hear(kind, flags, stream_id, length, bytes(buffer[body_at:end]))
            at = end
        del buffer[:at]

    def _hear(
        self, kind: int, flags: int, stream_id: int, length: int, body: bytes
    ) -> None:
        if kind == PING:
            if flags & SYN:
                self.post(frame_header(PING, ACK, 0, length))
            elif length == self._ping[0]:
                self.round_trip_s = trio.current_time() - self._ping[1]
                self._ping = (-1, self._ping[1])  # an answer counts once
            return
        if kind == GO_AWAY:
            self.fail(LinkEnd.PEER_CLOSED)
            return
        if flags & SYN:
            self._accept(stream_id)
        stream = self._open.get(stream_id)
        if stream is None:
            return  # Crossed our reset on the way: no harm, no state.
        if kind == DATA:
            stream.deliver(body)
        else:
            stream.widen(length)
        if flags & RST:
            stream.on_reset()
        elif flags & FIN:
            stream.on_fin()

    def _accept(self, stream_id: int) -> None:
        ours = stream_id % 2 == self.next_stream_id % 2
        if stream_id == 0 or ours or stream_id in self._open:
            raise PeerError("a stream opened under an id that is not free")
        theirs = sum(not stream.is_initiator for stream in self._open.values())
        if theirs >= STREAMS_PER_LINK_MAX:
            self.post(frame_header(WINDOW_UPDATE, RST, stream_id, 0))
            return
        stream = LinkStream(stream_id, self, is_initiator=False)
        try:
            self._accepts.send_nowait(stream)
        except (trio.WouldBlock, trio.ClosedResourceError, trio.BrokenResourceError):
            self.post(frame_header(WINDOW_UPDATE, RST, stream_id, 0))
            return
        self._open[stream_id] = stream
        self.post(frame_header(WINDOW_UPDATE, ACK, stream_id, 0))

    # Saying something

    def post(self, frame: bytes) -> None:
        """Queue a frame; never waits. A queue that overflows ends the link."""
        if self.why is not None:
            return
        if len(self._out) + len(frame) > QUEUE_BYTES_MAX:
            self.fail(LinkEnd.MISBEHAVED, "the peer does not read our answers")
            return
        if self._is_idle and len(frame) <= NOW_BYTES_MAX:
            self._sent_now_at = trio.current_time()
            self._rest = self.link.write_now(frame)
            if not self._rest:
                return
        else:
            self._out += frame
        self._writer.unpark_all()

    @property
    def _is_idle(self) -> bool:
        """Whether nothing waits to be sent, nor was sent a moment ago."""
        return (
            not self._out
            and not self._rest
            and self._writing_since is None
            and trio.current_time() - self._sent_now_at >= NOW_EVERY_S
        )

    @property
    def has_room(self) -> bool:
        """Whether the queue is short enough for data."""
        return len(self._out) < OUT_EASY_BYTES

    async def room(self) -> None:
        """Wait until there is room, or the link ends."""
        while not self.has_room and self.why is None:
            await self._room.park()

    async def _pump(self) -> None:
        try:
            while self.why is None:
                if self._rest:
                    await self._write_rest()
                    continue
                if not self._out:
                    await self._writer.park()
                    continue
                portion = bytes(self._out[:OUT_EASY_BYTES])
                del self._out[:OUT_EASY_BYTES]
                self._room.unpark_all()
                self._writing_since = trio.current_time()
                await self.link.write(portion)
                self._writing_since = None
        except (IOException, RawConnError, OSError):
            self.fail(LinkEnd.BROKEN)

    async def _write_rest(self) -> None:
        rest, self._rest = self._rest, b""
        self._writing_since = trio.current_time()
        await self.link.write_sealed(rest)
        self._writing_since = None

    async def _watch(self) -> None:
        """Ping; a peer that says or takes nothing for long is gone or frozen."""
        nonce = 0
        while self.why is None:
            lively_at = min(self._heard_at, self._writing_since or self._heard_at)
            left = lively_at + SILENCE_S - trio.current_time()
            if left <= 0:
                self.fail(LinkEnd.SILENT)
                return
            await trio.sleep(min(PING_EVERY_S, left))
            now_s = trio.current_time()
            measured = now_s - self._ping[1] < MEASURE_EVERY_S
            if now_s - self._heard_at < PING_EVERY_S / 2 and measured:
                continue  # Whoever talks is alive.
            nonce = (nonce + 1) % 2**32
            self._ping = (nonce, now_s)
            self.post(frame_header(PING, SYN, 0, nonce))

    # libp2p's view of it

    async def open_stream(self) -> LinkStream:
        """Open a stream; data may be written at once."""
        await trio.lowlevel.checkpoint()
        ours = sum(stream.is_initiator for stream in self._open.values())
        if self.why is not None or ours >= STREAMS_PER_LINK_MAX:
            raise MuxedStreamError("the link has ended, or carries too many streams")
        stream_id, self.next_stream_id = self.next_stream_id, self.next_stream_id + 2
        stream = LinkStream(stream_id, self, is_initiator=True)
        self._open[stream_id] = stream
        self.post(frame_header(WINDOW_UPDATE, SYN, stream_id, 0))
        return stream

    async def accept_stream(self) -> LinkStream:
        """The next stream that the peer opened."""
        try:
            return await self._accepted.receive()
        except trio.EndOfChannel:
            raise MuxedConnUnavailable("the link has ended") from None

    async def read_stream(self, stream_id: int, n: int = -1) -> NoReturn:
        """Not how our streams are read."""
        raise NotImplementedError

    def forget(self, stream: LinkStream) -> None:
        """Called by a stream that is closed both ways."""
        self._open.pop(stream.stream_id, None)

    @property
    def streams_open(self) -> int:
        """How many streams there are, both ways."""
        return len(self._open)

    async def close(self, error_code: int = 0) -> None:
        """Say goodbye if the peer listens, then close."""
        await self.end(LinkEnd.CLOSED, error_code)

    async def end(self, why: LinkEnd, error_code: int = 0) -> None:
        """Close for a reason of ours, politely if the peer listens."""
        if self.why is None:
            goodbye = bytes(self._out) + frame_header(GO_AWAY, 0, 0, error_code)
            rest, self._rest = self._rest, b""
            self._end(why)
            with trio.CancelScope(shield=True) as scope:
                scope.deadline = trio.current_time() + GOODBYE_S
                with contextlib.suppress(IOException, RawConnError, OSError):
                    if rest:
                        await self.link.write_sealed(rest)
                    await self.link.write(goodbye)
        self.link.cut()
        await trio.lowlevel.checkpoint()

    def fail(self, why: LinkEnd, fault: str = "") -> None:
        """Cut the link at once."""
        self._end(why, fault)
        self.link.cut()

    def _end(self, why: LinkEnd, fault: str = "") -> None:
        """Note the first reason, and wake whoever waits for something."""
        if self.why is not None:
            return
        self.why, self.fault = why, fault
        self.event_shutting_down.set()
        self.adopted.set()  # nobody waits for a link that has ended
        self._accepts.close()
        for stream in tuple(self._open.values()):
            stream.on_link_end()
        self._open.clear()
        self._out.clear()
        self._writer.unpark_all()
        self._room.unpark_all()
