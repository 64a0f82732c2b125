"""The backend for a stdio server: a child per session, one message per line."""

from collections import deque
from collections.abc import Callable

import trio

from node.proxy import limits
from node.proxy.children import Child
from node.proxy.lines import LineSplitter
from node.proxy.raw import Wire
from node.proxy.session import Lost


class LineChannel:
    """Messages, one per line, on a wire."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._lines = LineSplitter(limits.MESSAGE_BYTES_MAX)
        self._ready: deque[bytes | None] = deque()

    async def send(self, data: bytes) -> None:
        """Send one message.

        Raises:
            trio.BrokenResourceError, trio.ClosedResourceError: it is gone.
        """
        assert b"\n" not in data, "the gate puts each message on one line"
        await self._wire.send_all(data + b"\n")

    def take_up(self, rest: bytes) -> None:
        """Begin with bytes that somebody else has read."""
        self._ready.extend(self._lines.feed(rest))

    def take_rest(self) -> bytes:
        """Take out the half line that has been read, for somebody else."""
        return self._lines.take_rest()

    async def receive(self) -> bytes | None:
        """The next message; ``b""`` at the end; None for one over the limit."""
        while not self._ready:
            try:
                data = await self._wire.receive_some()
            except trio.ClosedResourceError:
                return b""
            if not data:
                return b""
            self._ready.extend(self._lines.feed(data))
        return self._ready.popleft()


class ChildBackend:
    """A running child as the server of one session.

    Args:
        tell: Told once whether it works: False if it ends before it said anything.
    """

    def __init__(
        self, child: Child, tell: Callable[[bool], None] = lambda works: None
    ) -> None:
        self.child = child
        self._channel = LineChannel(child.wire)
        self._tell: Callable[[bool], None] | None = tell

    async def send(self, data: bytes, envelope: bytes | None) -> None:
        """Write one line to its stdin; raises `Lost`."""
        assert envelope is None, "an envelope never goes to a server"
        try:
            await self._channel.send(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as gone:
            raise Lost(self._ending()) from gone

    async def receive(self) -> bytes:
        """Read one line of its stdout; raises `Lost`."""
        message = await self._channel.receive()
        if message is None:
            raise Lost("the server sent a message that is too large")
        if not message:
            with trio.move_on_after(0.2):  # it mostly has exited: say with what
                await self.child.wait()
            self._works(False)
            raise Lost(self._ending())
        if self._tell is not None:
            self._works(True)
        return message

    def _works(self, works: bool) -> None:
        told, self._tell = self._tell, None
        if told is not None:
            told(works)

    async def aclose(self) -> None:
        """End the child and all it started."""
        self._tell = None  # it ends because we say so
        await self.child.stop()

    def _ending(self) -> str:
        status = self.child.returncode
        if status is None:
            return "the server has closed its side"
        return f"the server has ended with status {status}"
