"""TLS at the listener and towards servers: the same bytes as a `SocketWire`'s."""

import contextlib
import socket
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import trio

from gossip.errors import UserError
from node.proxy import limits
from node.proxy.raw import READ_BYTES, SocketWire, address_of

T = TypeVar("T")

_GONE = (trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError, OSError)


def read_tls(cert: Path, key: Path) -> ssl.SSLContext:
    """A listener's context, TLS 1.2 or newer, with OpenSSL's own choice of groups.

    Raises:
        UserError: a file is missing, or they do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as wrong:
        raise UserError(
            f"{cert}, {key}: not a certificate and its key in PEM: {wrong};"
            " `http_tls` in the configuration names them"
        ) from None
    return context


class TlsWire:
    """One TLS connection. Several tasks may send; one receives."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self.address = address_of(sock)
        self._plain = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        self._stream = trio.SSLStream(
            self._plain, context, server_side=True, https_compatible=True
        )
        self._turn = trio.Lock()
        self._shaken = False

    async def receive_some(self) -> bytes:
        """The next bytes; ``b""`` at the end, or when a handshake fails."""
        try:
            if not self._shaken:
                with trio.fail_after(limits.TLS_HANDSHAKE_S):
                    await self._stream.do_handshake()
                self._shaken = True
            return bytes(await self._stream.receive_some(limits.TLS_READ_BYTES))
        except trio.TooSlowError:
            return b""
        except _GONE:
            return b""

    async def send_all(self, data: bytes) -> None:
        """Send everything; waits for a slow reader.

        Raises:
            trio.BrokenResourceError, trio.ClosedResourceError: it is gone.
        """
        async with self._turn:
            await self._stream.send_all(data)

    def send_now(self, data: bytes) -> int:
        """Nothing goes at once: encrypting may have to wait."""
        del data
        return 0

    def close_write(self) -> None:
        """Nothing to say: the answer before said that it is the last."""

    def close(self) -> None:
        """Close it at once; whoever waits is told."""
        with contextlib.suppress(*_GONE):
            self._plain.socket.close()


class TlsUpstream:
    """A TLS connection to a server. It knows of every byte that nobody has read yet,
    so that none of them is ever taken for the answer to a later request."""

    def __init__(self, wire: SocketWire, host: str, context: ssl.SSLContext) -> None:
        self._wire = wire
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=host
        )

    async def do_handshake(self) -> None:
        """Agree on keys and check the certificate.

        Raises:
            trio.BrokenResourceError: it is not the server, or has gone.
        """
        await self._carry_out(self._tls.do_handshake)

    async def receive_some(self, size_max: int = READ_BYTES) -> bytes:
        """The next bytes; ``b""`` when the other side has ended."""
        try:
            return await self._carry_out(partial(self._tls.read, size_max))
        except trio.BrokenResourceError as broken:
            if isinstance(broken.__cause__, ssl.SSLEOFError | ssl.SSLZeroReturnError):
                return b""  # many servers just hang up
            raise

    async def send_all(self, data: bytes) -> None:
        """Send everything; waits for a slow reader.

        Raises:
            trio.BrokenResourceError, trio.ClosedResourceError: it is gone.
        """
        sent = 0
        while sent < len(data):
            rest = memoryview(data)[sent:]
            sent += await self._carry_out(partial(self._tls.write, rest))

    async def _carry_out(self, act: Callable[[], T]) -> T:
        """Do one thing, with as many bytes in and out as it takes."""
        while True:
            try:
                done = act()
            except ssl.SSLWantReadError:
                await self._flush()
            except ssl.SSLError as wrong:
                raise trio.BrokenResourceError(str(wrong)) from wrong
            else:
                await self._flush()
                return done
            data = await self._wire.receive_some()
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self._wire.send_all(self._outgoing.read())

    def has_news(self) -> bool:
        """Whether bytes, or the end, wait to be received."""
        unread = self._tls.pending() or self._incoming.pending
        return bool(unread) or self._wire.has_news()

    def close(self) -> None:
        """Close it at once."""
        self._wire.close()
