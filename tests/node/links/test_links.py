"""The promises of ``node.links``: real hosts and real sockets on loopback."""

import contextlib
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from gossip import limits
from gossip.errors import LocalError, PeerError, UserError
from gossip.units import ClusterId, NodeId
from node.links import mux as mux_module
from node.links.dialer import GOSSIP
from node.links.events import (
    ASKED_BYTES_MAX,
    QUEUE_BYTES_MAX,
    READ_BYTES,
    HandlerFailed,
    LinkDown,
    LinkEnd,
    LinkUp,
    Refused,
)
from node.links.links import Links
from node.links.raw import TcpStream
from node.links.stream import LinkStream
from tests.node.links.clusters import (
    PATIENCE_S,
    Member,
    Relay,
    members,
    poll,
    running,
)
from tests.support.births import NOW, newborn

MESH = "/picket/mcp/1"


async def link(one: Member, other: Member) -> None:
    """Link them, ``one`` calling."""
    one.wants(other)
    await one.until_up()
    await other.until_up()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("caller", [0, 1])
async def test_members_link_and_exchange_frames(host: str, caller: int) -> None:
    a, b = (
        Member(m.who, {x.node for x in pair}, [(host, 0)])
        for pair in [members(2)]
        for m in pair
    )
    pair = (a, b)
    async with running(a, b):
        await link(pair[caller], pair[1 - caller])
        large = bytes(limits.FRAME_BYTES_MAX)

        assert a.links.send(b.node, b"hello")
        assert b.links.send(a.node, large)
        await b.until(lambda: b.frames() == [b"hello"])
        await a.until(lambda: a.frames() == [large])

        assert a.told(LinkUp) == [LinkUp(b.who.chain)]
        assert b.told(LinkUp) == [LinkUp(a.who.chain)]


async def test_many_frames_arrive_in_order_and_once() -> None:
    a, b = members(2)
    async with running(a, b):
        await link(a, b)
        said = [i.to_bytes(4, "big") + bytes(i % 997) for i in range(3_000)]
        for frame in said:
            assert a.links.send(b.node, frame)
        await b.until(lambda: len(b.frames()) == len(said))
        assert b.frames() == said


async def test_both_calling_at_once_keep_one_link_quietly() -> None:
    for _ in range(5):
        a, b = members(2)
        async with running(a, b):
            a.wants(b)
            b.wants(a)
            await a.until_up()
            await b.until_up()
            assert a.links.send(b.node, b"from a")
            assert b.links.send(a.node, b"from b")
            await b.until_frames([b"from a"])
            await a.until_frames([b"from b"])
            for member in (a, b):
                assert len(member.told(LinkUp)) == 1
                assert not member.told(LinkDown)
                assert not member.told(Refused)


async def test_a_full_mesh_of_eight_comes_up_with_one_link_per_pair(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("node.links.dialer.LARGER_WAITS_S", 0.0)
    crowd = members(8)
    async with running(*crowd):
        for one in crowd:
            for other in crowd:
                if one is not other:
                    one.wants(other)
        for one in crowd:
            await one.until_up(7)
            assert one.links.statistics().links == 7
            assert not one.told(Refused)


async def test_a_node_that_cannot_be_called_is_linked_by_calling_itself() -> None:
    """One direction is enough: behind a NAT nobody is reached, but everybody reaches."""
    a, hidden = members(2)
    async with running(a, hidden):
        a.links.want(hidden.node, ())
        hidden.wants(a)
        await a.until_up()
        await hidden.until_up()
        assert a.links.statistics().dials == 0
        assert a.links.send(hidden.node, b"in")
        assert hidden.links.send(a.node, b"out")
        await hidden.until(lambda: hidden.frames() == [b"in"])
        await a.until(lambda: a.frames() == [b"out"])


async def test_a_link_that_breaks_comes_back() -> None:
    a, b = members(2)
    async with running(a, b):
        await link(a, b)

        a.links._links[b.node].mux.link.cut()

        await a.until_down()
        await a.until_up(2)
        await b.until_up(2)
        assert a.links.send(b.node, b"again")
        await b.until(lambda: b.frames() == [b"again"])


async def test_a_node_that_stops_and_starts_again_is_linked_again() -> None:
    a, b = members(2)
    async with running(a):
        async with running(b):
            await link(a, b)
            where = b.links.listening
        await a.until_down()
        assert a.told(LinkDown) == [LinkDown(b.node, LinkEnd.PEER_CLOSED)]

        again = Member(b.who, {a.node, b.node}, where)
        async with running(again):
            await a.until_up(2)


async def test_a_frozen_peer_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mux_module, "PING_EVERY_S", 0.05)
    monkeypatch.setattr(mux_module, "SILENCE_S", 0.3)
    a, b = members(2)
    async with running(a, b), trio.open_nursery() as nursery:
        relay = Relay(b.links.listening[0])
        await nursery.start(relay.run)
        a.links.want(b.node, [relay.address])
        await a.until_up()
        await b.until_up()

        relay.freeze()

        await a.until_down()
        await b.until_down()
        assert a.told(LinkDown)[0].why is LinkEnd.SILENT
        assert b.told(LinkDown)[0].why is LinkEnd.SILENT
        nursery.cancel_scope.cancel()


async def test_pings_keep_an_idle_link_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mux_module, "PING_EVERY_S", 0.02)
    monkeypatch.setattr(mux_module, "SILENCE_S", 0.5)
    a, b = members(2)
    async with running(a, b):
        await link(a, b)
        with trio.move_on_after(1.0):
            await a.until_down()
        assert not a.told(LinkDown)


async def test_one_flipped_bit_ends_the_link_and_nothing_else() -> None:
    a, b = members(2)
    async with running(a, b), trio.open_nursery() as nursery:
        relay = Relay(b.links.listening[0])
        await nursery.start(relay.run)
        a.links.want(b.node, [relay.address])
        await a.until_up()
        await b.until_up()

        relay.flip_a_bit()
        a.links.send(b.node, b"forged on its way")

        await b.until_down()
        assert b.told(LinkDown)[0].why is LinkEnd.MISBEHAVED
        assert b.frames() == []
        await a.until_up(2)
        nursery.cancel_scope.cancel()


async def test_a_slow_peer_fills_its_queue_and_no_more() -> None:
    a, b = members(2)
    async with running(a, b), trio.open_nursery() as nursery:
        relay = Relay(b.links.listening[0])
        await nursery.start(relay.run)
        a.links.want(b.node, [relay.address])
        await a.until_up()
        relay.freeze()

        frame = bytes(100_000)
        sent = 0
        while a.links.send(b.node, frame):
            sent += 1
            await trio.lowlevel.checkpoint()

        assert a.links.statistics().bytes_queued <= QUEUE_BYTES_MAX
        assert sent < 400
        nursery.cancel_scope.cancel()


async def test_frames_that_may_not_be_are_our_own_mistake() -> None:
    a, b = members(2)
    async with running(a, b):
        assert not a.links.send(b.node, b"not linked yet")
        await link(a, b)
        for frame in (b"", bytes(limits.FRAME_BYTES_MAX + 1)):
            with pytest.raises(LocalError):
                a.links.send(b.node, frame)


# Who is not let in


async def say(member: Member, data: bytes) -> None:
    """Say something to the port and read until it hangs up."""
    stream = await trio.open_tcp_stream(*member.links.listening[0])
    async with stream:
        try:
            await stream.send_all(data)
            await stream.send_eof()
            while await stream.receive_some(1024):
                pass
        except trio.BrokenResourceError:
            pass


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        bytes(100),
        b"\xff" * 5_000,
        b"\x13/multistream/1.0.0\n" + b"\x80" * 40,
        b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + bytes(2_000_000),
        b"\x13/multistream/1.0.0\n\x0d/noise/1.0.0\n",
        b"\x13/multistream/1.0.0\n\x0d/picket/pq/1\n" + b"\x00" * 2_000,
        b"\x13/multistream/1.0.0\n\x0d/picket/pq/1\n\x01\x01\x05\x10" + bytes(1296),
        b"\x13/multistream/1.0.0\n\x0d/picket/pq/1\n\x01\x02\xff\xff",
    ],
)
async def test_garbage_on_the_port_is_one_sentence(
    garbage: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    a, b = members(2)
    async with running(a, b):
        await say(a, garbage)
        await a.until_refused()
        (refused,) = a.told(Refused)
        assert refused.sentence
        assert "\n" not in refused.sentence

        await link(b, a)
    assert capfd.readouterr() == ("", "")


async def test_a_stranger_cannot_make_us_keep_what_it_sends() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener, trio.open_nursery() as nursery:
        near = await trio.open_tcp_stream(*listener.socket.getsockname())
        far = await listener.accept()
        async with near, far:
            nursery.start_soon(far.send_all, bytes(1_000_000))
            stream = TcpStream(near)
            for asked in (1, 2**40, 2**63):
                assert 1 <= len(await stream.read(asked)) <= ASKED_BYTES_MAX
            assert len(await stream.read()) <= READ_BYTES
            nursery.cancel_scope.cancel()


async def test_whoever_says_nothing_is_no_news_and_holds_no_slot() -> None:
    (a,) = members(1)
    async with running(a):
        for _ in range(300):
            stream = await trio.open_tcp_stream(*a.links.listening[0])
            await stream.aclose()
        await poll(lambda: a.links.statistics().half_open == 0)
        assert not a.told(Refused)


async def test_a_caller_that_stalls_is_cut_off() -> None:
    (a,) = members(1)
    async with running(a):
        stream = await trio.open_tcp_stream(*a.links.listening[0])
        async with stream:
            await a.until_refused()
            assert "no handshake within" in a.told(Refused)[0].sentence
            with trio.fail_after(PATIENCE_S):
                while await stream.receive_some(1024):
                    pass


async def test_more_links_come_and_go_than_libp2p_has_slots_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("node.links.dialer.REDIAL_MAX_S", 0.01)
    a, b = members(2)
    async with running(a, b):
        a.links._host.swarm._inbound_limiter.total_tokens = 3
        await link(b, a)
        for count in range(2, 12):
            b.links._links[a.node].mux.link.cut()
            await b.until_up(count)
            await a.until_up(count)
        await poll(lambda: sum(map(len, a.links._host.swarm.connections.values())) == 1)


def stranger_to(member: Member) -> Member:
    """Somebody who knows the member, and whom the member does not know."""
    who = newborn()
    return Member(who, {member.node, who.node})


async def test_a_non_member_is_refused_with_a_sentence() -> None:
    (a,) = members(1)
    outsider = stranger_to(a)
    async with running(a, outsider):
        outsider.wants(a)
        await a.until_refused()
        await outsider.until_refused()
        assert "not admitted" in a.told(Refused)[0].sentence
        assert "hung up" in outsider.told(Refused)[0].sentence
        assert not a.told(LinkUp)
        assert not outsider.told(LinkUp)


async def test_a_wrong_key_is_refused_with_a_sentence() -> None:
    a, b = members(2)
    b.links._identity.signing_key = newborn().signing_key
    async with running(a, b):
        b.wants(a)
        await a.until_refused()
        assert "signature" in a.told(Refused)[0].sentence


async def test_another_cluster_is_refused_with_a_sentence() -> None:
    a, b = members(2)
    other = Member(b.who, {a.node, b.node}, cluster=ClusterId(b"x" * 32))
    async with running(a, other):
        other.wants(a)
        await a.until_refused()
        assert "another cluster" in a.told(Refused)[0].sentence


async def test_a_member_found_at_another_members_address_is_not_linked() -> None:
    a, b, c = members(3)
    async with running(a, b, c):
        a.links.want(c.node, b.links.listening)
        await b.until_refused()
        await a.until_refused()
        assert not a.told(LinkUp)


async def test_an_expired_node_is_refused_with_a_sentence() -> None:
    a, b = members(2)
    late = Member(a.who, {a.node, b.node}, now_ms=type(NOW)(NOW + 5 * limits.DAY_MS))
    async with running(late, b):
        b.wants(late)
        await late.until_refused()
        assert "not valid" in late.told(Refused)[0].sentence


async def test_nobody_at_home_is_told_once() -> None:
    a, b = members(2)
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    where = listener.socket.getsockname()
    await listener.aclose()
    async with running(a):
        a.links.want(b.node, [where])
        await a.until_refused()
        await poll(lambda: a.links.statistics().dials >= 4)
        assert len(a.told(Refused)) == 1
        assert "cannot be reached" in a.told(Refused)[0].sentence


async def test_a_taken_port_is_the_users_mistake() -> None:
    a, b = members(2)
    async with running(a):
        second = Member(b.who, {a.node, b.node}, a.links.listening)
        with pytest.raises(UserError, match=r"cannot listen on 127\.0\.0\.1:"):
            await second.links.run()


async def test_under_a_flood_of_calls_members_still_link() -> None:
    a, b = members(2)
    async with running(a, b):
        streams = [await trio.open_tcp_stream(*a.links.listening[0]) for _ in range(80)]
        await poll(lambda: a.links.statistics().half_open >= 80)
        await link(b, a)
        for stream in streams:
            await stream.aclose()


# What the owner may ask for


async def test_a_refused_node_is_unlinked_until_it_is_allowed_again() -> None:
    a, b = members(2)
    async with running(a, b):
        await link(b, a)
        a.links.refuse(b.node, True)
        await a.until_down()
        await b.until_down()
        await a.until_refused()
        assert len(a.told(LinkUp)) == 1

        a.links.refuse(b.node, False)
        await a.until_up(2)


async def test_a_node_allowed_again_at_once_keeps_its_link() -> None:
    a, b = members(2)
    async with running(a, b):
        await link(b, a)
        a.links.refuse(b.node, True)
        a.links.refuse(b.node, False)
        await trio.testing.wait_all_tasks_blocked()
        assert a.links._links[b.node].parting is None
        assert a.links.send(b.node, b"still here")
        await b.until(lambda: b.frames() == [b"still here"])


async def test_a_refused_node_is_not_called() -> None:
    a, b = members(2)
    async with running(a, b):
        a.links.refuse(b.node, True)
        a.wants(b)
        await trio.testing.wait_all_tasks_blocked()
        assert a.links.statistics().dials == 0


async def test_a_dropped_link_comes_back() -> None:
    a, b = members(2)
    async with running(a, b):
        await link(a, b)
        b.links.drop(a.node)
        await b.until_down()
        assert b.told(LinkDown)[0].why is LinkEnd.CLOSED
        await a.until_down()
        assert a.told(LinkDown)[0].why is LinkEnd.PEER_CLOSED
        await b.until_up(2)

        await b.links.close_link(a.node)
        await b.until_down(2)


async def test_rotation_keeps_links_and_new_ones_show_the_new_key() -> None:
    a, b = members(2)
    async with running(a, b):
        await link(a, b)
        new = a.who.rotated()
        with pytest.raises(LocalError):
            a.links.rotate(newborn().signing_key, new.chain)

        a.links.rotate(new.signing_key, new.chain)
        assert a.links.send(b.node, b"still here")
        await b.until(lambda: b.frames() == [b"still here"])
        assert not b.told(LinkDown)

        a.links.drop(b.node)
        await b.until_up(2)
        assert b.told(LinkUp)[1].peer == new.chain


async def test_an_unwanted_node_is_not_called_again() -> None:
    a, b = members(2)
    async with running(a, b):
        await link(a, b)
        a.links.unwant(b.node)
        b.links.drop(a.node)
        await a.until_down()
        assert a.links.statistics().dials == 1


# Streams


async def reverse(stream: LinkStream, _: NodeId) -> None:
    said = b""
    while portion := await stream.receive_some(65_536):
        said += portion
    await stream.send_all(said[::-1])


async def ask(links: Links, node: NodeId, question: bytes) -> bytes:
    stream = await links.open_stream(node, MESH)
    await stream.send_all(question)
    await stream.send_eof()
    answer = b""
    while portion := await stream.receive_some(65_536):
        answer += portion
    await stream.aclose()
    return answer


def only_gossip_is_open(member: Member) -> bool:
    return all(link.mux.streams_open == 1 for link in member.links._links.values())


@pytest.mark.parametrize("caller", [0, 1])
async def test_streams_open_both_ways_whoever_called(caller: int) -> None:
    pair = members(2)
    async with running(*pair):
        for member in pair:
            member.links.handle_stream(MESH, reverse)
        await link(pair[caller], pair[1 - caller])
        for one, other in (pair, pair[::-1]):
            question = bytes(range(256)) * 4_000
            assert await ask(one.links, other.node, question) == question[::-1]
            for _ in range(300):  # more than may be open at once
                assert await ask(one.links, other.node, b"ab") == b"ba"
        for member in pair:
            await poll(partial(only_gossip_is_open, member))


async def test_a_stream_to_nobody_or_for_nothing_is_broken() -> None:
    a, b = members(2)
    async with running(a, b):
        with pytest.raises(trio.BrokenResourceError):
            await a.links.open_stream(b.node, MESH)
        await link(a, b)
        with pytest.raises(trio.BrokenResourceError):
            await a.links.open_stream(b.node, "/picket/unheard-of/1")
        assert a.links.send(b.node, b"the link is fine")
        await b.until(lambda: bool(b.frames()))


async def test_a_handler_that_fails_resets_its_stream_and_nothing_else() -> None:
    a, b = members(2)
    broken: list[Exception] = [KeyError("bug"), PeerError("nonsense")]

    async def fail(stream: LinkStream, node: NodeId) -> None:
        raise broken.pop()

    async with running(a, b):
        b.links.handle_stream(MESH, fail)
        await link(a, b)
        for _ in range(2):
            stream = await a.links.open_stream(b.node, MESH)
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some(1)
        (told,) = b.told(HandlerFailed)
        assert isinstance(told.error, KeyError)
        assert not b.told(LinkDown)


async def test_a_link_that_ends_breaks_its_streams() -> None:
    a, b = members(2)
    waiting = trio.Event()
    ended = trio.Event()

    async def wait(stream: LinkStream, node: NodeId) -> None:
        waiting.set()
        try:
            await stream.receive_some(1)
        except trio.BrokenResourceError:
            ended.set()
            raise

    async with running(a, b):
        b.links.handle_stream(MESH, wait)
        await link(a, b)
        stream = await a.links.open_stream(b.node, MESH)
        with trio.fail_after(PATIENCE_S):
            await waiting.wait()
            a.links._links[b.node].mux.link.cut()
            await ended.wait()
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some(1)
            with pytest.raises(trio.BrokenResourceError):
                await stream.send_all(b"too late")
        assert not b.told(HandlerFailed)


async def test_full_duplex_load_with_stream_opens_does_not_dead_lock() -> None:
    a, b = members(2)
    volume = 4_000_000
    heard = [0]

    async def sink(stream: LinkStream, _: NodeId) -> None:
        while data := await stream.receive_some(65_536):
            heard[0] += len(data)

    async with running(a, b):
        for member in (a, b):
            member.links.handle_stream("/bulk/1", sink)
            member.links.handle_stream(MESH, reverse)
        await link(a, b)

        async def pour(one: Member, other: Member) -> None:
            stream = await one.links.open_stream(other.node, "/bulk/1")
            for _ in range(volume // 50_000):
                await stream.send_all(bytes(50_000))
            await stream.aclose()

        async def chat(one: Member, other: Member) -> None:
            for _ in range(40):
                assert await ask(one.links, other.node, b"ab") == b"ba"

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for one, other in ((a, b), (b, a)):
                    for _ in range(2):
                        nursery.start_soon(pour, one, other)
                    for _ in range(4):
                        nursery.start_soon(chat, one, other)
            await poll(lambda: heard[0] == 4 * volume)
        assert not a.told(LinkDown)


def test_nothing_is_printed_or_written_by_importing_and_linking(
    tmp_path: Path,
) -> None:
    """A stdio MCP server's standard output must stay clean."""
    root = Path(__file__).parents[3]
    script = """
import trio
from tests.node.links.clusters import members, running
async def main():
    a, b = members(2)
    async with running(a, b):
        a.wants(b)
        await a.until_up()
        stream = await trio.open_tcp_stream(*a.links.listening[0])
        await stream.send_all(bytes([255]) * 100)
        await stream.aclose()
        await a.until_refused()
        a.links._links[b.node].mux.link.cut()
        await a.until_up(2)
trio.run(main)
"""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "ignore", "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(root), "HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
        capture_output=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert list(tmp_path.iterdir()) == []


# Members that are bad


@pytest.mark.parametrize(
    "garbage",
    [b"\xff" * 200_000, bytes(1_000), b"\x13/multistream/1.0.0\n\x03ls\n", b"\x01\n"],
)
async def test_garbage_on_a_members_stream_ends_that_stream(garbage: bytes) -> None:
    a, b = members(2)
    async with running(a, b):
        await link(a, b)
        stream = await a.links._links[b.node].mux.open_stream()
        with trio.fail_after(PATIENCE_S), contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(garbage)
            await stream.send_eof()
            while await stream.receive_some(1_000):
                pass
        assert a.links.send(b.node, b"the link is fine")
        await b.until_frames([b"the link is fine"])
        assert not b.told(LinkDown)


@pytest.mark.parametrize("opener", [0, 1])
async def test_a_second_gossip_stream_is_reset(opener: int) -> None:
    pair = members(2)
    async with running(*pair):
        await link(*pair)
        one, other = pair[opener], pair[1 - opener]
        stream = await one.links.open_stream(other.node, GOSSIP)
        with trio.fail_after(PATIENCE_S), pytest.raises(trio.BrokenResourceError):
            await stream.receive_some(1)
        assert other.links.send(one.node, b"the first one is fine")
        await one.until_frames([b"the first one is fine"])


async def test_a_frame_of_impossible_length_ends_the_link() -> None:
    a, b = members(2)
    async with running(a, b):
        await link(a, b)
        await a.links._links[b.node].pipe._stream.send_all(b"\xff" * 8)
        await b.until_down()
        assert b.told(LinkDown)[0].why is LinkEnd.MISBEHAVED
        await b.until_up(2)


async def test_a_member_that_opens_no_gossip_stream_is_no_link() -> None:
    a, b = members(2)
    async with running(a, b):
        stream = await trio.open_tcp_stream(*b.links.listening[0])
        mux = await a.links._host.swarm.dial_node(TcpStream(stream), b.node)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert not b.told(LinkUp)
        assert b.links.statistics().half_open == 1
        await mux.close()
        await poll(lambda: b.links.statistics().half_open == 0)
        await poll(lambda: not b.links._host.swarm.connections)
        assert not b.told(LinkUp)
