"""Listening: calls taken in, those beyond the bounds closed for next to nothing.

::

    wait ─▶ accept all that wait ─▶ members' addresses first ─▶ others, while there is room
      ▲                                                              │ many were refused
      └──────────────── a breath, so that a flood takes little ◀─────┘

The system queues calls in their order, so a stranger that calls without pause stands
before everybody else. Each turn therefore takes in the whole queue: whoever calls is
served in the next turn, a breath later at most.
"""

import errno
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from typing import Final, TypeAlias

import trio

from gossip.errors import UserError
from node.links.events import show_address

Address: TypeAlias = tuple[str, int]
LetIn: TypeAlias = Callable[[str], AbstractContextManager[object] | None]
"""Counts a call from an address as half open, until left; None if there is no room."""

QUEUE_MAX: Final = 1_024
"""Calls that the system keeps for us; all of them are taken in at once."""
_OUT_OF: Final = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}
"""What accept(2) says when the machine has no room for a call now."""
_OURS: Final = {errno.EBADF, errno.EFAULT, errno.EINVAL, errno.ENOTSOCK}
"""What it says of the listener. All else happened to one call, the network on its way
in among it, and the next may be well."""
_BREATH_S: Final = 0.05
_REFUSALS_A_BREATH: Final = 64
"""A flood of calls costs part of a core; who is linked hears nothing of it."""


async def open_listeners(addresses: Sequence[Address]) -> list[trio.SocketListener]:
    """Listen on all of ``addresses``.

    Raises:
        UserError: one cannot be listened on; then none is.
    """
    listeners: list[trio.SocketListener] = []
    for host, port in addresses:
        try:
            opened = await trio.open_tcp_listeners(port, host=host, backlog=QUEUE_MAX)
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
    is_members: Callable[[str], bool],
    let_in: LetIn,
    serve: Callable[
        [trio.SocketStream, Address, AbstractContextManager[object]], Awaitable[None]
    ],
) -> None:
    """Serve each call in a task of ``nursery``, then close its socket.

    Args:
        is_members: Whether calls from an address are taken before others'.
        serve: Given the call, where it is from, and what `let_in` counted, to leave.
    """

    async def serve_one(
        stream: trio.SocketStream, at: Address, half: AbstractContextManager[object]
    ) -> None:
        try:
            await serve(stream, at, half)
        finally:
            stream.socket.close()

    with socket.socket(fileno=listener.socket.detach()) as listening:
        while True:
            await trio.lowlevel.wait_readable(listening.fileno())
            calls, exhausted = _accept_all(listening)
            calls.sort(key=lambda call: not is_members(call[1][0]))
            refused = 0
            for call, at in calls:
                half = let_in(at[0])
                if half is None:
                    call.close()
                    refused += 1
                    continue
                stream = trio.SocketStream(trio.socket.from_stdlib_socket(call))
                nursery.start_soon(serve_one, stream, at, half)
            if exhausted or refused >= _REFUSALS_A_BREATH:
                await trio.sleep(_BREATH_S)


def _accept_all(
    listening: socket.socket,
) -> tuple[list[tuple[socket.socket, Address]], bool]:
    """All calls that wait, and whether the machine has no room for more now."""
    calls: list[tuple[socket.socket, Address]] = []
    failed = 0
    while len(calls) < QUEUE_MAX and failed < _REFUSALS_A_BREATH:
        try:
            call, (host, port, *_) = listening.accept()
        except BlockingIOError:
            return calls, False
        except OSError as error:
            if error.errno in _OURS:
                raise
            if error.errno in _OUT_OF:
                return calls, True
            failed += 1
        else:
            calls.append((call, (str(host), int(port))))
    return calls, failed >= _REFUSALS_A_BREATH
