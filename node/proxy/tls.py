"""TLS ended at the listener: the same bytes as a `SocketWire`, through trio's TLS."""

import contextlib
import socket
import ssl
from pathlib import Path

import trio

from gossip.errors import UserError
from node.proxy import limits
from node.proxy.raw import address_of

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
