"""`/picket/mcp/1`: one session over a stream of the link between two nodes.

::

    consumer                              provider
    OPEN server, chain, certificate ────▶ reads them, starts the server
    REQUEST envelope, message       ────▶ gate (ingress) ──▶ server
                                    ◀──── MESSAGE message
    RENEW chain, certificate        ────▶ the agent's next certificate
                                    ◀──── LOST sentence, and the end

Frames as in `frames`. Nobody waits for an answer to OPEN; the first calls may
follow it at once. Closing the stream ends the session on both sides.
"""

import enum
from collections.abc import Callable
from typing import Final, Self

import attrs
import trio

from gossip.errors import PeerError
from gossip.limits import CHAIN_BYTES_MAX, NAME_CHARS_MAX
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
from node.proxy.frames import FrameStream
from node.proxy.session import Lost

MESH_PROTOCOL: Final = "/picket/mcp/1"
_VERSION: Final = 1
_SENTENCE_BYTES_MAX: Final = 512


class MeshFrame(enum.IntEnum):
    """What a frame of the mesh is."""

    OPEN = 1
    REQUEST = 2
    MESSAGE = 3
    RENEW = 4
    LOST = 5


@attrs.frozen
class Credentials:
    """A node's chain and the certificate of its agent, as they travel."""

    chain: bytes = attrs.field(repr=False)
    cert: bytes = attrs.field(repr=False)


GONE: Final = (trio.BrokenResourceError, trio.ClosedResourceError)


def encode_opening(server: str, shown: Credentials) -> bytes:
    """The payload of OPEN."""
    return pack([_VERSION, server, shown.chain, shown.cert])


def read_opening_untrusted(payload: bytes) -> tuple[str, Credentials]:
    """Read the payload of OPEN: the server's name, and who calls."""
    value = unpack_untrusted(payload, limits.OPENING_BYTES_MAX)
    version, server, chain, cert = take_list(value, 4, 4)
    take_int(version, _VERSION, _VERSION)
    return take_str(server, 1, NAME_CHARS_MAX), _take_credentials(chain, cert)


def encode_renewal(shown: Credentials) -> bytes:
    """The payload of RENEW."""
    return pack([shown.chain, shown.cert])


def read_renewal_untrusted(payload: bytes) -> Credentials:
    """Read the payload of RENEW."""
    value = unpack_untrusted(payload, limits.OPENING_BYTES_MAX)
    chain, cert = take_list(value, 2, 2)
    return _take_credentials(chain, cert)


def _take_credentials(chain: Value, cert: Value) -> Credentials:
    return Credentials(
        take_bytes(chain, 1, CHAIN_BYTES_MAX), take_bytes(cert, 1, CHAIN_BYTES_MAX)
    )


def encode_request(message: bytes, envelope: bytes | None) -> bytes:
    """The payload of REQUEST: u32 length of the envelope | envelope | message."""
    carried = envelope or b""
    return b"%b%b%b" % (len(carried).to_bytes(4, "big"), carried, message)


def read_request_untrusted(payload: bytes) -> tuple[bytes, bytes | None]:
    """Read the payload of REQUEST: the message and its envelope."""
    size = int.from_bytes(payload[:4], "big")
    if len(payload) < 4 + size:
        raise PeerError("a request's envelope is cut short")
    return payload[4 + size :], payload[4 : 4 + size] or None


class MeshBackend:
    """The consumer's end: the server is on another node."""

    def __init__(self, frames: FrameStream, name: str) -> None:
        self._frames = frames
        self._name = name
        self.on_lost: Callable[[], None] = lambda: None
        """Called when the provider says that it cannot serve any more."""

    @classmethod
    async def open(cls, frames: FrameStream, name: str, opening: bytes) -> Self:
        """Open a session on a fresh stream to the node called ``name``.

        Raises:
            Lost: the stream ended already.
        """
        backend = cls(frames, name)
        try:
            await backend._send(MeshFrame.OPEN, opening)
        except BaseException:
            with trio.CancelScope(shield=True):
                await frames.aclose()
            raise
        return backend

    async def send(self, data: bytes, envelope: bytes | None) -> None:
        """Pass one message on; waits when the provider is slow. Raises `Lost`."""
        await self._send(MeshFrame.REQUEST, encode_request(data, envelope))

    async def renew(self, shown: Credentials) -> None:
        """Show the agent's next certificate, best effort."""
        try:
            await self._send(MeshFrame.RENEW, encode_renewal(shown))
        except Lost:
            return  # whoever receives will notice

    async def receive(self) -> bytes:
        """The server's next message. Raises `Lost`."""
        try:
            frame = await self._frames.receive_untrusted()
        except PeerError as wrong:
            raise Lost(f"node `{self._name}` broke the mesh protocol") from wrong
        if frame is None:
            raise Lost(f"the link to node `{self._name}` has ended")
        kind, payload = frame
        if kind == MeshFrame.MESSAGE:
            return payload
        if kind == MeshFrame.LOST:
            self.on_lost()
            told = payload[:_SENTENCE_BYTES_MAX].decode("utf-8", "replace")
            raise Lost(
                f"node `{self._name}` says: {printable(told)}",
                advice=f"see the log of node `{self._name}`",
            )
        raise Lost(f"node `{self._name}` broke the mesh protocol")

    async def aclose(self) -> None:
        """End the session; the provider ends its server."""
        await self._frames.aclose()

    async def _send(self, kind: int, payload: bytes) -> None:
        try:
            await self._frames.send(kind, payload)
        except GONE as gone:
            raise Lost(f"the link to node `{self._name}` has ended") from gone
