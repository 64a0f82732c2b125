"""`picket wrap -- COMMAND`: a stdio MCP server whose every byte passes a gate.

::

    client ─▶ wrap ─▶ daemon's gate ─▶ wrap ─▶ child
    client ◀─ wrap ◀─ daemon's gate ◀─ wrap ◀─ child

The wrap owns the child and decides nothing. Without its guard it denies each
call with a sentence and passes nothing on, in either direction.
"""

import os
import signal
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import attrs
import trio

from enforcement.limits import SERVER_KEYS_MAX
from enforcement.mcp.jsonrpc import Reason, write_denial
from node.log import Log
from node.proxy import limits
from node.proxy.batches import Batches
from node.proxy.children import Child, start_child
from node.proxy.raw import Wire, wire_of_stdio
from node.proxy.stdio import LineChannel

if TYPE_CHECKING:
    from trio_typing import TaskStatus

_DRAIN_S = 2.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)

ToClient = Callable[[bytes], Awaitable[None]]


class Guard(Protocol):
    """Decides what passes between the client and the child."""

    @property
    def refused(self) -> bool:
        """Whether it never came to guarding, for the daemon turned it away."""
        ...

    async def run(self) -> None:
        """Whatever it has to do meanwhile; cancelled at the end."""
        ...

    async def client_said(self, data: bytes) -> None:
        """Take a message of the client."""
        ...

    async def client_ended(self) -> None:
        """The client has closed its side; the child's stdin follows in order."""
        ...

    async def server_said(self, data: bytes) -> None:
        """Take a message of the child."""
        ...

    async def server_ended(self) -> None:
        """Nothing more comes from the child; returns when all was passed on."""
        ...


NewGuard = Callable[["Outlet", ToClient], Guard]


class Outlet:
    """The child's stdin: takes whole messages without ever making one wait.

    Waiting here could dead-lock: a child may not read because it is writing,
    and what it writes passes the very task that would be waiting.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._news = trio.Event()
        self._ending = False

    def put(self, data: bytes) -> bool:
        """Send a message soon; False if too much waits already."""
        if self._bytes + len(data) > limits.UNREAD_BYTES_MAX:
            return False
        line = data + b"\n"
        if not self._waiting:
            line = line[self._wire.send_now(line) :]
        if line:
            self._waiting.append(line)
            self._bytes += len(line)
            self._news.set()
        return True

    def end(self) -> None:
        """Close the child's stdin, after what waits."""
        self._ending = True
        self._news.set()

    async def run(self) -> None:
        """Send what could not be sent at once."""
        while True:
            await self._news.wait()
            self._news = trio.Event()
            while self._waiting:
                try:
                    await self._wire.send_all(self._waiting[0])
                except _GONE:
                    self._waiting.clear()
                    self._bytes = 0
                    break
                self._bytes -= len(self._waiting.popleft())
            if self._ending:
                self._wire.close_write()


@attrs.define(eq=False)
class _Client:
    """The client at our stdin and stdout."""

    lines: LineChannel
    gone: trio.Event = attrs.field(factory=trio.Event)

    async def say(self, data: bytes) -> None:
        """Write one message to stdout; the only thing ever written there."""
        try:
            await self.lines.send(data)
        except _GONE:
            self.gone.set()


async def wrap(command: Sequence[str], new_guard: NewGuard) -> int:
    """Run ``command`` guarded; returns its exit status, negative for a signal.

    Raises:
        UserError: the command cannot be started.
    """
    flags = [os.get_blocking(fd) for fd in (0, 1)]
    child = await start_child(command, keep_stderr=False)
    wire = wire_of_stdio()
    try:
        return await _wrap(child, _Client(LineChannel(wire)), new_guard)
    finally:
        await child.stop(grace_s=0.5)
        wire.close()
        for fd, blocking in enumerate(flags):
            os.set_blocking(fd, blocking)


async def _wrap(child: Child, client: _Client, new_guard: NewGuard) -> int:
    outlet = Outlet(child.wire)
    guard = new_guard(outlet, client.say)
    async with trio.open_nursery() as nursery:
        await nursery.start(_forward_signals, child)
        nursery.start_soon(outlet.run)
        nursery.start_soon(guard.run)
        batches = Batches()
        nursery.start_soon(_from_client, client, guard, batches)
        drained = trio.Event()
        nursery.start_soon(_from_child, child, guard, batches, drained)
        status = await child.wait()
        with trio.move_on_after(_DRAIN_S):
            await drained.wait()
        nursery.cancel_scope.cancel()
    return status or int(guard.refused)


async def _from_client(client: _Client, guard: Guard, batches: Batches) -> None:
    async with trio.open_nursery() as nursery:

        async def stop_when_gone() -> None:
            await client.gone.wait()
            nursery.cancel_scope.cancel()

        nursery.start_soon(stop_when_gone)
        while (message := await client.lines.receive()) != b"":
            if message is None:
                sentence = f"a message has at most {limits.MESSAGE_BYTES_MAX} bytes"
                await client.say(write_denial(None, sentence, Reason.MALFORMED))
            else:
                for part in batches.part(message) or (message,):
                    await guard.client_said(part)
        nursery.cancel_scope.cancel()
    await guard.client_ended()


async def _from_child(
    child: Child, guard: Guard, batches: Batches, drained: trio.Event
) -> None:
    lines = LineChannel(child.wire)
    while (message := await lines.receive()) != b"":
        if message is None:
            Log().warn("the server said more than a message may hold; ending it")
            child.signal_group(signal.SIGTERM)
        else:
            batches.hear(message)
            for part in batches.part(message, SERVER_KEYS_MAX) or (message,):
                await guard.server_said(part)
    await guard.server_ended()
    drained.set()


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
