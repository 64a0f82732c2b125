"""Continuous trust: what an agent is trusted with now, from 0 to 100, and why less.

::

    100 ─┐ falls with each denial (more for graver rules), and a point a minute
         │ since the agent last proved that it holds its key
     50 ─┤ below: it must prove that again before its next call
         │ each time it fell within the hour a proof gives less back, so that in the
      0 ─┘ end only time, or a person's `picket approve`, helps

Rules read it as ``context.trust``. It belongs to the agent, not to a session: who
opens another session is who he was. Approvals are here too, for they end as trust does.
"""

from typing import Final

import attrs

from enforcement import limits
from gossip.units import AgentId, UnixMs

FULL: Final = 100
CHALLENGED_BELOW: Final = 50
FRESH_PROOF_MS: Final = 60_000
"""Stateless requests follow each other without a proof each, for so long."""
_MINUTE_MS: Final = 60_000
_HOUR_MS: Final = 3_600_000
_AGE_POINTS_MAX: Final = 60
_PROOF_GIVES: Final = 70
_EACH_FALL_COSTS: Final = 10


@attrs.define
class _Record:
    """One agent's: points lost to denials, and when it last proved itself."""

    lost: int
    at_ms: UnixMs
    proven_ms: UnixMs
    server: str = ""
    falls: list[UnixMs] = attrs.field(factory=list)

    def settle(self, now_ms: UnixMs) -> None:
        """A lost point comes back with each clean minute."""
        minutes = max(0, now_ms - self.at_ms) // _MINUTE_MS
        self.lost = max(0, self.lost - minutes)
        self.at_ms = UnixMs(max(self.at_ms, self.at_ms + minutes * _MINUTE_MS))
        self.falls = [at for at in self.falls if now_ms - at < _HOUR_MS]


@attrs.define
class TrustBook:
    """The trust in every agent. One object for all gates of a daemon."""

    _records: dict[AgentId, _Record] = attrs.field(init=False, factory=dict, repr=False)

    def trust(self, agent: AgentId, now_ms: UnixMs) -> int:
        """How much an agent is trusted now, 0 to 100."""
        record = self._records.get(agent)
        if record is None:
            return FULL
        if record.lost:
            record.settle(now_ms)
        age = max(0, now_ms - record.proven_ms) // _MINUTE_MS
        return max(0, FULL - record.lost - min(age, _AGE_POINTS_MAX))

    def denied(self, agent: AgentId, severity: int, now_ms: UnixMs) -> None:
        """A call of it was denied; ``severity`` is the rule's, 0 without one."""
        record = self._record(agent, now_ms)
        before = record.lost
        record.lost = min(FULL, record.lost + 1 + severity)
        if before <= FULL - CHALLENGED_BELOW < record.lost:
            record.falls.append(now_ms)

    def is_fresh(self, agent: AgentId, server: str, now_ms: UnixMs) -> bool:
        """Whether it proved itself for this server just now: one request, no session."""
        record = self._records.get(agent)
        return (
            record is not None
            and record.server == server
            and 0 <= now_ms - record.proven_ms <= FRESH_PROOF_MS
        )

    def proved(self, agent: AgentId, now_ms: UnixMs, server: str = "") -> None:
        """It showed that it holds its key: age is forgiven, and part of the rest."""
        record = self._record(agent, now_ms)
        record.server = server
        record.proven_ms = now_ms
        if record.lost > FULL - CHALLENGED_BELOW:
            given = _PROOF_GIVES - _EACH_FALL_COSTS * len(record.falls)
            record.lost = min(record.lost, FULL - given)

    def restored(self, agent: AgentId, now_ms: UnixMs) -> None:
        """A person vouched for it."""
        self._records.pop(agent, None)
        self._record(agent, now_ms)

    def _record(self, agent: AgentId, now_ms: UnixMs) -> _Record:
        record = self._records.pop(agent, None) or _Record(0, now_ms, now_ms)
        record.settle(now_ms)
        self._records[agent] = record
        if len(self._records) > limits.TRUSTED_MAX:  # forget the most trusted
            best = min(self._records, key=lambda a: self._records[a].lost)
            del self._records[best]
        return record


@attrs.define
class Approvals:
    """What a person at this node approved, for a while: the second factor."""

    _until: dict[tuple[AgentId, str, str], UnixMs] = attrs.field(
        init=False, factory=dict, repr=False
    )

    def approve(
        self, agent: AgentId, server: str, tool: str, until_ms: UnixMs, now_ms: UnixMs
    ) -> None:
        """Let an agent do with one tool what needs a second factor."""
        self._until = {k: end for k, end in self._until.items() if end > now_ms}
        if len(self._until) >= limits.APPROVALS_MAX:
            del self._until[next(iter(self._until))]
        self._until[agent, server, tool] = until_ms

    def withdraw(self, agent: AgentId) -> None:
        """Take back all of an agent's."""
        self._until = {k: end for k, end in self._until.items() if k[0] != agent}

    def holds(self, agent: AgentId, server: str, tool: str, now_ms: UnixMs) -> bool:
        """Whether ``context.approved`` is true now."""
        return self._until.get((agent, server, tool), UnixMs(0)) > now_ms
