"""The promises of the framing that wrap and mesh share."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.errors import PeerError
from node.proxy.frames import FrameSplitter, encode_frame
from node.proxy.lines import LineSplitter
from node.proxy.mesh import (
    encode_request,
    read_opening_untrusted,
    read_renewal_untrusted,
    read_request_untrusted,
)
from node.proxy.wrapping import (
    Beginning,
    WrapFrame,
    encode_begin,
    encode_hello,
    read_begin_untrusted,
    read_hello_untrusted,
)

frames = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=50)), max_size=9)
DOCUMENT = Path(__file__).parents[3] / "docs" / "reference" / "wrap-protocol.md"


def cut(data: bytes, at: list[int]) -> list[bytes]:
    """``data`` in pieces, as a socket might bring it."""
    marks = sorted({0, len(data), *(a % (len(data) + 1) for a in at)})
    return [data[a:b] for a, b in pairwise(marks)]


@given(frames, st.lists(st.integers(0, 10_000), max_size=9))
def test_frames_survive_any_cutting(
    sent: list[tuple[int, bytes]], at: list[int]
) -> None:
    splitter = FrameSplitter()
    data = b"".join(encode_frame(kind, payload) for kind, payload in sent)
    got = [frame for piece in cut(data, at) for frame in splitter.feed_untrusted(piece)]

    assert got == sent


@given(st.binary(max_size=300))
def test_garbage_is_frames_or_a_peers_fault(data: bytes) -> None:
    try:
        found = FrameSplitter(frame_bytes_max=64).feed_untrusted(data)
    except PeerError:
        return
    assert all(len(payload) < 64 for _, payload in found)


@given(st.binary(max_size=300))
def test_garbage_in_a_payload_is_a_peers_fault(data: bytes) -> None:
    for read in (
        read_hello_untrusted,
        read_opening_untrusted,
        read_renewal_untrusted,
        read_request_untrusted,
    ):
        try:
            read(data)
        except PeerError:
            continue


@given(st.binary(max_size=99), st.binary(max_size=99))
def test_a_request_carries_its_envelope(message: bytes, envelope: bytes) -> None:
    read = read_request_untrusted(encode_request(message, envelope or None))

    assert read == (message, envelope or None)


def test_a_frame_over_the_limit_is_refused_before_it_is_read() -> None:
    at_limit = encode_frame(1, b"x" * 9)
    assert FrameSplitter(10).feed_untrusted(at_limit) == [(1, b"x" * 9)]
    with pytest.raises(PeerError):
        FrameSplitter(9).feed_untrusted(at_limit[:5])


@given(st.lists(st.binary(max_size=20)), st.lists(st.integers(0, 10_000), max_size=9))
def test_lines_survive_any_cutting_and_long_ones_are_told(
    sent: list[bytes], at: list[int]
) -> None:
    lines = [line.replace(b"\n", b"") for line in sent]
    splitter = LineSplitter(10)
    data = b"".join(line + b"\n" for line in lines)
    got = [line for piece in cut(data, at) for line in splitter.feed(piece)]

    meant = [line if len(line) <= 10 else None for line in lines]
    assert got == [line for line in meant if line is None or line.strip()]


def test_the_documents_example_is_what_travels() -> None:
    shown = bytes.fromhex(
        "".join(
            line
            for line in DOCUMENT.read_text().splitlines()
            if line.startswith("    00 ")
        )
    )
    assert shown == b"".join(
        [
            encode_frame(WrapFrame.HELLO, encode_hello("me", "sql")),
            encode_frame(WrapFrame.WELCOME, b""),
            encode_frame(WrapFrame.BEGIN, encode_begin(Beginning(b'{"jsonrpc"'))),
        ]
    )
    assert read_hello_untrusted(encode_hello("me", "sql")) == ("me", "sql")


@given(st.binary(max_size=20), st.booleans(), st.booleans())
def test_a_beginning_is_read_as_it_was_written(
    rest: bytes, batches: bool, torn: bool
) -> None:
    begin = Beginning(rest, batches, torn)
    assert read_begin_untrusted(encode_begin(begin)) == begin


@pytest.mark.parametrize("payload", [b"", b"\x04", b"\xff{"])
def test_other_beginnings_are_refused(payload: bytes) -> None:
    with pytest.raises(PeerError):
        read_begin_untrusted(payload)
