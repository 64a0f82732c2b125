"""Whom a liar disputes with keeps nobody from asking about what others did."""

import attrs

from gossip.ledger.batch import FeedId, read_batch_untrusted
from gossip.ledger.feed import Ledger
from gossip.ledger.grace import GRACE_MS
from gossip.spread import frames
from gossip.spread.disputes import (
    AGAIN_MAX,
    DISPUTE_MS,
    DISPUTES_PER_AUTHOR_MAX,
    Disputes,
)
from gossip.units import Incarnation, NodeId, UnixMs
from scenarios.toy import ToySuite
from tests.support.town import Town, forge

LIAR, OTHER, THIRD, PEER = (NodeId(name * 32) for name in (b"l", b"o", b"t", b"p"))
NAMED = b"n" * 32


class Desk:
    """Disputes about feeds of which one batch each is held, and a clock."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.disputes = Disputes(self.ledger)
        self.now = UnixMs(10_000)
        town = Town(ToySuite(), ["ash"])
        forged = forge(town["ash"].who, town, entries=[(4711, b"")], at=town.now)
        self._batch = read_batch_untrusted(forged)

    def hold(self, author: NodeId, story: int) -> FeedId:
        incarnation = Incarnation(story.to_bytes(16, "big"))
        batch = attrs.evolve(self._batch, author=author, incarnation=incarnation)
        if self.ledger.feed(batch.feed) is None:
            self.ledger.add(batch)
        return batch.feed

    def dispute(self, author: NodeId, count: int, first: int = 0) -> None:
        for story in range(first, first + count):
            self.disputes.add(self.hold(author, story), 0, NAMED)

    def ask(self, for_ms: int) -> list[FeedId]:
        """What a neighbour is asked meanwhile."""
        asked: list[FeedId] = []
        until = self.now + for_ms
        while (due := self.disputes.due_ms) is not None and due < until:
            self.now = UnixMs(max(self.now, due))
            asked += wanted([s.frame for s in self.disputes.wake([PEER], self.now)])
        self.now = UnixMs(until)
        return asked

    def greeted(self) -> list[FeedId]:
        return wanted([send.frame for send in self.disputes.greet(PEER)])


def wanted(sent: list[bytes]) -> list[FeedId]:
    asked = [frames.read_frame_untrusted(frame) for frame in sent]
    assert all(isinstance(frame, frames.Want) for frame in asked)
    return [frame.feed for frame in asked if isinstance(frame, frames.Want)]


def test_a_fork_of_another_is_asked_about_at_once_before_and_after_a_liar_is_full() -> (
    None
):
    """Whenever it comes among 4 000 false ones, it waits for a turn, not for them."""
    for before in (0, 2_000, 4_000):
        desk = Desk()
        desk.dispute(LIAR, before)
        desk.dispute(OTHER, 1)
        desk.dispute(LIAR, 4_000 - before, first=before)
        assert desk.hold(OTHER, 0) in desk.ask(2 * DISPUTE_MS)


def test_a_liar_that_disputed_without_end_used_up_nothing() -> None:
    desk = Desk()
    for first in range(0, 4_096, DISPUTES_PER_AUTHOR_MAX):
        desk.dispute(LIAR, DISPUTES_PER_AUTHOR_MAX, first)
        desk.ask(GRACE_MS)
    assert desk.disputes.due_ms is None
    desk.dispute(OTHER, 1)
    desk.dispute(LIAR, 1, first=5_000)
    both = {desk.hold(OTHER, 0), desk.hold(LIAR, 5_000)}
    assert set(desk.ask(2 * DISPUTE_MS)) == both
    assert both <= set(desk.greeted())


def test_all_that_one_author_may_dispute_at_once_is_asked_within_the_grace() -> None:
    desk = Desk()
    desk.dispute(LIAR, 4_000)
    asked = desk.ask(GRACE_MS)
    assert len(set(asked)) == len(asked) == DISPUTES_PER_AUTHOR_MAX


def test_authors_take_turns_with_who_is_asked_and_who_is_greeted() -> None:
    desk = Desk()
    desk.dispute(OTHER, 2)
    desk.dispute(THIRD, 2)
    desk.dispute(LIAR, 100)
    assert {feed[0] for feed in desk.greeted()} == {LIAR, OTHER, THIRD}
    assert len(desk.greeted()) == AGAIN_MAX
    asked = [feed[0] for feed in desk.ask(6 * DISPUTE_MS)]
    assert asked == [OTHER, THIRD, LIAR] * 2


def test_what_is_proven_or_forgotten_is_not_asked_about() -> None:
    desk = Desk()
    desk.dispute(LIAR, 3)
    desk.disputes.add((LIAR, Incarnation(b"never held".ljust(16))), 0, NAMED)
    proven = desk.ledger.feed(desk.hold(LIAR, 0))
    assert proven is not None
    proven.freeze(0)
    assert desk.ask(GRACE_MS) == [desk.hold(LIAR, 1), desk.hold(LIAR, 2)]
    assert set(desk.greeted()) == {desk.hold(LIAR, 1), desk.hold(LIAR, 2)}


def test_a_feed_is_asked_about_again_where_another_batch_is_named_but_not_else() -> (
    None
):
    """Else one false checkpoint, told early, would hide a fork at its number."""
    desk = Desk()
    desk.dispute(LIAR, 1)
    feed = desk.hold(LIAR, 0)
    assert desk.ask(GRACE_MS) == [feed]
    desk.dispute(LIAR, 1)
    assert desk.ask(GRACE_MS) == []
    desk.disputes.add(feed, 0, b"another".ljust(32))
    assert desk.ask(GRACE_MS) == [feed]
