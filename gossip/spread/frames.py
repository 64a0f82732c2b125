"""Frames: what two linked engines say to each other, one msgpack list each."""

from collections.abc import Iterable
from typing import TypeAlias

import attrs

from gossip import limits
from gossip.ledger.batch import FeedId
from gossip.ledger.entries import Closing, read_closing_untrusted, write_closing
from gossip.units import (
    ID_BYTES,
    INCARNATION_BYTES,
    UNIX_MS_MAX,
    Incarnation,
    NodeId,
    UnixMs,
)
from gossip.wire import (
    Value,
    pack,
    take_bytes,
    take_int,
    take_list,
    unpack_untrusted,
)

IDS_MAX = 4_096
HEADS_MAX = 4_096
BUCKETS = 256
"""Feeds are compared in groups, by the first byte of their author's id."""
BUCKET_DIGEST_BYTES = 16
WANT_MAX = 256
"""Most batches one `Want` may ask for; the rest is asked for afterwards."""

(
    _PUSH,
    _GIVE,
    _IHAVE,
    _GRAFT,
    _PRUNE,
    _ROOT,
    _BUCKETS,
    _HEADS,
    _WANT,
    _FULL,
    _ASK,
    _TELL,
) = range(1, 13)


@attrs.frozen
class Push:
    """Here is a new batch, along the tree."""

    batch: bytes = attrs.field(repr=lambda b: f"<{len(b)} bytes>")


@attrs.frozen
class Give:
    """Here is a batch that you asked for."""

    batch: bytes = attrs.field(repr=lambda b: f"<{len(b)} bytes>")


@attrs.frozen
class IHave:
    """Ids of batches that the sender holds and did not push."""

    ids: tuple[bytes, ...] = attrs.field(repr=lambda ids: f"<{len(ids)} ids>")


@attrs.frozen
class Graft:
    """Push to me from now on, and give me these."""

    ids: tuple[bytes, ...] = attrs.field(repr=lambda ids: f"<{len(ids)} ids>")


@attrs.frozen
class Prune:
    """I had that already: only tell me ids from now on."""


@attrs.frozen
class Root:
    """Digest of everything the sender holds. An equal peer says nothing.

    Attributes:
        now_ms: The sender's clock.
    """

    digest: bytes = attrs.field(repr=bytes.hex)
    now_ms: UnixMs


@attrs.frozen
class Buckets:
    """Digest of each group of feeds that is not empty, by group."""

    digests: dict[int, bytes] = attrs.field(repr=lambda d: f"<{len(d)} groups>")


@attrs.frozen
class Head:
    """One feed, and the first number the sender lacks of it."""

    feed: FeedId
    next_number: int


@attrs.frozen
class Heads:
    """What the sender holds of the groups ``buckets``.

    Attributes:
        answer: Whether the receiver should tell in turn where it is ahead.
    """

    buckets: tuple[int, ...]
    heads: tuple[Head, ...]
    answer: bool


@attrs.frozen
class Want:
    """Please give me batches ``first`` to ``last`` (included) of a feed."""

    feed: FeedId
    first: int
    last: int


@attrs.frozen
class Full:
    """I have links enough: seek somebody else."""


@attrs.frozen
class Ask:
    """I am starting: which is the last of my batches that you hold?"""


@attrs.frozen
class Tell:
    """The head of your last feed, as far as I hold it; None: I hold nothing.

    Attributes:
        now_ms: The sender's clock.
    """

    latest: Closing | None
    now_ms: UnixMs


Frame: TypeAlias = (
    Push
    | Give
    | IHave
    | Graft
    | Prune
    | Root
    | Buckets
    | Heads
    | Want
    | Full
    | Ask
    | Tell
)


def push(batch: bytes) -> bytes:
    """Encode a `Push`."""
    return pack([_PUSH, batch])


def give(batch: bytes) -> bytes:
    """Encode a `Give`."""
    return pack([_GIVE, batch])


def ihave(ids: Iterable[bytes]) -> bytes:
    """Encode an `IHave`."""
    return pack([_IHAVE, [*ids]])


def graft(ids: Iterable[bytes]) -> bytes:
    """Encode a `Graft`."""
    return pack([_GRAFT, [*ids]])


def prune() -> bytes:
    """Encode a `Prune`."""
    return pack([_PRUNE])


def root(digest: bytes, now_ms: UnixMs) -> bytes:
    """Encode a `Root`."""
    return pack([_ROOT, digest, now_ms])


def buckets(digests: dict[int, bytes]) -> bytes:
    """Encode `Buckets`."""
    listed: list[Value] = [[bucket, digests[bucket]] for bucket in sorted(digests)]
    return pack([_BUCKETS, listed])


def heads(covered: Iterable[int], held: Iterable[Head], *, answer: bool) -> bytes:
    """Encode `Heads`."""
    listed: list[Value] = [[*head.feed, head.next_number] for head in held]
    return pack([_HEADS, [*covered], listed, answer])


def want(feed: FeedId, first: int, last: int) -> bytes:
    """Encode a `Want`."""
    return pack([_WANT, *feed, first, last])


def full() -> bytes:
    """Encode a `Full`."""
    return pack([_FULL])


def ask() -> bytes:
    """Encode an `Ask`."""
    return pack([_ASK])


def tell(latest: Closing | None, now_ms: UnixMs) -> bytes:
    """Encode a `Tell`."""
    return pack([_TELL, write_closing(latest), now_ms])


def read_frame_untrusted(data: bytes) -> Frame:
    """Read what a peer sent.

    Raises:
        PeerError: malformed or over a limit.
    """
    fields = take_list(unpack_untrusted(data, limits.FRAME_BYTES_MAX), 1, 5)
    kind = take_int(fields[0], _PUSH, _TELL)
    take_list(fields, _LENGTHS[kind], _LENGTHS[kind])
    if kind in (_PUSH, _GIVE):
        batch = take_bytes(fields[1], 1, limits.BATCH_BYTES_MAX)
        return Push(batch) if kind == _PUSH else Give(batch)
    if kind in (_IHAVE, _GRAFT):
        ids = tuple(
            take_bytes(item, ID_BYTES, ID_BYTES)
            for item in take_list(fields[1], 0, IDS_MAX)
        )
        return IHave(ids) if kind == _IHAVE else Graft(ids)
    if kind == _PRUNE:
        return Prune()
    if kind == _FULL:
        return Full()
    if kind == _ASK:
        return Ask()
    if kind == _TELL:
        return Tell(read_closing_untrusted(fields[1]), _time(fields[2]))
    if kind == _ROOT:
        return Root(take_bytes(fields[1], ID_BYTES, ID_BYTES), _time(fields[2]))
    if kind == _BUCKETS:
        return Buckets(dict(_bucket(item) for item in take_list(fields[1], 0, BUCKETS)))
    if kind == _HEADS:
        return _read_heads(fields)
    first = take_int(fields[3], 0, UNIX_MS_MAX)
    last = take_int(fields[4], first, first + WANT_MAX - 1)
    return Want(_feed(fields[1], fields[2]), first, last)


_LENGTHS = {
    _PUSH: 2,
    _GIVE: 2,
    _IHAVE: 2,
    _GRAFT: 2,
    _PRUNE: 1,
    _FULL: 1,
    _ASK: 1,
    _TELL: 3,
    _ROOT: 3,
    _BUCKETS: 2,
    _HEADS: 4,
    _WANT: 5,
}


def _read_heads(fields: list[Value]) -> Heads:
    covered = take_list(fields[1], 0, BUCKETS)
    held = take_list(fields[2], 0, HEADS_MAX)
    return Heads(
        tuple(take_int(item, 0, BUCKETS - 1) for item in covered),
        tuple(_head(item) for item in held),
        answer=fields[3] is True,
    )


def _bucket(item: Value) -> tuple[int, bytes]:
    number, digest = take_list(item, 2, 2)
    return (
        take_int(number, 0, BUCKETS - 1),
        take_bytes(digest, BUCKET_DIGEST_BYTES, BUCKET_DIGEST_BYTES),
    )


def _head(item: Value) -> Head:
    parts = take_list(item, 3, 3)
    return Head(_feed(parts[0], parts[1]), take_int(parts[2], 0, UNIX_MS_MAX))


def _time(item: Value) -> UnixMs:
    return UnixMs(take_int(item, 0, UNIX_MS_MAX))


def _feed(author: Value, incarnation: Value) -> FeedId:
    return (
        NodeId(take_bytes(author, ID_BYTES, ID_BYTES)),
        Incarnation(take_bytes(incarnation, INCARNATION_BYTES, INCARNATION_BYTES)),
    )
