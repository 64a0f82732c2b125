"""Sockets as libp2p sees them, and libp2p kept quiet."""

import logging

import trio
from libp2p.io.trio import TrioTCPStream

from node.links.events import ASKED_BYTES_MAX, READ_BYTES


class TcpStream(TrioTCPStream):
    """libp2p's TCP stream, reading ahead, and with an address for IPv6 peers.

    Attributes:
        heard: Whether the other side ever said anything.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        super().__init__(stream)
        self.heard = False
        self._ahead = bytearray()
        try:
            host, port, *_ = stream.socket.getpeername()
        except OSError:
            return  # already gone; reading will say so
        self._cached_remote_address = (str(host), int(port))

    async def read(self, n: int | None = None) -> bytes:
        """At most ``n`` bytes; without ``n`` whatever there is.

        libp2p asks for single bytes, and then for as many as a stranger says
        it will send, up to 2^64: so sockets give many, and callers get few.
        """
        if n is None:
            portion = bytes(self._ahead) or await super().read(READ_BYTES)
            self._ahead.clear()
        else:
            if not self._ahead:
                self._ahead += await super().read(READ_BYTES)
            portion = bytes(self._ahead[: min(n, ASKED_BYTES_MAX)])
            del self._ahead[: len(portion)]
        self.heard |= bool(portion)
        return portion


def quieten() -> None:
    """Let libp2p say nothing: what it has to tell, links tell as events.

    It logs whole tracebacks for garbage on a port, and through the root logger,
    which writes to stderr if nobody else has set it up.
    """
    libp2p = logging.getLogger("libp2p")
    libp2p.handlers = [logging.NullHandler()]
    libp2p.propagate = False
    libp2p.setLevel(logging.CRITICAL + 1)
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(logging.NullHandler())
