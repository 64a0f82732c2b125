"""`picket wrap -- COMMAND`: a stdio MCP server whose every byte passes a gate.

::

    client ─▶ gate ─▶ child      the gate is the daemon's, which gets the pipes of
    client ◀─ gate ◀─ child      both, or one in this process

The wrap owns the child and ends as it ends. Without a guard nothing passes, in
either direction.
"""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import attrs
import trio

from node.log import Log
from node.proxy.children import Child, start_child
from node.proxy.raw import Wire, wire_of_stdio

if TYPE_CHECKING:
    from trio_typing import TaskStatus

_DRAIN_S = 2.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@attrs.frozen
class Ends:
    """The client at our stdin and stdout, and the child."""

    client: Wire
    child: Child


class Guard(Protocol):
    """Decides what passes between the client and the child."""

    @property
    def refused(self) -> bool:
        """Whether it never came to guarding, for the daemon turned it away."""
        ...

    async def run(self) -> None:
        """Carry what may pass, both ways; cancelled at the end."""
        ...

    async def finish(self) -> None:
        """The child has ended; returns when the client has all that it said."""
        ...


NewGuard = Callable[[Ends], Guard]


async def wrap(command: Sequence[str], new_guard: NewGuard) -> int:
    """Run ``command`` guarded; returns its exit status, negative for a signal.

    Raises:
        UserError: the command cannot be started.
    """
    flags = [os.get_blocking(fd) for fd in (0, 1)]
    child = await start_child(command, keep_stderr=False)
    wire = wire_of_stdio()
    try:
        return await _wrap(child, new_guard(Ends(wire, child)))
    finally:
        await child.stop(grace_s=0.5)
        wire.close()
        for fd, blocking in enumerate(flags):
            os.set_blocking(fd, blocking)


async def _wrap(child: Child, guard: Guard) -> int:
    async with trio.open_nursery() as nursery:
        await nursery.start(_forward_signals, child)
        nursery.start_soon(guard.run)
        status = await child.wait()
        with trio.move_on_after(_DRAIN_S):
            await guard.finish()
        nursery.cancel_scope.cancel()
    return status or int(guard.refused)


def end_overrun(child: Child, log: Log) -> None:
    """End a server that cannot be read on."""
    log.warn("the server said more than a message may hold; ending it")
    child.signal_group(signal.SIGTERM)


async def _forward_signals(
    child: Child, task_status: "TaskStatus[None]" = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(*_SIGNALS) as signals:
        task_status.started()
        async for number in signals:
            child.signal_group(number)


def run_wrap(command: Sequence[str], new_guard: NewGuard) -> int:
    """Run ``command`` guarded, in this process, and end as it ends.

    Returns the exit status; a child that a signal ended takes us with it.

    Raises:
        UserError: the command cannot be started.
    """
    status = trio.run(wrap, command, new_guard)
    if status < 0:
        sys.stderr.flush()
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
        return 128 - status
    return status
