"""Sockets as libp2p sees them, and libp2p kept quiet."""

import contextlib
import logging
import os

import trio
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.io.trio import TrioTCPStream

from node.links.events import ASKED_BYTES_MAX, READ_BYTES


class TcpStream(TrioTCPStream):
    """libp2p's TCP stream, reading ahead, and with an address for IPv6 peers.

    It asks the system itself: trio's streams and libp2p's locks around them cost
    more than everything else that is done to a short frame.

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

        Raises:
            ConnectionClosedError: the connection broke.
        """
        if n is None:
            portion = bytes(self._ahead) or await self._receive()
            self._ahead.clear()
        else:
            if not self._ahead:
                self._ahead += await self._receive()
            portion = bytes(self._ahead[: min(n, ASKED_BYTES_MAX)])
            del self._ahead[: len(portion)]
        self.heard |= bool(portion)
        return portion

    async def _receive(self) -> bytes:
        """Wait first: mostly there is nothing yet, and trying costs a system call."""
        sock = self.stream.socket
        try:
            while sock.fileno() >= 0:
                await trio.lowlevel.wait_readable(sock.fileno())
                with contextlib.suppress(BlockingIOError):
                    return os.read(sock.fileno(), READ_BYTES)
            return b""
        except trio.ClosedResourceError:
            return b""
        except OSError as error:
            raise _closed(error) from error

    async def write(self, data: bytes) -> None:
        """Send all of it, without a pause if there is room. Two may: one waits.

        Raises:
            ConnectionClosedError: the connection broke.
        """
        try:
            self.write_lock.acquire_nowait()
        except trio.WouldBlock:
            await self.write_lock.acquire()
        try:
            await self._send(memoryview(data))
        except trio.ClosedResourceError:
            return  # We closed it ourselves; whoever waits knows why.
        except OSError as error:
            raise _closed(error) from error
        finally:
            self.write_lock.release()

    def write_now(self, data: bytes) -> bytes:
        """Send what needs no waiting, and give back the rest."""
        sock = self.stream.socket
        if self.write_lock.locked() or sock.fileno() < 0:
            return data
        try:
            return data[os.write(sock.fileno(), data) :]
        except OSError:
            return data  # Whoever sends the rest learns why.

    async def _send(self, data: memoryview) -> None:
        sock = self.stream.socket
        while data and sock.fileno() >= 0:
            try:
                data = data[os.write(sock.fileno(), data) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(sock.fileno())


def _closed(error: OSError) -> ConnectionClosedError:
    return ConnectionClosedError(f"the connection broke: {error}", transport="tcp")


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
