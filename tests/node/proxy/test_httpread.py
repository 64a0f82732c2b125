"""Events are read as the standard says, however the bytes arrive."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.proxy import limits
from node.proxy.asks import Piece
from node.proxy.http_out import write_event
from node.proxy.httpread import EventReader, ResponseReader, known_head
from node.proxy.session import Lost

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=8)
PIECES = st.builds(
    Piece,
    st.binary(min_size=1, max_size=20).filter(lambda b: not {10, 13} & {*b}),
    st.none() | TEXTS,
    st.none() | st.integers(0, 99_999).map(str),
    st.none() | TEXTS,
)


@given(st.lists(PIECES, max_size=5), st.integers(1, 9))
def test_what_is_written_is_read_in_any_portions(
    pieces: list[Piece], size: int
) -> None:
    data = b"".join(write_event(piece) for piece in pieces)
    reader, read = EventReader(), list[Piece]()
    for at in range(0, len(data), size):
        read += reader.feed(data[at : at + size])
    assert read == pieces


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_lines_end_in_three_ways(end: bytes, size: int) -> None:
    data = b"\xef\xbb\xbfid: 7" + end + b"data: a" + end + b"data:b" + end + end
    data += b": life" + end + end + b"data: c" + end + end
    reader, read = EventReader(), list[Piece]()
    for at in range(0, len(data), size):
        read += reader.feed(data[at : at + size])
    read += reader.feed(b"data: d\n\n")  # shows that a last CR ended its line
    assert read == [Piece(b"a\nb", "7"), Piece(b""), Piece(b"c"), Piece(b"d")]


def test_a_newline_in_data_cannot_become_a_field_of_its_own() -> None:
    for attack in (b"x\n\nid: 9\ndata: y", b"x\r\revent: endpoint", b"a\r\nretry: 1"):
        (read,) = EventReader().feed(write_event(Piece(attack)))
        assert (read.id, read.retry, read.name) == (None, None, None)


def test_an_event_may_have_the_limit_and_not_one_byte_more() -> None:
    line = b"data: "
    data = line + b"x" * (limits.MESSAGE_BYTES_MAX - len(line) - 2)
    (read,) = EventReader().feed(data + b"\n\n")
    assert len(read.data) == len(data) - len(line)
    with pytest.raises(Lost):
        EventReader().feed(data + b"xxx")


HEADS = (
    b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\ncontent-type: application/json\r\n\r\n",
    b"HTTP/1.1 404 No\r\nX: y\r\nContent-Length:%d\r\n\r\n",
)
UNKNOWABLE = (
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nx: y\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}",
    b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 2\r\n\r\n:\n",
    b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}",
)


def parsed(data: bytes) -> ResponseReader | None:
    reader = ResponseReader()
    try:
        reader.feed(data)
    except Lost:
        return None
    return reader


def unsized(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [pair for pair in headers if pair[0] != "content-length"]


@given(
    st.sampled_from(HEADS),
    st.binary(min_size=1, max_size=300),
    st.binary(max_size=120),
    st.integers(0, 400),
    st.sampled_from([b"", b"0", b"-", b"\r", b"\n", b" ", b"1", b"{}", b"\r\n\r\n"]),
)
def test_a_head_that_is_known_means_what_the_parser_says(
    head: bytes, first: bytes, body: bytes, at: int, put: bytes
) -> None:
    learnt = head % len(first) + first
    reader = parsed(learnt)
    assert reader is not None
    known = known_head(learnt, reader)
    assert known is not None

    plain = head % len(body) + body
    assert known.read(plain) == (body or None)
    bent = plain[:at] + put + plain[at:]
    read, again = known.read(bent), parsed(bent)
    if read is not None:
        assert again is not None
        assert again.done
        assert again.keep_alive
        assert again.status == known.status
        assert unsized(again.headers) == unsized(known.headers)
        piece = again.take_body()
        assert piece is not None
        assert piece.data == read


@pytest.mark.parametrize("data", UNKNOWABLE)
def test_what_does_not_come_whole_or_stay_open_is_never_known(data: bytes) -> None:
    reader = parsed(data)
    assert reader is None or known_head(data, reader) is None
