"""Frames: what two linked engines say to each other, one msgpack list each."""

from typing import TypeAlias

import attrs

from gossip import limits
from gossip.ledger.feed import FeedId
from gossip.units import (
    ID_BYTES,
    INCARNATION_BYTES,
    UNIX_MS_MAX,
    Incarnation,
    NodeId,
)
from gossip.wire import (
    Value,
    pack,
    take_bytes,
    take_int,
    take_list,
    unpack_untrusted,
)

HEADS_MAX = 4_096
WANT_MAX = 256
"""Most batches one `Want` may ask for; the rest is asked for afterwards."""

_PUSH, _HEADS, _WANT = 1, 2, 3


@attrs.frozen
class Push:
    """Here is a batch."""

    batch: bytes = attrs.field(repr=lambda b: f"<{len(b)} bytes>")


@attrs.frozen
class Head:
    """One feed, and the first number the sender lacks of it."""

    feed: FeedId
    next_number: int


@attrs.frozen
class Heads:
    """All feeds the sender holds. Sent once, when the link comes up."""

    heads: tuple[Head, ...]


@attrs.frozen
class Want:
    """Please send batches ``first`` to ``last`` (included) of a feed."""

    feed: FeedId
    first: int
    last: int


Frame: TypeAlias = Push | Heads | Want


def push(batch: bytes) -> bytes:
    """Encode a `Push`."""
    return pack([_PUSH, batch])


def heads(held: list[Head]) -> bytes:
    """Encode `Heads`."""
    listed: list[Value] = [[*head.feed, head.next_number] for head in held]
    return pack([_HEADS, listed])


def want(feed: FeedId, first: int, last: int) -> bytes:
    """Encode a `Want`."""
    return pack([_WANT, *feed, first, last])


def read_frame_untrusted(data: bytes) -> Frame:
    """Read what a peer sent.

    Raises:
        PeerError: malformed or over a limit.
    """
    fields = take_list(unpack_untrusted(data, limits.FRAME_BYTES_MAX), 2, 5)
    kind = take_int(fields[0], _PUSH, _WANT)
    if kind == _WANT:
        take_list(fields, 5, 5)
        first = take_int(fields[3], 0, UNIX_MS_MAX)
        last = take_int(fields[4], first, first + WANT_MAX - 1)
        return Want(_feed(fields[1], fields[2]), first, last)
    take_list(fields, 2, 2)
    if kind == _PUSH:
        return Push(take_bytes(fields[1], 1, limits.BATCH_BYTES_MAX))
    return Heads(tuple(_head(item) for item in take_list(fields[1], 0, HEADS_MAX)))


def _head(item: Value) -> Head:
    parts = take_list(item, 3, 3)
    return Head(_feed(parts[0], parts[1]), take_int(parts[2], 0, UNIX_MS_MAX))


def _feed(author: Value, incarnation: Value) -> FeedId:
    return (
        NodeId(take_bytes(author, ID_BYTES, ID_BYTES)),
        Incarnation(take_bytes(incarnation, INCARNATION_BYTES, INCARNATION_BYTES)),
    )
