"""The promises of ``gossip.clocks``: a node knows when its clock is not the others'."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.clocks import Clocks, is_wrong, tell_offset
from gossip.units import NodeId, UnixMs
from scenarios.toy import ToySuite
from tests.support.members import NOW
from tests.support.town import Town

FOUR = ["ash", "birch", "cedar", "elm"]
KIND = 4711


def town(skew_ms: int) -> Town:
    """Everybody is linked; elm's clock is wrong."""
    made = Town(ToySuite(), FOUR)
    made.skews_ms[made["elm"].who.node] = skew_ms
    made.link_all()
    return made


@pytest.mark.parametrize("skew_ms", [150_000, -150_000, 20_000])
def test_a_node_whose_clock_is_wrong_learns_by_how_much(skew_ms: int) -> None:
    cluster = town(skew_ms)
    cluster.pass_time(300_000)
    assert cluster["elm"].engine.clocks.offset_ms == pytest.approx(skew_ms, abs=1_000)
    for name in FOUR[:3]:
        offset_ms = cluster[name].engine.clocks.offset_ms
        assert offset_ms is not None
        assert abs(offset_ms) <= 1_000


def test_what_it_says_is_ignored_and_it_is_told() -> None:
    cluster = town(150_000)
    cluster.pass_time(30_000)
    cluster.say("elm", KIND, b"from the future")
    for name in FOUR[:3]:
        assert b"from the future" not in [e.body for e in cluster[name].admitted]
        assert not cluster[name].closed
    assert is_wrong(cluster["elm"].engine.clocks.offset_ms)

    cluster.pass_time(150_000 + 30_000)  # the others' clocks came as far by now
    for name in FOUR[:3]:
        assert b"from the future" in [e.body for e in cluster[name].admitted]


def test_a_node_that_restarts_hears_the_time_with_the_first_answers() -> None:
    cluster = Town(ToySuite(), FOUR)
    again = cluster.start("elm", waiting=False)
    cluster.skews_ms[again.who.node] = 40_000
    cluster.link("elm", "ash")
    assert again.engine.clocks.offset_ms == pytest.approx(40_000, abs=1_000)


@given(
    honest=st.lists(st.integers(-50, 50), min_size=1, max_size=7),
    lies=st.lists(st.integers(-(10**12), 10**12), max_size=6),
)
def test_a_minority_of_liars_cannot_move_the_median(
    honest: list[int], lies: list[int]
) -> None:
    clocks = Clocks()
    told = [*honest, *lies[: len(honest) - 1]]
    for number, ahead_ms in enumerate(told):
        at = UnixMs(NOW + 10**12 + ahead_ms)
        clocks.hear(NodeId(bytes([number]) * 32), at, UnixMs(NOW + 10**12))
    assert clocks.offset_ms is not None
    assert -max(honest) <= clocks.offset_ms <= -min(honest)


def test_who_is_not_linked_any_more_is_not_asked() -> None:
    clocks, peer = Clocks(), NodeId(bytes(32))
    assert clocks.offset_ms is None
    clocks.hear(peer, UnixMs(NOW + 5), NOW)
    assert clocks.offset_ms == -5
    clocks.forget(peer)
    assert clocks.offset_ms is None


@pytest.mark.parametrize(
    ("offset_ms", "sentence"),
    [
        (99, "this clock agrees with the median peer's"),
        (-250, "this clock is 0.2 s behind the median peer's"),
        (
            31_000,
            "this clock is 31.0 s ahead of the median peer's; mend it, from 120 s on"
            " what is said is ignored",
        ),
        (
            121_500,
            "this clock is 121.5 s ahead of the median peer's; mend it, what this node"
            " says is ignored while it is more than 120 s",
        ),
        (
            -121_500,
            "this clock is 121.5 s behind the median peer's; mend it, what others say"
            " is ignored while it is more than 120 s",
        ),
    ],
)
def test_one_sentence_says_it(offset_ms: int, sentence: str) -> None:
    assert tell_offset(offset_ms) == sentence
