"""Peers and strangers that want to harm a node by its links."""

import contextlib

import pytest
import trio

from gossip.units import NodeId
from node.links import gatekeeper
from node.links.events import (
    HALF_OPEN_PER_ADDRESS_MAX,
    QUEUE_BYTES_MAX,
    LinkDown,
    LinkUp,
    Refused,
)
from tests.node.links.clusters import (
    PATIENCE_S,
    Member,
    Relay,
    members,
    poll,
    running,
)
from tests.support.births import newborn


async def test_a_member_that_floods_is_read_no_further_and_harms_nobody() -> None:
    born = sorted((newborn() for _ in range(3)), key=lambda who: who.node)
    roster = {who.node for who in born}
    never = trio.Event()

    async def room(peer: NodeId) -> None:
        if peer == born[1].node:
            await never.wait()

    a = Member(born[0], roster, room=room)
    flooder, friend = Member(born[1], roster), Member(born[2], roster)
    async with running(a, flooder, friend):
        for member in (flooder, friend):
            member.wants(a)
            await member.until_up()
        sent = 0
        while flooder.links.send(a.node, bytes(100_000)):
            sent += 1
            await trio.lowlevel.checkpoint()
        assert sent * 100_000 < 4 * QUEUE_BYTES_MAX
        assert flooder.links.statistics().bytes_queued <= QUEUE_BYTES_MAX

        for number in range(200):
            assert friend.links.send(a.node, b"%d" % number)
        await a.until(lambda: a.frames()[-1] == b"199")
        from_flooder = [frame for frame in a.frames() if len(frame) == 100_000]
        assert len(from_flooder) == 1
        assert not a.told(LinkDown)

        never.set()
        await a.until(lambda: len(a.frames()) == sent + 200)


async def test_what_was_said_on_one_link_opens_no_other_even_after_a_restart() -> None:
    a, b = members(2)
    async with running(a):
        async with running(b), trio.open_nursery() as nursery:
            relay = Relay(b.links.listening[0])
            await nursery.start(relay.run)
            a.links.want(b.node, [relay.address])
            await a.until_up()
            a.links.send(b.node, b"once")
            await b.until_frames([b"once"])
            nursery.cancel_scope.cancel()

        restarted = Member(b.who, {a.node, b.node})
        for member in (restarted,):
            async with running(member):
                stream = await trio.open_tcp_stream(*member.links.listening[0])
                async with stream:
                    with contextlib.suppress(trio.BrokenResourceError):
                        await stream.send_all(relay.said)
                        with trio.fail_after(PATIENCE_S):
                            while await stream.receive_some(65_536):
                                pass
                await member.until_refused()
                assert not member.told(LinkUp)
                assert not member.frames()


async def test_only_so_many_calls_cost_us_a_signature(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gatekeeper, "ANSWERS_PER_ADDRESS_AT_ONCE", 1)
    monkeypatch.setattr(gatekeeper, "ANSWERS_PER_ADDRESS_PER_S", 0.001)
    a, b, c = members(3)
    async with running(a, b, c):
        b.wants(a)
        await b.until_up()
        c.wants(a)
        await a.until_refused()
        assert "too many calls" in a.told(Refused)[0].sentence
        assert b.links.send(a.node, b"unharmed")
        await a.until_frames([b"unharmed"])


async def test_calls_beyond_the_bound_are_closed_and_links_go_on() -> None:
    a, b = members(2)
    async with running(a, b):
        b.wants(a)
        await b.until_up()
        async with contextlib.AsyncExitStack() as calls:
            for _ in range(HALF_OPEN_PER_ADDRESS_MAX + 200):
                stream = await trio.open_tcp_stream(*a.links.listening[0])
                await calls.enter_async_context(stream)
            await poll(
                lambda: a.links.statistics().half_open == HALF_OPEN_PER_ADDRESS_MAX
            )
            with trio.fail_after(PATIENCE_S):
                with contextlib.suppress(trio.BrokenResourceError):
                    assert await stream.receive_some(1) == b""
            assert b.links.send(a.node, b"unharmed")
            await a.until_frames([b"unharmed"])
        assert not a.told(LinkDown)
