"""Disputes: where a checkpoint contradicts what is held, somebody holds the other side.

Everybody linked is asked for the batch that the checkpoint names, and whoever links
later; two batches of one number then convict their author. One question at a time,
since an author may dispute without end, and honest neighbours answer from their disks.
Authors take turns, each with a share of its own, so that none is hidden by another's.
"""

from collections.abc import Iterator
from itertools import islice, zip_longest
from typing import Final

import attrs

from gossip.effects import Send
from gossip.ledger.batch import FeedId
from gossip.ledger.feed import Ledger
from gossip.spread import frames
from gossip.units import NodeId, UnixMs

DISPUTES_PER_AUTHOR_MAX: Final = 128
"""About half of what can be asked within the grace that both sides are kept for."""
DISPUTE_MS: Final = 500
AGAIN_MAX: Final = 16
"""So many of the latest a new link is asked about."""


@attrs.frozen
class _Dispute:
    """A checkpoint names another batch at a number of a feed than is held there."""

    feed: FeedId
    number: int
    named: bytes = attrs.field(repr=bytes.hex)


@attrs.define
class _Share:
    """What one author told two stories about, in the order in which it was heard."""

    waiting: dict[_Dispute, None] = attrs.field(init=False, factory=dict)
    asked: dict[_Dispute, None] = attrs.field(init=False, factory=dict)

    def add(self, dispute: _Dispute) -> None:
        """Once. What everybody was asked about makes room, what waits does not."""
        if dispute in self.waiting or dispute in self.asked:
            return
        if len(self.waiting) + len(self.asked) >= DISPUTES_PER_AUTHOR_MAX:
            if not self.asked:
                return
            del self.asked[next(iter(self.asked))]
        self.waiting[dispute] = None

    def latest(self) -> Iterator[_Dispute]:
        """The one that was heard of last is the first."""
        yield from reversed(self.waiting)
        yield from reversed(self.asked)


@attrs.define
class Disputes:
    """Every feed of which two stories seem to be told, and the number to ask for."""

    ledger: Ledger
    _shares: dict[NodeId, _Share] = attrs.field(init=False, factory=dict)
    """By author; the one that was heard of last is the last."""
    _turns: dict[NodeId, None] = attrs.field(init=False, factory=dict)
    """Authors of which something waits; the next is the first."""
    _next_ms: int = attrs.field(init=False, default=0)

    def add(self, feed: FeedId, number: int, named: bytes) -> None:
        """Ask everybody for a batch, once for each id that is ``named`` for it."""
        author = feed[0]
        share = self._shares.pop(author, None) or _Share()
        self._shares[author] = share
        share.add(_Dispute(feed, number, named))
        self._turns.setdefault(author)

    def greet(self, peer: NodeId) -> list[Send]:
        """Ask a new link about the latest, of each author in turn."""
        rows = zip_longest(*(s.latest() for s in reversed(self._shares.values())))
        open_still = (d for row in rows for d in row if d and not self._is_settled(d))
        return [_ask(dispute, peer) for dispute in islice(open_still, AGAIN_MAX)]

    def wake(self, peers: list[NodeId], now: UnixMs) -> list[Send]:
        """Ask about the next author's next."""
        if not self._turns or now < self._next_ms:
            return []
        dispute = self._take_next()
        if dispute is None:
            return []
        self._next_ms = now + DISPUTE_MS
        return [_ask(dispute, peer) for peer in peers]

    def _take_next(self) -> _Dispute | None:
        while self._turns:
            author = next(iter(self._turns))
            del self._turns[author]
            share = self._shares[author]
            while share.waiting:
                dispute = next(iter(share.waiting))
                del share.waiting[dispute]
                if not self._is_settled(dispute):
                    share.asked[dispute] = None
                    if share.waiting:
                        self._turns[author] = None
                    return dispute
        return None

    def _is_settled(self, dispute: _Dispute) -> bool:
        """Whether its fork is proven, or it can be proven with nothing held any more."""
        held, number = self.ledger.feed(dispute.feed), dispute.number
        if held is None:
            return True
        if held.frozen_at is not None and held.frozen_at <= number:
            return True
        return held.base > number + 1 and held.id_at(number) is None

    @property
    def due_ms(self) -> int | None:
        """When `wake` has something to do."""
        return self._next_ms if self._turns else None


def _ask(dispute: _Dispute, peer: NodeId) -> Send:
    return Send(peer, frames.want(dispute.feed, dispute.number, dispute.number))
