"""How often a node may speak about one subject, or note that it refused one agent.

Once a second, with a count: whoever floods a node fills neither feeds nor disks.
"""

import attrs

from enforcement import limits
from enforcement.defend.rate import Rate, RateLimiter
from enforcement.effects import Subject
from gossip.units import AgentId, UnixMs


@attrs.define
class WitnessBudget:
    """When each subject was last spoken of. One object for all gates of a daemon."""

    _last: dict[Subject, tuple[UnixMs, int]] = attrs.field(
        init=False, factory=dict, repr=False
    )

    def spend(self, subject: Subject, now_ms: UnixMs) -> int:
        """How many sightings to report now; 0 means keep silent, it is counted."""
        then_ms, silent = self._last.pop(subject, (UnixMs(0), 0))
        if abs(now_ms - then_ms) < limits.WITNESS_EVERY_MS:
            self._last[subject] = (then_ms, silent + 1)
            return 0
        self._last[subject] = (now_ms, 0)
        if len(self._last) > limits.WITNESSED_MAX:
            del self._last[next(iter(self._last))]
        return silent + 1


def _rows() -> RateLimiter:
    per_second, burst = limits.AUDIT_REFUSED_PER_SECOND, limits.AUDIT_REFUSED_BURST
    return RateLimiter(Rate(per_second=per_second, burst=burst))


@attrs.define
class AuditBudget:
    """How many records of refusals each agent has had. One object for all gates."""

    _rows: RateLimiter = attrs.field(init=False, factory=_rows, repr=False)
    _silent: dict[AgentId, int] = attrs.field(init=False, factory=dict, repr=False)

    def spend(self, agent: AgentId, now_ms: UnixMs) -> int:
        """For how many refusals a record stands now; 0 means write none."""
        count = self._silent.pop(agent, 0) + 1
        if self._rows.take(agent, "", now_ms):
            return count
        self._silent[agent] = count
        if len(self._silent) > limits.WITNESSED_MAX:
            del self._silent[next(iter(self._silent))]
        return 0
