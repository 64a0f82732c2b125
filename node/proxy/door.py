"""The daemon's end of `picket wrap`: a gate for each process that is wrapped."""

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
from node.proxy.desk import Desk
from node.proxy.frames import FrameStream
from node.proxy.raw import SocketWire, serve_wires
from node.proxy.session import Lost, Session
from node.proxy.wrapping import WrapFrame, read_hello_untrusted

_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


@attrs.define(eq=False)
class WrapDoor:
    """Serves the wrap socket. Who may open it may be any agent of this node."""

    desk: Desk

    async def serve(self, listener: socket.socket) -> None:
        """Serve until cancelled. Owns ``listener``; see `listen_on_path`."""
        await serve_wires(listener, limits.SESSIONS_MAX, self._serve_one, SocketWire)

    async def _serve_one(self, wire: SocketWire) -> None:
        try:
            await self._session(FrameStream(wire))
        except* PeerError as wrong:
            self.desk.log.warn(f"a wrap broke the protocol: {wrong.exceptions[0]}")
        except* (*_GONE, Lost):
            pass
        except* Exception as faults:  # one session never takes the daemon down
            self.desk.log.error(f"a wrap failed: {faults.exceptions[0]!r}")

    async def _session(self, frames: FrameStream) -> None:
        desk, frame = self.desk, None
        with trio.move_on_after(limits.OPENING_S):
            frame = await frames.receive_untrusted()
        if frame is None:
            return
        if frame[0] != WrapFrame.HELLO:
            raise PeerError("a wrap must begin with its hello")
        agent, server = read_hello_untrusted(frame[1])
        try:
            principal = self._principal(agent)
        except UserError as refused:
            await frames.send(WrapFrame.REFUSED, str(refused).encode())
            return
        await frames.send(WrapFrame.WELCOME, b"")
        backend = _WrapBackend(frames)
        session = desk.session(Position.LOCAL, principal, server, desk.node, backend)
        session.outlet = partial(frames.send, WrapFrame.TO_CLIENT)
        try:
            await _carry(session, frames)
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


async def _carry(session: Session, frames: FrameStream) -> None:
    """Take the wrap's frames, until it ends."""
    while (frame := await frames.receive_untrusted()) is not None:
        kind, payload = frame
        replies: list[bytes] = []
        echo: WrapFrame | None = None
        if kind == WrapFrame.FROM_CLIENT:
            replies = await session.client_said(payload)
        elif kind == WrapFrame.FROM_SERVER:
            replies = await session.server_said(payload)
        elif kind == WrapFrame.CLIENT_ENDED:
            echo = WrapFrame.SERVER_MAY_END
        elif kind == WrapFrame.SERVER_ENDED:
            replies = await session.server_lost("the server has ended")
            echo = WrapFrame.CLIENT_HAS_ALL
        else:
            raise PeerError(f"a wrap sends no frame of kind {kind}")
        for reply in replies:
            await frames.send(WrapFrame.TO_CLIENT, reply)
        if echo is not None:
            await frames.send(echo, b"")


@attrs.frozen
class _WrapBackend:
    """The server is the wrap's child; what it says comes as frames."""

    frames: FrameStream

    async def send(self, data: bytes, envelope: bytes | None) -> None:
        assert envelope is None, "an envelope never goes to a server"
        try:
            await self.frames.send(WrapFrame.TO_SERVER, data)
        except _GONE as gone:
            raise Lost("the wrap has ended") from gone

    async def receive(self) -> bytes:
        raise AssertionError("a wrap's server is heard by frames")

    async def aclose(self) -> None:
        await self.frames.aclose()


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
