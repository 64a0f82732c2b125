"""What every proxy gets from the daemon, and how it opens a session with it.

::

    the server is here      LOCAL     gate ─▶ a child, or an upstream URL
    it is on another node   EGRESS    gate ─▶ a stream of the mesh, signed
    the agent is elsewhere  INGRESS   a stream of the mesh ─▶ gate ─▶ child or URL
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Protocol

import attrs
import trio

from enforcement.effects import Position, Subject, SubjectKind
from enforcement.principal import Principal
from gossip.errors import PeerError, UserError
from gossip.membership.identity import Chain
from gossip.membership.roster import Roster
from gossip.suite import Suite
from gossip.units import AgentId, NodeId
from node.clock import Clock
from node.config import ServerConfig
from node.log import Log
from node.proxy import limits
from node.proxy.children import start_child
from node.proxy.choosing import Distances, Providers
from node.proxy.frames import ByteStream, FrameStream
from node.proxy.mesh import MESH_PROTOCOL, Credentials, MeshBackend, encode_opening
from node.proxy.session import Backend, GateCore, Lost, Session, Signer, Sink
from node.proxy.starting import commands_missing, environment_of
from node.proxy.stdio import ChildBackend

_SWAP_S = 0.1
"""Two links to one neighbour become one in less: nothing was said yet, so ask again."""

StreamHandler = Callable[[ByteStream, NodeId], Awaitable[None]]


class NewGate(Protocol):
    """Makes the gate of one session."""

    def __call__(
        self, position: Position, principal: Principal, server: str, audience: NodeId
    ) -> GateCore:
        """``audience`` is the node that provides the server."""
        ...


class Links(Distances, Protocol):
    """What the mesh needs of the links."""

    async def open_stream(self, peer: NodeId, protocol: str) -> ByteStream:
        """A new stream over the link to ``peer``.

        Raises:
            PeerError, trio.BrokenResourceError: there is no such link.
        """
        ...


@attrs.define(eq=False)
class Desk:
    """The daemon's hand in every proxy.

    Attributes:
        chain: This node's chain; replaced when the operational key rotates.
        agents: The agents beside this node, by name, freshly certified.
        servers: The servers this node provides, by name.
        links: None without a cluster.
        is_refused: Whether the calls of a subject are cut off now.
        differs: Whether a node declares other tools of a server than are pinned.
        providers: Who provides what elsewhere.
        unstarted: Our servers that could not be started when that was last tried,
            ended before they said anything, or whose command was not found.
    """

    node: NodeId
    roster: Roster
    suite: Suite
    clock: Clock
    log: Log
    new_gate: NewGate
    signer: Signer
    sink: Sink
    chain: Chain
    agents: Mapping[str, Principal]
    servers: Mapping[str, ServerConfig]
    links: Links | None = None
    is_refused: Callable[[Subject], bool] = lambda subject: False
    differs: Callable[[str, NodeId], bool] = lambda server, node: False
    providers: Providers = attrs.field(init=False)
    unstarted: set[str] = attrs.field(init=False, factory=set)
    _sessions: set[Session] = attrs.field(init=False, factory=set)

    def __attrs_post_init__(self) -> None:
        self.providers = Providers(
            me=self.node,
            roster=self.roster,
            links=self.links,
            is_cut_off=self.is_cut_off,
            differs=self.differs,
        )

    def serve(self, servers: Mapping[str, ServerConfig]) -> None:
        """Provide these from now on; logs which of them cannot be started."""
        self.servers = servers
        missing = commands_missing(servers.values())
        self.unstarted = {*missing}
        for server, why in missing.items():
            self.log.warn(str(why), server=server)

    async def renew(self, chain: Chain, agents: Mapping[str, Principal]) -> None:
        """The operational key has rotated: tell the sessions of our agents."""
        self.chain, self.agents = chain, agents
        by_id: dict[AgentId, Principal] = {p.agent: p for p in agents.values()}
        async with trio.open_nursery() as nursery:
            for session in self._sessions:
                principal = by_id.get(session.principal.agent)
                if principal is not None and session.position is not Position.INGRESS:
                    nursery.start_soon(self._renew, session, principal)

    async def _renew(self, session: Session, principal: Principal) -> None:
        backend = session.backend
        if isinstance(backend, MeshBackend):
            with trio.move_on_after(limits.OPENING_S) as patience:
                await backend.renew(self.shown(principal))
            if patience.cancelled_caught:  # cut off in mid-frame, perhaps
                await backend.aclose()
        await session.renewed(principal)

    async def open(
        self, nursery: trio.Nursery, principal: Principal, server: str
    ) -> Session:
        """Open a session of one of our agents with ``server``.

        A server that cannot be reached does not prevent it: the session's calls
        are then denied, each with the reason. ``nursery`` logs a child's stderr.

        Raises:
            UserError: no node of the cluster provides such a server.
        """
        provider, *others = self.choose(server)
        if provider == self.node:
            backend = await self.backend(nursery, server)
            return self.session(Position.LOCAL, principal, server, provider, backend)
        backend = await self._mesh(provider, principal, server)
        for other in others:
            if not isinstance(backend, LostBackend):
                break  # from here on what is said may have been heard
            provider, backend = other, await self._mesh(other, principal, server)
        return self.session(Position.EGRESS, principal, server, provider, backend)

    def provider(self, server: str) -> NodeId:
        """The node to ask for ``server``; raises UserError if none provides it."""
        return self.choose(server)[0]

    def choose(self, server: str) -> list[NodeId]:
        """The nodes that may be asked for ``server``, this one or the best first.

        Raises:
            UserError: none provides it.
        """
        if server in self.servers:
            return [self.node]
        others = self.providers.choose(server)
        if not others and self.node in self.roster.providers(server):
            raise UserError(
                f"the founders' file promises `{server}` on this node, and its"
                f" configuration has no [servers.{server}]"
            )
        if not others:
            raise UserError(f"no node of this cluster provides a server `{server}`")
        return others

    def session(
        self,
        position: Position,
        principal: Principal,
        server: str,
        audience: NodeId,
        backend: Backend,
        *,
        renew_in_turn: bool = False,
    ) -> Session:
        """A session with a gate of its own; give it back by `close`."""
        session = Session(
            gate=self.new_gate(position, principal, server, audience),
            position=position,
            principal=principal,
            server=server,
            audience=audience,
            backend=backend,
            signer=self.signer,
            sink=self.sink,
            now_ms=self.clock.unix_ms,
            renew_in_turn=renew_in_turn,
        )
        self._sessions.add(session)
        return session

    def sessions(self) -> tuple[Session, ...]:
        """All that are open now."""
        return tuple(self._sessions)

    def forget(self, session: Session) -> None:
        """End a session whose server's side needs no ending."""
        self._sessions.discard(session)

    async def close(self, session: Session) -> None:
        """End a session and its server's side."""
        self._sessions.discard(session)
        with trio.CancelScope(shield=True):
            await session.backend.aclose()

    async def backend(self, nursery: trio.Nursery, server: str) -> Backend:
        """Start or reach one of this node's own servers."""
        config = self.servers[server]
        if config.url is not None:
            return LostBackend(f"the server `{server}` speaks HTTP only")
        try:
            child = await start_child(config.command, env=environment_of(config))
        except UserError as refused:
            self.log.error(str(refused), server=server)
            self.unstarted.add(server)
            return LostBackend(
                f"the server `{server}` could not be started",
                advice=f"see the log of node `{self.roster.name(self.node)}`",
            )
        try:
            nursery.start_soon(child.log_stderr, self._server_log(server))
        except RuntimeError:  # it has closed meanwhile: the daemon ends
            await child.stop()
            return LostBackend(f"the server `{server}` is being ended")
        return ChildBackend(child, self._starts(server))

    def _starts(self, server: str) -> Callable[[bool], None]:
        def tell(works: bool) -> None:
            if works:
                self.unstarted.discard(server)
                return
            self.unstarted.add(server)
            self.log.error(
                "the server ended before it said anything; run its command by hand, or"
                ' set `log = "debug"` to see what it writes to stderr',
                server=server,
            )

        return tell

    def _server_log(self, server: str) -> Callable[[str], None]:
        return lambda line: self.log.debug(line, server=server)

    def is_cut_off(self, provider: NodeId) -> bool:
        """Whether no call may pass between us and ``provider``."""
        nodes = (Subject(SubjectKind.NODE, node) for node in (self.node, provider))
        return any(map(self.is_refused, nodes))

    def shown(self, principal: Principal) -> Credentials:
        """What the provider of a server is shown of one of our agents."""
        return Credentials(self.chain.encoded, principal.cert.encoded)

    async def _mesh(
        self, provider: NodeId, principal: Principal, server: str
    ) -> Backend:
        name = self.roster.name(provider)
        away = LostBackend(f"node `{name}`, which provides `{server}`, is not linked")
        if self.links is None or self.is_cut_off(provider):
            return away  # the gate says why; no link would come up
        opening = encode_opening(server, self.shown(principal))
        failed = partial(self.providers.failed, server, provider)
        for wait_s in (_SWAP_S, 0.0):
            try:
                with trio.move_on_after(limits.OPENING_S):
                    stream = await self.links.open_stream(provider, MESH_PROTOCOL)
                    made = await MeshBackend.open(FrameStream(stream), name, opening)
                    made.on_lost = failed
                    return made
            except PeerError:
                break
            except (Lost, trio.BrokenResourceError, trio.ClosedResourceError):
                if self.links.round_trip_s(provider) is None:
                    break
                await trio.sleep(wait_s)
        failed()
        return away


@attrs.frozen
class LostBackend:
    """The backend of a server that could not be reached in the first place."""

    sentence: str
    advice: str = ""

    async def send(self, data: bytes, envelope: bytes | None) -> None:
        """Nothing passes: raises `Lost`."""
        del data, envelope
        raise Lost(self.sentence, self.advice)

    async def receive(self) -> bytes:
        """Nothing comes, and nobody need know before somebody asks."""
        await trio.sleep_forever()

    async def aclose(self) -> None:
        """There is nothing to end."""
