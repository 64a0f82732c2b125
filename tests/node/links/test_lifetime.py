"""How long a link lives, and what takes its place."""

import pytest
import trio

from gossip import limits
from gossip.units import UnixMs
from node.links import gatekeeper, links
from node.links.events import LinkDown, LinkEnd, Refused
from node.links.stream import LinkStream
from tests.node.links.clusters import PATIENCE_S, Member, Relay, members, running

MESH = "/picket/mcp/1"


def ends(member: Member) -> list[LinkEnd]:
    return [told.why for told in member.told(LinkDown)]


async def test_an_old_link_is_made_anew_and_nobody_minds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(links, "LINK_S_MAX", 0.3)
    a, b = members(2)
    async with running(a, b):
        a.wants(b)
        await a.until_up(2)
        await b.until_up(2)
        assert {*ends(a), *ends(b)} <= {LinkEnd.EXPIRED, LinkEnd.PEER_CLOSED}


async def test_no_link_outlives_its_certificates() -> None:
    a, b = members(2)
    for member in (a, b):
        member.now_ms = UnixMs(b.who.chain.not_after_ms - 400)
    async with running(a, b):
        a.wants(b)
        await a.until_down()
        assert LinkEnd.EXPIRED in ends(a) + ends(b)


async def test_a_clock_that_was_set_or_slept_through_ends_what_expired(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(links, "CLOCK_S", 0.02)
    a, b = members(2)
    async with running(a, b):
        a.wants(b)
        await a.until_up()
        a.now_ms = UnixMs(b.who.chain.not_after_ms + limits.DAY_MS)
        await a.until_down()
        assert ends(a) == [LinkEnd.EXPIRED]
        await a.until_refused()
        assert "not valid" in a.told(Refused)[0].sentence


async def test_a_call_under_way_is_waited_for_but_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(links, "LINK_S_MAX", 2.0)
    monkeypatch.setattr(links, "RETIRE_FROM", 0.01)
    monkeypatch.setattr(links, "uniform", lambda low, _high: low)
    a, b = members(2)
    broken = trio.Event()

    async def wait(stream: LinkStream, _node: bytes) -> None:
        try:
            await stream.receive_some(1)
        finally:
            broken.set()

    async with running(a, b):
        b.links.handle_stream(MESH, wait)
        began = trio.current_time()
        a.wants(b)
        await a.until_up()
        stream = await a.links.open_stream(b.node, MESH)
        await stream.send_all(b"")
        with trio.fail_after(PATIENCE_S):
            await broken.wait()
        assert trio.current_time() - began >= 1.9


async def test_a_peer_that_lost_power_and_is_back_is_linked_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gatekeeper, "YOUNG_LINK_MS", 0)
    a, b = members(2)
    async with running(a), running(b), trio.open_nursery() as nursery:
        relay = Relay(b.links.listening[0])
        await nursery.start(relay.run)
        a.links.want(b.node, [relay.address])
        await a.until_up()
        relay.freeze()  # its machine is gone, and says no goodbye

        back = Member(b.who, {a.node, b.node})
        async with running(back):
            back.wants(a)
            await back.until_up()
            await a.until_up(2)
            assert ends(a) == [LinkEnd.REPLACED]
            assert a.links.send(b.node, b"welcome")
            await back.until_frames([b"welcome"])
        nursery.cancel_scope.cancel()
