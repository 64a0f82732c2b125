"""A daemon on strings: the real one, and commands by which a story makes it play a role.

What `scenarios.cast` puts between a simulated core and the network stands here
between the real core and its links. Only nodes that a story makes do what no
honest node does run this; nothing imports it. Its egress gates sign whatever
they are told once it is given a role.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Final

import attrs
import trio

from enforcement.principal import Principal
from gossip.domains import Domain
from gossip.errors import PeerError
from gossip.ledger.entries import (
    EntryKind,
    Proof,
    Report,
    Subject,
    SubjectKind,
    write_report,
)
from gossip.membership.identity import AgentCert, Chain, agent_id, certify_agent
from gossip.suite import SigningKey
from gossip.units import MonoMs, NodeId, UnixMs
from node.cli.common import read_config
from node.clock import SystemClock
from node.control import Args, Command, Control, bind_unix, int_arg, text_arg
from node.daemon import Daemon
from node.driver import Frames
from node.guard import Guard
from node.jsonlines import Json
from node.signals import serve_until_signalled
from scenarios.cast import ROLES, Role
from scenarios.demo.rogue import CorruptGuard
from scenarios.evidence import forge_about
from scenarios.people import Person

STRINGS: Final = "strings.sock"
_HOUR_MS: Final = 3_600_000
_JUNK_EVERY_S: Final = 0.1
_SKEW_MS_MAX: Final = 10**8
_DRIFT_PPM_MAX: Final = 10**5


@attrs.define
class SkewedClock:
    """The machine's clock, made wrong."""

    real: SystemClock = attrs.field(factory=SystemClock)
    offset_ms: int = 0
    drift_ppm: int = 0

    def unix_ms(self) -> UnixMs:
        """Wrong by the offset, and more by the drift as time goes by."""
        drifted = self.real.mono_ms() * self.drift_ppm // 1_000_000
        return UnixMs(self.real.unix_ms() + self.offset_ms + drifted)

    def mono_ms(self) -> MonoMs:
        """As the machine's."""
        return self.real.mono_ms()


@attrs.define
class RoleLinks:
    """Implements `node.driver.Frames`: what is sent passes a role first."""

    real: Frames
    who: Callable[[], Person]
    role: Role = attrs.field(factory=ROLES["honest"])
    since: float = 0.0
    numbers: dict[NodeId, int] = attrs.field(factory=dict)
    wanted: frozenset[NodeId] = frozenset()
    """Whom its core wants links with."""
    besieged: frozenset[NodeId] = frozenset()
    """Whom its role wants a link with besides."""

    def send(self, peer: NodeId, frame: bytes) -> bool:
        """What the role makes of it; a role that sends nothing says it did."""
        now_us = round((trio.current_time() - self.since) * 1e6)
        really = self.role.sends(self.who(), self._number(peer), frame, now_us)
        return True if really is None else self.real.send(peer, really)

    def drop(self, peer: NodeId) -> None:
        """As it is."""
        self.real.drop(peer)

    def seek(self, peers: frozenset[NodeId]) -> None:
        """These, and whoever is besieged."""
        self.wanted = peers
        self.real.seek(peers | self.besieged)

    def become(self, role: Role, besieges: frozenset[NodeId]) -> None:
        """Play another role from now on."""
        self.role, self.since = role, trio.current_time()
        self.besieged = besieges
        self.seek(self.wanted)

    def _number(self, peer: NodeId) -> int:
        return self.numbers.setdefault(peer, len(self.numbers))


def _who(daemon: Daemon) -> Person:
    """The node with the key it has now."""
    chain = daemon.ring.current.chain
    key = daemon.ring.nodes[chain.key]
    return Person(daemon.config.name, daemon.me, chain, key)


@attrs.frozen
class Strings:
    """What a story may pull. Answered on a socket beside the daemon's own."""

    daemon: Daemon
    links: RoleLinks
    clock: SkewedClock
    honest_gate: Guard

    def commands(self) -> dict[str, Command]:
        """The table, for a control socket."""
        return {
            "become": self.become,
            "forge": self.forge,
            "junk": self.junk,
            "rotate": self.rotate,
            "skew": self.skew,
        }

    def become(self, args: Args) -> Json:
        """Play ``role`` from now on; ``besieges`` is a node (hex), or empty."""
        role = ROLES[text_arg(args, "role")]()
        victim = bytes.fromhex(text_arg(args, "besieges"))
        self.links.become(role, frozenset({NodeId(victim)} if victim else ()))
        honest, corrupt = self.honest_gate, CorruptGuard(self.honest_gate)
        self.daemon.proxies.desk.new_gate = honest if role.honest else corrupt
        return {}

    async def forge(self, args: Args) -> Json:
        """Publish a proof against the node ``accused`` (hex) that it never signed."""
        daemon, accused = self.daemon, NodeId(bytes.fromhex(text_arg(args, "accused")))
        chain = daemon.roster.newest(accused)
        if chain is None:
            raise PeerError("nothing is known of whom to slander")
        now, own = daemon.clock.unix_ms(), daemon.ring.current.chain.key
        principal = _slandered(daemon, chain, daemon.ring.nodes[own], now)
        proof = forge_about(
            principal,
            daemon.me,
            daemon.suite,
            daemon.roster,
            daemon.bundles.current,
            now,
        )
        report = Report(
            subject=Subject(SubjectKind.NODE, accused),
            category="hostile-request",
            severity=9,
            evidence=Proof(data=proof),
        )
        await daemon.driver.say_durably(EntryKind.REPORT, write_report(report))
        return {}

    def junk(self, args: Args) -> Json:
        """Send ``count`` times ``bytes`` bytes of garbage to everybody linked."""
        self.litter(
            int_arg(args, "count", 1, 1, 1_000), int_arg(args, "bytes", 200, 0, 60_000)
        )
        return {}

    def litter(self, count: int, size: int) -> None:
        """Send garbage to everybody linked, past the role."""
        for _ in range(count):
            for peer in sorted(self.daemon.engine.linked()):
                self.links.real.send(peer, self.daemon.suite.random(size))

    async def keep_littering(self) -> None:
        """As much as the role wants, until cancelled."""
        while True:
            await trio.sleep(_JUNK_EVERY_S)
            count = round(self.links.role.junk_per_s * _JUNK_EVERY_S)
            self.litter(count, 200)

    async def rotate(self, args: Args) -> Json:
        """Go on with a fresh operational key."""
        del args
        await self.daemon.rotate()
        return {}

    def skew(self, args: Args) -> Json:
        """Let the clock be wrong, besides what it is already."""
        skew_ms = int_arg(args, "offset_ms", 0, -_SKEW_MS_MAX, _SKEW_MS_MAX)
        drift = int_arg(args, "drift_ppm", 0, -_DRIFT_PPM_MAX, _DRIFT_PPM_MAX)
        self.clock.offset_ms += skew_ms
        self.clock.drift_ppm += drift
        return {}


@attrs.frozen
class _FalseKey:
    """Says it is one key, and signs with another. Implements `gossip.suite.SigningKey`."""

    public_key: bytes
    real: SigningKey

    def sign(self, message: bytes, context: Domain) -> bytes:
        """What a slanderer can: not the signature it would take."""
        return self.real.sign(message, context)


def _slandered(daemon: Daemon, chain: Chain, own: SigningKey, now: UnixMs) -> Principal:
    """An agent of somebody else's node, as if that had certified it."""
    agent = daemon.suite.signing_key_from_seed(daemon.suite.random(64)).public_key
    begin, end = UnixMs(now - _HOUR_MS), UnixMs(now + _HOUR_MS)
    key = _FalseKey(chain.operational, own)
    encoded = certify_agent(key, chain.node, agent, "agent", (), begin, end)
    cert = AgentCert(
        agent=agent_id(agent),
        public_key=agent,
        node=chain.node,
        name="agent",
        roles=(),
        not_before_ms=begin,
        not_after_ms=end,
        issuer=chain.key,
        encoded=encoded,
    )
    return Principal(cert=cert, chain=chain, node_name=daemon.roster.name(chain.node))


async def serve(folder: str) -> None:
    """Run the node in ``folder`` until a signal says to stop."""
    config, clock = read_config(folder), SkewedClock()
    daemon = Daemon(config, clock=clock)
    links = RoleLinks(daemon.links, partial(_who, daemon))
    daemon.driver.links = links
    strings = Strings(daemon, links, clock, daemon.guard)
    control = Control(
        strings.commands(),
        lambda fault: daemon.log.error("a string broke", error=repr(fault)),
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(control.serve, bind_unix(config.state / STRINGS))
        nursery.start_soon(strings.keep_littering)
        await serve_until_signalled(daemon)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(serve, sys.argv[-1])
