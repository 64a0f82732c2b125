"""The daemon's end of `picket wrap`: a gate for each process that is wrapped.

A wrap hands over its client's pipes and its server's. From then on the daemon reads
and writes them itself; the wrap waits, and takes them up again when the daemon is gone.
"""

import os
import socket
from functools import partial
from pathlib import Path

import attrs
import trio

from enforcement.effects import Position
from enforcement.principal import Principal
from gossip.errors import PeerError, UserError
from node.proxy import limits
from node.proxy.batches import Batches, of_batch_revision
from node.proxy.desk import Desk
from node.proxy.frames import FrameStream, encode_frame
from node.proxy.handing import PassingWire, TakenWire, take_over_untrusted
from node.proxy.journal import TO_CLIENT, TO_SERVER, Journal
from node.proxy.raw import serve_wires
from node.proxy.relay import Outlet, Relay
from node.proxy.session import Lost
from node.proxy.stdio import LineChannel
from node.proxy.wrapping import (
    Beginning,
    WrapFrame,
    read_begin_untrusted,
    read_hello_untrusted,
)

_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


@attrs.define(eq=False)
class WrapDoor:
    """Serves the wrap socket. Who may open it may be any agent of this node."""

    desk: Desk

    async def serve(self, listener: socket.socket) -> None:
        """Serve until cancelled. Owns ``listener``; see `listen_on_path`."""
        await serve_wires(listener, limits.SESSIONS_MAX, self._serve_one, PassingWire)

    async def _serve_one(self, wire: PassingWire) -> None:
        try:
            await self._meet(wire)
        except* PeerError as wrong:
            self.desk.log.warn(f"a wrap broke the protocol: {wrong.exceptions[0]}")
        except* (*_GONE, Lost):
            pass
        except* Exception as faults:  # one session never takes the daemon down
            self.desk.log.error(f"a wrap failed: {faults.exceptions[0]!r}")

    async def _meet(self, wire: PassingWire) -> None:
        """Take the wrap's hello, and what it hands over."""
        frames = FrameStream(wire)
        hello = await _next(frames, WrapFrame.HELLO)
        if hello is None:
            return
        agent, server = read_hello_untrusted(hello)
        try:
            principal = self._principal(agent)
        except UserError as refused:
            await frames.send(WrapFrame.REFUSED, str(refused).encode())
            return
        taken = _Taken(wire, frames)
        try:
            if taken.welcome():
                begin = await _next(frames, WrapFrame.BEGIN)
                if begin is not None:
                    found = read_begin_untrusted(begin)
                    await self._session(taken, found, principal, server)
        finally:
            taken.close()

    async def _session(
        self, taken: "_Taken", found: Beginning, principal: Principal, server: str
    ) -> None:
        desk = self.desk
        outlet = Outlet(taken.server)
        backend = _TakenBackend(taken, outlet)
        session = desk.session(Position.LOCAL, principal, server, desk.node, backend)
        taken.journal.take_up(found.rest, batches=found.batches)
        client = LineChannel(taken.client)
        client.take_up(found.rest)
        if found.torn:
            outlet.put(b"")  # ends what is torn: a line of its own
        send = taken.frames.send
        relay = Relay(
            session=session,
            client=client,
            server=LineChannel(taken.server),
            outlet=outlet,
            client_ended=partial(send, WrapFrame.SERVER_MAY_END, b""),
            server_ended=partial(send, WrapFrame.CLIENT_HAS_ALL, b""),
            overrun=partial(send, WrapFrame.END_SERVER, b""),
            keeper=taken.journal,
            batches=of_batch_revision() if found.batches else Batches(),
        )
        session.outlet = relay.say
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(relay.run)
                if await taken.frames.receive_untrusted() is not None:
                    raise PeerError("a wrap says nothing once it has handed over")
                nursery.cancel_scope.cancel()
        finally:
            await desk.close(session)

    def _principal(self, name: str) -> Principal:
        agents = self.desk.agents
        if name in agents:
            return agents[name]
        if name:
            known = ", ".join(sorted(agents)) or "none"
            raise UserError(f"this node has no agent `{name}`; it has: {known}")
        if len(agents) != 1:
            raise UserError(
                f"this node has {len(agents)} agents; name yours with --agent"
            )
        return next(iter(agents.values()))


async def _next(frames: FrameStream, kind: WrapFrame) -> bytes | None:
    """The payload of the next frame, which is of this kind; None at the end."""
    frame = None
    with trio.move_on_after(limits.OPENING_S):
        frame = await frames.receive_untrusted()
    if frame is None:
        return None
    if frame[0] != kind:
        raise PeerError(f"a wrap sends a frame of kind {frame[0]}, not {kind}")
    return frame[1]


class _Taken:
    """What a wrap handed over: its client's pipes and its server's.

    Raises:
        PeerError: something else.
    """

    def __init__(self, wire: PassingWire, frames: FrameStream) -> None:
        self.journal, self._journal_fd = Journal.make()
        try:
            fds = take_over_untrusted(wire.take_passed(4))
        except PeerError:
            os.close(self._journal_fd)
            raise
        hears, says, server_says, server_hears = fds
        journal = self.journal
        self.client = TakenWire(hears, says, journal, TO_CLIENT, keeps=True)
        self.server = TakenWire(
            server_says, server_hears, journal, TO_SERVER, keeps=False
        )
        self.frames, self._wire = frames, wire

    def welcome(self) -> bool:
        """Hand the journal over; whether the wrap was still there."""
        fds = [self._journal_fd]
        went = self._wire.pass_now(encode_frame(WrapFrame.WELCOME, b""), fds)
        os.close(self._journal_fd)
        self._journal_fd = -1
        return went

    def close(self) -> None:
        """Let go of everything, before the wrap can know: it takes up from here."""
        self.client.close()
        self.server.close()
        if self._journal_fd >= 0:
            os.close(self._journal_fd)
            self._journal_fd = -1


@attrs.frozen
class _TakenBackend:
    """The server is the wrap's child, at the pipes that were handed over."""

    taken: _Taken
    outlet: Outlet

    async def send(self, data: bytes, envelope: bytes | None) -> None:
        assert envelope is None, "an envelope never goes to a server"
        if not self.outlet.put(data):
            raise PeerError("the server does not read what it is sent")

    async def receive(self) -> bytes:
        raise AssertionError("a wrap's server is heard by its relay")

    async def aclose(self) -> None:
        self.taken.close()
        await self.taken.frames.aclose()


def listen_on_path(path: Path) -> socket.socket:
    """Bind a Unix socket that only this user may open.

    Raises:
        UserError: the path is taken by a living daemon, or cannot be bound.
    """
    if _answers(path):
        raise UserError(f"{path}: another daemon listens here; stop it first")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        sock.bind(str(path))
        os.chmod(path, 0o600)
        sock.listen(limits.SESSIONS_MAX)
    except OSError as refused:
        sock.close()
        raise UserError(f"{path}: cannot listen here: {refused}") from refused
    sock.setblocking(False)
    return sock


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True
