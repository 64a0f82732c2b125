"""Frames of gossip on one stream: length-prefixed, queued with a cap, coalesced."""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import trio

from gossip import limits
from gossip.errors import LocalError, PeerError
from node.links.events import QUEUE_BYTES_MAX

_SIZE_BYTES: Final = 4
_WRITE_BYTES: Final = 131_072
_READ_BYTES: Final = 65_536
"""So much is handed on before other tasks have their turn."""
_EASY_BYTES: Final = 65_536
"""So much is handed on as it arrives, before it is asked again whether there is room."""


class ByteStream(Protocol):
    """What a pipe needs of a stream; raises trio's errors only.

    Attributes:
        taker: Asked first with what arrives; True: it was taken.
    """

    taker: Callable[[bytes], bool] | None

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The next bytes; ``b""`` at the end."""
        ...

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send everything."""
        ...

    def send_now(self, data: bytes) -> bool:
        """Send all of ``data`` if that needs no waiting; if not, nothing of it."""
        ...


class FramePipe:
    """Both directions of one peer's gossip stream."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._queue: deque[bytes] = deque()
        self._writer = trio.lowlevel.ParkingLot()
        self.bytes_queued = 0

    def put(self, frame: bytes) -> bool:
        """Queue a frame; False if the peer reads too slowly for another.

        Raises:
            LocalError: longer than a frame may be.
        """
        if not 0 < len(frame) <= limits.FRAME_BYTES_MAX:
            raise LocalError(f"a frame of {len(frame)} bytes")
        framed = len(frame).to_bytes(_SIZE_BYTES, "big") + frame
        if self.bytes_queued == 0 and self._stream.send_now(framed):
            return True
        if self.bytes_queued + len(framed) > QUEUE_BYTES_MAX:
            return False
        self._queue.append(framed)
        self.bytes_queued += len(framed)
        self._writer.unpark_all()
        return True

    async def write_out(self) -> None:
        """Write what is queued until the stream ends."""
        try:
            while True:
                if not self._queue:
                    await self._writer.park()
                    continue
                portion = self._take()
                await self._stream.send_all(portion)
                self.bytes_queued -= len(portion)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # The reader learns of it too, and says why.

    def _take(self) -> bytes:
        parts: list[bytes] = []
        size = 0
        while self._queue and size < _WRITE_BYTES:
            parts.append(self._queue.popleft())
            size += len(parts[-1])
        return b"".join(parts)

    async def read_in(
        self, deliver: Callable[[bytes], None], room: Callable[[], Awaitable[None]]
    ) -> None:
        """Hand on every frame until the stream ends; none before there is room.

        Raises:
            PeerError: a frame of impossible length.
        """
        buffer = bytearray()
        easy_bytes = 0

        def take_whole(data: bytes) -> bool:
            """A frame that comes whole and alone, as most do, wakes no task."""
            nonlocal easy_bytes
            size = len(data) - _SIZE_BYTES
            if len(data) > easy_bytes or size != _size(data) or size == 0:
                return False
            easy_bytes -= len(data)
            deliver(data[_SIZE_BYTES:])
            return True

        self._stream.taker = take_whole
        while True:
            try:
                easy_bytes = 0 if buffer else _EASY_BYTES
                data = await self._stream.receive_some(_READ_BYTES)
                easy_bytes = 0
            except trio.BrokenResourceError:
                return
            if not data:
                return
            buffer += data
            at = 0
            while len(buffer) - at >= _SIZE_BYTES:
                begin = at + _SIZE_BYTES
                size = _size(buffer[at:begin])
                if not 0 < size <= limits.FRAME_BYTES_MAX:
                    raise PeerError(f"a frame of {size} bytes")
                if begin + size > len(buffer):
                    break
                at = begin + size
                deliver(bytes(buffer[begin:at]))
                await room()
            del buffer[:at]


def _size(data: bytes | bytearray) -> int:
    return int.from_bytes(data[:_SIZE_BYTES], "big")
