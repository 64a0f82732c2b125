"""The promises of ``node.links.pipe`` against a peer that is linked and bad."""

from collections.abc import Callable

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip import limits
from gossip.errors import LocalError, PeerError
from node.links.events import QUEUE_BYTES_MAX
from node.links.pipe import FramePipe


class Ends:
    """One stream end that says what it is told to, and notes what it hears."""

    def __init__(self, *portions: bytes) -> None:
        self.portions = list(portions)
        self.written: list[bytes] = []
        self.stuck = False
        self.easy = False
        self.taker: Callable[[bytes], bool] | None = None

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        return self.portions.pop(0) if self.portions else b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        if self.stuck:
            await trio.sleep_forever()
        self.written.append(bytes(data))

    def send_now(self, data: bytes) -> bool:
        if self.easy:
            self.written.append(data)
        return self.easy


def framed(*frames: bytes) -> bytes:
    return b"".join(len(f).to_bytes(4, "big") + f for f in frames)


async def always() -> None:
    """There is room."""


@given(st.lists(st.binary(min_size=1, max_size=200)), st.integers(1, 50))
@settings(deadline=None)
def test_frames_arrive_however_they_are_cut(frames: list[bytes], size: int) -> None:
    wire = framed(*frames)
    cut = [wire[at : at + size] for at in range(0, len(wire), size)]
    heard: list[bytes] = []

    trio.run(FramePipe(Ends(*cut)).read_in, heard.append, always)

    assert heard == frames


@pytest.mark.parametrize("size", [0, limits.FRAME_BYTES_MAX + 1, 2**32 - 1])
async def test_an_impossible_length_is_refused_at_once(size: int) -> None:
    heard: list[bytes] = []
    ends = Ends(framed(b"fine") + size.to_bytes(4, "big"))
    with pytest.raises(PeerError):
        await FramePipe(ends).read_in(heard.append, always)
    assert heard == [b"fine"]


async def test_nothing_is_handed_on_or_read_while_there_is_no_room() -> None:
    ends = Ends(framed(b"one", b"two"), framed(b"three"))
    heard: list[bytes] = []
    room = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(FramePipe(ends).read_in, heard.append, room.wait)
        await trio.testing.wait_all_tasks_blocked()
        assert heard == [b"one"]
        assert len(ends.portions) == 1
        room.set()
    assert heard == [b"one", b"two", b"three"]


async def test_what_needs_no_waiting_is_sent_at_once_and_in_order() -> None:
    ends = Ends()
    pipe = FramePipe(ends)
    assert pipe.put(b"one")
    ends.easy = True
    assert pipe.put(b"two")
    assert not ends.written
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipe.write_out)
        await trio.testing.wait_all_tasks_blocked()
        assert pipe.put(b"three")
        nursery.cancel_scope.cancel()
    assert b"".join(ends.written) == framed(b"one", b"two", b"three")
    assert pipe.bytes_queued == 0


async def test_what_waits_is_written_together() -> None:
    ends = Ends()
    pipe = FramePipe(ends)
    for i in range(100):
        assert pipe.put(bytes((i,)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipe.write_out)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert ends.written == [framed(*(bytes((i,)) for i in range(100)))]
    assert pipe.bytes_queued == 0


async def test_a_stuck_peer_costs_no_more_than_its_queue() -> None:
    ends = Ends()
    ends.stuck = True
    pipe = FramePipe(ends)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipe.write_out)
        while pipe.put(bytes(50_000)):
            await trio.lowlevel.checkpoint()
        assert pipe.bytes_queued <= QUEUE_BYTES_MAX
        nursery.cancel_scope.cancel()


def test_frames_that_may_not_be_are_our_own_mistake() -> None:
    pipe = FramePipe(Ends())
    for frame in (b"", bytes(limits.FRAME_BYTES_MAX + 1)):
        with pytest.raises(LocalError):
            pipe.put(frame)


class Waiting(Ends):
    """A stream end on which nothing is left to read, until it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.more = trio.Event()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await self.more.wait()
        self.more = trio.Event()
        return await super().receive_some(max_bytes)


async def test_a_frame_that_comes_whole_and_alone_is_handed_on_at_once() -> None:
    ends, heard = Waiting(), list[bytes]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(FramePipe(ends).read_in, heard.append, always)
        await trio.testing.wait_all_tasks_blocked()
        assert ends.taker is not None
        assert ends.taker(framed(b"one"))
        assert heard == [b"one"]
        for less_or_more in (framed(b"two")[:-1], framed(b"two", b"2"), framed(b"")):
            assert not ends.taker(less_or_more)
        assert not ends.taker(b"\0\0\0")
        assert heard == [b"one"]
        nursery.cancel_scope.cancel()


async def test_nothing_is_handed_on_at_once_while_part_of_a_frame_waits() -> None:
    ends, heard = Waiting(), list[bytes]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(FramePipe(ends).read_in, heard.append, always)
        await trio.testing.wait_all_tasks_blocked()
        ends.portions = [framed(b"one", b"two")[:-1]]
        ends.more.set()
        await trio.testing.wait_all_tasks_blocked()
        assert ends.taker is not None
        assert not ends.taker(framed(b"three"))
        ends.portions = [b"o"]
        ends.more.set()
        await trio.testing.wait_all_tasks_blocked()
        assert ends.taker(framed(b"three"))
        nursery.cancel_scope.cancel()
    assert heard == [b"one", b"two", b"three"]


async def test_without_room_little_is_handed_on_at_once() -> None:
    ends, heard, room = Waiting(), list[bytes](), trio.Event()
    frame = framed(bytes(1_000))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(FramePipe(ends).read_in, heard.append, room.wait)
        await trio.testing.wait_all_tasks_blocked()
        assert ends.taker is not None
        while ends.taker(frame):
            assert len(heard) * len(frame) <= 65_536
        ends.portions = [frame]
        ends.more.set()
        await trio.testing.wait_all_tasks_blocked()
        assert not ends.taker(frame), "asked whether there is room, and there is none"
        room.set()
        await trio.testing.wait_all_tasks_blocked()
        assert ends.taker(frame)
        nursery.cancel_scope.cancel()
