"""The provider's end of the mesh: other nodes' agents at this node's servers."""

import attrs
import trio

from enforcement.effects import Position, Subject, SubjectKind
from enforcement.principal import Principal, read_principal_untrusted
from gossip.errors import PeerError
from gossip.membership.identity import read_chain_untrusted
from gossip.units import NodeId
from node.proxy import limits
from node.proxy.desk import Desk, LostBackend
from node.proxy.frames import ByteStream, FrameStream
from node.proxy.mesh import (
    Credentials,
    MeshFrame,
    read_opening_untrusted,
    read_renewal_untrusted,
    read_request_untrusted,
)
from node.proxy.serving import Host
from node.proxy.session import Lost, Session


@attrs.define(eq=False)
class MeshProvider:
    """Serves streams of the mesh; `serve` is the links' handler for them."""

    desk: Desk
    _host: Host = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        most, lost = limits.SESSIONS_PER_PEER_MAX, MeshFrame.LOST
        self._host = Host(self.desk.log, "session", most, lost)

    async def serve(self, stream: ByteStream, peer: NodeId) -> None:
        """Serve one session of an agent of ``peer``. Raises nothing of its own."""
        await self._host.serve(stream, peer, lambda frames: self._serve(frames, peer))

    async def _serve(self, frames: FrameStream, peer: NodeId) -> None:
        frame = None
        with trio.move_on_after(limits.OPENING_S):
            frame = await frames.receive_untrusted()
        if frame is None or frame[0] != MeshFrame.OPEN:
            raise PeerError("a session must begin with its opening")
        server, shown = read_opening_untrusted(frame[1])
        principal = self._read_principal_untrusted(shown, peer)
        if server not in self.desk.servers:
            raise Lost(f"this node provides no server `{server}`")
        self._check_quarantine(principal)
        async with trio.open_nursery() as nursery:
            backend = await self.desk.backend(nursery, server)
            if isinstance(backend, LostBackend):
                raise Lost(backend.sentence)
            session = self.desk.session(
                Position.INGRESS, principal, server, self.desk.node, backend
            )
            try:
                nursery.start_soon(self._answers, session, frames)
                await self._calls(session, frames, peer)
            finally:
                nursery.cancel_scope.cancel()  # first: its end is nobody's news
                await self.desk.close(session)

    def _check_quarantine(self, who: Principal) -> None:
        """No process is started for who could not call it."""
        for kind, name, subject in (
            (SubjectKind.AGENT, who.name, who.agent),
            (SubjectKind.NODE, who.node_name, who.node),
        ):
            if self.desk.is_refused(Subject(kind, subject)):
                raise Lost(f"{kind.value} `{name}` is quarantined")

    async def _calls(self, session: Session, frames: FrameStream, peer: NodeId) -> None:
        """Take what the consumer sends, until it ends the stream."""
        while (frame := await frames.receive_untrusted()) is not None:
            kind, payload = frame
            if kind == MeshFrame.REQUEST:
                message, envelope = read_request_untrusted(payload)
                replies = await session.client_said(message, envelope)
            elif kind == MeshFrame.RENEW:
                shown = read_renewal_untrusted(payload)
                principal = self._read_principal_untrusted(shown, peer)
                if principal.agent != session.principal.agent:
                    raise PeerError("a renewal for another agent")
                replies = await session.renewed(principal)
            else:
                raise PeerError("a frame that only a provider sends")
            for reply in replies:
                await frames.send(MeshFrame.MESSAGE, reply)

    async def _answers(self, session: Session, frames: FrameStream) -> None:
        """Send what the server says; when it is lost, say so and end the stream."""

        async def to_consumer(data: bytes) -> None:
            await frames.send(MeshFrame.MESSAGE, data)

        sentence = await session.pump(to_consumer)
        await self._host.tell_lost(frames, sentence)
        await frames.aclose()

    def _read_principal_untrusted(self, shown: Credentials, peer: NodeId) -> Principal:
        return read_caller_untrusted(self.desk, shown, peer)


def read_caller_untrusted(desk: Desk, shown: Credentials, peer: NodeId) -> Principal:
    """The agent a stream's peer speaks for. Raises `PeerError`."""
    chain = read_chain_untrusted(shown.chain, desk.suite)
    if chain.node != peer:
        raise PeerError("an agent of another node than the link's")
    return read_principal_untrusted(
        shown.cert, chain=chain, roster=desk.roster, suite=desk.suite
    )
