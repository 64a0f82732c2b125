"""A batch is judged message by message, on the very bytes that travel on."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcement import limits
from enforcement.mcp.batch import is_batch, join_batch, split_batch_untrusted
from enforcement.mcp.strictjson import MalformedError

KEYS = st.text().filter(lambda key: key != "__proto__")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner),
    max_leaves=6,
)
SPACES = st.text(" \t\r\n", max_size=3)


@given(st.lists(VALUES, min_size=1, max_size=6), SPACES, st.booleans())
def test_the_parts_are_the_bytes_of_the_whole(
    values: list[object], space: str, ascii_only: bool
) -> None:
    texts = [json.dumps(v, ensure_ascii=ascii_only) for v in values]
    data = f"{space}[{space}{f'{space},{space}'.join(texts)}{space}]{space}".encode()
    assert is_batch(data)
    assert split_batch_untrusted(data, 10_000) == [t.encode() for t in texts]


@given(st.binary(max_size=40))
def test_garbage_is_split_or_refused(data: bytes) -> None:
    try:
        parts = split_batch_untrusted(data, 100)
    except MalformedError:
        return
    assert json.loads(join_batch(parts)) == json.loads(data)


@pytest.mark.parametrize(
    "data", [b"[]", b"{}", b"[1,]", b"[1] [2]", b"[1", b'[{"a":1,"a":2}]', b"\xff[1]"]
)
def test_what_is_no_clear_batch_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        split_batch_untrusted(data, 100)


def test_a_batch_may_have_the_limit_and_not_one_more() -> None:
    most = join_batch([b"1"] * limits.BATCH_MAX)
    assert len(split_batch_untrusted(most, 10)) == limits.BATCH_MAX
    with pytest.raises(MalformedError):
        split_batch_untrusted(join_batch([b"1"] * (limits.BATCH_MAX + 1)), 10)
