"""The promises of ``node.links.gatekeeper``."""

import pytest

from gossip.errors import PeerError
from gossip.units import MonoMs, NodeId
from node.links.events import (
    ADDRESSES_MAX,
    FIRST_MESSAGES_PER_S,
    HALF_OPEN_EASY,
    HALF_OPEN_MAX,
    HALF_OPEN_PER_ADDRESS_MAX,
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
    node: NodeId = SMALL.node,
    clock: Clock | None = None,
    linked: set[NodeId] | None = None,
) -> Gatekeeper:
    roster = {SMALL.node, LARGE.node}
    return Gatekeeper(node, roster, SUITE.random, clock or Clock(), linked or set())


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


def test_a_second_link_from_the_larger_id_is_dropped() -> None:
    with pytest.raises(PeerError, match=CROSSED):
        keeper(linked={LARGE.node}).admit(LARGE.chain)
    keeper(LARGE.node, linked={SMALL.node}).admit(SMALL.chain)


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
    open_calls = []
    for i in range(HALF_OPEN_MAX):
        call = gate.half_opened(f"192.0.2.{i % 100}")
        assert call.__enter__()
        open_calls.append(call)
    with gate.half_opened("192.0.2.200") as room:
        assert not room
    for call in open_calls:
        call.__exit__(None, None, None)
    assert gate.half_open == 0
    assert not gate._half_open_from

    mine = [gate.half_opened("192.0.2.9") for _ in range(HALF_OPEN_PER_ADDRESS_MAX)]
    assert all(call.__enter__() for call in mine)
    with gate.half_opened("192.0.2.9") as room:
        assert not room
    with gate.half_opened("192.0.2.10") as room:
        assert room
