"""The promises of ``gossip.wire``: one value, one encoding."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.errors import LocalError, PeerError
from gossip.wire import Value, pack, unpack_untrusted

texts = st.text(st.characters(codec="ascii"), max_size=20)
values: st.SearchStrategy[Value] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.binary(max_size=40)
    | texts,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(texts, inner, max_size=5).map(
            lambda d: dict(sorted(d.items()))
        )
    ),
    max_leaves=20,
)


@given(values)
def test_what_was_packed_is_read_back(value: Value) -> None:
    assert unpack_untrusted(pack(value), 100_000) == value


@given(st.binary(max_size=200))
def test_garbage_is_read_or_is_the_peers_fault(data: bytes) -> None:
    try:
        value = unpack_untrusted(data, 1_000)
    except PeerError:
        return
    assert pack(value) == data


@given(values, st.data())
def test_any_flipped_bit_gives_another_value_or_none(
    value: Value, data: st.DataObject
) -> None:
    packed = bytearray(pack(value))
    bit = data.draw(st.integers(0, len(packed) * 8 - 1))
    packed[bit // 8] ^= 1 << bit % 8
    try:
        other = unpack_untrusted(bytes(packed), 100_000)
    except PeerError:
        return
    assert pack(other) != pack(value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xcc\x01",  # 1, not in its shortest form
        b"\x01\x01",  # a second value behind the first
        b"\x82\xa1a\x01\xa1a\x02",  # one key twice
        b"\x82\xa1b\x01\xa1a\x02",  # keys out of order
        b"\x81\x01\x01",  # a key that is no string
        msgpack.packb(1.5),
        msgpack.packb(msgpack.ExtType(5, b"x")),
        msgpack.packb(msgpack.Timestamp(1)),
        b"\xa1\xff",  # not UTF-8
        b"\xa3e\xcc\x81",  # e and a combining accent: not NFC
        b"\xdd\xff\xff\xff\xff",  # four billion items announced
        b"\x91" * 17 + b"\x01",
        b"\x91" * 5_000 + b"\x01",
    ],
)
def test_every_second_way_to_write_a_value_is_refused(data: bytes) -> None:
    with pytest.raises(PeerError):
        unpack_untrusted(data, 100_000)


def test_a_longer_message_than_allowed_is_not_even_decoded() -> None:
    with pytest.raises(PeerError, match="at most 9"):
        unpack_untrusted(pack(b"x" * 9), 9)


@pytest.mark.parametrize("value", [2**64, "e\u0301", {"b": 1, "a": 2}])
def test_our_own_mistakes_are_ours(value: Value) -> None:
    with pytest.raises(LocalError):
        pack(value)
