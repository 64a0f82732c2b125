"""A client and a stdio server, and between them the gate of one session.

::

    client ─▶ Relay ─▶ session's gate ─▶ Outlet ─▶ server
    client ◀─ Relay ◀─ session's gate ◀──────────── server

Runs in the daemon for a wrap that handed its pipes over, and in a wrap that guards
by itself.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

import attrs
import trio

from enforcement.limits import SERVER_KEYS_MAX
from enforcement.mcp.jsonrpc import Reason, write_denial
from node.proxy import limits
from node.proxy.batches import Batches
from node.proxy.peek import peek
from node.proxy.raw import Wire
from node.proxy.session import Session
from node.proxy.stdio import LineChannel

_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


class Outlet:
    """The server's stdin: takes whole messages without ever making one wait.

    Waiting here could dead-lock: a server may not read because it is writing,
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
        """Close the server's stdin, after what waits."""
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


class Keeper(Protocol):
    """Keeps which calls wait: `node.proxy.journal.Journal`."""

    def asked(self, data: bytes) -> None:
        """A message of the client was dealt with, one that the gate could read."""
        ...

    def told(self, data: bytes) -> None:
        """The client was told this."""
        ...

    def knows_batches(self) -> None:
        """The session's revision is one with batches."""
        ...


@attrs.define(kw_only=True, eq=False)
class Relay:
    """Carries the messages of one session; what comes too large goes nowhere.

    Attributes:
        client_ended: Called when the client has closed its side, behind all it said.
        server_ended: Called when the client has all that the server said.
        overrun: Called when the server says more than a message may hold.
        keeper: Told of each call, after it was passed on.
    """

    session: Session
    client: LineChannel
    server: LineChannel
    outlet: Outlet
    client_ended: Callable[[], Awaitable[None]]
    server_ended: Callable[[], Awaitable[None]]
    overrun: Callable[[], Awaitable[None]]
    keeper: Keeper | None = None
    batches: Batches = attrs.field(factory=Batches)
    _hearing: trio.CancelScope = attrs.field(init=False, factory=trio.CancelScope)

    async def run(self) -> None:
        """Carry both ways, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.outlet.run)
            nursery.start_soon(self._from_client)
            nursery.start_soon(self._from_server)

    async def say(self, data: bytes) -> None:
        """Say one message to the client."""
        try:
            await self.client.send(data)
        except _GONE:
            self._hearing.cancel()
            return
        if self.keeper is not None:
            self.keeper.told(data)

    async def _from_client(self) -> None:
        with self._hearing:
            while (message := await self.client.receive()) != b"":
                if message is None:
                    sentence = f"a message has at most {limits.MESSAGE_BYTES_MAX} bytes"
                    await self.say(write_denial(None, sentence, Reason.MALFORMED))
                    continue
                for part in self.batches.part(message) or (message,):
                    replies = await self.session.client_said(part)
                    for reply in replies:
                        await self.say(reply)
                    unread = any(peek(reply).key is None for reply in replies)
                    if self.keeper is not None and not unread:
                        self.keeper.asked(part)
        self.outlet.end()
        await self.client_ended()

    async def _from_server(self) -> None:
        batches = self.batches
        while (message := await self.server.receive()) != b"":
            if message is None:
                await self.overrun()
                continue
            batches.hear(message)
            for part in batches.part(message, SERVER_KEYS_MAX) or (message,):
                for reply in await self.session.server_said(part):
                    await self.say(reply)
            if self.keeper is not None and batches.are_known:
                self.keeper.knows_batches()
        for reply in await self.session.server_lost("the server has ended"):
            await self.say(reply)
        await self.server_ended()
