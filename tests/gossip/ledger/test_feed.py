"""The promises of ``gossip.ledger.feed``: what one author can make others hold."""

from gossip import limits
from gossip.ledger.batch import FeedId, read_batch_untrusted
from gossip.ledger.feed import Beginning, Ledger, Place
from gossip.units import Incarnation, NodeId
from scenarios.toy import ToySuite
from tests.support.town import Town, forge

LIAR = NodeId(b"l" * 32)


def incarnation(number: int) -> Incarnation:
    return Incarnation(number.to_bytes(16, "big"))


def let_go(ledger: Ledger, number: int) -> FeedId | None:
    feed = (LIAR, incarnation(number))
    told = Beginning(5, bytes(32), ((LIAR, incarnation(0)), number))
    gone = ledger.checkpoint(feed, told, delivered=True)
    return gone.feed if gone else None


def test_neither_checkpoints_nor_forks_open_feeds_without_end() -> None:
    ledger = Ledger()
    most = limits.INCARNATIONS_PER_AUTHOR_MAX
    for number in range(most + 100):
        let_go(ledger, number)
        ledger.freeze((LIAR, incarnation(10_000 + number)), 1)
    assert len(ledger.heads()) == most

    other = (NodeId(b"o" * 32), incarnation(0))
    ledger.freeze(other, 1)
    assert ledger.feed(other) is not None


def test_of_an_author_without_room_what_is_held_may_still_be_let_go() -> None:
    ledger = Ledger()
    for number in range(limits.INCARNATIONS_PER_AUTHOR_MAX):
        ledger.freeze((LIAR, incarnation(number)), 9)
    assert let_go(ledger, 7) == (LIAR, incarnation(7))
    assert let_go(ledger, 99_999) is None


def test_an_author_without_room_opens_no_feed_by_a_batch_either() -> None:
    town = Town(ToySuite(), ["ash", "birch"])
    batch = read_batch_untrusted(forge(town["ash"].who, town, entries=[(999, b"")]))
    ledger = Ledger()
    assert ledger.place(batch) is Place.NEW
    for number in range(limits.INCARNATIONS_PER_AUTHOR_MAX):
        ledger.freeze((batch.author, incarnation(number)), 9)
    assert ledger.place(batch) is Place.TOO_FAR


def test_who_forgot_what_a_fork_stands_on_agrees_with_who_did_not() -> None:
    town = Town(ToySuite(), ["ash", "birch"])
    one, other = Ledger(), Ledger()
    previous = bytes(32)
    for number in range(9):
        said = forge(
            town["ash"].who,
            town,
            number=number,
            previous=previous,
            entries=[(999, b"")],
        )
        batch = read_batch_untrusted(said)
        one.add(batch)
        other.add(batch)
        previous = batch.id
    feed = batch.feed
    gone = one.checkpoint(feed, Beginning(8, batch.previous, (feed, 8)), delivered=True)
    assert gone is not None
    one.forget(gone)

    for ledger in (one, other):
        ledger.freeze(feed, 5)
        held = ledger.feed(feed)
        assert held is not None
        assert (held.next_number, held.tip) == (5, bytes(32))
