"""The promises of ``node.links.mux`` against a peer that is authenticated and bad."""

import contextlib
import math
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from libp2p.network.connection.raw_connection import RawConnection

from gossip.link.session import Session
from node.links import mux as mux_module
from node.links.events import QUEUE_BYTES_MAX, UNREAD_BYTES_MAX, LinkEnd
from node.links.mux import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    PING,
    RST,
    STREAMS_PER_LINK_MAX,
    SYN,
    WINDOW_UPDATE,
    LinkMux,
)
from node.links.raw import TcpStream, quieten
from node.links.security import PqConnection, mono_ms
from node.links.stream import (
    CREDIT_BYTES,
    HEADER,
    WINDOW_BYTES,
    LinkStream,
    frame_header,
)
from tests.node.links.clusters import PATIENCE_S, poll
from tests.support.births import SUITE, newborn

PEER, OWN = newborn(), newborn()
KEYS = (b"a" * 32, b"b" * 32)


class Peer:
    """The other end, which may say whatever it likes."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._session = Session(SUITE, KEYS[1], KEYS[0], mono_ms(), asks=True)
        self._heard = bytearray()

    async def say(self, *frames: bytes) -> None:
        await self.stream.send_all(self._session.seal(b"".join(frames), mono_ms()))

    async def hear(self) -> tuple[int, int, int, int, bytes]:
        """The next frame: kind, flags, stream, length, body."""
        with trio.fail_after(PATIENCE_S):
            while True:
                frame = self._frame()
                if frame is not None:
                    return frame
                data = await self.stream.receive_some(65_536)
                assert data, "the link was cut"
                for plain in self._session.feed(data, mono_ms()):
                    self._heard += plain

    def _frame(self) -> tuple[int, int, int, int, bytes] | None:
        if len(self._heard) < HEADER.size:
            return None
        _, kind, flags, stream_id, length = HEADER.unpack_from(self._heard)
        end = HEADER.size + (length if kind == DATA else 0)
        if len(self._heard) < end:
            return None
        body = bytes(self._heard[HEADER.size : end])
        del self._heard[:end]
        return kind, flags, stream_id, length, body


async def socket_pair() -> tuple[trio.SocketStream, trio.SocketStream]:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        near = await trio.open_tcp_stream(*listener.socket.getsockname())
        return near, await listener.accept()


@asynccontextmanager
async def linked(dialled: bool = False) -> AsyncIterator[tuple[LinkMux, Peer]]:
    """Our muxer, and a peer it trusts; by default the peer called us."""
    quieten()
    near, far = await socket_pair()
    raw = RawConnection(TcpStream(near), dialled)
    session = Session(SUITE, *KEYS, mono_ms(), asks=dialled)
    own = OWN.chain.operational
    connection = PqConnection(raw, session, PEER.chain, own, dialled)
    mux = LinkMux(connection, connection.get_remote_peer())
    async with near, far, trio.open_nursery() as nursery:
        nursery.start_soon(mux.start)
        yield mux, Peer(far)
        nursery.cancel_scope.cancel()


async def until_ended(mux: LinkMux) -> LinkEnd | None:
    with trio.fail_after(PATIENCE_S):
        await mux.event_closed.wait()
    return mux.why


async def accepted(mux: LinkMux, peer: Peer, stream_id: int = 1) -> LinkStream:
    await peer.say(frame_header(WINDOW_UPDATE, SYN, stream_id, 0))
    stream = await mux.accept_stream()
    assert await peer.hear() == (WINDOW_UPDATE, ACK, stream_id, 0, b"")
    return stream


async def test_what_the_peer_says_is_read_and_the_end_is_seen() -> None:
    async with linked() as (mux, peer):
        stream = await accepted(mux, peer)
        await peer.say(
            frame_header(DATA, 0, 1, 5) + b"hello", frame_header(DATA, FIN, 1, 0)
        )

        assert await stream.receive_some() == b"hello"
        assert await stream.receive_some() == b""

        await stream.send_all(b"bye")
        await stream.aclose()
        assert await peer.hear() == (DATA, 0, 1, 3, b"bye")
        assert await peer.hear() == (WINDOW_UPDATE, FIN, 1, 0, b"")
        assert mux.streams_open == 0


async def test_windows_are_given_back_in_portions() -> None:
    async with linked() as (mux, peer):
        stream = await accepted(mux, peer)
        piece = 1_000
        for _ in range(WINDOW_BYTES // piece):
            await peer.say(frame_header(DATA, 0, 1, piece) + bytes(piece))
        read = 0
        while read < WINDOW_BYTES // piece * piece:
            read += len(await stream.receive_some(500))
        await peer.say(frame_header(PING, SYN, 0, 7))

        given = []
        while (frame := await peer.hear())[0] == WINDOW_UPDATE:
            given.append(frame[3])
        assert frame == (PING, ACK, 0, 7, b"")
        assert 1 <= len(given) <= WINDOW_BYTES // CREDIT_BYTES
        assert sum(given) <= read
        assert min(given) >= CREDIT_BYTES


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(frame_header(DATA, 0, 1, WINDOW_BYTES + 1), id="large frame"),
        pytest.param(
            (frame_header(DATA, 0, 1, 65_536) + bytes(65_536)) * 5, id="past window"
        ),
        pytest.param(
            frame_header(DATA, FIN, 1, 0) + frame_header(DATA, 0, 1, 1) + b"x",
            id="past end",
        ),
        pytest.param(
            frame_header(WINDOW_UPDATE, 0, 1, 2**32 - 1) * 2, id="window overflow"
        ),
        pytest.param(frame_header(WINDOW_UPDATE, SYN, 1, 0), id="open twice"),
        pytest.param(frame_header(WINDOW_UPDATE, SYN, 2, 0), id="our parity"),
        pytest.param(frame_header(WINDOW_UPDATE, SYN, 0, 0), id="stream zero"),
        pytest.param(HEADER.pack(1, DATA, 0, 1, 0), id="version"),
        pytest.param(HEADER.pack(0, 4, 0, 1, 0), id="kind"),
    ],
)
async def test_a_peer_that_breaks_the_protocol_loses_its_link(said: bytes) -> None:
    async with linked() as (mux, peer):
        stream = await accepted(mux, peer)
        await peer.say(said)

        assert await until_ended(mux) is LinkEnd.MISBEHAVED
        assert mux.fault
        assert stream.closed


async def test_the_answer_to_a_ping_measures_the_round_trip_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mux_module, "PING_EVERY_S", 0.05)
    async with linked() as (mux, peer):
        assert mux.round_trip_s == math.inf
        await peer.say(frame_header(PING, ACK, 0, 77))  # nobody asked it
        kind, flags, _, nonce, _ = await peer.hear()
        assert (kind, flags) == (PING, SYN)
        assert mux.round_trip_s == math.inf
        await peer.say(frame_header(PING, ACK, 0, nonce))
        with trio.fail_after(PATIENCE_S):
            while math.isinf(mux.round_trip_s):
                await trio.lowlevel.checkpoint()
        measured = mux.round_trip_s
        await peer.say(frame_header(PING, ACK, 0, nonce), frame_header(PING, SYN, 0, 9))
        while (await peer.hear())[:2] != (PING, ACK):
            pass
        assert mux.round_trip_s == measured


async def test_frames_for_streams_long_gone_do_no_harm() -> None:
    async with linked() as (mux, peer):
        stream = await accepted(mux, peer)
        await stream.reset()
        assert (await peer.hear())[1] == RST
        await peer.say(
            frame_header(DATA, 0, 1, 3) + b"abc",
            frame_header(WINDOW_UPDATE, 0, 1, 9),
            frame_header(DATA, FIN, 1, 0),
            frame_header(DATA, RST, 99, 0),
            frame_header(PING, SYN, 0, 1),
        )
        assert (await peer.hear())[0] == PING
        assert mux.why is None


async def test_too_many_streams_are_reset_and_the_rest_goes_on() -> None:
    async with linked() as (mux, peer):
        many = STREAMS_PER_LINK_MAX + 10
        for i in range(many):
            await peer.say(frame_header(WINDOW_UPDATE, SYN, 2 * i + 1, 0))
        flags = [(await peer.hear())[1] for _ in range(many)]
        assert flags == [ACK] * STREAMS_PER_LINK_MAX + [RST] * 10
        assert mux.streams_open == STREAMS_PER_LINK_MAX
        assert mux.why is None


async def test_a_peer_that_asks_and_never_reads_loses_its_link(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mux_module, "QUEUE_BYTES_MAX", 200_000)
    async with linked() as (mux, peer):
        pings = frame_header(PING, SYN, 0, 1) * 10_000
        with trio.move_on_after(PATIENCE_S):
            try:
                while mux.why is None:
                    await peer.say(pings)
            except trio.BrokenResourceError:
                pass
        assert await until_ended(mux) is LinkEnd.MISBEHAVED
        assert "does not read" in mux.fault
        assert QUEUE_BYTES_MAX > 200_000


async def test_a_writer_waits_for_the_window_and_goes_on() -> None:
    async with linked(dialled=True) as (mux, peer), trio.open_nursery() as nursery:
        stream = await mux.open_stream()
        nursery.start_soon(stream.send_all, bytes(WINDOW_BYTES + 10))
        assert (await peer.hear())[1] == SYN
        heard = 0
        while heard < WINDOW_BYTES:
            heard += (await peer.hear())[3]
        assert heard == WINDOW_BYTES

        await peer.say(frame_header(WINDOW_UPDATE, 0, stream.stream_id, 100))
        assert (await peer.hear())[3] == 10


async def test_a_reset_wakes_whoever_waits() -> None:
    async with linked() as (mux, peer):
        stream = await accepted(mux, peer)
        ends: list[str] = []

        async def read() -> None:
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some()
            ends.append("read")

        async def write() -> None:
            with pytest.raises(trio.BrokenResourceError):
                await stream.send_all(bytes(2 * WINDOW_BYTES))
            ends.append("write")

        with trio.fail_after(PATIENCE_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                nursery.start_soon(write)
                await poll(lambda: stream.send_window == 0)
                await peer.say(frame_header(WINDOW_UPDATE, RST, 1, 0))
        assert sorted(ends) == ["read", "write"]
        assert mux.streams_open == 0


async def test_writing_after_closing_is_refused() -> None:
    async with linked() as (mux, peer):
        stream = await accepted(mux, peer)
        await stream.send_eof()
        with pytest.raises(trio.ClosedResourceError):
            await stream.send_all(b"more")
        await peer.say(frame_header(DATA, FIN, 1, 4) + b"last")
        assert await stream.receive_some() == b"last"
        assert await stream.receive_some() == b""


async def test_a_goodbye_ends_the_link_after_what_was_queued() -> None:
    async with linked() as (mux, peer):
        stream = await accepted(mux, peer)
        await stream.send_all(b"last words")
        await mux.close()
        assert await until_ended(mux) is LinkEnd.CLOSED
        assert (await peer.hear())[4] == b"last words"
        assert (await peer.hear())[0] == GO_AWAY


async def test_the_peers_goodbye_or_silence_of_the_wire_is_the_end() -> None:
    async with linked() as (mux, peer):
        await peer.say(frame_header(GO_AWAY, 0, 0, 0))
        assert await until_ended(mux) is LinkEnd.PEER_CLOSED
    async with linked() as (mux, peer):
        await peer.stream.aclose()
        assert await until_ended(mux) is LinkEnd.PEER_CLOSED


async def test_a_link_that_ended_gives_no_streams() -> None:
    async with linked(dialled=True) as (mux, peer):
        await peer.stream.aclose()
        await until_ended(mux)
        with pytest.raises(Exception, match="ended"):
            await mux.open_stream()
        with pytest.raises(Exception, match="ended"):
            await mux.accept_stream()


@given(st.lists(st.binary(min_size=1, max_size=80), max_size=20))
@settings(max_examples=40, deadline=None)
def test_garbage_inside_the_session_ends_the_link_and_nothing_else(
    garbage: list[bytes],
) -> None:
    async def main() -> None:
        async with linked() as (mux, peer):
            try:
                for piece in garbage:
                    await peer.say(piece)
                await peer.stream.send_eof()
            except trio.BrokenResourceError:
                pass
            assert await until_ended(mux) in (LinkEnd.MISBEHAVED, LinkEnd.PEER_CLOSED)

    _run(main)


@given(
    st.lists(
        st.builds(
            frame_header,
            st.integers(0, 3),
            st.integers(0, 15),
            st.integers(0, 5),
            st.integers(0, 40),
        ),
        max_size=40,
    )
)
@settings(max_examples=40, deadline=None)
def test_nonsense_frames_end_the_link_and_nothing_else(frames: list[bytes]) -> None:
    async def main() -> None:
        async with linked() as (mux, peer):
            try:
                await peer.say(*frames, bytes(100))
                await peer.stream.send_eof()
            except trio.BrokenResourceError:
                pass
            await until_ended(mux)

    _run(main)


def _run(main: Callable[[], object]) -> None:
    trio.run(main)  # type: ignore[arg-type]  # hypothesis and trio_mode do not mix


async def test_what_one_peer_makes_us_keep_unread_is_bounded_over_all_streams() -> None:
    async with linked() as (mux, peer):
        gossip = await accepted(mux, peer)
        gossip.vital = True
        held = []
        for number in range(100):
            stream_id = 2 * number + 3
            held.append(await accepted(mux, peer, stream_id))
            await peer.say(
                frame_header(DATA, 0, stream_id, WINDOW_BYTES) + bytes(WINDOW_BYTES)
            )
            stream = held[-1]
            await poll(lambda s=stream: s.closed or s.recv_window == 0)  # type: ignore[misc]  # mypy cannot infer a lambda's default
            if stream.closed:
                assert (await peer.hear())[:3] == (WINDOW_UPDATE, RST, stream_id)
            assert mux.unread <= UNREAD_BYTES_MAX
        assert sum(stream.closed for stream in held) == (
            len(held) - UNREAD_BYTES_MAX // WINDOW_BYTES
        )

        await peer.say(frame_header(DATA, 0, 1, 5) + b"alive")
        assert await gossip.receive_some() == b"alive"

        for stream in held:
            await stream.aclose()
        assert mux.unread == 0
        assert mux.why is None


async def test_a_reset_stream_frees_what_it_held() -> None:
    async with linked() as (mux, peer):
        for stream_id in range(1, 401, 2):
            stream = await accepted(mux, peer, stream_id)
            await peer.say(frame_header(DATA, 0, stream_id, 100_000) + bytes(100_000))
            await peer.say(frame_header(WINDOW_UPDATE, RST, stream_id, 0))
            await poll(lambda s=stream: s.closed)  # type: ignore[misc]  # mypy cannot infer a lambda's default
            stream.throw_away()
            assert mux.unread == 0


async def test_a_peer_that_talks_but_never_reads_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mux_module, "PING_EVERY_S", 0.05)
    monkeypatch.setattr(mux_module, "SILENCE_S", 0.5)
    async with linked() as (mux, peer), trio.open_nursery() as nursery:
        stream = await accepted(mux, peer)
        await peer.say(frame_header(WINDOW_UPDATE, 0, 1, 2**30))

        async def pour() -> None:
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(bytes(64_000_000))

        async def chatter() -> None:
            with contextlib.suppress(trio.BrokenResourceError):
                while True:
                    await peer.say(frame_header(WINDOW_UPDATE, 0, 1, 1))
                    await trio.sleep(0.02)

        nursery.start_soon(pour)
        nursery.start_soon(chatter)
        assert await until_ended(mux) is LinkEnd.SILENT
        nursery.cancel_scope.cancel()


async def test_a_short_frame_is_on_its_way_before_anybody_else_has_a_turn() -> None:
    async with linked() as (mux, peer):
        await trio.testing.wait_all_tasks_blocked(0.01)
        mux.post(frame_header(PING, SYN, 0, 7))
        assert peer.stream.socket._sock.recv(1, socket.MSG_PEEK)  # type: ignore[attr-defined]  # what trio hides
        assert await peer.hear() == (PING, SYN, 0, 7, b"")


async def test_order_is_kept_when_the_wire_takes_only_a_part() -> None:
    async with linked() as (mux, peer):
        own = mux.link._raw.stream.stream.socket  # type: ignore[attr-defined]  # libp2p's
        own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        said = []
        for number in range(400):
            body = number.to_bytes(2, "big") * 7_000
            mux.post(frame_header(DATA, 0, 1, len(body)) + body)
            said.append(body)
            await trio.sleep(0.002 if number % 40 == 0 else 0)
            if len(mux._out) > QUEUE_BYTES_MAX // 2:
                break
        for body in said:
            assert (await peer.hear())[4] == body
        assert mux.why is None
