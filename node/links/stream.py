"""One stream of a link: a trio byte stream that libp2p takes for its own."""

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import trio
from libp2p.stream_muxer.exceptions import (
    MuxedStreamClosed,
    MuxedStreamEOF,
    MuxedStreamReset,
)
from libp2p.stream_muxer.yamux.yamux import YamuxStream

from gossip.errors import PeerError
from node.links.events import ASKED_BYTES_MAX, UNREAD_BYTES_MAX

if TYPE_CHECKING:
    from node.links.mux import LinkMux

WINDOW_BYTES: Final = 262_144
"""What yamux grants each direction of a new stream."""
CREDIT_BYTES: Final = 65_536
"""Windows are given back in portions of at least this."""
CHUNK_BYTES: Final = 65_520
"""With two headers of ours around it exactly a bucket of the session."""
HEADER: Final = struct.Struct("!BBHII")
_DATA, _UPDATE = 0, 1
_FIN, _RST = 4, 8


def frame_header(kind: int, flags: int, stream_id: int, length: int) -> bytes:
    """Twelve bytes of yamux."""
    return HEADER.pack(0, kind, flags, stream_id, length)


class LinkStream(YamuxStream):
    """Bytes both ways, each direction closed on its own.

    ``receive_some``, ``send_all``, ``send_eof`` and ``aclose`` behave as trio's
    do and raise only trio's errors; ``read``, ``write``, ``close`` and ``reset``
    are what libp2p calls. One task at a time may write.
    """

    def __init__(self, stream_id: int, conn: "LinkMux", is_initiator: bool) -> None:
        super().__init__(stream_id, conn, is_initiator)
        self.mux = conn
        self.vital = False
        """Whether the link stands and falls with it."""
        self._inbox = bytearray()
        self._readers = trio.lowlevel.ParkingLot()
        self._writers = trio.lowlevel.ParkingLot()
        self._uncredited = 0
        self.taker: Callable[[bytes], bool] | None = None
        """Asked first with what arrives; True: taken, and nobody need be woken."""

    # What the peer did

    def deliver(self, data: bytes) -> None:
        """Data arrived.

        Raises:
            PeerError: more than the window allows, or after its end.
        """
        if not data:
            return
        if self.recv_closed or len(data) > self.recv_window:
            raise PeerError("a peer that writes past a stream's window or its end")
        if not self.vital and self.mux.unread + len(data) > UNREAD_BYTES_MAX:
            self.throw_away()
            return
        self.recv_window -= len(data)
        if self.taker is not None and not self._inbox and self.taker(data):
            self._credit(len(data))
            return
        self.mux.unread += len(data)
        self._inbox += data
        self._readers.unpark_all()

    def widen(self, increment: int) -> None:
        """The peer has read; more may be sent.

        Raises:
            PeerError: a window no sane peer would grant.
        """
        self.send_window += increment
        if self.send_window > 2**31:
            raise PeerError("a stream window beyond all bounds")
        self._writers.unpark_all()

    def on_fin(self) -> None:
        """The peer has said all it had to say."""
        self.recv_closed = True
        self._settle()

    def on_reset(self) -> None:
        """The peer has thrown the stream away."""
        self.reset_received = True
        self.send_closed = True
        self.mux.forget(self)
        self._settle()

    def on_link_end(self) -> None:
        """The whole link is gone."""
        self.reset_received = True
        self.send_closed = True
        self._settle()

    def _settle(self) -> None:
        self.closed = self.reset_received or (self.send_closed and self.recv_closed)
        if self.closed:
            self.mux.forget(self)
        self._readers.unpark_all()
        self._writers.unpark_all()

    # As a trio stream

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The next bytes; ``b""`` at the end.

        Raises:
            trio.BrokenResourceError: the stream was reset, or the link ended.
        """
        if self._inbox:
            await trio.lowlevel.checkpoint()
        while not self._inbox:
            if self.recv_closed:
                await trio.lowlevel.checkpoint()
                return b""
            if self.reset_received:
                raise trio.BrokenResourceError("the stream was reset")
            await self._readers.park()
        data = bytes(self._inbox[:max_bytes])
        del self._inbox[: len(data)]
        self.mux.unread -= len(data)
        self._credit(len(data))
        return data

    def _credit(self, size: int) -> None:
        self._uncredited += size
        if self._uncredited < CREDIT_BYTES or self.recv_closed or self.reset_received:
            return
        credit, self._uncredited = self._uncredited, 0
        self.recv_window += credit
        self._post(_UPDATE, 0, credit)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of ``data``; waits for window and room.

        Raises:
            trio.BrokenResourceError: the stream was reset, or the link ended.
            trio.ClosedResourceError: we closed it before.
        """
        await trio.lowlevel.checkpoint()
        view = memoryview(data)
        while view:
            await self.mux.room()
            if self.reset_received:
                raise trio.BrokenResourceError("the stream was reset")
            if self.send_closed:
                raise trio.ClosedResourceError("the stream was closed")
            if self.send_window == 0:
                await self._writers.park()
                continue
            size = min(len(view), self.send_window, CHUNK_BYTES)
            self.send_window -= size
            self._post(_DATA, 0, size, bytes(view[:size]))
            view = view[size:]

    def send_now(self, data: bytes) -> bool:
        """Send all of ``data`` if that needs no waiting; if not, nothing of it."""
        size = len(data)
        if (
            size > min(self.send_window, CHUNK_BYTES)
            or self.send_closed
            or not self.mux.has_room
        ):
            return False
        self.send_window -= size
        self._post(_DATA, 0, size, data)
        return True

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room."""
        await trio.lowlevel.checkpoint()
        await self.mux.room()

    async def send_eof(self) -> None:
        """Say that nothing more will be sent; reading goes on."""
        await trio.lowlevel.checkpoint()
        self._finish()

    async def aclose(self) -> None:
        """Close both directions; what was sent still arrives."""
        self._finish()
        self.throw_away()
        await trio.lowlevel.checkpoint()

    def throw_away(self) -> None:
        """Stop both directions now; never waits."""
        self.mux.unread -= len(self._inbox)
        self._inbox.clear()
        if not self.closed:
            self._post(_UPDATE, _RST, 0)
            self.on_reset()

    def _finish(self) -> None:
        if not self.send_closed:
            self._post(_UPDATE, _FIN, 0)
            self.send_closed = True
            self._settle()

    def _post(self, kind: int, flags: int, length: int, body: bytes = b"") -> None:
        self.mux.post(frame_header(kind, flags, self.stream_id, length) + body)

    # As libp2p's stream

    async def read(self, n: int | None = -1) -> bytes:
        """At most ``n`` bytes, as libp2p's negotiation wants them: never many."""
        asked = n if n is not None and 0 < n < ASKED_BYTES_MAX else ASKED_BYTES_MAX
        try:
            data = await self.receive_some(asked)
        except trio.BrokenResourceError as error:
            raise MuxedStreamReset(str(error)) from error
        if not data:
            raise MuxedStreamEOF("the peer has said all it had to say")
        return data

    async def write(self, data: bytes) -> None:
        """All of ``data``, as libp2p wants it."""
        try:
            await self.send_all(data)
        except trio.BrokenResourceError as error:
            raise MuxedStreamReset(str(error)) from error
        except trio.ClosedResourceError as error:
            raise MuxedStreamClosed(str(error)) from error

    async def close(self) -> None:
        """Half-close, as libp2p means it."""
        await self.send_eof()

    async def reset(self) -> None:
        """Throw the stream away, as libp2p wants it."""
        self.throw_away()
        await trio.lowlevel.checkpoint()
