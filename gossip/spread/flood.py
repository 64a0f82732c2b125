"""Flooding: every new batch to every link but the one it came by.

The simplest way to spread, and the yardstick for the tree that replaces it
behind the same three verbs. Links catch up when they come up: both sides say
how far they hold each feed, and each asks for what it lacks, a bounded piece
at a time, so a broken link resumes where it stopped.
"""

import attrs

from gossip.effects import Send, SendStored
from gossip.ledger.feed import Batch, FeedId, Ledger
from gossip.spread import frames
from gossip.units import NodeId


@attrs.define
class Flood:
    """Who is linked, and what was asked of whom."""

    ledger: Ledger
    _links: dict[NodeId, dict[FeedId, int]] = attrs.field(init=False, factory=dict)
    """For each linked peer: how far it says it holds each feed."""

    def link_up(self, peer: NodeId) -> list[Send]:
        """Begin with a peer: tell it what we hold."""
        self._links[peer] = {}
        held = [
            frames.Head(feed, state.next_number) for feed, state in self.ledger.heads()
        ]
        pieces = [
            held[i : i + frames.HEADS_MAX]
            for i in range(0, len(held), frames.HEADS_MAX)
        ]
        return [Send(peer, frames.heads(piece)) for piece in pieces or [[]]]

    def link_down(self, peer: NodeId) -> None:
        """Forget a peer."""
        self._links.pop(peer, None)

    def linked(self) -> tuple[NodeId, ...]:
        """Who is linked now, sorted."""
        return tuple(sorted(self._links))

    def spread(self, batch: Batch, source: NodeId | None) -> list[Send]:
        """Pass on a batch that was just admitted, own or from ``source``."""
        frame = frames.push(batch.encoded)
        return [Send(peer, frame) for peer in self.linked() if peer != source]

    def on_heads(self, peer: NodeId, told: frames.Heads) -> list[Send]:
        """A peer told what it holds: ask for what we lack."""
        if peer not in self._links:
            return []
        theirs = self._links[peer]
        asks = []
        for head in told.heads:
            theirs[head.feed] = head.next_number
            asks += self._ask(peer, head.feed)
        return asks

    def on_want(self, peer: NodeId, wanted: frames.Want) -> list[SendStored]:
        """A peer asks: send what we hold of it."""
        held = self.ledger.feed(wanted.feed)
        if peer not in self._links or held is None:
            return []
        last = min(wanted.last, held.next_number - 1)
        if last < wanted.first:
            return []
        return [SendStored(peer, *wanted.feed, wanted.first, last)]

    def on_progress(self, peer: NodeId, feed: FeedId) -> list[Send]:
        """A batch of ``feed`` arrived from ``peer``: ask for the next piece."""
        held = self.ledger.feed(feed)
        reached = held.next_number if held else 0
        if reached % frames.WANT_MAX or peer not in self._links:
            return []
        return self._ask(peer, feed)

    def ask_beginning(self, peer: NodeId, batch: Batch) -> list[Send]:
        """A batch came early or by an unknown key: ask for what precedes it."""
        if peer not in self._links:
            return []
        theirs = self._links[peer]
        known = theirs.get(batch.feed, 0)
        theirs[batch.feed] = max(known, batch.number)
        return self._ask(peer, batch.feed) if known <= batch.number else []

    def _ask(self, peer: NodeId, feed: FeedId) -> list[Send]:
        held = self.ledger.feed(feed)
        first = held.next_number if held else 0
        last = min(self._links[peer].get(feed, 0), first + frames.WANT_MAX) - 1
        # Pieces end at multiples of WANT_MAX, where `on_progress` asks again.
        last = min(last, first - first % frames.WANT_MAX + frames.WANT_MAX - 1)
        if last < first:
            return []
        return [Send(peer, frames.want(feed, first, last))]
