"""The proxies of one daemon: wraps, HTTP, and the mesh for other nodes' agents."""

import socket
from collections.abc import Callable

import attrs
import trio

from gossip.errors import UserError
from gossip.membership.roster import Roster
from gossip.suite import Suite
from gossip.units import NodeId
from node.clerk import Clerk
from node.clock import Clock
from node.config import Config
from node.discovery import Discovery
from node.guard import Guard
from node.linkage import Linkage
from node.log import Log
from node.proxy.desk import Desk
from node.proxy.door import WrapDoor
from node.proxy.http import McpHttp, Origins
from node.proxy.httpd import serve_http
from node.proxy.mesh import MESH_PROTOCOL
from node.proxy.mesh_http import HTTP_PROTOCOL
from node.proxy.provider import MeshProvider
from node.proxy.provider_http import HttpProvider
from node.proxy.tls import read_tls
from node.signer import KeyRing


def check_servers(config: Config, me: NodeId, roster: Roster, log: Log) -> None:
    """Compare the configuration's servers with the founders' file.

    Raises:
        UserError: another node provides a server that is configured here.
    """
    for name in config.servers:
        providers = roster.providers(name)
        if providers and me not in providers:
            told = " and ".join(map(roster.name, providers))
            raise UserError(
                f"{config.file}: `servers.{name}` is provided by {told}, says"
                f" {config.founders_file}"
            )
    for name in roster.member(me).servers:
        if name not in config.servers:
            log.warn(
                f"the founders' file says that this node provides `{name}`, but"
                f" {config.file} has no [servers.{name}]"
            )


@attrs.define(kw_only=True)
class Proxies:
    """Opens sessions for agents, and keeps them as keys and files change."""

    config: Config
    ring: KeyRing
    links: Linkage
    desk: Desk
    provider: HttpProvider
    discovery: Discovery
    http: McpHttp | None = None

    @classmethod
    def of(
        cls,
        *,
        config: Config,
        me: NodeId,
        roster: Roster,
        suite: Suite,
        clock: Clock,
        log: Log,
        guard: Guard,
        clerk: Clerk,
        ring: KeyRing,
        links: Linkage,
    ) -> "Proxies":
        """The proxies of a node; see `check_servers` for what may be wrong."""
        check_servers(config, me, roster, log)
        ring.offers.find_reader = guard.post.shared_keys.find_reader
        desk = Desk(
            node=me,
            roster=roster,
            suite=suite,
            clock=clock,
            log=log,
            new_gate=guard,
            signer=ring,
            sink=clerk,
            chain=ring.current.chain,
            agents=ring.principals,
            servers=config.servers,
            links=links,
            is_refused=guard.post.is_refused,
            differs=guard.pins.differs,
        )
        desk.serve(config.servers)
        provider = HttpProvider(desk)
        discovery = Discovery(
            pins=guard.pins,
            roster=roster,
            sessions=desk.sessions,
            own=lambda: desk.servers,
            me=me,
        )
        guard.pins.on_shown = discovery.changed
        links.handle_stream(MESH_PROTOCOL, MeshProvider(desk).serve)
        links.handle_stream(HTTP_PROTOCOL, provider.serve)
        return cls(
            config=config,
            ring=ring,
            links=links,
            desk=desk,
            provider=provider,
            discovery=discovery,
        )

    async def start(
        self,
        nursery: trio.Nursery,
        http: socket.socket | None,
        door: socket.socket,
        on_fault: Callable[[BaseException], None],
    ) -> None:
        """Serve wraps at ``door`` and MCP on ``http``, if any, until cancelled."""
        nursery.start_soon(WrapDoor(self.desk).serve, door)
        nursery.start_soon(self.discovery.run)
        nursery.start_soon(self.provider.tend)
        if http is None:
            return
        host, port = http.getsockname()[:2]
        tls = self.config.http_tls
        context = None if tls is None else read_tls(tls.cert, tls.key)
        self.http = McpHttp(
            self.desk,
            tokens_of(self.config),
            Origins.of_listener(host, port, tuple(self.config.http_hosts)),
            anybody=self.config.http_agent,
            tls=context is not None,
            hosts=self.config.http_hosts,
        )
        await nursery.start(self.http.run)
        nursery.start_soon(serve_http, http, self.http.handle, on_fault, context)

    def change(self, config: Config) -> None:
        """Take over changed servers, agents and tokens; sessions go on."""
        self.config = config
        self.desk.serve(config.servers)
        self.desk.agents = self.ring.principals
        if self.http is not None:
            self.http.tokens = tokens_of(config)
            self.http.anybody = config.http_agent

    async def renew(self) -> None:
        """The operational key rotated: certify the sessions' agents anew."""
        await self.desk.renew(self.ring.current.chain, self.ring.principals)


def tokens_of(config: Config) -> dict[bytes, str]:
    """Agents' names by the digests of their bearer tokens."""
    return {
        agent.token_sha256: agent.name
        for agent in config.agents.values()
        if agent.token_sha256 is not None
    }
