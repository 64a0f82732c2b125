"""Events are read as the standard says, however the bytes arrive."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.proxy import limits
from node.proxy.asks import Piece
from node.proxy.http_out import write_event
from node.proxy.httpread import EventReader
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
