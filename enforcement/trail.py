"""What a gate records of each message, and when an agent's junk becomes a flood."""

from collections.abc import Sequence

import attrs

from enforcement.effects import Audit, Effect, HangUp, Position, Verdict
from enforcement.judging import Judge
from enforcement.mcp.jsonrpc import Reason, Request
from enforcement.post import DeniedError, Post
from enforcement.principal import Principal
from gossip.domains import Domain
from gossip.errors import PeerError
from gossip.suite import digest
from gossip.units import UnixMs


@attrs.define
class Seen:
    """One message and what became known of it.

    Attributes:
        who: In whose name it came, or goes.
    """

    data: bytes = attrs.field(repr=False)
    salt: bytes = attrs.field(repr=False)
    at_ms: UnixMs
    who: Principal
    request: Request | None = None
    request_id: bytes = b""
    _digest: bytes = attrs.field(init=False, default=b"", repr=False)

    @property
    def digest(self) -> bytes:
        """What records and witnesses name it by. Most messages never need one."""
        if not self._digest:
            self._digest = digest(Domain.MESSAGE, self.salt, self.data)
        return self._digest


@attrs.define(kw_only=True)
class Trail:
    """The records of one session."""

    post: Post
    position: Position
    server: str
    judge: Judge

    def see(self, data: bytes, who: Principal, now_ms: UnixMs) -> Seen:
        """A message has come."""
        return Seen(data, self.post.salt, now_ms, who)

    def allowed(self, seen: Seen) -> Audit:
        """The record of a request that passes."""
        return self._record(seen, Verdict.ALLOWED, Reason.ALLOWED, "")

    def denied(
        self, seen: Seen, reason: Reason, rule: str = "", *, accuses: bool = False
    ) -> list[Effect]:
        """The record of a denial, unless a later one will stand for it.

        Of one that accuses somebody there always is one.
        """
        record = self._record(seen, Verdict.DENIED, reason, rule)
        return [record] if accuses else self._within_budget(record)

    def dropped(self, seen: Seen, reason: Reason) -> list[Effect]:
        """The record of what went no further, unless a later one will stand for it."""
        return self._within_budget(self._record(seen, Verdict.DROPPED, reason, ""))

    def dropped_junk(self, seen: Seen, reason: Reason) -> list[Effect]:
        """The record of what no honest side sends; see `junk`."""
        return [*self.dropped(seen, reason), *self.junk(seen)]

    def suspected(
        self,
        seen: Seen,
        method: str,
        tool: str,
        signs: Sequence[str],
        verdict: Verdict,
    ) -> Audit:
        """The record of an answer that looks like an injection."""
        record = self._record(seen, verdict, Reason.SUSPECT, ",".join(signs))
        return attrs.evolve(record, method=method, tool=tool)

    def junk(self, seen: Seen) -> list[Effect]:
        """Count what no honest side sends, over all sessions and lone requests of an
        agent; a flood is witnessed, and ends a session that another node opened."""
        if self.post.patience.take(seen.who.agent, self.server, seen.at_ms):
            return []
        effects = self.judge.witness_flood(seen.who, seen.digest, seen.at_ms)
        if self.position is Position.INGRESS:
            effects.append(HangUp("too much came that no gate lets out"))
        return effects

    def _within_budget(self, record: Audit) -> list[Effect]:
        count = self.post.audits.spend(record.agent, record.at_ms)
        return [attrs.evolve(record, count=count)] if count else []

    def _record(self, seen: Seen, verdict: Verdict, reason: Reason, rule: str) -> Audit:
        return Audit(
            at_ms=seen.at_ms,
            position=self.position,
            agent=seen.who.agent,
            node=seen.who.node,
            server=self.server,
            method=seen.request.method if seen.request else "",
            tool=seen.request.tool if seen.request else "",
            verdict=verdict,
            rule=rule,
            reason=reason.value,
            request_id=seen.request_id,
            digest=seen.digest,
            session=self.judge.session,
        )


def is_junk(why: DeniedError) -> bool:
    """Whether no honest gate lets such a request out."""
    if why.reason is Reason.ENVELOPE:
        return isinstance(why.__cause__, PeerError)
    return why.reason in (Reason.REQUEST_ID, Reason.UNSIGNED)
