"""Listening: calls taken in, those beyond the bounds closed for next to nothing."""

import errno
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

import trio

from gossip.errors import UserError
from node.links.events import show_address

Address: TypeAlias = tuple[str, int]

_OUT_OF: Final = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}
"""What accept(2) says when the machine has no room for a call now."""
_BREATH_S: Final = 0.05
_REFUSALS_A_BREATH: Final = 64
"""A flood of calls costs a few per cent of a core; who is linked hears nothing of it."""


async def open_listeners(addresses: Sequence[Address]) -> list[trio.SocketListener]:
    """Listen on all of ``addresses``.

    Raises:
        UserError: one cannot be listened on; then none is.
    """
    listeners: list[trio.SocketListener] = []
    for host, port in addresses:
        try:
            opened = await trio.open_tcp_listeners(port, host=host)
        except OSError as error:
            for listener in listeners:
                listener.socket.close()
            raise UserError(
                f"cannot listen on {show_address(host, port)}:"
                f" {error.strerror or error}; choose another address or port"
            ) from error
        listeners += opened
    return listeners


async def take_calls(
    listener: trio.SocketListener,
    nursery: trio.Nursery,
    has_room: Callable[[str], bool],
    serve: Callable[[trio.SocketStream, Address], Awaitable[None]],
) -> None:
    """Serve each call in a task of ``nursery``, then close its socket."""

    async def serve_one(stream: trio.SocketStream, address: Address) -> None:
        try:
            await serve(stream, address)
        finally:
            stream.socket.close()

    refusals = 0
    async with listener:
        while True:
            try:
                stream = await listener.accept()
            except OSError as error:
                if error.errno not in _OUT_OF:
                    raise
                await trio.sleep(_BREATH_S)
                continue
            try:
                host, port, *_ = stream.socket.getpeername()
            except OSError:
                stream.socket.close()
                continue  # Gone before it said anything.
            if has_room(str(host)):
                nursery.start_soon(serve_one, stream, (str(host), int(port)))
                continue
            stream.socket.close()
            refusals += 1
            if refusals % _REFUSALS_A_BREATH == 0:
                await trio.sleep(_BREATH_S)
