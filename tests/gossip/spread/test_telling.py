"""Ids cross a link but once: nobody is told what it told us, and one speaks first."""

import pytest

from gossip.spread import frames
from gossip.spread.plumtree import EAGER_MIN, GATHER_MS, LAZY_MS, Plumtree
from gossip.units import NodeId, UnixMs
from tests.support.neighbours import BESIDE, ME, TREE, batch

AT = UnixMs(1_000_000)


def neighbours(me: NodeId, lazy: NodeId) -> Plumtree:
    """A node with eager links enough, and a lazy one."""
    made = Plumtree(me)
    for number in range(EAGER_MIN):
        made.link_up(NodeId(bytes([number]) * 32))
    made.link_up(lazy)
    assert made.on_duplicate(lazy)
    return made


def told(made: Plumtree, peer: NodeId, until: int) -> dict[int, list[bytes]]:
    """When a peer is told which ids, if nothing else happens."""
    heard: dict[int, list[bytes]] = {}
    while (due := made.due_ms) is not None and due <= until:
        for send in made.wake(UnixMs(due)):
            frame = frames.read_frame_untrusted(send.frame)
            if send.peer == peer and isinstance(frame, frames.IHave):
                heard[due] = [*frame.ids]
    return heard


def test_of_two_neighbours_one_speaks_first_and_the_other_is_silent_then() -> None:
    ends = {ME: neighbours(ME, BESIDE), BESIDE: neighbours(BESIDE, ME)}
    for made in ends.values():
        made.spread(batch(1), None, AT)

    spoken = {
        node: told(made, other, AT + LAZY_MS)
        for (node, made), other in zip(ends.items(), (BESIDE, ME), strict=True)
    }

    assert sorted(len(said) for said in spoken.values()) == [0, 1]


@pytest.mark.parametrize(("me", "peer"), [(ME, BESIDE), (BESIDE, ME)])
def test_whoever_was_told_nothing_is_told_in_the_end(me: NodeId, peer: NodeId) -> None:
    made = neighbours(me, peer)
    made.spread(batch(1), None, AT)
    heard = told(made, peer, AT + 10_000)
    assert list(heard.values()) == [[batch(1).id]]
    assert max(heard) <= AT + LAZY_MS + GATHER_MS


@pytest.mark.parametrize(("me", "peer"), [(ME, BESIDE), (BESIDE, ME)])
def test_nobody_is_told_what_it_told_or_brought(me: NodeId, peer: NodeId) -> None:
    made = neighbours(me, peer)
    for number in (1, 2, 3):
        made.spread(batch(number), None, AT)
    made.on_ihave(peer, (batch(1).id,), AT)
    made.on_known(peer, batch(2).id)
    assert list(told(made, peer, AT + 10_000).values()) == [[batch(3).id]]


def test_nothing_is_pushed_to_whoever_announced_it() -> None:
    made = Plumtree(ME)
    for peer in (TREE, BESIDE):
        made.link_up(peer)
    made.on_ihave(BESIDE, (batch(1).id,), AT)

    assert made.spread(batch(1), TREE, AT) == []
    assert [send.peer for send in made.spread(batch(2), TREE, AT)] == [BESIDE]
    assert told(made, BESIDE, AT + 10_000) == {}


def test_where_much_is_said_ids_wait_for_company() -> None:
    made, frames_told, ids_told = neighbours(ME, BESIDE), 0, 0
    for number in range(200):
        now = UnixMs(AT + 10 * number)
        made.spread(batch(number), None, now)
        for ids in told(made, BESIDE, now).values():
            frames_told += 1
            ids_told += len(ids)
    assert frames_told <= 1 + (2_000 - LAZY_MS) // GATHER_MS
    assert ids_told >= 200 - 2 * GATHER_MS // 10
