"""Rate limits: one token bucket per agent and server."""

from collections.abc import Mapping

import attrs

from enforcement import limits
from gossip.units import AgentId, UnixMs


@attrs.frozen(kw_only=True)
class Rate:
    """How fast calls may come.

    Attributes:
        per_second: Calls per second in the long run.
        burst: Calls at once after a rest.
    """

    per_second: float = attrs.field(validator=attrs.validators.gt(0))
    burst: int = attrs.field(validator=attrs.validators.ge(1))


@attrs.define
class RateLimiter:
    """Buckets, oldest use first. One object for all gates of a daemon.

    Forgetting a bucket refills it; so the least recently used one goes, and only
    when there are ``BUCKETS_MAX`` busy pairs.
    """

    default: Rate
    servers: Mapping[str, Rate] = attrs.field(factory=dict)
    _buckets: dict[tuple[AgentId, str], tuple[float, UnixMs]] = attrs.field(
        init=False, factory=dict, repr=False
    )

    def take(
        self, agent: AgentId, server: str, now_ms: UnixMs, slack: float = 1.0
    ) -> bool:
        """Spend one token, if there is one; ``slack`` scales rate and burst."""
        rate = self.servers.get(server, self.default)
        burst, per_ms = rate.burst * slack, rate.per_second * slack / 1_000
        tokens, then_ms = self._buckets.pop((agent, server), (burst, now_ms))
        tokens = min(burst, tokens + max(0, now_ms - then_ms) * per_ms)
        allowed = tokens >= 1
        self._buckets[agent, server] = (tokens - 1 if allowed else tokens, now_ms)
        if len(self._buckets) > limits.BUCKETS_MAX:
            del self._buckets[next(iter(self._buckets))]
        return allowed
