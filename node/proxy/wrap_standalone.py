"""The wrap's guard in this very process: a gate, a policy, and no cluster.

Nothing is signed and nobody is told; decisions go to the log on stderr. What is
decided is the same as in a daemon with the same policy. What the server lists first
is pinned for as long as this process lives, and no longer.
"""

import attrs
import trio

from enforcement.defend.bundles import Bundles
from enforcement.defend.policy import Policy
from enforcement.defend.rate import Rate, RateLimiter
from enforcement.defend.replay import ReplayWindow
from enforcement.defend.testimony import WitnessBudget
from enforcement.detect.pins import Pins
from enforcement.effects import Audit, Position, Subject, Verdict
from enforcement.gate import Gate
from enforcement.post import Post
from enforcement.principal import Principal
from gossip.membership.identity import AgentCert, Chain
from gossip.suite import Suite
from gossip.units import (
    ID_BYTES,
    UNIX_MS_MAX,
    AgentId,
    ClusterId,
    KeyId,
    NodeId,
    UnixMs,
)
from node.clock import SystemClock
from node.log import Log
from node.proxy.relay import Outlet, Relay
from node.proxy.session import Lost, Session, SigningRefused, Told
from node.proxy.stdio import LineChannel
from node.proxy.wrap import Ends, end_overrun

_RATE = Rate(per_second=1_000.0, burst=2_000)


@attrs.frozen(kw_only=True)
class Alone:
    """Everything a gate without a cluster needs.

    Attributes:
        agent: What the policy and the log call the agent.
        server: What they call the wrapped server.
    """

    agent: str
    roles: tuple[str, ...]
    server: str
    policy: Policy
    suite: Suite
    log: Log
    rate: Rate = _RATE

    def guard(self, ends: Ends) -> "StandaloneGuard":
        """A guard for `node.proxy.wrap.wrap`."""
        outlet = Outlet(ends.child.wire)
        principal = _principal(self.agent, self.roles, self.suite)
        clock = SystemClock()
        gate = Gate(
            position=Position.LOCAL,
            principal=principal,
            server=self.server,
            audience=principal.node,
            post=Post(
                cluster=ClusterId(bytes(ID_BYTES)),
                suite=self.suite,
                bundles=Bundles(self.policy),
                rates=RateLimiter(default=self.rate),
                replay=ReplayWindow(clock.unix_ms()),
                witnesses=WitnessBudget(),
                is_refused=_nobody,
                pins=Pins(),
            ),
        )
        session = Session(
            gate=gate,
            position=Position.LOCAL,
            principal=principal,
            server=self.server,
            audience=principal.node,
            backend=_OutletBackend(outlet),
            signer=_NoSigner(),
            sink=_LogSink(self.log),
            now_ms=clock.unix_ms,
        )
        return StandaloneGuard(session, outlet, ends, self.log)


class StandaloneGuard:
    """Drives one session for the wrap."""

    refused = False

    def __init__(self, session: Session, outlet: Outlet, ends: Ends, log: Log) -> None:
        self._child, self._log = ends.child, log
        self._drained = trio.Event()
        self._relay = Relay(
            session=session,
            client=LineChannel(ends.client),
            server=LineChannel(ends.child.wire),
            outlet=outlet,
            client_ended=trio.lowlevel.checkpoint,
            server_ended=self._server_ended,
            overrun=self._overrun,
        )

    async def run(self) -> None:
        """Carry both ways."""
        await self._relay.run()

    async def finish(self) -> None:
        """Wait for what is on its way."""
        await self._drained.wait()

    async def _server_ended(self) -> None:
        self._drained.set()

    async def _overrun(self) -> None:
        end_overrun(self._child, self._log)


@attrs.frozen
class _OutletBackend:
    outlet: Outlet

    async def send(self, data: bytes, envelope: bytes | None) -> None:
        del envelope
        if not self.outlet.put(data):
            raise Lost("the server does not read what it is sent")

    async def receive(self) -> bytes:
        raise AssertionError("a wrap's server is heard by the wrap")

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


@attrs.frozen
class _NoSigner:
    async def sign_request(self, agent: AgentId, body: bytes) -> tuple[bytes, bytes]:
        del agent, body
        raise SigningRefused("nothing is signed without a cluster")

    async def share_request(
        self, agent: AgentId, body: bytes, provider: NodeId, now_ms: UnixMs
    ) -> tuple[bytes, bytes] | None:
        del agent, body, provider, now_ms
        return None

    async def prove_agent(self, agent: AgentId, body: bytes) -> bytes:
        del agent, body
        raise SigningRefused("nothing is signed without a cluster")


@attrs.frozen
class _LogSink:
    log: Log

    def told(self, effect: Told) -> None:
        if not isinstance(effect, Audit):
            return
        what = f"{effect.method} {effect.tool}".strip() or "a message"
        if effect.verdict is Verdict.ALLOWED:
            self.log.debug(f"allowed {what}")
        else:
            self.log.warn(
                f"{effect.verdict} {what}", reason=effect.reason, rule=effect.rule
            )

    def decided(self, position: Position, seconds: float) -> None:
        del position, seconds


def _nobody(_: Subject) -> bool:
    return False


def _principal(name: str, roles: tuple[str, ...], suite: Suite) -> Principal:
    """An agent that exists for one run only; nobody checks its papers."""
    node = NodeId(suite.random(ID_BYTES))
    chain = Chain(
        node=node,
        operational=b"",
        not_before_ms=UnixMs(0),
        not_after_ms=UnixMs(UNIX_MS_MAX),
        encoded=b"",
    )
    cert = AgentCert(
        agent=AgentId(suite.random(ID_BYTES)),
        public_key=b"",
        node=node,
        name=name,
        roles=tuple(sorted(set(roles))),
        not_before_ms=UnixMs(0),
        not_after_ms=UnixMs(UNIX_MS_MAX),
        issuer=KeyId(bytes(ID_BYTES)),
        encoded=b"",
    )
    return Principal(cert=cert, chain=chain, node_name="standalone")
