"""Fakes around the proxies: a gate that only passes or refuses, a desk, a sink."""

import hashlib
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import trio

from enforcement.defend.bundles import Bundles
from enforcement.defend.policy import Policy
from enforcement.defend.rate import Rate, RateLimiter
from enforcement.defend.replay import ReplayWindow
from enforcement.defend.session import TrustBook
from enforcement.defend.testimony import WitnessBudget
from enforcement.detect.pins import Pins
from enforcement.detect.scan import Scanner
from enforcement.effects import (
    Effect,
    Position,
    SignRequest,
    Subject,
    ToClient,
    ToServer,
)
from enforcement.events import (
    ClientMessage,
    Event,
    RequestSigned,
    ServerLost,
    ServerMessage,
    SigningFailed,
)
from enforcement.gate import Gate
from enforcement.mcp.jsonrpc import (
    Reason,
    Request,
    Response,
    read_message_untrusted,
    write_denial,
)
from enforcement.mcp.strictjson import MalformedError
from enforcement.post import Post
from enforcement.principal import Principal
from gossip.domains import Domain
from gossip.errors import PeerError
from gossip.membership.identity import certify_agent, read_agent_cert_untrusted
from gossip.membership.roster import Roster
from gossip.suite import SigningKey
from gossip.units import AgentId, NodeId, UnixMs
from node.clock import SystemClock
from node.config import ServerConfig
from node.keys.suites.registry import load_suite
from node.log import Log
from node.proxy.desk import Desk, Links
from node.proxy.frames import ByteStream
from node.proxy.http import McpHttp, Origins
from node.proxy.httpd import listen_on, serve_http
from node.proxy.mesh import MESH_PROTOCOL
from node.proxy.mesh_http import HTTP_PROTOCOL
from node.proxy.provider import MeshProvider
from node.proxy.provider_http import HttpProvider
from node.proxy.raw import SocketWire, Wire
from node.proxy.session import SigningRefused, Told
from tests.support.members import HOUR, Member, founders, member, seed_of

ECHO = (sys.executable, str(Path(__file__).with_name("echo_server.py")))
TOKEN = "a token that only branch-bot knows"
OTHER_TOKEN = "a token that only the other agent knows"
SUITE = load_suite("auto")


@attrs.define
class FakeGate:
    """Passes everything but the tool `forbidden`; signs at egress."""

    position: Position
    server: str = "echo"
    session: bytes = bytes(32)
    _pending: dict[int | str, bytes] = attrs.field(init=False, factory=dict)
    _tickets: dict[int, tuple[int | str, bytes]] = attrs.field(init=False, factory=dict)
    _lost: str | None = attrs.field(init=False, default=None)

    def handle(self, event: Event, now_ms: UnixMs) -> Sequence[Effect]:
        del now_ms
        if isinstance(event, ClientMessage):
            return self._client(event)
        if isinstance(event, ServerMessage):
            return self._server(event.data)
        if isinstance(event, RequestSigned):
            _, data = self._tickets.pop(event.ticket)
            envelope = event.agent_signature + event.node_signature
            return [ToServer(data.replace(b"\n", b" "), envelope)]
        if isinstance(event, SigningFailed):
            key, _ = self._tickets.pop(event.ticket)
            del self._pending[key]
            return [ToClient(write_denial(key, event.sentence, Reason.UNSIGNED))]
        if isinstance(event, ServerLost):
            self._lost = event.sentence
            waiting, self._pending = self._pending, {}
            say = partial(write_denial, advice=event.advice)
            return [ToClient(say(k, event.sentence, Reason.SERVER)) for k in waiting]
        return []

    def _client(self, event: ClientMessage) -> Sequence[Effect]:
        try:
            message = read_message_untrusted(event.data)
        except MalformedError as wrong:
            denial = write_denial(wrong.key, str(wrong), Reason.MALFORMED)
            return [ToClient(denial)]
        if not isinstance(message, Request):
            return [ToServer(event.data.replace(b"\n", b" "))]
        key = message.key
        if self._lost is not None:
            return [ToClient(write_denial(key, self._lost, Reason.SERVER))]
        if key in self._pending:
            return [ToClient(write_denial(key, "a pending id", Reason.REQUEST_ID))]
        if message.tool == "forbidden":
            return [ToClient(write_denial(key, "no", Reason.RULE, rule="no-such"))]
        if self.position is Position.INGRESS and event.envelope is None:
            return [ToClient(write_denial(key, "unsigned", Reason.UNSIGNED))]
        self._pending[key] = event.data
        if self.position is Position.EGRESS:
            ticket = len(self._tickets) + 1
            self._tickets[ticket] = (key, event.data)
            return [SignRequest(ticket, event.data)]
        return [ToServer(event.data.replace(b"\n", b" "))]

    def _server(self, data: bytes) -> Sequence[Effect]:
        message = read_message_untrusted(data)
        if (
            isinstance(message, Response)
            and message.key is not None
            and self._pending.pop(message.key, None) is None
        ):
            return []
        return [ToClient(data)]


@attrs.define
class FakeSink:
    heard: list[Told] = attrs.field(factory=list)
    decisions: int = 0

    def told(self, effect: Told) -> None:
        self.heard.append(effect)

    def decided(self, position: Position, seconds: float) -> None:
        del position, seconds
        self.decisions += 1


@attrs.define
class FakeSigner:
    """Signs with nothing; refuses while told to."""

    refusal: str | None = None

    async def sign_request(self, agent: AgentId, body: bytes) -> tuple[bytes, bytes]:
        del agent
        if self.refusal is not None:
            raise SigningRefused(self.refusal)
        return b"agent signed " + body, b" node signed"

    async def share_request(
        self, agent: AgentId, body: bytes, provider: NodeId, now_ms: UnixMs
    ) -> tuple[bytes, bytes] | None:
        del agent, body, provider, now_ms
        return None

    async def prove_agent(self, agent: AgentId, body: bytes) -> bytes:
        del agent
        if self.refusal is not None:
            raise SigningRefused(self.refusal)
        return b"agent proved " + body


@attrs.frozen(kw_only=True)
class Place:
    """One node of a made-up cluster, with one agent; provides ``NAME-db``."""

    member: Member
    principal: Principal
    agent_key: SigningKey = attrs.field(repr=False)

    @property
    def node(self) -> NodeId:
        return self.member.node


def found(*names: str, role: str = "retail") -> tuple[Roster, dict[str, Place]]:
    """A cluster of ``names``, each with one agent called ``NAME-bot``."""
    places = {name: place_of(name, role=role) for name in names}
    return Roster(founders(SUITE, list(names))), places


def place_of(name: str, turn: int = 0, role: str = "retail") -> Place:
    """The node called ``name`` with its ``turn``-th operational key."""
    now = SystemClock().unix_ms()
    known = member(SUITE, name, turn, at=now)
    agent = SUITE.signing_key_from_seed(seed_of(name, "agent"))
    cert = certify_agent(
        known.key,
        known.node,
        agent.public_key,
        f"{name}-bot",
        (role,),
        now,
        UnixMs(now + HOUR),
    )
    principal = Principal(
        cert=read_agent_cert_untrusted(cert, SUITE, known.chain),
        chain=known.chain,
        node_name=name,
    )
    return Place(member=known, principal=principal, agent_key=agent)


def desk_of(
    place: Place,
    roster: Roster,
    *,
    servers: Mapping[str, ServerConfig] | None = None,
    links: Links | None = None,
    sink: FakeSink | None = None,
    signer: FakeSigner | None = None,
) -> Desk:
    """A desk at ``place`` whose gates are fakes."""

    def new_gate(
        position: Position, principal: Principal, server: str, audience: NodeId
    ) -> FakeGate:
        del principal, audience
        return FakeGate(position, server)

    return Desk(
        node=place.node,
        roster=roster,
        suite=SUITE,
        clock=SystemClock(),
        log=Log(level="debug"),
        new_gate=new_gate,
        signer=signer or FakeSigner(),
        sink=sink or FakeSink(),
        chain=place.principal.chain,
        agents={place.principal.name: place.principal},
        servers=servers or {},
        links=links,
    )


@attrs.frozen
class RealSigner:
    """Signs with a place's keys."""

    place: Place

    async def sign_request(self, agent: AgentId, body: bytes) -> tuple[bytes, bytes]:
        assert agent == self.place.principal.agent
        return (
            self.place.agent_key.sign(body, Domain.REQUEST_AGENT),
            self.place.member.key.sign(body, Domain.REQUEST_NODE),
        )

    async def share_request(
        self, agent: AgentId, body: bytes, provider: NodeId, now_ms: UnixMs
    ) -> tuple[bytes, bytes] | None:
        del agent, body, provider, now_ms
        return None

    async def prove_agent(self, agent: AgentId, body: bytes) -> bytes:
        assert agent == self.place.principal.agent
        return self.place.agent_key.sign(body, Domain.CHALLENGE)


def guard(
    desk: Desk,
    place: Place,
    policy: Policy,
    *,
    strict: bool = False,
    scans: bool = True,
) -> Desk:
    """Give ``desk`` the real gates, under ``policy``, and real signatures.

    ``strict``: all that a daemon's gates do: pins, schemas, proofs, trust, scanning
    (unless it ``scans`` not).
    """
    shared = Post(
        cluster=desk.roster.cluster,
        suite=SUITE,
        bundles=Bundles(policy),
        rates=RateLimiter(default=Rate(per_second=1e6, burst=1_000_000)),
        replay=ReplayWindow(UnixMs(0)),
        witnesses=WitnessBudget(),
        is_refused=frozenset[Subject]().__contains__,
        pins=Pins() if strict else None,
        trust=TrustBook() if strict else None,
        proves=strict,
        scanner=Scanner() if strict and scans else None,
    )

    def new_gate(
        position: Position, principal: Principal, server: str, audience: NodeId
    ) -> Gate:
        return Gate(
            position=position,
            principal=principal,
            server=server,
            audience=audience,
            post=shared,
        )

    desk.new_gate, desk.signer = new_gate, RealSigner(place)
    return desk


def echo_config(name: str = "echo") -> ServerConfig:
    return ServerConfig(name=name, command=ECHO)


def open_child_pipes() -> tuple[Wire, tuple[int, int]]:
    """Our wire, and the (stdin, stdout) that a child process gets."""
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    return Wire(ours_in, ours_out), (theirs_in, theirs_out)


@attrs.define(eq=False)
class Pipes:
    """Links of one consumer to one provider, over socket pairs."""

    nursery: trio.Nursery
    provider: MeshProvider
    consumer: NodeId
    http: HttpProvider | None = None
    up: bool = True

    def __attrs_post_init__(self) -> None:
        if self.http is None:
            self.http = HttpProvider(self.provider.desk)
            self.nursery.start_soon(self.http.tend)

    def round_trip_s(self, peer: NodeId) -> float | None:
        del peer
        return 0.0 if self.up else None

    async def open_stream(self, peer: NodeId, protocol: str) -> ByteStream:
        assert self.http is not None
        serve = {MESH_PROTOCOL: self.provider.serve, HTTP_PROTOCOL: self.http.serve}
        assert peer == self.provider.desk.node
        if not self.up:
            raise PeerError("no link")
        here, there = (SocketWire(end) for end in socket.socketpair())
        self.nursery.start_soon(serve[protocol], there, self.consumer)
        return here


@attrs.frozen
class Site:
    """A running listener."""

    desk: Desk
    url: str
    port: int
    faults: list[BaseException]
    door: McpHttp


@asynccontextmanager
async def site(
    desk: Desk | None = None, server: str = "echo", anybody: str | None = None
) -> AsyncIterator[Site]:
    """A listener on loopback; `TOKEN` opens it for the desk's first agent."""
    if desk is None:
        roster, places = found("branch")
        servers = {"echo": echo_config()}
        desk = desk_of(places["branch"], roster, servers=servers)
    faults: list[BaseException] = []
    sock = listen_on("127.0.0.1", 0)
    port = sock.getsockname()[1]
    agent = next(iter(desk.agents))
    tokens = {
        hashlib.sha256(TOKEN.encode()).digest(): agent,
        hashlib.sha256(OTHER_TOKEN.encode()).digest(): "other",
    }
    origins = Origins.of_listener("127.0.0.1", port)
    door = McpHttp(desk, tokens, origins, anybody)
    async with trio.open_nursery() as nursery:
        await nursery.start(door.run)
        nursery.start_soon(serve_http, sock, door.handle, faults.append)
        yield Site(desk, f"http://127.0.0.1:{port}/mcp/{server}", port, faults, door)
        nursery.cancel_scope.cancel()
    assert faults == []
