"""How long an announced batch is waited for, where machines are busy."""

from gossip.effects import Send
from gossip.ledger.feed import Ledger
from gossip.spread import frames
from gossip.spread.plumtree import (
    GRAFT_MS,
    GRAFT_MS_MAX,
    HUNGER_MS,
    HUNGER_ROUNDS,
    Plumtree,
)
from gossip.spread.sync import Sync
from gossip.units import NodeId, UnixMs
from scenarios.toy import ToySuite
from tests.support.neighbours import BESIDE, ME, TREE, batch


def tree() -> Plumtree:
    made = Plumtree(ME)
    for peer in (TREE, BESIDE):
        made.link_up(peer)
    return made


def waits_ms(made: Plumtree, number: int, late_by_ms: int) -> int:
    """Announce a batch that the tree brings late; for how long it was waited for."""
    at = UnixMs(number * 100_000)
    made.on_ihave(BESIDE, (batch(number).id,), at)
    due = made.due_ms
    assert due is not None
    arrives = UnixMs(at + late_by_ms)
    if due < arrives:
        asked = [s for s in made.wake(UnixMs(due)) if s.peer == BESIDE]
        assert [s.frame for s in asked] == [frames.graft([batch(number).id])]
    made.spread(batch(number), TREE, arrives)
    if due < arrives:
        made.on_known(BESIDE, batch(number).id)  # what was asked for comes, too
    made.wake(UnixMs(arrives + 1_000))
    return due - at


def test_asking_too_early_makes_patient_and_what_comes_in_time_less_so() -> None:
    made = tree()
    slow = [waits_ms(made, number, 350) for number in range(1, 10)]
    assert slow[0] == GRAFT_MS
    assert slow[-1] >= 350 > slow[1]

    calm = [waits_ms(made, number, 10) for number in range(10, 100)]
    assert calm == sorted(calm, reverse=True)
    assert calm[-1] == GRAFT_MS


def test_patience_has_an_end() -> None:
    made = tree()
    waited = [waits_ms(made, number, 10_000) for number in range(1, 20)]
    assert max(waited) == GRAFT_MS_MAX


def test_a_branch_that_is_really_broken_makes_nobody_patient() -> None:
    made = tree()
    for number in range(1, 20):
        at = UnixMs(number * 100_000)
        made.on_ihave(BESIDE, (batch(number).id,), at)
        assert made.due_ms == at + GRAFT_MS
        made.wake(UnixMs(at + GRAFT_MS))
        made.spread(batch(number), BESIDE, UnixMs(at + GRAFT_MS + 5), live=False)
        made.wake(UnixMs(at + 10_000))


def test_it_says_when_nobody_who_announced_a_batch_delivered_it() -> None:
    starved = tree()
    starved.on_ihave(BESIDE, (batch(1).id,), UnixMs(0))
    starved.on_ihave(TREE, (batch(1).id,), UnixMs(0))

    for turn in (1, 2):
        starved.wake(UnixMs(turn * GRAFT_MS))
        assert not starved.take_starved()
    starved.wake(UnixMs(3 * GRAFT_MS))

    assert starved.take_starved()
    assert not starved.take_starved()


def test_it_stays_hungry_until_the_batch_comes_and_knows_who_let_it_wait() -> None:
    hungry = tree()
    hungry.on_ihave(BESIDE, (batch(1).id,), UnixMs(0))
    hungry.wake(UnixMs(GRAFT_MS))
    hungry.wake(UnixMs(2 * GRAFT_MS))

    assert hungry.take_starved()
    assert hungry.take_failures() == []  # its answer may be on its way round the world
    hungry.wake(UnixMs(2 * GRAFT_MS + HUNGER_MS))
    assert hungry.take_starved()
    assert hungry.take_failures() == [BESIDE]
    hungry.spread(batch(1), TREE, UnixMs(2_000))
    hungry.wake(UnixMs(2_000 + HUNGER_MS))
    assert not hungry.take_starved()


def test_another_announcer_is_asked_by_whoever_is_hungry() -> None:
    hungry = tree()
    hungry.on_ihave(BESIDE, (batch(1).id,), UnixMs(0))
    hungry.wake(UnixMs(GRAFT_MS))
    hungry.wake(UnixMs(2 * GRAFT_MS))
    hungry.on_ihave(TREE, (batch(1).id,), UnixMs(500))

    (asked,) = hungry.wake(UnixMs(500 + GRAFT_MS))

    assert (asked.peer, asked.frame) == (TREE, frames.graft([batch(1).id]))


def test_hunger_for_what_does_not_exist_has_an_end() -> None:
    hungry = tree()
    hungry.on_ihave(BESIDE, (batch(1).id,), UnixMs(0))
    while (due := hungry.due_ms) is not None:
        assert due < (HUNGER_ROUNDS + 1) * HUNGER_MS
        hungry.wake(UnixMs(due))

    assert hungry.take_failures() == [BESIDE]


def test_who_loses_the_branch_it_hung_by_hears_all_others_at_once() -> None:
    third, fourth = NodeId(b"3" * 32), NodeId(b"4" * 32)
    broken = tree()
    for peer in (third, fourth):
        broken.link_up(peer)
        broken.on_duplicate(peer)  # and so it is lazy
    broken.spread(batch(1), TREE, UnixMs(0))

    asked = broken.link_down(TREE)

    assert [(s.peer, s.frame) for s in asked] == [
        (third, frames.graft([])),
        (fourth, frames.graft([])),
    ]


def test_who_loses_a_branch_that_brought_nothing_only_keeps_two() -> None:
    third = NodeId(b"3" * 32)
    broken = tree()
    broken.link_up(third)
    broken.on_duplicate(third)  # and so it is lazy

    (asked,) = broken.link_down(TREE)

    assert asked.peer == third
    assert asked.frame == frames.graft([])
    assert broken.link_down(third) == []


def test_whom_nobody_brings_anything_compares_ten_times_as_often() -> None:
    asks = Sync(NodeId(b"m" * 32), Ledger(), ToySuite())
    asks.link_up(TREE, UnixMs(0))
    for alone, then in ((True, 1_000), (True, 1_000), (False, 10_000)):
        due = asks.due_ms
        assert due is not None
        (root,) = asks.wake(UnixMs(due), alone=alone)
        assert isinstance(frames.read_frame_untrusted(root.frame), frames.Root)
        assert asks.due_ms == due + then


def test_a_tree_hangs_by_what_was_brought_first_until_that_link_is_gone() -> None:
    made = tree()
    assert not made.hangs
    made.spread(batch(1), TREE, UnixMs(0))
    assert made.hangs
    made.link_down(TREE)
    assert not made.hangs


def test_who_loses_whoever_brought_it_everything_compares_soon() -> None:
    asks = Sync(NodeId(b"m" * 32), Ledger(), ToySuite())
    asks.link_up(TREE, UnixMs(0))
    asks.wake(UnixMs(1_000), alone=False)
    assert asks.due_ms == 11_000
    asks.hurry(UnixMs(2_000))
    assert asks.due_ms == 3_000


def test_who_brought_what_must_wait_here_is_not_blamed_nor_asked_again() -> None:
    """Over its author's budget, say, or by a key not yet known."""
    hungry = tree()
    hungry.on_ihave(BESIDE, (batch(1).id,), UnixMs(0))
    hungry.wake(UnixMs(GRAFT_MS))
    hungry.on_batch(BESIDE, batch(1).id)

    while (due := hungry.due_ms) is not None:
        assert hungry.wake(UnixMs(due)) == []
    assert not hungry.take_starved()
    assert hungry.take_failures() == []


def test_who_can_hang_by_nobody_else_tells_those_who_hang_by_it() -> None:
    """And they look elsewhere, for the message that would have come is not to come."""
    parent, child, other = (NodeId(letter * 32) for letter in (b"p", b"c", b"o"))
    orphan, hung = Plumtree(parent), Plumtree(child)
    orphan.link_up(TREE)
    orphan.link_up(child)
    hung.link_up(parent)
    hung.link_up(other)
    hung.on_duplicate(other)
    orphan.spread(batch(1), TREE, UnixMs(0))
    hung.spread(batch(1), parent, UnixMs(0))

    (told,) = orphan.link_down(TREE)
    assert (told.peer, told.frame) == (child, frames.graft([]))
    (asked,) = hung.on_graft(parent, ())

    assert asked == Send(other, frames.graft([]))
    assert hung.on_graft(parent, ()) == []


def test_a_new_link_makes_no_circle_where_both_hang_already() -> None:
    third = NodeId(b"3" * 32)
    made = tree()
    made.spread(batch(1), TREE, UnixMs(0))

    assert made.link_up(third) == []
    assert third not in made.eager()


def test_a_new_link_is_asked_for_everything_by_who_hangs_by_nobody() -> None:
    alone = Plumtree(NodeId(b"m" * 32))
    (asked,) = alone.link_up(TREE)
    assert asked.frame == frames.graft([])
    assert alone.eager() == (TREE,)
