"""The promises of ``gossip.link.session``."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.errors import LocalError, PeerError
from gossip.link import session as module
from gossip.link.session import (
    FRAME_PLAIN_BYTES_MAX,
    RATCHET_FRAMES,
    RATCHET_MS,
    Session,
)
from gossip.units import MonoMs
from tests.support.births import SUITE

T0 = MonoMs(0)


def pair() -> tuple[Session, Session]:
    a, b = b"a" * 32, b"b" * 32
    return Session(SUITE, a, b, T0), Session(SUITE, b, a, T0)


def frames_of(data: bytes) -> list[bytes]:
    frames = []
    while data:
        end = 4 + int.from_bytes(data[1:4], "big")
        frames.append(data[:end])
        data = data[end:]
    return frames


@given(st.lists(st.binary(min_size=1, max_size=300)), st.integers(1, 97))
@settings(max_examples=50, deadline=None)
def test_what_goes_in_comes_out_however_it_is_cut(
    said: list[bytes], portion: int
) -> None:
    a, b = pair()
    wire = b"".join(a.seal(word, T0) for word in said)

    heard = [
        plain
        for at in range(0, len(wire), portion)
        for plain in b.feed(wire[at : at + portion])
    ]

    assert heard == said


def test_long_plaintexts_take_several_frames() -> None:
    a, b = pair()
    said = bytes(2 * FRAME_PLAIN_BYTES_MAX + 1)

    wire = a.seal(said, T0)

    assert len(frames_of(wire)) == 3
    assert b"".join(b.feed(wire)) == said


def test_saying_nothing_is_our_own_mistake() -> None:
    with pytest.raises(LocalError):
        pair()[0].seal(b"", T0)


@pytest.mark.parametrize("position", [0, 1, 2, 3, 4, 9, -1])
def test_a_flipped_bit_fails_the_session_for_good(position: int) -> None:
    a, b = pair()
    wire = bytearray(a.seal(b"hello", T0) + a.seal(b"again", T0))
    wire[position if position >= 0 else 24] ^= 1

    with pytest.raises(PeerError):
        b.feed(bytes(wire) + bytes(FRAME_PLAIN_BYTES_MAX))
    with pytest.raises(PeerError):
        b.feed(b"")
    with pytest.raises(PeerError):
        b.feed(a.seal(b"more", T0))


@pytest.mark.parametrize("order", [[0, 0], [1], [1, 0], [0, 2]])
def test_repeated_reordered_or_dropped_frames_are_refused(order: list[int]) -> None:
    a, b = pair()
    frames = [a.seal(word, T0) for word in (b"one", b"two", b"three")]

    with pytest.raises(PeerError):
        b.feed(b"".join(frames[which] for which in order))


def test_a_frame_sent_back_is_refused() -> None:
    a, _ = pair()

    with pytest.raises(PeerError):
        a.feed(a.seal(b"mirror", T0))


@pytest.mark.parametrize(
    "header",
    [b"\x00\xff\xff\xff", b"\x00\x00\x00\x10", b"\x02\x00\x00\x20", b"\xff" * 4],
)
def test_an_impossible_header_is_refused_before_its_body(header: bytes) -> None:
    with pytest.raises(PeerError):
        pair()[1].feed(header)


def test_a_truncated_frame_says_nothing() -> None:
    a, b = pair()

    assert b.feed(a.seal(b"hello", T0)[:-1]) == []


def test_the_key_is_replaced_in_time() -> None:
    a, b = pair()
    first = a.seal(b"one", T0)
    later = a.seal(b"two", MonoMs(RATCHET_MS))
    after = a.seal(b"three", MonoMs(RATCHET_MS + 1))

    assert [first[0], later[0], after[0]] == [0, 1, 0]
    assert b.feed(first + later + after) == [b"one", b"two", b"three"]


def test_the_key_is_replaced_by_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RATCHET_FRAMES", 3)
    a, b = pair()

    wire = [a.seal(bytes((i + 1,)), T0) for i in range(8)]

    assert [frame[0] for frame in wire] == [0, 0, 0, 1, 0, 0, 1, 0]
    assert b.feed(b"".join(wire)) == [bytes((i + 1,)) for i in range(8)]


def test_a_peer_that_never_replaces_its_key_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a, b = pair()
    wire = [a.seal(b"x", T0) for _ in range(4)]
    monkeypatch.setattr(module, "RATCHET_FRAMES", 3)

    with pytest.raises(PeerError, match="too long"):
        b.feed(b"".join(wire))
    assert RATCHET_FRAMES == 65_536


def test_a_replaced_key_does_not_open_what_came_before() -> None:
    a, _ = pair()
    before = a.seal(b"secret", T0)
    a.seal(b"later", MonoMs(RATCHET_MS))

    stolen = Session(SUITE, b"b" * 32, a._sending._key, T0)

    with pytest.raises(PeerError):
        stolen.feed(before)


@given(st.binary(max_size=400))
@settings(deadline=None)
def test_garbage_is_refused_or_waited_for(garbage: bytes) -> None:
    _, b = pair()
    with contextlib.suppress(PeerError):
        assert b.feed(garbage) == []


def test_keys_are_never_shown() -> None:
    assert "SECRET" in repr(pair()[0])
