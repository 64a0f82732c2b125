"""The provider's end of HTTP through the mesh: other nodes' agents at our URLs."""

import math

import attrs
import trio

from enforcement.effects import Position
from enforcement.principal import Principal
from gossip.errors import PeerError
from gossip.units import NodeId
from node.proxy import limits
from node.proxy.asks import Ask, Carrier
from node.proxy.desk import Desk
from node.proxy.frames import ByteStream, FrameStream
from node.proxy.lone import is_stateless
from node.proxy.mesh import GONE, read_opening_untrusted
from node.proxy.mesh_http import HttpFrame, MeshOut, read_ask_untrusted
from node.proxy.provider import read_caller_untrusted
from node.proxy.routes import Routes
from node.proxy.serving import Host
from node.proxy.session import Lost
from node.proxy.switchboard import Switchboard, Visit


@attrs.define(eq=False)
class HttpProvider:
    """Serves streams of `/picket/http/1`; `serve` is the links' handler for them."""

    desk: Desk
    switchboard: Switchboard = attrs.field(init=False)
    _routes: Routes = attrs.field(init=False)
    _host: Host = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        most, lost = limits.STREAMS_PER_PEER_MAX, HttpFrame.LOST
        self._host = Host(self.desk.log, "stream", most, lost)
        self.switchboard, self._routes = Switchboard(self.desk), Routes(self.desk)

    async def tend(self) -> None:
        """End what nobody uses any more, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._routes.tend)
            await self.switchboard.tend()

    async def serve(self, stream: ByteStream, peer: NodeId) -> None:
        """Serve one stream of ``peer``. Raises nothing of its own."""
        await self._host.serve(stream, peer, lambda frames: self._serve(frames, peer))

    async def _serve(self, frames: FrameStream, peer: NodeId) -> None:
        opening = await _next(frames, limits.OPENING_S)
        if opening is None or opening[0] != HttpFrame.OPEN:
            raise PeerError("a stream must begin with its opening")
        server, shown = read_opening_untrusted(opening[1])
        principal = read_caller_untrusted(self.desk, shown, peer)
        if server not in self.desk.servers:
            raise Lost(f"this node provides no server `{server}`")
        speaks = self._routes.here(server) is not None
        await frames.send(HttpFrame.SERVES, b"\1" if speaks else b"\0")
        async with trio.open_nursery() as nursery:
            try:
                await self._asks(nursery, frames, principal, server)
            finally:
                nursery.cancel_scope.cancel()  # whoever asked has gone

    async def _asks(
        self,
        nursery: trio.Nursery,
        frames: FrameStream,
        principal: Principal,
        server: str,
    ) -> None:
        """Take one ask after the other; reading on tells when the asker goes."""
        turn = _Turn()
        while (frame := await turn.wait(frames)) is not None:
            if turn.busy or frame[0] != HttpFrame.ASK:
                raise PeerError("a stream carries one request at a time")
            ask = read_ask_untrusted(frame[1])
            carrier = self._way(principal, server, ask)
            visit = Visit(Position.INGRESS, principal, server, self.desk.node, carrier)
            turn.busy = True
            nursery.start_soon(self._answer, visit, ask, MeshOut(frames, turn.rest))

    def _way(self, principal: Principal, server: str, ask: Ask) -> Carrier:
        if server not in self.desk.servers:
            raise Lost(f"the server `{server}` is not there any more")
        carrier = self._routes.here(server)
        if carrier is not None:
            return carrier
        if not is_stateless(dict(ask.headers)):
            raise Lost(f"the server `{server}` is spoken to in messages")
        return self._routes.lone(principal, server)

    async def _answer(self, visit: Visit, ask: Ask, out: MeshOut) -> None:
        try:
            await self.switchboard.serve(visit, ask, out)
        except GONE:
            return


@attrs.define
class _Turn:
    """Whether a request is on its way, and how long a stream at rest may wait."""

    busy: bool = False
    _scope: trio.CancelScope = attrs.field(init=False, factory=trio.CancelScope)

    async def wait(self, frames: FrameStream) -> tuple[int, bytes] | None:
        """The next frame; None at the end, or when nothing came for too long."""
        self._scope = trio.CancelScope()
        self._limit()
        with self._scope:
            return await frames.receive_untrusted()
        return None

    def rest(self) -> None:
        """The request has been answered."""
        self.busy = False
        self._limit()

    def _limit(self) -> None:
        rest_s = math.inf if self.busy else 2 * limits.IDLE_STREAM_S
        self._scope.deadline = trio.current_time() + rest_s


async def _next(frames: FrameStream, patience_s: float) -> tuple[int, bytes] | None:
    with trio.move_on_after(patience_s):
        return await frames.receive_untrusted()
    return None
