"""What a request must satisfy besides policy: its tool, its proof's size, trust, rate."""

from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from enforcement.defend.facts import Fact
from enforcement.defend.policy import REVEAL, Call, Decision, Policy
from enforcement.defend.provable import find_unprovable
from enforcement.defend.session import CHALLENGED_BELOW, FULL
from enforcement.detect.pins import Level, Manifest
from enforcement.effects import Position, SubjectKind, subject_of
from enforcement.mcp.jsonrpc import Reason, Request
from enforcement.mcp.signing import NO_MANIFEST
from enforcement.mcp.strictjson import Json
from enforcement.post import DeniedError, Post
from enforcement.principal import Principal
from enforcement.supplied import answers_of, overlaid
from gossip.units import NodeId, UnixMs

INGRESS_RATE_SLACK: Final = 2.0
"""An honest node's calls may arrive bunched: it is allowed this much more."""

_DISTRUSTED: Final = frozenset(
    {
        Reason.RULE,
        Reason.NO_PERMIT,
        Reason.POLICY_ERROR,
        Reason.SCHEMA,
        Reason.TOOL_CHANGED,
        Reason.UNPROVABLE,
        Reason.UNREADABLE,
    }
)
"""Denials that cost an agent trust: not those for load, or for what others did."""


@attrs.frozen
class Screen:
    """Screens the requests of one session. Every ``check`` may raise `DeniedError`.

    Attributes:
        provider: The node that provides the server.
    """

    post: Post
    position: Position
    server: str
    provider: NodeId

    def distrust(self, principal: Principal, why: DeniedError, now_ms: UnixMs) -> None:
        """A call was denied: what that costs the agent."""
        if self.post.trust is None or why.reason not in _DISTRUSTED:
            return
        rule = self.post.bundles.current.rules.get(why.rule)
        severity = rule.severity if rule is not None else 0
        self.post.trust.denied(principal.agent, severity, now_ms)

    def hidden(
        self, principal: Principal, manifest: Manifest, now_ms: UnixMs
    ) -> frozenset[str]:
        """The tags whose data the agent may not be shown in the tool's answer."""
        return frozenset(
            tag
            for tag in manifest.tags.answers
            if not self.reveals(principal, manifest.tool, manifest, tag, now_ms).allow
        )

    def reveals(
        self,
        principal: Principal,
        tool: str,
        manifest: Manifest | None,
        tag: str,
        now_ms: UnixMs,
    ) -> Decision:
        """Whether the agent may be shown what carries a tag in the tool's answer."""
        call = Call(
            principal=principal,
            server=self.server,
            method=REVEAL,
            tool=tool,
            params=None,
            tag=tag,
            senses=self._senses(principal, tool, manifest, now_ms),
        )
        return self.post.bundles.current.decide(call)

    def find_tool(self, request: Request, named: bytes) -> Manifest | None:
        """The pinned tool that a call means, its parameters fitting its schema."""
        pins = self.post.pins
        if pins is None or not request.tool:
            return None
        manifest = pins.find(self.server, request.tool)
        if manifest is None:
            return None  # in no list: policy reads `context.listed`
        if named not in (NO_MANIFEST, manifest.digest) or pins.held(
            self.server, request.tool, self.provider
        ):
            raise DeniedError(
                Reason.TOOL_CHANGED,
                f"the tool `{request.tool}` of `{self.server}` is not what it was",
                advice=f"have an operator look: `picket tools show {self.server}"
                f" {request.tool}`",
            )
        artefact = subject_of(SubjectKind.ARTEFACT, manifest.digest)
        if self.post.is_refused(artefact):
            raise DeniedError(
                Reason.QUARANTINED,
                f"the tool `{request.tool}` of `{self.server}` is quarantined",
                advice=f"run `picket quarantine why artefact:{manifest.digest.hex()}`",
            )
        fault = manifest.fault
        if manifest.schema is not None:
            found = manifest.schema.find_fault(
                (request.params or {}).get("arguments") or {}
            )
            fault = found or ""
        if fault:
            raise DeniedError(
                Reason.SCHEMA,
                f"not a call of `{request.tool}`: {fault}",
                advice="the tool's inputSchema says what it takes",
            )
        return manifest

    def call(
        self,
        request: Request,
        principal: Principal,
        manifest: Manifest | None,
        now_ms: UnixMs,
    ) -> Call:
        """The request as policy sees it."""
        return Call(
            principal=principal,
            server=self.server,
            method=request.method,
            tool=request.tool,
            params=request.params,
            senses=self._senses(principal, request.tool, manifest, now_ms),
        )

    def supplied(self, call: Call, now_ms: UnixMs) -> Iterator[Call]:
        """What a request with answers amounts to: its call, with them.

        Raises:
            DeniedError: more answers than may be judged.
        """
        answers = answers_of(call.params)
        if answers and call.method.startswith("tasks/") and self.post.pins is not None:
            task = str((call.params or {}).get("taskId"))
            known = self.post.pins.task(self.server, task)
            call = call if known is None else self._call_of(call, known, now_ms)
        yield from overlaid(call, answers)

    def tool_of(self, request: Request) -> str:
        """The tool that works on a request; empty for none."""
        pins = self.post.pins
        if request.tool or pins is None or not request.method.startswith("tasks/"):
            return request.tool
        known = pins.task(self.server, str((request.params or {}).get("taskId")))
        return "" if known is None else known.tool

    def answering(
        self,
        principal: Principal,
        opened: Sequence[str],
        result: Json,
        now_ms: UnixMs,
    ) -> Iterator[Call]:
        """What an answer to the server amounts to: a call of each open tool, with it."""
        pins = self.post.pins
        for tool in opened:
            manifest = None if pins is None else pins.find(self.server, tool)
            call = Call(
                principal=principal,
                server=self.server,
                method="tools/call",
                tool=tool,
                params={},
                senses=self._senses(principal, tool, manifest, now_ms),
            )
            yield from overlaid(call, {"answer": result})

    def _call_of(self, call: Call, known: Manifest, now_ms: UnixMs) -> Call:
        senses = self._senses(call.principal, known.tool, known, now_ms)
        return attrs.evolve(
            call, method="tools/call", tool=known.tool, params={}, senses=senses
        )

    def _senses(
        self,
        principal: Principal,
        tool: str,
        manifest: Manifest | None,
        now_ms: UnixMs,
    ) -> dict[str, Fact]:
        trust = self.post.trust
        away = self.position is Position.EGRESS  # its provider knows
        senses: dict[str, Fact] = {
            "listed": manifest is not None or self.post.pins is None or away,
            "approved": self.post.approvals.holds(
                principal.agent, self.server, tool, now_ms
            ),
            "trust": FULL if trust is None else trust.trust(principal.agent, now_ms),
        }
        if manifest is not None:
            senses["level"] = manifest.level.value
            senses["tags"] = [*sorted(manifest.tags.all)]
        return senses

    def check_provable(
        self,
        call: Call,
        policy: Policy,
    ) -> None:
        """Refuse what could not be proven if it were hostile: at both ends alike."""
        why = find_unprovable(call, policy.hostile_rules(call))
        if why is None:
            return
        raise DeniedError(Reason.UNPROVABLE, why, advice="send it in smaller parts")

    def check_trust(self, principal: Principal, now_ms: UnixMs) -> None:
        """Refuse who has fallen too deep for a challenge to help."""
        trust = self.post.trust
        if trust is None or trust.trust(principal.agent, now_ms) >= CHALLENGED_BELOW:
            return
        raise DeniedError(
            Reason.TRUST,
            f"agent `{principal.name}` has been denied too often to be trusted now",
            advice=f"wait, or run `picket approve {principal.name}`",
        )

    def has_rate(self, principal: Principal, now_ms: UnixMs) -> bool:
        """Spend a token on a notification, if there is one."""
        slack = INGRESS_RATE_SLACK if self.position is Position.INGRESS else 1.0
        rates = self.post.rates
        return rates.take_message(principal.agent, self.server, now_ms, slack)

    def find_empty_rate(self, call: Call, now_ms: UnixMs) -> str | None:
        """Spend a token of every limit on the call; if one has none, which."""
        principal = call.principal
        ingress = self.position is Position.INGRESS
        slack = INGRESS_RATE_SLACK if ingress else 1.0
        besides: list[str] = []
        if call.tool and self.post.rates.servers:
            tags = call.senses.get("tags", [])
            assert isinstance(tags, list), "we put a list there"
            besides = [f"{self.server}/{call.tool}", *(f"#{tag}" for tag in tags)]
        return self.post.rates.take_all(
            principal.agent, self.server, besides, now_ms, slack
        )


def may_share(call: Call, manifest: Manifest | None, policy: Policy) -> bool:
    """Whether a shared key will do for a request between nodes: both ends ask alike.

    The tool must ask for it, and no hostile rule may reach the call, since a shared
    key proves nothing to anybody else.
    """
    if manifest is None or manifest.level is not Level.SESSION or not call.tool:
        return False
    return not policy.hostile_rules(call)
