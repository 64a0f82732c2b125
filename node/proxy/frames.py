"""Length-prefixed frames on a byte stream: the mesh's and the wrap's framing.

::

    u32 length of kind and payload, big-endian | u8 kind | payload
"""

from typing import Protocol

import trio

from gossip.errors import PeerError
from node.proxy import limits
from node.proxy.raw import READ_BYTES, Wire


class ByteStream(Protocol):
    """What frames travel on: a Unix socket or a stream of a link."""

    async def receive_some(self, size_max: int, /) -> bytes:
        """The next bytes; ``b""`` at the end."""
        ...

    async def send_all(self, data: bytes, /) -> None:
        """Send everything, waiting for a slow reader."""
        ...

    async def aclose(self) -> None:
        """Close it, both ways."""
        ...


def encode_frame(kind: int, payload: bytes) -> bytes:
    """One frame as it travels."""
    return b"%b%c%b" % ((len(payload) + 1).to_bytes(4, "big"), kind, payload)


class FrameSplitter:
    """Bytes in, whole frames out, within a limit."""

    def __init__(self, frame_bytes_max: int = limits.FRAME_BYTES_MAX) -> None:
        self._max = frame_bytes_max
        self._rest = bytearray()

    def feed_untrusted(self, data: bytes) -> list[tuple[int, bytes]]:
        """The (kind, payload) of each frame completed by ``data``.

        Raises:
            PeerError: a frame is empty or over the limit.
        """
        rest = self._rest
        rest += data
        frames: list[tuple[int, bytes]] = []
        at = 0
        while len(rest) - at >= 4:
            size = int.from_bytes(rest[at : at + 4], "big")
            if not 1 <= size <= self._max:
                raise PeerError(f"a frame of {size} bytes, not 1..{self._max}")
            if len(rest) - at < 4 + size:
                break
            frames.append((rest[at + 4], bytes(rest[at + 5 : at + 4 + size])))
            at += 4 + size
        if at:
            del rest[:at]
        return frames


class FrameStream:
    """Frames on a byte stream. Several tasks may send; one receives."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._splitter = FrameSplitter()
        self._ready: list[tuple[int, bytes]] = []
        self._turn = trio.Lock()

    async def send(self, kind: int, payload: bytes) -> None:
        """Send one frame, whole.

        Raises:
            trio.BrokenResourceError, trio.ClosedResourceError: it is gone.
        """
        frame = encode_frame(kind, payload)
        if isinstance(self._stream, Wire):  # keeps each in one piece by itself
            await self._stream.send_all(frame)
            return
        if self._turn.locked():
            await self._turn.acquire()
        else:
            self._turn.acquire_nowait()
        try:
            await self._stream.send_all(frame)
        finally:
            self._turn.release()

    async def receive_untrusted(self) -> tuple[int, bytes] | None:
        """The next frame; None when the stream has ended.

        Raises:
            PeerError: not frames, or one over the limit.
        """
        while not self._ready:
            try:
                data = await self._stream.receive_some(READ_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return None
            if not data:
                return None
            self._ready = self._splitter.feed_untrusted(data)
        return self._ready.pop(0)

    async def aclose(self) -> None:
        """Close the stream under it."""
        await self._stream.aclose()
