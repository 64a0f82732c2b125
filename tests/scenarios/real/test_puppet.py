"""What a role does to a real node's links: the same as to a simulated one's."""

import attrs
import pytest
import trio
from trio.testing import MockClock

from gossip.spread import frames
from gossip.units import NodeId
from scenarios.cast import ON_OFF_US, ROLES
from scenarios.people import person
from scenarios.real.puppet import RoleLinks
from scenarios.toy import ToySuite

PEER, OTHER, VICTIM = (NodeId(bytes([i]) * 32) for i in range(3))
FRAME = frames.ihave([b"\1" * 32])
NOBODY: frozenset[NodeId] = frozenset()


@attrs.define
class Wire:
    """Implements `node.driver.Frames`."""

    sent: list[bytes] = attrs.field(factory=list)
    sought: frozenset[NodeId] = NOBODY

    def send(self, peer: NodeId, frame: bytes) -> bool:
        del peer
        self.sent.append(frame)
        return True

    def drop(self, peer: NodeId) -> None:
        raise AssertionError(peer)

    def seek(self, peers: frozenset[NodeId]) -> None:
        self.sought = peers


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def links(wire: Wire) -> RoleLinks:
    me = person(ToySuite(1), "me")
    return RoleLinks(wire, lambda: me)


async def test_an_on_off_node_is_silent_every_other_seven_seconds(
    links: RoleLinks, wire: Wire, autojump_clock: MockClock
) -> None:
    links.become(ROLES["on-off"](), NOBODY)
    passed = []
    await trio.sleep(1)
    for _ in range(4):
        before = len(wire.sent)
        assert links.send(PEER, FRAME), "it says it sent"
        passed.append(len(wire.sent) > before)
        await trio.sleep(ON_OFF_US / 1e6)
    assert passed == [True, False, True, False]


async def test_an_eclipser_seeks_its_victim_besides_whom_its_core_seeks(
    links: RoleLinks, wire: Wire
) -> None:
    links.seek(frozenset({PEER}))
    links.become(ROLES["eclipser"](), frozenset({VICTIM}))
    assert wire.sought == {PEER, VICTIM}
    links.seek(frozenset({OTHER}))
    assert wire.sought == {OTHER, VICTIM}
    links.become(ROLES["honest"](), NOBODY)
    assert wire.sought == {OTHER}
