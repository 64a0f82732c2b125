"""What the simulated network promises: streams in order, nothing through a cut."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.agenda import Agenda
from scenarios.geography import CITIES, way_us
from scenarios.network import RESEND_US, STALLED_FRAMES_MAX, Link, Network, ways_us
from scenarios.script import Delay, NetworkPlan


def network(**plan: object) -> Network:
    made = NetworkPlan(delay=Delay(min_ms=1.0, mean_ms=5.0))
    for key, value in plan.items():
        object.__setattr__(made, key, value)
    return Network(made, Agenda(), random.Random(1))


def sent(net: Network, link: Link, count: int, size: int = 100) -> list[int]:
    """When each of ``count`` frames, sent at once, arrives."""
    arrivals: list[int] = []
    for _ in range(count):
        arrivals += net.carry(link, bytes(size), net.agenda.now_us)
    return arrivals


@given(loss=st.floats(0, 0.9), count=st.integers(1, 40))
def test_a_stream_loses_nothing_and_keeps_its_order(loss: float, count: int) -> None:
    net = network(loss=loss)
    arrivals = sent(net, net.link(0, 1), count)
    assert len(arrivals) == count
    assert arrivals == sorted(arrivals)


def test_what_is_lost_on_a_stream_comes_later() -> None:
    net = network(loss=0.5)
    assert max(sent(net, net.link(0, 1), 50)) > RESEND_US


def test_datagrams_get_lost_doubled_and_overtaken() -> None:
    net = network(loss=0.3, duplicate=0.3, datagrams=True)
    arrivals = sent(net, net.link(0, 1), 200)
    assert arrivals != sorted(arrivals)
    lossy = network(loss=0.5, datagrams=True)
    assert 60 < len(sent(lossy, lossy.link(0, 1), 200)) < 140


def test_nothing_passes_between_the_sides_of_a_partition() -> None:
    net = network()
    net.part(1, [{0, 1}, {2}])
    link = net.link(0, 2)
    assert sent(net, link, STALLED_FRAMES_MAX + 5) == []
    assert len(link.stalled) == STALLED_FRAMES_MAX
    assert len(sent(net, net.link(0, 1), 3)) == 3
    assert len(sent(net, net.link(0, 9), 3)) == 3  # on no side: hears everybody
    net.heal(1)
    assert len(sent(net, net.link(0, 2), 3)) == 3


def test_the_deaf_can_still_speak() -> None:
    net = network()
    net.deafen(1, {1})
    assert net.is_cut(0, 1)
    assert not net.is_cut(1, 0)


def test_the_end_of_one_fault_ends_no_other() -> None:
    net = network(loss=0.1)
    net.deafen(1, {3})
    net.part(2, [{0}, {1}])
    net.part(3, [{0}, {2}])
    net.lose(4, 0.5)
    net.heal(2)
    net.heal(2)
    assert not net.is_cut(0, 1)
    assert net.is_cut(0, 2)
    assert net.is_cut(0, 3)
    assert net.loss == 0.5
    net.heal(4)
    assert net.loss == 0.1


def test_after_the_story_no_fault_comes_back() -> None:
    net = network(loss=0.9)
    net.lose(1, 0.1)
    net.calm()
    net.heal(1)  # its time came later
    assert net.loss == 0


def test_a_thin_line_takes_its_time() -> None:
    net = network(uplink_mbit=1.0)
    arrivals = sent(net, net.link(0, 1), 10, size=12_500)
    assert max(arrivals) >= 10 * 100_000


@pytest.mark.parametrize(
    ("one", "other", "low_ms", "high_ms"),
    [("frankfurt", "london", 2, 8), ("virginia", "frankfurt", 35, 55)],
)
def test_cities_are_as_far_as_cables_make_them(
    one: str, other: str, low_ms: int, high_ms: int
) -> None:
    assert low_ms * 1_000 < way_us(one, other) < high_ms * 1_000
    assert way_us(one, other) == way_us(other, one)
    assert all(way_us(city, city) == 0 for city in CITIES)


def test_ways_that_were_measured_are_taken_as_they_are() -> None:
    plan = NetworkPlan(
        cities=("london", "lab", "tokyo"),
        ways_ms=(("london lab", 3.5), ("lab tokyo", 99.0)),
    )
    ways = ways_us(plan)
    assert ways["lab", "london"] == ways["london", "lab"] == 3_500
    assert ways["lab", "tokyo"] == 99_000
    assert ways["london", "tokyo"] == way_us("london", "tokyo")
    assert ways["lab", "lab"] == 0
