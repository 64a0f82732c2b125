"""The ways to servers that speak HTTP: their URLs here, streams of the mesh elsewhere."""

from typing import TypeAlias

import attrs
import trio

from enforcement.principal import Principal
from gossip.errors import PeerError
from gossip.units import AgentId, NodeId
from node.proxy import limits
from node.proxy.asks import Answer, Ask, Carrier, Way
from node.proxy.desk import Desk
from node.proxy.frames import FrameStream
from node.proxy.lone import ChildCarrier
from node.proxy.mesh import GONE, encode_opening
from node.proxy.mesh_http import HTTP_PROTOCOL, HttpFrame, HttpMeshCarrier
from node.proxy.session import Backend, Lost
from node.proxy.upstream import HttpCarrier, read_url

_Way: TypeAlias = tuple[NodeId, AgentId, str]


@attrs.define(eq=False)
class Routes:
    """Finds, makes and keeps them."""

    desk: Desk
    _urls: dict[tuple[str, str], HttpCarrier] = attrs.field(init=False, factory=dict)
    _ways: dict[_Way, tuple[bytes, HttpMeshCarrier]] = attrs.field(
        init=False, factory=dict
    )
    _speaks: dict[tuple[NodeId, str], bool] = attrs.field(init=False, factory=dict)
    _lone: dict[tuple[AgentId, str], ChildCarrier] = attrs.field(
        init=False, factory=dict
    )
    _nursery: trio.Nursery | None = attrs.field(init=False, default=None)

    async def tend(self) -> None:
        """Hold the children, and end those nobody uses, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                while True:
                    await trio.sleep(limits.LONE_CHILD_REST_S / 4)
                    for key, carrier in [*self._lone.items()]:
                        await carrier.tend()
                        if carrier.is_unused:
                            self._lone.pop(key, None)
            finally:
                self._nursery = None
                with trio.CancelScope(shield=True):
                    for carrier in self._lone.values():
                        await carrier.close()

    async def find(
        self,
        principal: Principal,
        server: str,
        *,
        stateless: bool = False,
        at: NodeId | None = None,
    ) -> tuple[NodeId, Carrier | None]:
        """Who provides ``server`` to this request, and the way there.

        None: it is spoken to in messages.

        Args:
            stateless: For a request that needs no session every server has a way.
            at: Where its session is, which stays there.

        Raises:
            UserError: no node of the cluster provides it.
        """
        begun = at if at != self.desk.node else None  # ours may be gone by now
        provider, *others = self.desk.choose(server) if begun is None else [begun]
        way = await self._find(provider, principal, server, stateless)
        for other in others:
            if not isinstance(way, LostCarrier):
                break
            provider = other
            way = await self._find(provider, principal, server, stateless)
        return provider, way

    async def _find(
        self, provider: NodeId, principal: Principal, server: str, stateless: bool
    ) -> Carrier | None:
        if provider == self.desk.node:
            return self.here(server) or (
                self.lone(principal, server) if stateless else None
            )
        spoken = (provider, server)
        if self._speaks.get(spoken) is False and not stateless:
            return None
        try:
            way = await self._way(provider, principal, server)
            if spoken not in self._speaks:
                self._speaks[spoken] = await way.serves()
        except Lost as lost:
            return LostCarrier(lost)
        return way if self._speaks[spoken] or stateless else None

    def here(self, server: str) -> HttpCarrier | None:
        """The way to one of this node's own servers."""
        config = self.desk.servers[server]
        if config.url is None:
            return None
        key = config.url, config.resource
        if key not in self._urls:
            self._urls[key] = HttpCarrier(read_url(config.url), config.resource)
        return self._urls[key]

    def lone(self, principal: Principal, server: str) -> ChildCarrier:
        """The way of one agent's stateless requests to a server behind a command."""
        key = principal.agent, server
        if key not in self._lone:

            async def start() -> Backend:
                if self._nursery is None:
                    raise Lost("the server cannot be started just now")
                await self._make_room()
                return await self.desk.backend(self._nursery, server)

            self._lone[key] = ChildCarrier(start)
        return self._lone[key]

    async def _make_room(self) -> None:
        """See to it that one more child may be started; it is counted already."""
        carriers = [*self._lone.values()]
        while sum(c.children for c in carriers) > limits.LONE_CHILDREN_IN_ALL_MAX:
            for carrier in carriers:
                if await carrier.make_room():
                    break
            else:
                raise Lost("too many servers run here; ask again later")

    async def _way(
        self, provider: NodeId, principal: Principal, server: str
    ) -> HttpMeshCarrier:
        name = self.desk.roster.name(provider)
        away = Lost(f"node `{name}`, which provides `{server}`, is not linked")
        if self.desk.links is None or self.desk.is_cut_off(provider):
            raise away  # the gate says why; no link would come up
        key = (provider, principal.agent, server)
        shown, way = self._ways.get(key, (b"", None))
        if way is not None and shown == principal.cert_digest:
            return way
        if way is not None:
            await way.close()

        async def open_stream() -> FrameStream:
            assert self.desk.links is not None, "a cluster has links"
            try:
                with trio.fail_after(limits.OPENING_S):
                    links = self.desk.links
                    frames = FrameStream(
                        await links.open_stream(provider, HTTP_PROTOCOL)
                    )
                    opening = encode_opening(server, self.desk.shown(principal))
                    await frames.send(HttpFrame.OPEN, opening)
                    return frames
            except (PeerError, trio.TooSlowError, *GONE):
                self.desk.providers.failed(server, provider)
                raise away from None

        way = HttpMeshCarrier(open_stream, name)
        self._ways[key] = (principal.cert_digest, way)
        return way

    async def close(self) -> None:
        """Close whatever nobody uses just now."""
        for carrier in self._urls.values():
            carrier.close()
        for _, way in self._ways.values():
            await way.close()


@attrs.frozen
class LostCarrier:
    """The way to a server that cannot be reached: the gate still says its word."""

    lost: Lost

    async def ask(self, ask: Ask) -> Answer:
        """Nothing passes: raises `Lost`."""
        del ask
        raise Lost(str(self.lost), self.lost.advice)

    def endpoint(self, data: bytes) -> Way | None:
        """Nothing comes."""
        del data
        return None
