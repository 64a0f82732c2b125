"""The sockets of a daemon, all taken first: one that is taken stops us before we begin."""

import contextlib
import socket

import attrs

from node.config import Config
from node.control import bind_unix
from node.proxy.door import listen_on_path
from node.proxy.httpd import listen_on
from node.tables import Address


@attrs.frozen
class Sockets:
    """Where a daemon listens, besides the links."""

    control: socket.socket
    door: socket.socket
    http: socket.socket | None
    metrics: socket.socket | None

    @classmethod
    def bind(cls, config: Config, held: contextlib.ExitStack) -> "Sockets":
        """Bind what ``config`` names; ``held`` closes and removes it.

        Raises:
            UserError: somebody else has an address or a path.
        """

        def keep(sock: socket.socket) -> socket.socket:
            return held.enter_context(contextlib.closing(sock))

        def listen(address: Address | None) -> socket.socket | None:
            return None if address is None else keep(listen_on(*address))

        control = keep(bind_unix(config.control_socket))
        held.callback(config.control_socket.unlink, missing_ok=True)
        door = keep(listen_on_path(config.wrap_socket))
        held.callback(config.wrap_socket.unlink, missing_ok=True)
        return cls(control, door, listen(config.http), listen(config.metrics))


def address_of(sock: socket.socket | None) -> Address | None:
    """Where a bound socket listens, with the port it was given."""
    if sock is None:
        return None
    name = sock.getsockname()
    return str(name[0]), int(name[1])
