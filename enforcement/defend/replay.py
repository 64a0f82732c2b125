"""The replay window: a signed request counts once, and only while it is fresh."""

import attrs

from enforcement import limits
from gossip.units import NodeId, UnixMs


@attrs.define
class ReplayWindow:
    """Request ids seen of late. One object for all gates of a daemon.

    A request is fresh for `FRESH_MS_MAX` around its stamp, so an id is remembered
    for twice that after it arrived. What was stamped before this node started is
    not fresh: it may have been answered before the restart.

    Attributes:
        since_ms: When this node started.
    """

    since_ms: UnixMs
    _seen: dict[NodeId, dict[bytes, UnixMs]] = attrs.field(
        init=False, factory=dict, repr=False
    )

    def is_fresh(self, issued_at_ms: UnixMs, now_ms: UnixMs) -> bool:
        """Whether a request with this stamp may still be answered."""
        skew_ms = abs(now_ms - issued_at_ms)
        return skew_ms <= limits.FRESH_MS_MAX and issued_at_ms >= self.since_ms

    def is_known(self, node: NodeId, request_id: bytes) -> bool:
        """Whether this request was here before."""
        return request_id in self._seen.get(node, {})

    def remember(self, node: NodeId, request_id: bytes, now_ms: UnixMs) -> bool:
        """Remember a verified request; False if this node has too many already.

        Each node fills a room of its own: a flood shuts out nobody else.
        """
        seen = self._seen.setdefault(node, {})
        while seen:
            oldest = next(iter(seen))
            if now_ms - seen[oldest] <= 2 * limits.FRESH_MS_MAX:
                break
            del seen[oldest]
        if len(seen) >= limits.REPLAY_PER_NODE_MAX:
            return False
        seen[request_id] = now_ms
        return True
