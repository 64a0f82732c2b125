"""The wrap's guard when the daemon has the gate: it gets the pipes, and we wait.

::

    denying ──WELCOME──▶ handed over ──its end──▶ the journal is read ──▶ denying …

Handed over, a message passes the daemon and nobody else. While there is no daemon the
wrap reads the pipes itself and denies each call; so it does with the calls that the
daemon had not answered when it ended, which the journal names.
"""

import os
import random
import socket
from collections.abc import Callable
from pathlib import Path

import trio

from enforcement.mcp.jsonrpc import Reason, write_denial
from gossip.errors import PeerError
from node.log import Log
from node.proxy import limits
from node.proxy.frames import FrameStream, encode_frame
from node.proxy.handing import PassingWire, can_be_handed
from node.proxy.journal import Left, read_journal
from node.proxy.peek import Key, Kind, peek
from node.proxy.raw import Wire
from node.proxy.stdio import LineChannel
from node.proxy.wrap import Ends, end_overrun
from node.proxy.wrapping import Beginning, WrapFrame, encode_begin, encode_hello

_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)
_RETRY_S = 0.1
_RETRY_S_MAX = 2.0


class DaemonGuard:
    """Hands over to the daemon; denies everything while there is none."""

    def __init__(
        self, path: Path, agent: str, server: str, ends: Ends, log: Log
    ) -> None:
        self._path = path
        self._hello = encode_hello(agent, server)
        self._child = ends.child
        self._stdio = ends.client
        self._client = ends.client
        self._lines = LineChannel(self._client)
        self._log = log
        self._why = f"no Picket daemon answers at {path}"
        self.refused = False
        self._found = Beginning()
        self._ear: trio.CancelScope | None = None
        self._parking = False
        self._drained = trio.Event()
        self._copied: trio.Event | None = None
        self._frames: FrameStream | None = None

    async def run(self) -> None:
        """Keep a daemon at the pipes, for as long as the wrap lives."""
        async with trio.open_nursery() as nursery:
            self._make_handable(nursery)
            daemon = await self._connect()
            while True:
                if daemon is None:
                    daemon = await self._deny_meanwhile()
                await self._hand_over(*daemon)
                daemon = None

    async def finish(self) -> None:
        """Wait until the client has all that the child said."""
        await self._drained.wait()
        if self._copied is not None:  # our own pipe ends once the daemon lets it go
            if self._frames is not None:
                await self._frames.aclose()
            self._client.close()
            await self._copied.wait()

    # handed over

    async def _connect(self) -> tuple[FrameStream, Callable[[], Left]] | None:
        try:
            stream = await trio.open_unix_socket(str(self._path))
        except OSError:
            self._why = f"no Picket daemon answers at {self._path}"
            return None
        wire = PassingWire(socket.socket(fileno=stream.socket.detach()))
        frames, answer = FrameStream(wire), None
        try:
            with trio.move_on_after(limits.OPENING_S):
                fds = [*self._client.fds(), *self._child.wire.fds()]
                if wire.pass_now(encode_frame(WrapFrame.HELLO, self._hello), fds):
                    answer = await frames.receive_untrusted()
            if answer is not None and answer[0] == WrapFrame.WELCOME:
                (journal,) = wire.take_passed(1)
                self.refused = False
                return frames, read_journal(journal)
        except (*_GONE, PeerError):
            answer = None
        wire.close()
        if answer is not None and answer[0] == WrapFrame.REFUSED:
            why = answer[1].decode("utf-8", "replace")
            self.refused = True
            if why != self._why:
                self._log.warn(why)
            self._why = why
        return None

    async def _hand_over(self, frames: FrameStream, left: Callable[[], Left]) -> None:
        """Let the daemon have the pipes, until it is gone; then take up what it left."""
        begin = Beginning(
            self._lines.take_rest(), self._found.batches, self._found.torn
        )
        self._frames = frames
        try:
            await frames.send(WrapFrame.BEGIN, encode_begin(begin))
            while (frame := await frames.receive_untrusted()) is not None:
                self._take(frame[0])
        except PeerError as wrong:
            self._log.warn(f"the daemon broke the wrap's protocol: {wrong}")
        except _GONE:
            pass
        self._frames = None
        await frames.aclose()
        self._why = f"the Picket daemon at {self._path} has ended"
        self._log.warn(f"{self._why}; calls are denied until it is back")
        await self._take_up(begin, left())

    def _take(self, kind: int) -> None:
        if kind == WrapFrame.SERVER_MAY_END:
            self._child.wire.close_write()
        elif kind == WrapFrame.CLIENT_HAS_ALL:
            self._drained.set()
        elif kind == WrapFrame.END_SERVER:
            end_overrun(self._child, self._log)
        else:
            raise PeerError(f"a frame of kind {kind}")

    async def _take_up(self, begin: Beginning, left: Left) -> None:
        if not left.begun:
            self._lines.take_up(begin.rest)
            return
        self._found = Beginning(b"", left.batches, begin.torn or left.torn_server)
        self._lines.take_up(left.rest)
        if left.torn_client:
            await self._say(b"")  # ends what is torn: a line of its own
        for key in left.keys:
            await self._deny(key)

    # without a daemon

    async def _deny_meanwhile(self) -> tuple[FrameStream, Callable[[], Left]]:
        """Deny what the client asks, until a daemon takes over."""
        retry_s = _RETRY_S
        self._parking = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hear_child)
            parked = trio.Event()
            nursery.start_soon(self._hear_client, parked)
            while True:
                await trio.sleep(retry_s * random.uniform(0.5, 1))  # noqa: S311 - spreads load
                retry_s = min(retry_s * 2, _RETRY_S_MAX)
                daemon = await self._connect()
                if daemon is not None:
                    break
            self._parking = True
            if self._ear is not None:
                self._ear.cancel()
            await parked.wait()
            nursery.cancel_scope.cancel()
        return daemon

    async def _hear_client(self, parked: trio.Event) -> None:
        while not self._parking:
            message: bytes | None = b""
            with trio.CancelScope() as self._ear:
                message = await self._lines.receive()
            if self._ear.cancelled_caught:
                break
            self._ear = None
            if message == b"":
                self._child.wire.close_write()
                break
            if message is None:
                sentence = f"a message has at most {limits.MESSAGE_BYTES_MAX} bytes"
                await self._say(write_denial(None, sentence, Reason.MALFORMED))
                continue
            seen = peek(message)
            if seen.kind is Kind.REQUEST:
                await self._deny(seen.key)
        parked.set()

    async def _hear_child(self) -> None:
        """Without a guard what the child says goes nowhere."""
        try:
            while await self._child.wire.receive_some():
                pass
        except trio.ClosedResourceError:
            pass
        self._drained.set()

    async def _deny(self, key: Key | None) -> None:
        sentence = f"denied, for nobody guards this server now: {self._why}"
        advice = "start the daemon with `picket run`"
        if self.refused:
            advice = "name an agent of this node with --agent, see `picket agent list`"
        await self._say(
            write_denial(
                None if key is None else key[1],
                sentence,
                Reason.NO_DAEMON,
                advice=advice,
            )
        )

    async def _say(self, data: bytes) -> None:
        try:
            await self._lines.send(data)
        except _GONE:
            self._child.wire.close_write()

    # stdin and stdout that are no pipes

    def _make_handable(self, nursery: trio.Nursery) -> None:
        """Put pipes of our own before files, terminals and other people's pipes."""
        read_fd, write_fd = self._stdio.fds()
        if can_be_handed(read_fd, os.O_RDONLY) and can_be_handed(write_fd, os.O_WRONLY):
            return
        theirs_in, ours_in = os.pipe()
        ours_out, theirs_out = os.pipe()
        self._client = Wire(theirs_in, theirs_out)
        self._lines = LineChannel(self._client)
        self._copied = trio.Event()
        nursery.start_soon(self._copy, self._stdio, Wire(None, ours_in))
        said = Wire(ours_out, None)
        nursery.start_soon(self._copy, said, self._stdio, self._copied)

    async def _copy(
        self, source: Wire, drain: Wire, done: trio.Event | None = None
    ) -> None:
        try:
            while data := await source.receive_some():
                await drain.send_all(data)
        except _GONE:
            pass
        finally:
            drain.close_write()
            if done is not None:
                done.set()
