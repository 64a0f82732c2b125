"""The relay's shaping, without devices: order, delay, loss, partitions one way and both."""

import os
from collections.abc import Iterator

import pytest

from scenarios.real.relay import WAITING_MAX, Relay, make_relay
from scenarios.script import Delay, NetworkPlan

NODES = [bytes([10, 77, 0, i]) for i in (1, 2, 3)]
DESK = bytes([10, 77, 0, 4])


def packet(target: bytes, mark: int = 0) -> bytes:
    return bytes([0x45]) + bytes(15) + target + bytes([mark])


@pytest.fixture
def ends() -> Iterator[list[tuple[int, int]]]:
    """For each node and the desk: what it reads, and what the relay writes."""
    pipes = [os.pipe2(os.O_NONBLOCK) for _ in range(4)]
    yield pipes
    for pipe in pipes:
        for file in pipe:
            os.close(file)


def relay(ends: list[tuple[int, int]], plan: NetworkPlan) -> Relay:
    return make_relay(plan, 1, [write for _, write in ends], [*NODES, DESK])


def got(ends: list[tuple[int, int]], node: int) -> bytes:
    """The marks of all packets that a node was handed."""
    try:
        return os.read(ends[node][0], 65_536)[20::21]
    except BlockingIOError:
        return b""


FAST = NetworkPlan(delay=Delay(min_ms=1, mean_ms=1))


def test_a_packet_arrives_after_its_delay_and_not_before(
    ends: list[tuple[int, int]],
) -> None:
    one = relay(ends, FAST)
    one.take(0, packet(NODES[1], 7), 0)
    assert one.deliver(999) == pytest.approx(1e-6)
    assert got(ends, 1) == b""
    assert one.deliver(1_000) is None
    assert got(ends, 1) == b"\x07"


def test_packets_of_one_way_keep_their_order_whatever_their_delays(
    ends: list[tuple[int, int]],
) -> None:
    one = relay(ends, NetworkPlan(delay=Delay(min_ms=1, mean_ms=50)))
    for mark in range(100):
        one.take(0, packet(NODES[1], mark), mark)
    one.deliver(10**9)
    assert got(ends, 1) == bytes(range(100))


def test_a_share_is_lost(ends: list[tuple[int, int]]) -> None:
    one = relay(ends, FAST)
    one.obey(b'{"do": "lose", "fault": 1, "share": 0.3}')
    for _ in range(1_000):
        one.take(0, packet(NODES[1]), 0)
    one.deliver(10**9)
    assert 600 < len(got(ends, 1)) < 800


def test_a_partition_cuts_both_ways_until_it_heals(ends: list[tuple[int, int]]) -> None:
    one = relay(ends, FAST)
    one.obey(b'{"do": "part", "fault": 1, "sides": [[0], [1, 2]]}')
    for source, target in ((0, 1), (1, 0), (1, 2)):
        one.take(source, packet(NODES[target], source), 0)
    one.deliver(10**6)
    assert (got(ends, 0), got(ends, 1), got(ends, 2)) == (b"", b"", b"\x01")
    one.obey(b'{"do": "heal", "fault": 2}')  # another's
    one.take(0, packet(NODES[1], 8), 10**6)
    one.obey(b'{"do": "heal", "fault": 1}')
    one.take(0, packet(NODES[1], 9), 10**6)
    one.deliver(10**7)
    assert got(ends, 1) == b"\x09"


def test_the_deaf_still_speak(ends: list[tuple[int, int]]) -> None:
    one = relay(ends, FAST)
    one.obey(b'{"do": "deafen", "fault": 1, "who": [0]}')
    one.take(0, packet(NODES[1], 1), 0)
    one.take(1, packet(NODES[0], 1), 0)
    one.deliver(10**6)
    assert (got(ends, 0), got(ends, 1)) == (b"", b"\x01")


def test_nothing_is_in_the_way_of_the_desk(ends: list[tuple[int, int]]) -> None:
    one = relay(ends, NetworkPlan(delay=Delay(min_ms=1_000, mean_ms=1_000), loss=0.9))
    one.obey(b'{"do": "deafen", "fault": 1, "who": [0]}')
    for mark in range(50):
        one.take(3, packet(NODES[0], mark), 0)
    one.deliver(0)
    assert got(ends, 0) == bytes(range(50))


def test_calm_ends_every_fault(ends: list[tuple[int, int]]) -> None:
    one = relay(ends, FAST)
    one.obey(b'{"do": "lose", "fault": 0, "share": 0.99}')
    one.obey(b'{"do": "deafen", "fault": 1, "who": [1]}')
    one.obey(b'{"do": "calm"}')
    one.obey(b'{"do": "heal", "fault": 0}')  # its time came after the story's end
    for mark in range(20):
        one.take(0, packet(NODES[1], mark), 0)
    one.deliver(10**6)
    assert got(ends, 1) == bytes(range(20))


@pytest.mark.parametrize(
    "strange",
    [b"", b"\x45", bytes([0x60]) + bytes(39), packet(bytes(4)), packet(NODES[0])],
)
def test_what_is_no_packet_for_another_node_goes_nowhere(
    ends: list[tuple[int, int]], strange: bytes
) -> None:
    one = relay(ends, FAST)
    one.take(0, strange, 0)
    assert one.deliver(10**9) is None
    assert [got(ends, node) for node in range(4)] == [b""] * 4


def test_what_is_under_way_is_bounded(ends: list[tuple[int, int]]) -> None:
    one = relay(ends, NetworkPlan(delay=Delay(min_ms=1_000, mean_ms=1_000)))
    for _ in range(WAITING_MAX + 10):
        one.take(0, packet(NODES[1]), 0)
    assert len(one._under_way) == WAITING_MAX
