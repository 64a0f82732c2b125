"""The promises of ``node.links.gatekeeper``."""

from contextlib import ExitStack

import pytest

from gossip.errors import PeerError
from gossip.units import MonoMs, NodeId
from node.links.events import (
    ADDRESSES_MAX,
    ANSWERS_AT_ONCE,
    ANSWERS_PER_ADDRESS_AT_ONCE,
    ANSWERS_PER_ADDRESS_PER_S,
    ANSWERS_PER_S,
    FIRST_MESSAGES_PER_S,
    HALF_OPEN_EASY,
    HALF_OPEN_MAX,
    HALF_OPEN_PER_ADDRESS_MAX,
    YOUNG_LINK_MS,
)
from node.links.gatekeeper import CROSSED, Gatekeeper
from tests.support.births import SUITE, newborn

SMALL, LARGE = sorted((newborn(), newborn()), key=lambda who: who.node)


class Clock:
    """Stands still unless told."""

    def __init__(self) -> None:
        self.now = MonoMs(10_000)

    def __call__(self) -> MonoMs:
        return self.now

    def forward(self, ms: int) -> None:
        self.now = MonoMs(self.now + ms)


def keeper(
    node: NodeId = SMALL.node, clock: Clock | None = None, hosts: set[str] | None = None
) -> Gatekeeper:
    roster = {SMALL.node, LARGE.node}
    return Gatekeeper(node, roster, SUITE.random, clock or Clock(), hosts or set())


def test_members_may_come_in_unless_refused() -> None:
    gate = keeper()
    assert LARGE.node in gate
    assert newborn().node not in gate

    gate.refused.add(LARGE.node)
    assert LARGE.node not in gate


def test_of_two_calls_that_cross_the_smaller_ids_is_kept() -> None:
    small, large = keeper(SMALL.node), keeper(LARGE.node)
    small.calling.add(LARGE.node)
    large.calling.add(SMALL.node)

    large.admit(SMALL.chain)
    with pytest.raises(PeerError, match=CROSSED):
        small.admit(LARGE.chain)


def test_a_call_that_crossed_a_new_link_is_dropped() -> None:
    clock = Clock()
    small, large = keeper(SMALL.node, clock), keeper(LARGE.node, clock)
    small.linked[LARGE.node] = large.linked[SMALL.node] = clock()
    clock.forward(YOUNG_LINK_MS - 1)

    with pytest.raises(PeerError, match=CROSSED):
        small.admit(LARGE.chain)
    large.admit(SMALL.chain)


def test_a_node_that_lost_power_and_is_back_is_let_in_at_once() -> None:
    clock = Clock()
    small = keeper(SMALL.node, clock)
    small.linked[LARGE.node] = clock()
    clock.forward(YOUNG_LINK_MS)

    small.admit(LARGE.chain)


def test_one_address_is_answered_so_often_and_no_more() -> None:
    clock = Clock()
    gate = keeper(clock=clock)
    for _ in range(ANSWERS_PER_ADDRESS_AT_ONCE):
        assert gate.may_answer("192.0.2.1")
    assert not gate.may_answer("192.0.2.1")
    assert gate.may_answer("192.0.2.2")

    clock.forward(1_000)
    answered = [gate.may_answer("192.0.2.1") for _ in range(100)]
    assert sum(answered) == ANSWERS_PER_ADDRESS_PER_S


def test_many_addresses_are_answered_so_often_in_all_and_members_beside() -> None:
    clock = Clock()
    gate = keeper(clock=clock, hosts={"192.0.2.1"})
    strangers = (f"2001:db8::{i:x}" for i in range(10**9))
    assert sum(gate.may_answer(next(strangers)) for _ in range(2_000)) == (
        ANSWERS_AT_ONCE
    )
    assert gate.may_answer("192.0.2.1")

    clock.forward(1_000)
    assert sum(gate.may_answer(next(strangers)) for _ in range(2_000)) == ANSWERS_PER_S
    assert len(gate._answered) <= ADDRESSES_MAX


def test_many_calls_a_second_from_one_address_cost_a_cookie() -> None:
    clock = Clock()
    gate = keeper(clock=clock)
    for _ in range(FIRST_MESSAGES_PER_S):
        assert gate.cookie_key("192.0.2.1") is None
    key = gate.cookie_key("192.0.2.1")
    assert key is not None
    assert len(key) == 32
    assert gate.cookie_key("192.0.2.2") is None
    assert gate.cookie_key("192.0.2.1") == key

    clock.forward(1_000)
    assert gate.cookie_key("192.0.2.1") is None

    clock.forward(120_000)
    for _ in range(FIRST_MESSAGES_PER_S):
        gate.cookie_key("192.0.2.1")
    assert gate.cookie_key("192.0.2.1") not in (None, key)


def test_many_half_open_calls_cost_everybody_a_cookie() -> None:
    gate = keeper()
    gate.half_open = HALF_OPEN_EASY + 1
    assert gate.cookie_key("192.0.2.3") is not None


def test_callers_are_forgotten_before_they_are_too_many() -> None:
    gate = keeper()
    for i in range(3 * ADDRESSES_MAX):
        gate.cookie_key(f"2001:db8::{i:x}")
    assert len(gate._calls) <= ADDRESSES_MAX


def test_half_open_calls_are_bounded_by_address_and_in_all() -> None:
    gate = keeper()
    with ExitStack() as calls:
        for i in range(HALF_OPEN_MAX):
            assert gate.has_room(f"192.0.2.{i % 100}")
            calls.enter_context(gate.half_opened(f"192.0.2.{i % 100}"))
        assert not gate.has_room("192.0.2.200")
    assert gate.half_open == 0
    assert not gate._half_open_from

    with ExitStack() as calls:
        for _ in range(HALF_OPEN_PER_ADDRESS_MAX):
            assert gate.has_room("192.0.2.9")
            calls.enter_context(gate.half_opened("192.0.2.9"))
        assert not gate.has_room("192.0.2.9")
        assert gate.has_room("192.0.2.10")


def test_strangers_half_open_calls_leave_members_addresses_their_room() -> None:
    gate = keeper(hosts={f"198.51.100.{i}" for i in range(9)})
    with ExitStack() as calls:
        for i in range(HALF_OPEN_MAX):
            calls.enter_context(gate.half_opened(f"192.0.2.{i % 100}"))
        assert not gate.has_room("192.0.2.200")
        for i in range(HALF_OPEN_MAX):
            assert gate.has_room(f"198.51.100.{i % 8}")
            calls.enter_context(gate.half_opened(f"198.51.100.{i % 8}"))
        assert not gate.has_room("198.51.100.8")
        assert gate.half_open == 2 * HALF_OPEN_MAX
    assert gate.half_open == gate._half_open_strange == 0

    with ExitStack() as calls:  # Members' calls take nothing from who joins now.
        for i in range(HALF_OPEN_MAX):
            calls.enter_context(gate.half_opened(f"198.51.100.{i % 8}"))
        assert gate.has_room("192.0.2.1")
