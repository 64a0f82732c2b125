"""Links to the members of a cluster: kept up, one per peer, carrying frames.

::

    want ─▶ dial ─▶ handshake ─▶ muxer ─▶ gossip stream ─▶ LinkUp ─▶ Frame … LinkDown
    accept ────────▶ handshake ─▶ muxer ─▶ gossip stream ─▶┘

Whoever dialled opens the gossip stream. All callbacks are synchronous, in order,
and never come from within a call into `Links`. A link ends when its certificates
do, and after a day at the latest; whoever wants it then makes it anew.
"""

from collections.abc import Awaitable, Callable, Container, Sequence
from contextlib import AbstractContextManager
from random import uniform
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs
import trio

from gossip.errors import LocalError, PeerError
from gossip.link.steps import Local
from gossip.membership.identity import Chain
from gossip.suite import SigningKey, Suite
from gossip.units import ClusterId, NodeId, UnixMs
from node.links.dialer import GOSSIP, Address, Dialer
from node.links.events import (
    HANDSHAKE_S,
    LINK_S_MAX,
    PARTING_S,
    Frame,
    HandlerFailed,
    LinkDown,
    LinkEnd,
    LinkEvent,
    LinksStatistics,
    LinkUp,
    Refused,
    show_address,
)
from node.links.gatekeeper import CROSSED, Gatekeeper
from node.links.host import TOO_SLOW, LinkHost, explain
from node.links.listening import open_listeners, take_calls
from node.links.mux import LinkMux
from node.links.pipe import FramePipe
from node.links.raw import TcpStream, quieten
from node.links.security import Identity, PqTransport, mono_ms
from node.links.stream import LinkStream

if TYPE_CHECKING:
    from trio_typing import TaskStatus

StreamHandler: TypeAlias = Callable[[LinkStream, NodeId], Awaitable[None]]
RETIRE_FROM: Final = 0.9
"""Links end anywhere between this part of their life and all of it: not all at once."""
CLOCK_S: Final = 60.0
"""How often the wall clock is looked at, which may be set or slept through."""


async def _always_room(peer: NodeId) -> None:
    """For owners that keep no frames."""


@attrs.define(eq=False)
class _Link:
    chain: Chain
    mux: LinkMux
    pipe: FramePipe
    parting: trio.CancelScope | None = None


class Links:
    """All links of this node. Start with ``await nursery.start(links.run)``.

    Args:
        suite: the cryptography.
        signing_key: the operational key.
        chain: what certifies it; shown to peers.
        roster: who may link at all.
        cluster: whose traffic this is.
        listen: (host, port) pairs to accept on; port 0 takes a free one.
        on_event: told of everything, synchronously.
        now_ms: the wall clock.
        room: awaited after each frame of a peer before more is read from it.
        hosts: addresses of members; strangers' calls cannot keep theirs out.
    """

    def __init__(
        self,
        *,
        suite: Suite,
        signing_key: SigningKey,
        chain: Chain,
        roster: Container[NodeId],
        cluster: ClusterId,
        listen: Sequence[Address],
        on_event: Callable[[LinkEvent], None],
        now_ms: Callable[[], UnixMs],
        room: Callable[[NodeId], Awaitable[None]] = _always_room,
        hosts: Container[str] = frozenset(),
    ) -> None:
        self._links: dict[NodeId, _Link] = {}
        self._gate = gate = Gatekeeper(chain.node, roster, suite.random, mono_ms, hosts)
        local = Local(suite=suite, cluster=cluster, chain=chain, members=gate)
        self._identity = Identity(local, signing_key, now_ms)
        transport = PqTransport(
            self._identity, gate.cookie_key, gate.may_answer, gate.admit
        )
        quieten()
        self._host = LinkHost(chain.operational, transport)
        self._host.serve(GOSSIP, self._on_gossip)
        self._dialer = Dialer(self._host, self._gate, self._adopt, self._refuse)
        self._listen = listen
        self._on_event = on_event
        self._room = room
        self._listening: list[Address] = []
        self._nursery: trio.Nursery | None = None
        self._refusals = self._frames_in = self._frames_out = 0

    @property
    def node(self) -> NodeId:
        """Who we are."""
        return self._identity.local.chain.node

    @property
    def listening(self) -> tuple[Address, ...]:
        """Where calls are accepted, with the ports that were free."""
        return tuple(self._listening)

    def statistics(self) -> LinksStatistics:
        """Counts since the start, and what is there now."""
        return LinksStatistics(
            links=len(self._links),
            half_open=self._gate.half_open,
            dials=self._dialer.dials,
            refused=self._refusals,
            frames_in=self._frames_in,
            frames_out=self._frames_out,
            bytes_queued=sum(link.pipe.bytes_queued for link in self._links.values()),
        )

    async def run(
        self, task_status: "TaskStatus[None]" = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Listen, dial and serve until cancelled.

        Raises:
            UserError: an address cannot be listened on.
        """
        listeners = await open_listeners(self._listen)
        names = [listener.socket.getsockname() for listener in listeners]
        self._listening = [(str(name[0]), int(name[1])) for name in names]
        async with self._host.run([]), trio.open_nursery() as nursery:
            self._nursery = nursery
            for listener in listeners:
                nursery.start_soon(
                    take_calls,
                    listener,
                    nursery,
                    self._gate.is_members,
                    self._gate.let_in,
                    self._serve,
                )
            self._dialer.start(nursery)
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None
                await self._shut_down()

    async def _shut_down(self) -> None:
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                for link in self._links.values():
                    nursery.start_soon(link.mux.end, LinkEnd.SHUTDOWN)
            for link in tuple(self._links.values()):
                self._lose(link)
            await self._host.close_all()

    # Whom to link

    def want(self, node: NodeId, addresses: Sequence[Address]) -> None:
        """Keep a link to ``node``; without addresses it has to call us."""
        self._dialer.want(node, addresses)

    def unwant(self, node: NodeId) -> None:
        """Stop calling ``node``; a link that is up stays."""
        self._dialer.unwant(node)

    def refuse(self, node: NodeId, refused: bool) -> None:
        """Close the link with ``node`` soon and let none come up, or allow it again.

        Its calls are refused by the gates, at once.
        """
        if refused:
            self._gate.refused.add(node)
            self.drop(node)
        else:
            self._gate.refused.discard(node)
            link = self._links.get(node)
            if link is not None and link.parting is not None:
                link.parting.cancel()  # allowed again before it was gone
                link.parting = None
            self._dialer.forgive(node)

    def drop(self, node: NodeId) -> None:
        """Close the link with ``node`` soon; `LinkDown` follows."""
        link = self._links.get(node)
        if link is not None and link.parting is None and self._nursery is not None:
            link.parting = trio.CancelScope()
            self._nursery.start_soon(self._part, link, link.parting)

    async def _part(self, link: _Link, scope: trio.CancelScope) -> None:
        """End a link a moment later: what is being said, and why, gets out."""
        with scope:
            await trio.sleep(PARTING_S)
        if not scope.cancelled_caught:
            await link.mux.end(LinkEnd.CLOSED)

    async def close_link(self, node: NodeId) -> None:
        """Close the link with ``node``; `LinkDown` follows."""
        link = self._links.get(node)
        if link is not None:
            await link.mux.end(LinkEnd.CLOSED)

    def rotate(self, signing_key: SigningKey, chain: Chain) -> None:
        """Shake hands with another operational key from now on.

        Links that are up stay up: their peers verified who we are.

        Raises:
            LocalError: the chain is another node's, or does not fit the key.
        """
        if chain.node != self.node or chain.operational != signing_key.public_key:
            raise LocalError("a chain that is not this node's, or not for this key")
        self._identity.local = attrs.evolve(self._identity.local, chain=chain)
        self._identity.signing_key = signing_key
        self._host.rename(chain.operational)

    # Saying something

    def send(self, node: NodeId, frame: bytes) -> bool:
        """Queue a frame; False if there is no link, or no room.

        Raises:
            LocalError: empty, or longer than `limits.FRAME_BYTES_MAX`.
        """
        link = self._links.get(node)
        if link is None or not link.pipe.put(frame):
            return False
        self._frames_out += 1
        return True

    def round_trip_s(self, node: NodeId) -> float | None:
        """Over the link to ``node``; infinite before it was measured, None without
        a link."""
        link = self._links.get(node)
        return None if link is None else link.mux.round_trip_s

    async def open_stream(self, node: NodeId, protocol: str) -> LinkStream:
        """Open a byte stream of its own to ``node``.

        Raises:
            trio.BrokenResourceError: not linked, or the peer gives no stream.
        """
        link = self._links.get(node)
        if link is None:
            raise trio.BrokenResourceError(f"no link to node {node.hex()[:16]}")
        return await self._host.open(link.mux, protocol)

    def handle_stream(self, protocol: str, handler: StreamHandler) -> None:
        """Run ``handler`` for each stream that a linked peer opens.

        The stream is closed when the handler returns. `PeerError` and trio's
        broken and closed resources are its way to give up; anything else is
        told as `HandlerFailed`.
        """

        async def handle(stream: LinkStream) -> None:
            node = stream.mux.link.peer.node
            with trio.move_on_after(HANDSHAKE_S):
                await stream.mux.adopted.wait()
            if stream.mux.why is None and node in self._links:
                try:
                    await handler(stream, node)
                    await stream.aclose()
                except Exception as error:
                    if not _is_harmless(error):
                        self._on_event(HandlerFailed(protocol, node, error))
            stream.throw_away()

        self._host.serve(protocol, handle)

    # Being called

    async def _serve(
        self,
        stream: trio.SocketStream,
        address: Address,
        half_open: AbstractContextManager[object],
    ) -> None:
        """One call, from the first byte to the end."""
        with half_open:
            mux = await self._accept(stream, *address)
        if mux is not None:
            self._gate.meet(mux.link.peer.node, address[0])
            await mux.event_closed.wait()

    async def _accept(
        self, stream: trio.SocketStream, host: str, port: int
    ) -> LinkMux | None:
        tcp = TcpStream(stream)
        try:
            with trio.fail_after(2 * HANDSHAKE_S):
                mux = await self._host.swarm.accept_node(tcp)
                await mux.adopted.wait()
        except Exception as error:
            sentence = explain(error)
            if sentence != CROSSED and (tcp.heard or sentence == TOO_SLOW):
                self._refuse(show_address(host, port), sentence)
            return None  # whoever said nothing is no news
        return mux

    async def _on_gossip(self, stream: LinkStream) -> None:
        if stream.mux.is_initiator or stream.mux.adopted.is_set():
            stream.throw_away()
        else:
            self._adopt(stream.mux, stream)

    def _refuse(self, address: str, sentence: str) -> None:
        self._refusals += 1
        self._on_event(Refused(address, sentence))

    # Being linked

    def _adopt(self, mux: LinkMux, gossip: LinkStream) -> bool:
        """Make a connection the link to its peer; the old one, if any, ends."""
        chain = mux.link.peer
        mux.adopted.set()
        if self._nursery is None or mux.why or chain.node not in self._gate:
            mux.fail(LinkEnd.CLOSED)
            return False
        old = self._links.get(chain.node)
        if old is not None:
            old.mux.fail(LinkEnd.REPLACED)
            self._lose(old)
        link = _Link(chain, mux, FramePipe(gossip))
        self._links[chain.node] = link
        self._gate.linked[chain.node] = mono_ms()
        gossip.vital = True
        self._dialer.on_change(chain.node)
        self._on_event(LinkUp(chain))
        self._nursery.start_soon(self._run_link, link)
        return True

    async def _run_link(self, link: _Link) -> None:
        def deliver(frame: bytes) -> None:
            if self._links.get(link.chain.node) is link:
                self._frames_in += 1
                self._on_event(Frame(link.chain.node, frame))

        async def room() -> None:
            await self._room(link.chain.node)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.pipe.write_out)
            nursery.start_soon(self._retire, link)
            try:
                await link.pipe.read_in(deliver, room)
            except PeerError as error:
                link.mux.fail(LinkEnd.MISBEHAVED, str(error))
            nursery.cancel_scope.cancel()
        await link.mux.end(LinkEnd.PEER_CLOSED)
        self._lose(link)

    async def _retire(self, link: _Link) -> None:
        """End a link before its certificates end, when no calls are under way."""
        own = self._identity.local.chain
        ends_ms = min(link.chain.not_after_ms, own.not_after_ms)
        life_s = min(LINK_S_MAX, (ends_ms - self._identity.now_ms()) / 1_000)
        began = trio.current_time()
        rest_s = life_s * (1 - uniform(RETIRE_FROM, 1))  # noqa: S311  # spreads load
        while True:
            valid_s = (ends_ms - self._identity.now_ms()) / 1_000
            left_s = min(began + life_s - trio.current_time(), valid_s)
            busy = link.mux.streams_open > 1
            if left_s <= 0 or (left_s <= rest_s and not busy):
                break
            await trio.sleep(min(CLOCK_S, max(1.0, left_s - rest_s), left_s))
        await link.mux.end(LinkEnd.EXPIRED)

    def _lose(self, link: _Link) -> None:
        """Tell that a link is down, once."""
        node = link.chain.node
        if self._links.get(node) is not link:
            return
        del self._links[node]
        del self._gate.linked[node]
        self._on_event(LinkDown(node, link.mux.why or LinkEnd.CLOSED))
        self._dialer.on_change(node)


def _is_harmless(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(_is_harmless(inner) for inner in error.exceptions)
    return isinstance(
        error, PeerError | trio.BrokenResourceError | trio.ClosedResourceError
    )
