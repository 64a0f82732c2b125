"""The promises of ``gossip.link.session``."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.errors import LocalError, PeerError
from gossip.link import session as module
from gossip.link.keys import expand
from gossip.link.padding import (
    CONTENT_BYTES_MAX,
    INSIDE_BYTES_MAX,
    INSIDE_BYTES_MIN,
    Word,
    bucket,
    unwrap_untrusted,
    wrap,
)
from gossip.link.session import (
    FRESH_BYTES,
    FRESH_MS,
    RATCHET_FRAMES,
    RATCHET_MS,
    Session,
)
from gossip.units import MonoMs
from tests.support.births import SUITE

T0 = MonoMs(0)


def pair() -> tuple[Session, Session]:
    a, b = b"a" * 32, b"b" * 32
    return Session(SUITE, a, b, T0, asks=True), Session(SUITE, b, a, T0, asks=False)


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
        for plain in b.feed(wire[at : at + portion], T0)
    ]

    assert heard == said


def test_long_plaintexts_take_several_frames() -> None:
    a, b = pair()
    said = bytes(2 * CONTENT_BYTES_MAX + 1)

    wire = a.seal(said, T0)

    assert len(frames_of(wire)) == 3
    assert b"".join(b.feed(wire, T0)) == said


def test_saying_nothing_is_our_own_mistake() -> None:
    with pytest.raises(LocalError):
        pair()[0].seal(b"", T0)


@pytest.mark.parametrize("position", [0, 1, 2, 3, 4, 9, -1])
def test_a_flipped_bit_fails_the_session_for_good(position: int) -> None:
    a, b = pair()
    wire = bytearray(a.seal(b"hello", T0) + a.seal(b"again", T0))
    wire[position if position >= 0 else 275] ^= 1

    with pytest.raises(PeerError):
        b.feed(bytes(wire) + bytes(CONTENT_BYTES_MAX), T0)
    with pytest.raises(PeerError):
        b.feed(b"", T0)
    with pytest.raises(PeerError):
        b.feed(a.seal(b"more", T0), T0)


@pytest.mark.parametrize("order", [[0, 0], [1], [1, 0], [0, 2]])
def test_repeated_reordered_or_dropped_frames_are_refused(order: list[int]) -> None:
    a, b = pair()
    frames = [a.seal(word, T0) for word in (b"one", b"two", b"three")]

    with pytest.raises(PeerError):
        b.feed(b"".join(frames[which] for which in order), T0)


def test_a_frame_sent_back_is_refused() -> None:
    a, _ = pair()

    with pytest.raises(PeerError):
        a.feed(a.seal(b"mirror", T0), T0)


@pytest.mark.parametrize(
    "header",
    [
        b"\x00\xff\xff\xff",
        b"\x00\x00\x00\x10",
        b"\x02\x00\x01\x10",
        b"\x00\x00\x01\x11",
        b"\xff" * 4,
    ],
)
def test_an_impossible_header_is_refused_before_its_body(header: bytes) -> None:
    with pytest.raises(PeerError):
        pair()[1].feed(header, T0)


def test_a_truncated_frame_says_nothing() -> None:
    a, b = pair()

    assert b.feed(a.seal(b"hello", T0)[:-1], T0) == []


def test_the_key_is_replaced_in_time() -> None:
    a, b = pair()
    first = a.seal(b"one", T0)
    later = a.seal(b"two", MonoMs(RATCHET_MS))
    after = a.seal(b"three", MonoMs(RATCHET_MS + 1))

    assert [first[0], later[0], after[0]] == [0, 1, 0]
    assert b.feed(first + later + after, T0) == [b"one", b"two", b"three"]


def test_the_key_is_replaced_by_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RATCHET_FRAMES", 3)
    a, b = pair()

    wire = [a.seal(bytes((i + 1,)), T0) for i in range(8)]

    assert [frame[0] for frame in wire] == [0, 0, 0, 1, 0, 0, 1, 0]
    assert b.feed(b"".join(wire), T0) == [bytes((i + 1,)) for i in range(8)]


def test_a_peer_that_never_replaces_its_key_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a, b = pair()
    wire = [a.seal(b"x", T0) for _ in range(4)]
    monkeypatch.setattr(module, "RATCHET_FRAMES", 3)

    with pytest.raises(PeerError, match="too long"):
        b.feed(b"".join(wire), T0)
    assert RATCHET_FRAMES == 65_536


def test_a_replaced_key_does_not_open_what_came_before() -> None:
    a, _ = pair()
    before = a.seal(b"secret", T0)
    a.seal(b"later", MonoMs(RATCHET_MS))

    stolen = Session(SUITE, b"b" * 32, a._sending._key, T0, asks=False)

    with pytest.raises(PeerError):
        stolen.feed(before, T0)


@given(st.binary(max_size=400))
@settings(deadline=None)
def test_garbage_is_refused_or_waited_for(garbage: bytes) -> None:
    _, b = pair()
    with contextlib.suppress(PeerError):
        assert b.feed(garbage, T0) == []


def test_keys_are_never_shown() -> None:
    assert "SECRET" in repr(pair()[0])


# Padding


@given(st.integers(1, INSIDE_BYTES_MAX))
def test_buckets_are_few_and_never_much_larger(size: int) -> None:
    assert size <= bucket(size) <= max(INSIDE_BYTES_MIN, size * 1.12)
    assert bucket(bucket(size)) == bucket(size)


def test_fewer_than_two_hundred_sizes_are_ever_seen() -> None:
    assert len({bucket(size) for size in range(1, INSIDE_BYTES_MAX + 1)}) < 200


def test_short_messages_all_look_alike() -> None:
    a, _ = pair()
    assert len({len(a.seal(bytes(n), T0)) for n in range(1, 253)}) == 1


@given(st.sampled_from(Word), st.binary(max_size=700))
def test_what_is_wrapped_is_unwrapped(word: Word, content: bytes) -> None:
    assert unwrap_untrusted(wrap(word, content)) == (word, content)


@given(st.binary(max_size=600))
def test_any_inside_is_read_or_refused_and_in_one_way_only(inside: bytes) -> None:
    with contextlib.suppress(PeerError):
        assert wrap(*unwrap_untrusted(inside)) == inside


@pytest.mark.parametrize(
    "inside",
    [
        b"",
        bytes(INSIDE_BYTES_MIN - 1),
        bytes(INSIDE_BYTES_MIN + 16),
        b"\x00\x00\x00\x00" + b"\x01" + bytes(251),
        b"\x00\x00\x00\xfd" + bytes(252),
        b"\x00\xff\xff\xff" + bytes(252),
        b"\x04\x00\x00\x01" + bytes(252),
    ],
)
def test_padding_that_is_not_what_it_should_be_is_refused(inside: bytes) -> None:
    with pytest.raises(PeerError):
        unwrap_untrusted(inside)


# Fresh keys


WORN = MonoMs(FRESH_MS)


def exchange(a: Session, b: Session, now: MonoMs) -> None:
    """What two links say to each other while keys are renewed."""
    for said, one, other in (
        (b"asked", a, b),
        (b"answered", b, a),
        (b"done", a, b),
        (b"on", b, a),
    ):
        assert other.feed(one.seal(said, now), now) == [said]


def test_keys_are_agreed_on_anew_every_quarter_of_an_hour() -> None:
    a, b = pair()
    assert len(frames_of(a.seal(b"young", MonoMs(FRESH_MS - 1)))) == 1

    a, b = pair()
    exchange(a, b, WORN)
    exchange(a, b, MonoMs(2 * FRESH_MS))
    for one, other in ((a, b), (b, a)):
        assert other.feed(one.seal(b"on", WORN), WORN) == [b"on"]


def test_keys_are_agreed_on_anew_every_gibibyte(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert FRESH_BYTES == 2**30
    monkeypatch.setattr(module, "FRESH_BYTES", 10_000)
    a, b = pair()
    for _ in range(200):
        for one, other in ((a, b), (b, a)):
            said = bytes(900)
            assert other.feed(one.seal(said, T0), T0) == [said]
    assert a._agreed_bytes < 20_000


def test_frames_under_way_while_keys_change_are_opened() -> None:
    a, b = pair()
    under_way = [a.seal(b"one", T0), a.seal(b"two", WORN), a.seal(b"three", WORN)]
    back = [b.seal(b"early", WORN)]
    for wire in under_way:
        b.feed(wire, WORN)
    back += [b.seal(b"late", WORN), b.seal(b"later", WORN)]
    assert [p for wire in back for p in a.feed(wire, WORN)] == [
        b"early",
        b"late",
        b"later",
    ]
    assert b.feed(a.seal(b"done", WORN), WORN) == [b"done"]
    assert b.feed(a.seal(b"on", WORN), WORN) == [b"on"]


def test_whoever_stole_a_key_is_locked_out_by_the_next_agreement() -> None:
    a, b = pair()
    stolen = b._receiving._key
    exchange(a, b, WORN)

    listener = Session(SUITE, bytes(32), stolen, WORN, asks=False)
    listener._receiving._number = b._receiving._number
    later = a.seal(b"secret", WORN)
    with pytest.raises(PeerError):
        listener.feed(later, WORN)
    for ratcheted in range(3):
        listener = Session(
            SUITE, bytes(32), expand(stolen, b"ratchet"), WORN, asks=False
        )
        listener._receiving._number = b._receiving._number - ratcheted
        with pytest.raises(PeerError):
            listener.feed(later, WORN)


def forged(a: Session, word: Word, content: bytes) -> bytes:
    return b"".join(a._seal_frame(word, content, T0))


@pytest.mark.parametrize(
    ("word", "content"),
    [
        (Word.ASK, bytes(1216)),
        (Word.ANSWER, bytes(1120)),
        (Word.DONE, b""),
        (Word.DATA, b""),
    ],
)
@pytest.mark.parametrize("asker", [True, False])
def test_words_out_of_turn_end_the_link(
    word: Word, content: bytes, asker: bool
) -> None:
    a, b = pair() if asker else pair()[::-1]
    with pytest.raises(PeerError):
        b.feed(forged(a, word, content), T0)


@pytest.mark.parametrize("asked", [b"", bytes(1216), bytes(1215), b"\xff" * 1216])
def test_a_bad_request_for_fresh_keys_ends_the_link(asked: bytes) -> None:
    a, b = pair()
    with pytest.raises(PeerError):
        b.feed(forged(a, Word.ASK, asked), WORN)


@pytest.mark.parametrize("reply", [b"", bytes(1120), bytes(1121)])
def test_a_bad_answer_ends_the_link(reply: bytes) -> None:
    a, b = pair()
    b.feed(a.seal(b"ask", WORN), WORN)
    with pytest.raises(PeerError):
        a.feed(forged(b, Word.ANSWER, reply), WORN)


def test_asking_again_and_again_is_refused() -> None:
    a, b = pair()
    b.feed(a.seal(b"ask", WORN), WORN)
    again = forged(a, Word.ASK, SUITE.agree_begin().request)
    with pytest.raises(PeerError, match="too often"):
        b.feed(again, WORN)

    a, b = pair()
    exchange(a, b, WORN)
    again = forged(a, Word.ASK, SUITE.agree_begin().request)
    with pytest.raises(PeerError, match="too often"):
        b.feed(again, MonoMs(FRESH_MS + 1))


def test_whoever_never_agrees_on_fresh_keys_loses_the_link() -> None:
    late = MonoMs(2 * FRESH_MS)
    a, b = pair()
    a._agreement = SUITE.agree_begin()  # so that it never asks
    with pytest.raises(PeerError, match="no fresh keys"):
        b.feed(a.seal(b"still the old key", late), late)

    a, b = pair()
    b.feed(a.seal(b"asks", WORN), WORN)
    b._to_say = None  # and is never answered
    with pytest.raises(PeerError, match="no fresh keys"):
        a.feed(b.seal(b"still the old key", late), late)
