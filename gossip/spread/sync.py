"""Reconciliation: whatever the tree missed, two nodes find and fetch.

::

    A ── Root ─────────────────▶ B      equal: silence; one digest crossed the wire
    A ◀───────────────── Buckets ── B   different: a digest for each group
    A ── Heads (answer) ───────▶ B      A's heads in the groups that differ
    A ◀─────────────────── Heads ── B   B's heads where B is ahead
    either ── Want ──▶  ◀── Give …      exactly what is missing, in order

At each new link and every `SYNC_MS` with one random peer, more often by those whom
nobody brings anything. A feed is fetched
from one peer at a time, a piece at a time; a peer that does not itself deliver loses
the job to the next that offered. So a broken link resumes where it stopped, and
what is missing crosses the wire once.
"""

from collections.abc import Callable, Iterator
from typing import Final

import attrs

from gossip.domains import Domain
from gossip.effects import Send, SendStored
from gossip.ledger.batch import Batch, FeedId
from gossip.ledger.feed import Feed, Ledger
from gossip.spread import frames
from gossip.spread.disputes import Disputes
from gossip.suite import Suite, digest
from gossip.units import NodeId, UnixMs

SYNC_MS: Final = 10_000
ALONE_MS: Final = 1_000
"""So often compares who has never been brought anything: its links may be mute."""
GAP_MS: Final = 300
"""How long the tree may take to close a gap before it is fetched."""
FETCH_MS: Final = 3_000
"""A fetch that brings nothing for this long goes to another peer; for"""
FIRST_FETCH_MS: Final = 1_000
"""this long, where the peer never brought anything yet: it may be mute."""
FETCHES_PER_PEER_MAX: Final = 8
OFFERS_PER_PEER_MAX: Final = 65_536


@attrs.define
class _Fetch:
    """One piece of a feed, asked of one peer."""

    peer: NodeId
    first: int
    last: int
    deadline_ms: int


@attrs.define
class Sync:
    """One node's side of reconciliation."""

    me: NodeId = attrs.field(repr=bytes.hex)
    ledger: Ledger
    suite: Suite
    voice_of: Callable[[NodeId], NodeId] = lambda peer: peer
    """Which of the peers count once; see `Roster.voice_of`."""
    _peers: dict[NodeId, dict[FeedId, int]] = attrs.field(init=False, factory=dict)
    """For each linked peer: how far it offered each feed that we lack."""
    _fetches: dict[FeedId, _Fetch] = attrs.field(init=False, factory=dict)
    _gaps: dict[FeedId, int] = attrs.field(init=False, factory=dict)
    _held_back: dict[FeedId, tuple[int, int]] = attrs.field(init=False, factory=dict)
    """What is not fetched before more peers offer it: number, and how many must."""
    _asked: dict[FeedId, NodeId] = attrs.field(init=False, factory=dict)
    """Who was asked last for each feed."""
    disputes: Disputes = attrs.field(init=False)
    _next_ms: int | None = attrs.field(init=False, default=None)
    _failed: list[NodeId] = attrs.field(init=False, factory=list)
    _deliver: set[NodeId] = attrs.field(init=False, factory=set)
    """Who brought something that was fetched: asked before others."""

    @disputes.default
    def _new_disputes(self) -> Disputes:
        return Disputes(self.ledger)

    def link_up(self, peer: NodeId, now: UnixMs) -> list[Send]:
        """Begin with a peer: the one with the smaller id compares everything."""
        self._peers[peer] = {}
        if self._next_ms is None:
            self._next_ms = now + ALONE_MS
        sends = self.disputes.greet(peer)
        return [*sends, self._root(peer, now)] if self.me < peer else sends

    def link_down(self, peer: NodeId, now: UnixMs) -> list[Send]:
        """Forget a peer; what it was asked for is asked of another."""
        self._peers.pop(peer, None)
        self._deliver.discard(peer)
        for feed in [f for f, fetch in self._fetches.items() if fetch.peer == peer]:
            del self._fetches[feed]
            self._asked.pop(feed, None)
        return self.pump(now)

    def hurry(self, now: UnixMs) -> None:
        """Nobody linked brings us anything any more: compare soon."""
        if self._next_ms is not None:
            self._next_ms = min(self._next_ms, now + ALONE_MS)

    # --- comparing ------------------------------------------------------------

    def on_root(self, peer: NodeId, told: frames.Root) -> list[Send]:
        """Equal: silence. Different: our groups."""
        if peer not in self._peers or told.digest == self._root_digest():
            return []
        return [Send(peer, frames.buckets(self._bucket_digests()))]

    def on_buckets(self, peer: NodeId, told: frames.Buckets) -> list[Send]:
        """Tell our heads in the groups that differ."""
        if peer not in self._peers:
            return []
        own = self._bucket_digests()
        differ = [
            bucket
            for bucket in range(frames.BUCKETS)
            if own.get(bucket) != told.digests.get(bucket)
        ]
        return [
            Send(peer, frames.heads(covered, held, answer=True))
            for covered, held in self._grouped(differ)
        ]

    def on_heads(self, peer: NodeId, told: frames.Heads, now: UnixMs) -> list[Send]:
        """Note where the peer is ahead; if asked, tell where we are."""
        offers = self._peers.get(peer)
        if offers is None:
            return []
        theirs = {head.feed: head.next_number for head in told.heads}
        for feed, next_number in theirs.items():
            if next_number > self._next_number(feed) and (
                feed in offers or len(offers) < OFFERS_PER_PEER_MAX
            ):
                offers[feed] = next_number
        ahead = []
        if told.answer:
            ahead = [
                frames.Head(feed, state.next_number)
                for bucket in sorted(set(told.buckets))
                for feed, state in self.ledger.bucket(bucket)
                if state.next_number > theirs.get(feed, 0)
            ]
        sends = [
            Send(
                peer,
                frames.heads((), ahead[i : i + frames.HEADS_MAX], answer=False),
            )
            for i in range(0, len(ahead), frames.HEADS_MAX)
        ]
        return sends + self.pump(now)

    # --- fetching -------------------------------------------------------------

    def on_want(self, peer: NodeId, wanted: frames.Want) -> list[SendStored]:
        """A peer asks: send what we hold of it."""
        held = self.ledger.feed(wanted.feed)
        if peer not in self._peers or held is None:
            return []
        last = min(wanted.last, held.next_number - 1)
        if wanted.first >= held.base:
            if last < wanted.first:
                return []
            return [SendStored(peer, *wanted.feed, wanted.first, last)]
        # Pruned: what was kept all the same, the checkpoint, then what follows.
        sends = [SendStored(peer, *wanted.feed, wanted.first, held.base - 1)]
        if held.checkpointed_in is not None:
            feed, number = held.checkpointed_in
            sends.append(SendStored(peer, *feed, number, number))
        if last >= held.base:
            sends.append(SendStored(peer, *wanted.feed, held.base, last))
        return sends

    def on_ignored(self, peer: NodeId, feed: FeedId, now: UnixMs) -> list[Send]:
        """What a peer brought of a feed is not taken now, and that is no fault of its.

        Only its own offer ends: its batch may be forged, and others' are not.
        """
        self._peers.get(peer, {}).pop(feed, None)
        fetch = self._fetches.get(feed)
        if fetch is None or fetch.peer != peer:
            return []
        del self._fetches[feed]
        return self.pump(now)

    def vouched(self, feed: FeedId, number: int, needed: int) -> bool:
        """Whether so many linked peers offer a batch that we lack.

        If not, the feed is not fetched before they do.
        """
        if self._holders(feed, number) >= needed:
            self._held_back.pop(feed, None)
            return True
        if feed in self._held_back or len(self._held_back) < OFFERS_PER_PEER_MAX:
            self._held_back[feed] = (number, needed)
        self._fetches.pop(feed, None)
        self._gaps.pop(feed, None)
        return False

    def _holders(self, feed: FeedId, number: int) -> int:
        """How many voices among the peers offer more of a feed than ``number``."""
        return len(
            {
                self.voice_of(peer)
                for peer, offers in self._peers.items()
                if offers.get(feed, 0) > number
            }
        )

    def _is_held_back(self, feed: FeedId) -> bool:
        back = self._held_back.get(feed)
        if back is None:
            return False
        number, needed = back
        if number < self._next_number(feed):
            self._held_back.pop(feed, None)  # it came by another way
            return False
        return not self.vouched(feed, number, needed)

    def was_asked(self, peer: NodeId, feed: FeedId) -> bool:
        """Whether this peer was the last that was asked for a feed."""
        return self._asked.get(feed) == peer

    def on_delayed(self, peer: NodeId, batch: Batch, due_ms: int) -> None:
        """What a peer was asked for came, and must wait: that is no fault of its."""
        if self.asked(peer, batch):
            fetch = self._fetches[batch.feed]
            fetch.deadline_ms = max(fetch.deadline_ms, due_ms + FETCH_MS)

    def on_early(self, peer: NodeId, batch: Batch, now: UnixMs, *, wait: bool) -> None:
        """A batch came before those it follows: fetch them, if they stay away.

        Args:
            wait: Whether the tree may still bring them.
        """
        offers = self._peers.get(peer)
        if offers is None:
            return
        offers[batch.feed] = max(offers.get(batch.feed, 0), batch.number)
        self._gaps.setdefault(batch.feed, now + (GAP_MS if wait else 0))

    def on_admitted(self, peer: NodeId, batch: Batch, now: UnixMs) -> list[Send]:
        """A peer brought a batch that was new: go on with its feed's fetch, or end it.

        Only what the peer that was asked brings of what it was asked for is its
        merit, and a reason to wait on: else it could be silent for as long as the
        feed's author speaks.
        """
        fetch = self._fetches.get(batch.feed)
        if fetch is None:
            return []
        if self.asked(peer, batch):
            self._deliver.add(peer)
            fetch.deadline_ms = now + FETCH_MS
        return self.on_known(batch.feed, now)

    def asked(self, peer: NodeId, batch: Batch) -> bool:
        """Whether the batch is what this peer was asked for last."""
        fetch = self._fetches.get(batch.feed)
        return (
            fetch is not None
            and fetch.peer == peer
            and fetch.first <= batch.number <= fetch.last
        )

    def on_known(self, feed: FeedId, now: UnixMs) -> list[Send]:
        """A batch of ``feed`` came: end its fetch if nothing asked for is missing."""
        fetch = self._fetches.get(feed)
        if fetch is None or self._next_number(feed) <= fetch.last:
            return []
        del self._fetches[feed]
        return self.pump(now)

    @property
    def due_ms(self) -> int | None:
        """When `wake` has something to do."""
        first = self._next_ms if self._peers else None
        # Asked after every event, and mostly there is neither a fetch nor a gap.
        for fetch in self._fetches.values():
            if first is None or fetch.deadline_ms < first:
                first = fetch.deadline_ms
        for due in self._gaps.values():
            if first is None or due < first:
                first = due
        asks = self.disputes.due_ms
        if asks is not None and (first is None or asks < first):
            first = asks
        return first

    def take_failures(self) -> list[NodeId]:
        """Who offered something and did not deliver it; once each."""
        failed, self._failed = self._failed, []
        return failed

    def wake(self, now: UnixMs, *, alone: bool) -> list[Send]:
        """Give up on those who do not deliver; compare with a random peer.

        Args:
            alone: Whether nobody linked has ever brought anything along the tree.
        """
        for feed, fetch in list(self._fetches.items()):
            if fetch.deadline_ms <= now:
                del self._fetches[feed]
                if self._next_number(feed) > fetch.last:
                    continue  # a checkpoint elsewhere let the feed begin later
                self._peers[fetch.peer].pop(feed, None)
                if self._is_frozen(feed):
                    self._settle(feed)
                else:
                    self._failed.append(fetch.peer)
        sends = [*self.disputes.wake(sorted(self._peers), now), *self.pump(now)]
        if self._next_ms is not None and self._next_ms <= now:
            self._next_ms = now + (ALONE_MS if alone else SYNC_MS)
            if self._peers:
                drawn = int.from_bytes(self.suite.random(4), "big")
                peers = sorted(self._peers)
                sends.append(self._root(peers[drawn % len(peers)], now))
        return sends

    def pump(self, now: UnixMs) -> list[Send]:
        """Ask for the next piece of every feed that lacks one and may be asked."""
        load: dict[NodeId, int] = {}
        for fetch in self._fetches.values():
            load[fetch.peer] = load.get(fetch.peer, 0) + 1
        sends = []
        for feed in [f for f, due in self._gaps.items() if due <= now]:
            del self._gaps[feed]
        for peer in self._by_hope():
            patience_ms = FETCH_MS if peer in self._deliver else FIRST_FETCH_MS
            offers = self._peers[peer]
            for feed in list(offers):
                if load.get(peer, 0) >= FETCHES_PER_PEER_MAX:
                    break
                if feed in self._fetches or feed in self._gaps:
                    continue
                if self._is_held_back(feed):
                    continue
                piece = self._piece(feed, offers[feed])
                if piece is None:
                    del offers[feed]
                    continue
                load[peer] = load.get(peer, 0) + 1
                self._fetches[feed] = _Fetch(peer, *piece, now + patience_ms)
                self._ask_last(feed, peer)
                sends.append(Send(peer, frames.want(feed, *piece)))
        return sends

    def _ask_last(self, feed: FeedId, peer: NodeId) -> None:
        self._asked.pop(feed, None)
        self._asked[feed] = peer
        if len(self._asked) > OFFERS_PER_PEER_MAX:
            del self._asked[next(iter(self._asked))]

    def _is_frozen(self, feed: FeedId) -> bool:
        held = self.ledger.feed(feed)
        return held is not None and held.frozen_at is not None

    def _settle(self, feed: FeedId) -> None:
        """What precedes a fork may be forgotten: if nobody else offers it, do without."""
        held = self.ledger.feed(feed)
        if held is not None and not any(
            feed in offers for offers in self._peers.values()
        ):
            held.settle()

    def _by_hope(self) -> list[NodeId]:
        """Who delivered before; then the latest links, for a node whom its neighbours
        let wait seeks others."""
        known = [peer for peer in self._peers if peer in self._deliver]
        strange = [peer for peer in self._peers if peer not in self._deliver]
        return [*known, *reversed(strange)]

    def _piece(self, feed: FeedId, offered: int) -> tuple[int, int] | None:
        """The next numbers to ask for, up to what is already held beyond a gap."""
        held = self.ledger.feed(feed)
        first = held.next_number if held else 0
        end = min(offered, first + frames.WANT_MAX)
        if held is not None and held.first_ahead is not None:
            end = min(end, held.first_ahead)
        return (first, end - 1) if end > first else None

    def _next_number(self, feed: FeedId) -> int:
        held = self.ledger.feed(feed)
        return held.next_number if held else 0

    def _grouped(
        self, buckets: list[int]
    ) -> Iterator[tuple[list[int], list[frames.Head]]]:
        """Whole groups with their heads, as many as fit one frame."""
        covered: list[int] = []
        held: list[frames.Head] = []
        for bucket in buckets:
            more = [
                frames.Head(feed, state.next_number)
                for feed, state in self.ledger.bucket(bucket)
            ]
            if covered and len(held) + len(more) > frames.HEADS_MAX:
                yield covered, held
                covered, held = [], []
            covered.append(bucket)
            held += more[: frames.HEADS_MAX - len(held)]
        if covered:
            yield covered, held

    # --- digests --------------------------------------------------------------

    def _root(self, peer: NodeId, now: UnixMs) -> Send:
        return Send(peer, frames.root(self._root_digest(), now))

    def _root_digest(self) -> bytes:
        digests = self._bucket_digests()
        return digest(
            Domain.SYNC_ROOT, *(bytes([b]) + digests[b] for b in sorted(digests))
        )

    def _bucket_digests(self) -> dict[int, bytes]:
        return {
            bucket: _bucket_digest(self.ledger.bucket(bucket))
            for bucket in self.ledger.buckets()
        }


def _bucket_digest(held: list[tuple[FeedId, Feed]]) -> bytes:
    parts = [
        part
        for (author, incarnation), feed in held
        for part in (
            author,
            incarnation,
            feed.next_number.to_bytes(8, "big"),
            feed.tip,
        )
    ]
    return digest(Domain.SYNC_BUCKET, *parts)[: frames.BUCKET_DIGEST_BYTES]
