"""Disputes: where a checkpoint contradicts what is held, somebody holds the other side.

Everybody linked is asked for the batch that the checkpoint names, and whoever links
later; two batches of one number then convict their author. One question at a time,
since an author may dispute without end, and honest neighbours answer from their disks.
"""

from collections import deque
from itertools import islice
from typing import Final

import attrs

from gossip.effects import Send
from gossip.ledger.batch import FeedId
from gossip.spread import frames
from gossip.units import NodeId, UnixMs

DISPUTES_MAX: Final = 4_096
DISPUTE_MS: Final = 500
AGAIN_MAX: Final = 16
"""So many of the latest a new link is asked about."""


@attrs.define
class Disputes:
    """Every feed of which two stories seem to be told, and the number to ask for."""

    _numbers: dict[FeedId, int] = attrs.field(init=False, factory=dict)
    _to_ask: deque[FeedId] = attrs.field(init=False, factory=deque)
    _next_ms: int = attrs.field(init=False, default=0)

    def add(self, feed: FeedId, number: int) -> None:
        """Ask everybody for a batch, once."""
        if feed not in self._numbers and len(self._numbers) < DISPUTES_MAX:
            self._numbers[feed] = number
            self._to_ask.append(feed)

    def greet(self, peer: NodeId) -> list[Send]:
        """Ask a new link about the latest."""
        latest = islice(reversed(self._numbers), AGAIN_MAX)
        return [self._ask(feed, peer) for feed in latest]

    def wake(self, peers: list[NodeId], now: UnixMs) -> list[Send]:
        """Ask about the next."""
        if not self._to_ask or now < self._next_ms:
            return []
        self._next_ms = now + DISPUTE_MS
        feed = self._to_ask.popleft()
        return [self._ask(feed, peer) for peer in peers]

    @property
    def due_ms(self) -> int | None:
        """When `wake` has something to do."""
        return self._next_ms if self._to_ask else None

    def _ask(self, feed: FeedId, peer: NodeId) -> Send:
        number = self._numbers[feed]
        return Send(peer, frames.want(feed, number, number))
