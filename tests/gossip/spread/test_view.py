"""The promises of ``gossip.spread.view``: enough links, and none that others chose."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.membership.groups import Groups
from gossip.spread.view import (
    AT_ONCE,
    DIALLED,
    HOPE_MS,
    LINKS_MAX,
    LINKS_MIN,
    PATIENCE_MS,
    PAUSE_MS,
    SHUN_MS,
    WANDER_MS,
    View,
    dials,
)
from gossip.units import NodeId, UnixMs
from scenarios.toy import ToySuite
from tests.support.members import NOW


def node(n: int, group: int = 0) -> NodeId:
    return NodeId(bytes([group]) + n.to_bytes(31, "big"))


def view(size: int, seed: int = 0, sybils: int = 0) -> View:
    members = tuple(node(n) for n in range(size))
    members += tuple(node(n, group=1) for n in range(sybils))
    sponsors = {node(n, group=1): b"one sponsor" for n in range(sybils)}
    return View(node(0), Groups(members, sponsors), ToySuite(seed))


def test_in_a_small_cluster_everybody_is_sought() -> None:
    small = view(LINKS_MAX + 1)
    small.review(NOW)

    assert small.sought == {node(n) for n in range(1, LINKS_MAX + 1)}
    assert small.due_ms is None


def test_the_quarantined_are_not_sought_and_are_again_once_released() -> None:
    small = view(5)
    small.bar(node(3), barred=True)
    small.review(NOW)
    assert node(3) not in small.sought

    small.bar(node(3), barred=False)
    small.review(NOW)
    assert node(3) in small.sought


@settings(max_examples=30)
@given(st.integers(LINKS_MAX + 2, 200), st.integers(0, 1000))
def test_in_a_large_cluster_a_few_are_drawn(size: int, seed: int) -> None:
    large = view(size, seed)
    large.review(NOW)

    assert len(large.sought) >= DIALLED
    assert len(large.sought) <= LINKS_MIN
    assert node(0) not in large.sought


def test_a_peer_that_cannot_be_reached_is_exchanged() -> None:
    large = view(50)
    large.review(NOW)
    first = frozenset(large.sought)

    later = UnixMs(NOW + PATIENCE_MS)
    large.review(later)

    assert not first & large.sought
    assert len(large.sought) >= DIALLED


def test_a_peer_without_room_is_left_alone_for_a_while() -> None:
    large = view(14 + LINKS_MAX)
    large.review(NOW)
    (refusing, *_) = sorted(large.sought)

    large.full(refusing, NOW)
    for step in range(0, SHUN_MS, PATIENCE_MS // 4):
        large.review(UnixMs(NOW + step))
        assert refusing not in large.sought


def test_those_who_dial_us_never_displace_those_we_dial() -> None:
    large = view(60)
    large.review(NOW)
    for n in range(1, 40):
        if node(n) not in large.sought and not large.link_up(node(n)):
            large.link_down(node(n), NOW)

    for peer in frozenset(large.sought):
        assert large.link_up(peer)


@settings(max_examples=30)
@given(st.integers(0, 1000))
def test_one_sponsors_newcomers_cannot_fill_a_nodes_links(seed: int) -> None:
    """A thousand Sybils beside twenty honest members: half of the draw is honest."""
    crowded = view(20, seed, sybils=1_000)
    crowded.review(NOW)

    honest = [n for n in crowded.sought if n[:1] == b"\0"]
    assert len(honest) >= DIALLED // 2


def test_two_halves_with_links_enough_meet_again() -> None:
    """Somebody of the other half is sought within a few periods of wandering."""
    large = view(40)
    now = NOW
    met: set[NodeId] = set()
    for step in range(60):
        now = UnixMs(NOW + step * 5_000)
        large.review(now)
        for peer in frozenset(large.sought):
            near = int.from_bytes(peer[1:], "big") < 20
            if near:
                large.link_up(peer)
            else:
                met.add(peer)

    assert len(met) >= 3


def test_a_peer_that_is_of_no_use_is_exchanged() -> None:
    large = view(50)
    large.review(NOW)
    (useless, *_) = sorted(large.sought)
    large.link_up(useless)

    large.exchange(useless, NOW)

    assert useless not in large.sought
    assert len(large.sought) >= DIALLED


def test_who_hears_of_more_than_its_links_deliver_seeks_a_few_more_and_no_end() -> None:
    large = view(200)
    large.review(NOW)
    for peer in frozenset(large.sought):
        large.link_up(peer)
    chosen = frozenset(large.sought)

    large.starve(NOW)
    assert chosen < large.sought
    assert len(large.sought) == len(chosen) + 2

    for _ in range(20):
        large.starve(NOW)
    assert len(large.sought) <= 2 * DIALLED


def test_nothing_is_to_be_done_before_wandering_once_all_calls_were_answered() -> None:
    large = view(200)
    large.review(NOW)
    assert large.due_ms is not None
    assert large.due_ms <= NOW + HOPE_MS

    for peer in frozenset(large.sought):
        large.link_up(peer)
    large.review(UnixMs(NOW + WANDER_MS))
    for peer in frozenset(large.sought):
        large.link_up(peer)
    large.review(UnixMs(NOW + WANDER_MS + 1))
    assert large.due_ms == NOW + 2 * WANDER_MS


def test_the_larger_the_cluster_the_more_a_node_dials_but_slowly() -> None:
    sizes = (16, 100, 1_000, 2_000, 10_000, 100_000)
    assert [dials(size) for size in sizes] == [5, 5, 5, 6, 7, 9]
    assert all(size / 4 ** dials(size) <= 1 for size in sizes)  # both ways, droppers


def test_one_sponsors_newcomers_cannot_keep_everybody_else_out() -> None:
    crowded = view(100, sybils=400)
    crowded.review(NOW)
    dialled = frozenset(crowded.sought)
    for n in range(400):
        if node(n, group=1) not in dialled and not crowded.link_up(node(n, group=1)):
            crowded.link_down(node(n, group=1), NOW)

    welcome = [n for n in range(1, 100) if node(n) not in dialled]
    assert all(crowded.link_up(node(n)) for n in welcome[:4])


def test_whoever_finds_no_room_waits_before_the_next_door() -> None:
    """By whom links enough are left: others could do without the knocking."""
    large = view(60)
    large.review(NOW)
    for n in range(40, 40 + LINKS_MIN):
        large.link_up(node(n))
    for peer in frozenset(large.sought):
        large.full(peer, NOW)
    assert len(large.sought) <= AT_ONCE
    assert large.due_ms is not None
    assert large.due_ms <= NOW + PAUSE_MS

    large.review(UnixMs(NOW + PAUSE_MS))

    assert len(large.sought) == DIALLED


def test_whoever_has_few_links_knocks_on() -> None:
    large = view(60)
    large.review(NOW)
    for _ in range(3):
        large.full(min(large.sought), NOW)
        assert len(large.sought) >= DIALLED


def test_where_the_founders_have_no_room_others_are_sought() -> None:
    crowded = view(30, sybils=400)
    now = NOW
    for _ in range(200):
        crowded.review(now)
        full = [peer for peer in crowded.sought if peer[:1] == b"\0"]
        if not full:
            break
        for peer in full:
            crowded.full(peer, now)
    assert len(full) == 0
    assert len(crowded.sought) >= AT_ONCE


def test_wandering_lets_go_rather_of_whom_we_do_not_hang_by() -> None:
    large = view(60)
    large.review(NOW)
    for peer in frozenset(large.sought):
        large.link_up(peer)
    first, second, *_ = large.sought
    large.bringing = {first}

    large.review(UnixMs(NOW + WANDER_MS))

    assert first in large.sought
    assert second not in large.sought
