"""Whether one request may pass: envelope, tool, trust, policy, rate.

In that order, once nobody concerned is quarantined. `Judge.admit` returns what it
verified or raises `DeniedError`, which carries the reason for the agent, and the
evidence for everybody else.
"""

from collections.abc import Sequence

import attrs

from enforcement.decide.evidence import build_proof
from enforcement.defend.policy import Call, Decision
from enforcement.detect.pins import Manifest
from enforcement.effects import (
    Effect,
    Position,
    Proof,
    Subject,
    SubjectKind,
    Witness,
    subject_of,
)
from enforcement.mcp.jsonrpc import Reason, Request, Response
from enforcement.mcp.signing import NO_MANIFEST, NO_SESSION
from enforcement.post import DeniedError as DeniedError
from enforcement.post import Post as Post
from enforcement.principal import Principal
from enforcement.screening import Screen, may_share
from enforcement.verifying import Verified as Verified
from enforcement.verifying import Verifier, quarantined
from gossip.errors import PeerError
from gossip.units import NodeId, UnixMs


@attrs.define(kw_only=True)
class Judge:
    """Judges the requests of one session.

    Attributes:
        audience: The node that provides the server.
        session: What this session is called, should it be quarantined.
    """

    post: Post
    position: Position
    server: str
    audience: NodeId
    session: bytes = attrs.field(
        default=attrs.Factory(lambda self: self.post.suite.random(32), takes_self=True),
        repr=bytes.hex,
    )
    _screen: Screen = attrs.field(init=False, repr=False)
    _verifier: Verifier = attrs.field(init=False, repr=False)
    _concerned: tuple[Principal, tuple[Subject, ...]] | None = attrs.field(
        init=False, default=None, repr=False
    )

    def __attrs_post_init__(self) -> None:
        self._screen = Screen(self.post, self.position, self.server, self.audience)
        self._verifier = Verifier(self.post, self.server, self.audience)

    def distrust(self, principal: Principal, why: DeniedError, now_ms: UnixMs) -> None:
        """A call was denied: what that costs the agent."""
        self._screen.distrust(principal, why, now_ms)

    def has_rate(self, principal: Principal, now_ms: UnixMs) -> bool:
        """Spend a token on a notification, if there is one."""
        return self._screen.has_rate(principal, now_ms)

    def hidden(
        self, principal: Principal, manifests: Sequence[Manifest], now_ms: UnixMs
    ) -> frozenset[str]:
        """The tags whose data the agent may not be shown in these tools' answers."""
        hidden = [self._screen.hidden(principal, m, now_ms) for m in manifests]
        return hidden[0] if len(hidden) == 1 else frozenset().union(*hidden)

    def withholds(
        self,
        principal: Principal,
        tool: str,
        manifest: Manifest | None,
        tag: str,
        now_ms: UnixMs,
    ) -> bool:
        """Whether a rule forbids to show what this gate itself tagged so.

        Unlike a tag of the tool's, it needs no permit.
        """
        decision = self._screen.reveals(principal, tool, manifest, tag, now_ms)
        return not decision.allow and decision.reason is not Reason.NO_PERMIT

    def find_refused(self, principal: Principal) -> Subject | None:
        """Who of those concerned is quarantined, if anybody."""
        is_refused = self.post.is_refused
        for subject in self._subjects(principal):
            if is_refused(subject):
                return subject
        return None

    def _subjects(self, principal: Principal) -> tuple[Subject, ...]:
        """Whose quarantine stops this session, without looking one up twice."""
        if self._concerned is None or self._concerned[0] is not principal:
            nodes = {principal.node: None, self.audience: None}
            subjects = (
                Subject(SubjectKind.SESSION, self.session),
                subject_of(SubjectKind.AGENT, principal.agent),
                *[subject_of(SubjectKind.NODE, node) for node in nodes],
            )
            self._concerned = (principal, subjects)
        return self._concerned[1]

    def check_quarantine(self, principal: Principal) -> None:
        """Raise `DeniedError` if anybody concerned is quarantined."""
        refused = self.find_refused(principal)
        if refused is None:
            return
        name = principal.node_name
        if refused.kind is SubjectKind.AGENT:
            name = principal.name
        elif refused.kind is SubjectKind.SESSION:
            name = f"session:{refused.id.hex()}"
        elif refused.id != principal.node:
            name = refused.id.hex()[:16]
        provider = refused.id == self.audience != principal.node
        raise quarantined(refused.kind, name, withdraws=provider)

    def _belongs(self, session: bytes) -> None:
        """Both gates call a session by one name, that of its egress gate."""
        if session not in (NO_SESSION, self.session):
            self.session, self._concerned = session, None

    def admit(
        self, request: Request, principal: Principal, seen: bytes, now_ms: UnixMs
    ) -> tuple[Manifest | None, bool]:
        """Judge a request that is not signed: its agent stands beside this gate.

        Nobody concerned is quarantined: that has been asked. ``seen`` is the
        message's digest, for witnesses. Returns the tool, and whether a shared key
        may stand for signatures.

        Raises:
            DeniedError: it may not pass.
        """
        self.post.check_content(request)
        manifest = self._screen.find_tool(request, NO_MANIFEST)
        call = self._screen.call(request, principal, manifest, now_ms)
        if self.position is Position.EGRESS:
            self._screen.check_provable(call, self.post.bundles.current)
        self._screen.check_trust(principal, now_ms)
        self._follow_policy(call, None, seen, now_ms)
        self._keep_rate(call, seen, now_ms)
        return manifest, may_share(call, manifest, self.post.bundles.current)

    def admit_signed(
        self,
        request: Request,
        envelope: bytes | None,
        principals: Sequence[Principal],
        seen: bytes,
        now_ms: UnixMs,
    ) -> Verified:
        """Judge a request from another node.

        ``principals`` are the agent as certified now, and as before its renewal.

        Raises:
            DeniedError: it may not pass.
        """
        self.post.check_content(request)
        verified = self._verify(request, envelope, principals, seen, now_ms)
        self._belongs(verified.envelope.body.session)
        if self.post.trust is not None:  # a fresh signature is a fresh proof
            self.post.trust.proved(verified.principal.agent, now_ms)
        named = verified.envelope.body.manifest
        manifest = self._screen.find_tool(request, named)
        call = self._screen.call(request, verified.principal, manifest, now_ms)
        if verified.envelope.mac and not may_share(call, manifest, verified.policy):
            raise self._unsigned(verified.principal.node, seen, now_ms)
        self._check_provable(call, verified, seen, now_ms)
        self._screen.check_trust(verified.principal, now_ms)
        self._follow_policy(call, verified, seen, now_ms, manifest)
        self._keep_rate(call, seen, now_ms)
        return verified

    def _check_provable(
        self, call: Call, verified: Verified, seen: bytes, now_ms: UnixMs
    ) -> None:
        """Its egress gate refuses what could not be proven, if it is honest."""
        try:
            self._screen.check_provable(call, verified.policy)
        except DeniedError as denied:
            denied.evidence = self._ungated(verified, 6, seen, now_ms)
            raise

    def _ungated(
        self, verified: Verified, severity: int, seen: bytes, now_ms: UnixMs
    ) -> list[Effect]:
        """Its node let out what the policy in force forbids: that, we have seen."""
        if verified.policy is not self.post.bundles.current:
            return []
        node = Subject(SubjectKind.NODE, verified.principal.node)
        return self._witness(node, "ungated-request", severity, seen, now_ms)

    def _verify(
        self,
        request: Request,
        data: bytes | None,
        principals: Sequence[Principal],
        seen: bytes,
        now_ms: UnixMs,
    ) -> Verified:
        node = Subject(SubjectKind.NODE, principals[0].node)
        if data is None:
            raise self._unsigned(node.id, seen, now_ms)
        try:
            return self._verifier.verify_untrusted(request, data, principals, now_ms)
        except DeniedError as denied:
            if denied.reason is Reason.TOO_MANY_VALUES:  # no honest node signs these
                told = ("ungated-request", 6, seen, now_ms)
                denied.evidence = self._witness(node, *told)
            raise
        except PeerError as wrong:
            raise DeniedError(
                Reason.ENVELOPE,
                f"the request's envelope does not hold: {wrong}",
                evidence=self._witness(node, "false-envelope", 7, seen, now_ms),
            ) from wrong

    def _unsigned(self, node: bytes, seen: bytes, now_ms: UnixMs) -> DeniedError:
        told = ("unsigned-request", 5, seen, now_ms)
        return DeniedError(
            Reason.UNSIGNED,
            "a request from another node must be signed",
            evidence=self._witness(Subject(SubjectKind.NODE, node), *told),
        )

    def _follow_policy(
        self,
        call: Call,
        verified: Verified | None,
        seen: bytes,
        now_ms: UnixMs,
        manifest: Manifest | None = None,
    ) -> None:
        for judged in (call, *self._screen.supplied(call, now_ms)):
            denied = self._find_denial(judged, verified)
            if denied is None:
                continue
            if verified is None:
                evidence = self._of_own_agent(call.principal, denied, seen, now_ms)
            elif judged is not call:  # no leaf says it: seen, but not proven
                least = max(denied.severity, 6)
                evidence = self._ungated(verified, least, seen, now_ms)
            else:
                evidence = self._of_other_node(
                    call, verified, denied, seen, now_ms, manifest
                )
            raise _denial(denied, evidence)

    def tool_of(self, request: Request) -> str:
        """The tool that works on a request; empty for none."""
        return self._screen.tool_of(request)

    def find_fault(
        self,
        principal: Principal,
        opened: Sequence[str],
        answer: Response,
        now_ms: UnixMs,
    ) -> DeniedError | None:
        """Why the agent may not answer its server so, while these tools work."""
        if answer.result is None:
            return None
        for judged in self._screen.answering(principal, opened, answer.result, now_ms):
            denied = self._find_denial(judged, None)
            if denied is not None:
                return _denial(denied, ())
        return None

    def _find_denial(self, call: Call, verified: Verified | None) -> Decision | None:
        """Why policy, now or when the call was signed, does not allow it."""
        current = self.post.bundles.current
        decision = current.decide(call)
        if self.post.trial is not None:
            self.post.trial.compare(call, decision)
        if verified is not None and verified.policy is not current:
            named = verified.policy.decide(call)
            decision = decision if named.allow else named
        if decision.allow or self._spares(call.principal, decision):
            return None
        return decision

    def _spares(self, principal: Principal, decision: Decision) -> bool:
        """Whether gates only observe. What would convict us is denied all the same,
        and so is what policy could not decide."""
        if decision.hostile or decision.reason not in (Reason.RULE, Reason.NO_PERMIT):
            return False
        return self.post.spares(principal.agent, decision.rule or decision.reason)

    def _of_own_agent(
        self, principal: Principal, decision: Decision, seen: bytes, now_ms: UnixMs
    ) -> list[Effect]:
        if not decision.severity:
            return []
        agent = Subject(SubjectKind.AGENT, principal.agent)
        return self._witness(agent, decision.category, decision.severity, seen, now_ms)

    def _of_other_node(
        self,
        call: Call,
        verified: Verified,
        decision: Decision,
        seen: bytes,
        now_ms: UnixMs,
        manifest: Manifest | None,
    ) -> list[Effect]:
        """Its egress gate should have stopped this, if it has the same policy."""
        if decision.local:
            return []  # it may honestly have sensed otherwise
        policy, principal = verified.policy, verified.principal
        rule = policy.rules.get(decision.rule)
        node = Subject(SubjectKind.NODE, principal.node)
        if decision.hostile and rule is not None and policy.breaks(rule, call):
            private = manifest is not None and any(
                manifest.tags.is_private(read.path) for read in rule.reads
            )
            proof = None
            if not private and not verified.envelope.mac:
                proof = build_proof(
                    envelope=verified.envelope,
                    leaves=verified.leaves,
                    principal=principal,
                    params=call.params,
                    policy=policy,
                    rule=rule,
                )
            if proof is not None:
                return [
                    Proof(
                        data=proof,
                        agent=principal.agent,
                        node=principal.node,
                        rule=rule.id,
                        severity=rule.severity,
                    )
                ]
            agent = Subject(SubjectKind.AGENT, principal.agent)
            told = (decision.category, decision.severity, seen, now_ms)
            return [*self._witness(node, *told), *self._witness(agent, *told)]
        return self._ungated(verified, max(decision.severity, 6), seen, now_ms)

    def _keep_rate(self, call: Call, seen: bytes, now_ms: UnixMs) -> None:
        empty = self._screen.find_empty_rate(call, now_ms)
        principal = call.principal
        if empty is None or self.post.spares(principal.agent, Reason.RATE):
            return
        subject, severity = Subject(SubjectKind.AGENT, principal.agent), 3
        if self.position is Position.INGRESS and not empty.startswith("#"):
            # Its own node should have held it back. That node knows nothing of tags.
            subject, severity = Subject(SubjectKind.NODE, principal.node), 7
        raise DeniedError(
            Reason.RATE,
            f"too many calls to `{empty}`",
            advice="wait a moment; the limits are in the configuration",
            evidence=self._witness(subject, "rate-abuse", severity, seen, now_ms),
        )

    def witness_flood(
        self, principal: Principal, seen: bytes, now_ms: UnixMs
    ) -> list[Effect]:
        """A session brings more of what no honest side sends than an accident would."""
        subject, severity = Subject(SubjectKind.AGENT, principal.agent), 3
        if self.position is Position.INGRESS:
            subject, severity = Subject(SubjectKind.NODE, principal.node), 7
        return self._witness(subject, "rate-abuse", severity, seen, now_ms)

    def _witness(
        self,
        subject: Subject,
        category: str,
        severity: int,
        seen: bytes,
        now_ms: UnixMs,
    ) -> list[Effect]:
        count = self.post.witnesses.spend(subject, now_ms)
        if count == 0:
            return []
        return [
            Witness(
                subject=subject,
                category=category,
                severity=severity,
                digest=seen,
                count=count,
                at_ms=now_ms,
            )
        ]


def _denial(decision: Decision, evidence: Sequence[Effect]) -> DeniedError:
    return DeniedError(
        decision.reason,
        decision.sentence,
        rule=decision.rule,
        advice=decision.advice,
        evidence=evidence,
    )
