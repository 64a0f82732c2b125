"""Rate limits: token buckets per agent and server, tool, and class of data."""

from collections.abc import Mapping, Sequence

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
    """By server; and, where set, by ``server/tool`` and ``#tag``."""
    _buckets: dict[tuple[AgentId, str], tuple[float, UnixMs]] = attrs.field(
        init=False, factory=dict, repr=False
    )

    def take(
        self, agent: AgentId, server: str, now_ms: UnixMs, slack: float = 1.0
    ) -> bool:
        """Spend one token, if there is one; ``slack`` scales rate and burst."""
        return self.take_all(agent, server, (), now_ms, slack) is None

    def take_all(
        self,
        agent: AgentId,
        server: str,
        besides: Sequence[str],
        now_ms: UnixMs,
        slack: float = 1.0,
    ) -> str | None:
        """Spend a token of the server and of each limit in ``besides`` that is set.

        Returns:
            None, or the name of a limit without a token: then none is spent.
        """
        besides = [name for name in besides if name in self.servers]
        if not besides:  # as mostly
            rate = self.servers.get(server, self.default)
            tokens = self._refill((agent, server), rate, now_ms, slack)
            self._keep((agent, server), tokens - 1 if tokens >= 1 else tokens, now_ms)
            return None if tokens >= 1 else server
        names = [server, *besides]
        held: list[float] = []
        empty: str | None = None
        for name in names:
            rate = self.servers.get(name, self.default)
            tokens = self._refill((agent, name), rate, now_ms, slack)
            held.append(tokens)
            if tokens < 1 and empty is None:
                empty = name
        for name, tokens in zip(names, held, strict=True):
            left = tokens - 1 if empty is None else tokens
            self._keep((agent, name), left, now_ms)
        return empty

    def take_message(
        self, agent: AgentId, server: str, now_ms: UnixMs, slack: float = 1.0
    ) -> bool:
        """Spend a token on what is no call: as many as calls have, counted apart."""
        key = (agent, f"{server} notifications")  # no server is called so
        rate = self.servers.get(server, self.default)
        tokens = self._refill(key, rate, now_ms, slack)
        self._keep(key, tokens - 1 if tokens >= 1 else tokens, now_ms)
        return tokens >= 1

    def _refill(
        self, key: tuple[AgentId, str], rate: Rate, now_ms: UnixMs, slack: float
    ) -> float:
        burst, per_ms = rate.burst * slack, rate.per_second * slack / 1_000
        tokens, then_ms = self._buckets.pop(key, (burst, now_ms))
        return min(burst, tokens + max(0, now_ms - then_ms) * per_ms)

    def _keep(self, key: tuple[AgentId, str], tokens: float, now_ms: UnixMs) -> None:
        self._buckets[key] = (tokens, now_ms)
        while len(self._buckets) > limits.BUCKETS_MAX:
            del self._buckets[next(iter(self._buckets))]
