"""Calling again: at once, then less and less often, never all at the same moment."""

from itertools import pairwise

import pytest
import trio
import trio.testing

from gossip.units import ClusterId, NodeId
from node.links import dialer as dialers
from node.links.dialer import Dialer
from node.links.events import REDIAL_FIRST_S, REDIAL_MAX_S
from node.links.gatekeeper import Gatekeeper
from node.links.host import LinkHost
from node.links.security import mono_ms
from tests.support.births import SUITE

ME, PEER = NodeId(b"a" * 32), NodeId(b"b" * 32)
PLACE = ("127.0.0.1", 7946)
CLUSTER = ClusterId(b"c" * 32)


class Nobody(Dialer):
    """Finds nobody at home, and notes when it called."""

    def __init__(self, me: NodeId) -> None:
        gate = Gatekeeper(me, {ME, PEER}, SUITE.random, mono_ms, frozenset())
        host = LinkHost.__new__(LinkHost)  # never reached: nobody answers
        super().__init__(host, gate, lambda mux, stream: False, self._told)
        self.at: list[float] = []
        self.told: list[str] = []

    def _told(self, address: str, sentence: str) -> None:
        self.told.append(sentence)

    async def _dial(self, node: NodeId, host: str, port: int) -> None:
        self.at.append(trio.current_time())
        raise OSError("nobody at home")


async def called(dialer: Nobody, seconds: float) -> list[float]:
    """The pauses between its calls within so many seconds."""
    async with trio.open_nursery() as nursery:
        dialer.start(nursery)
        dialer.want(PEER, [PLACE])
        await trio.sleep(seconds)
        nursery.cancel_scope.cancel()
    return [later - sooner for sooner, later in pairwise(dialer.at)]


async def test_pauses_grow_to_a_bound_and_are_no_twos_alike(
    autojump_clock: trio.testing.MockClock,
) -> None:
    pauses = await called(Nobody(ME), 600)
    assert pauses[0] <= 2 * REDIAL_FIRST_S
    assert all(pause <= REDIAL_MAX_S for pause in pauses)
    assert all(pause >= REDIAL_MAX_S / 2 for pause in pauses[10:])
    assert len({round(pause, 3) for pause in pauses[10:]}) > 20
    doubled = [(REDIAL_FIRST_S * 2**n / 2, REDIAL_FIRST_S * 2**n) for n in range(1, 6)]
    for pause, (least, most) in zip(pauses, doubled, strict=False):
        assert least <= pause <= most


async def test_it_tells_once_that_nobody_is_at_home(
    autojump_clock: trio.testing.MockClock,
) -> None:
    nobody = Nobody(ME)
    await called(nobody, 600)
    assert len(nobody.told) == 1


async def test_of_two_that_start_together_the_smaller_calls_first(
    autojump_clock: trio.testing.MockClock,
) -> None:
    began = trio.current_time()
    smaller, larger = Nobody(ME), Nobody(NodeId(b"z" * 32))
    await called(smaller, 2)
    first = smaller.at[0] - began
    began = trio.current_time()
    await called(larger, 2)
    waited = larger.at[0] - began
    assert first < waited
    assert waited == pytest.approx(dialers.LARGER_WAITS_S)


async def test_who_is_forgiven_is_called_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    nobody = Nobody(ME)
    async with trio.open_nursery() as nursery:
        nobody.start(nursery)
        nobody.want(PEER, [PLACE])
        await trio.sleep(300)
        calls, now = len(nobody.at), trio.current_time()
        nobody.forgive(PEER)
        await trio.sleep(0.01)
        assert len(nobody.at) == calls + 1
        assert nobody.at[-1] - now <= 0.01
        nursery.cancel_scope.cancel()
