"""Feeds: each node's append-only log of numbered, chained, signed batches.

::

    incarnation  ┌─ batch 0 ─┐  previous  ┌─ batch 1 ─┐  previous  ┌─ batch 2 …
                 │ KEYS, …   │◀───────────│ entries   │◀───────────│ entries
                 └ signature ┘            └ signature ┘            └ signature

One signature covers one batch: it signs a header that holds the digest of the
entries, so two headers alone can prove that their author says one thing to
some and another to others.
"""

from bisect import insort
from enum import Enum, auto

import attrs

from gossip import limits
from gossip.domains import Domain
from gossip.errors import PeerError
from gossip.ledger.entries import Entry, read_known_untrusted
from gossip.suite import SIGNATURE_BYTES, digest
from gossip.units import (
    ID_BYTES,
    INCARNATION_BYTES,
    UNIX_MS_MAX,
    ClusterId,
    EntryId,
    Incarnation,
    KeyId,
    NodeId,
    UnixMs,
)
from gossip.wire import Value, pack, take_bytes, take_int, take_list, unpack_untrusted

_VERSION = 1
_HEADER_BYTES_MAX = 512
NO_PREVIOUS = bytes(ID_BYTES)
FeedId = tuple[NodeId, Incarnation]


@attrs.frozen(kw_only=True)
class Batch:
    """One batch as read; its signature may or may not have been verified.

    Attributes:
        id: Digest of the header, never of the (randomised) signature.
        previous: Id of the batch before it, zeros for number 0.
        key: Reference to the operational key that signed.
        header: The bytes that are signed.
        encoded: The bytes that travel: header, signature and entries.
    """

    id: bytes = attrs.field(repr=bytes.hex)
    cluster: ClusterId = attrs.field(repr=False)
    author: NodeId = attrs.field(repr=bytes.hex)
    incarnation: Incarnation = attrs.field(repr=bytes.hex)
    number: int
    previous: bytes = attrs.field(repr=False)
    issued_at_ms: UnixMs
    key: KeyId = attrs.field(repr=False)
    entries: tuple[Entry, ...] = attrs.field(repr=lambda e: f"<{len(e)} entries>")
    header: bytes = attrs.field(repr=False)
    signature: bytes = attrs.field(repr=False)
    encoded: bytes = attrs.field(repr=False)

    @property
    def feed(self) -> FeedId:
        """Which feed it belongs to."""
        return (self.author, self.incarnation)


@attrs.frozen
class Draft:
    """A batch before it is signed: sign ``header`` (context `Domain.BATCH`)."""

    header: bytes = attrs.field(repr=False)
    entries: bytes = attrs.field(repr=False)

    def join(self, signature: bytes) -> bytes:
        """The batch as it travels and is stored."""
        return pack([self.header, signature, self.entries])


def draft_batch(
    *,
    cluster: ClusterId,
    author: NodeId,
    incarnation: Incarnation,
    number: int,
    previous: bytes,
    issued_at_ms: UnixMs,
    key: KeyId,
    entries: list[tuple[int, bytes]],
) -> Draft:
    """Write down what is to be said next."""
    said: list[Value] = [[int(kind), body] for kind, body in entries]
    packed = pack(said)
    header = pack(
        [
            _VERSION,
            cluster,
            author,
            incarnation,
            number,
            previous,
            issued_at_ms,
            key,
            digest(Domain.ENTRIES, packed),
        ]
    )
    return Draft(header, packed)


@attrs.frozen(kw_only=True)
class Header:
    """The signed part of a batch, as read. Its signature is not verified here."""

    id: bytes = attrs.field(repr=bytes.hex)
    cluster: ClusterId = attrs.field(repr=False)
    author: NodeId = attrs.field(repr=bytes.hex)
    incarnation: Incarnation = attrs.field(repr=bytes.hex)
    number: int
    previous: bytes = attrs.field(repr=False)
    issued_at_ms: UnixMs
    key: KeyId = attrs.field(repr=False)
    entries_digest: bytes = attrs.field(repr=False)


def read_header_untrusted(data: bytes) -> Header:
    """Read a batch's header.

    Raises:
        PeerError: malformed.
    """
    fields = take_list(unpack_untrusted(data, _HEADER_BYTES_MAX), 9, 9)
    take_int(fields[0], _VERSION, _VERSION)
    return Header(
        id=digest(Domain.BATCH_ID, data),
        cluster=ClusterId(take_bytes(fields[1], ID_BYTES, ID_BYTES)),
        author=NodeId(take_bytes(fields[2], ID_BYTES, ID_BYTES)),
        incarnation=Incarnation(
            take_bytes(fields[3], INCARNATION_BYTES, INCARNATION_BYTES)
        ),
        number=take_int(fields[4], 0, UNIX_MS_MAX),
        previous=take_bytes(fields[5], ID_BYTES, ID_BYTES),
        issued_at_ms=UnixMs(take_int(fields[6], 0, UNIX_MS_MAX)),
        key=KeyId(take_bytes(fields[7], ID_BYTES, ID_BYTES)),
        entries_digest=take_bytes(fields[8], ID_BYTES, ID_BYTES),
    )


def read_batch_untrusted(data: bytes) -> Batch:
    """Read a batch. Verifies its form and its digest, not its signature.

    Raises:
        PeerError: malformed, too large, a known entry kind is malformed, or
            the entries are not those that the header names.
    """
    parts = take_list(unpack_untrusted(data, limits.BATCH_BYTES_MAX), 3, 3)
    signed = take_bytes(parts[0], 1, _HEADER_BYTES_MAX)
    signature = take_bytes(parts[1], SIGNATURE_BYTES, SIGNATURE_BYTES)
    packed = take_bytes(parts[2], 1, limits.BATCH_BYTES_MAX)
    header = read_header_untrusted(signed)
    if digest(Domain.ENTRIES, packed) != header.entries_digest:
        raise PeerError("the entries are not those that were signed")
    said = take_list(
        unpack_untrusted(packed, limits.BATCH_BYTES_MAX), 1, limits.BATCH_ENTRIES_MAX
    )
    return Batch(
        id=header.id,
        cluster=header.cluster,
        author=header.author,
        incarnation=header.incarnation,
        number=header.number,
        previous=header.previous,
        issued_at_ms=header.issued_at_ms,
        key=header.key,
        entries=tuple(_read_entry(item, header, i) for i, item in enumerate(said)),
        header=signed,
        signature=signature,
        encoded=data,
    )


def _read_entry(item: Value, header: Header, index: int) -> Entry:
    kind_value, body_value = take_list(item, 2, 2)
    kind = take_int(kind_value, 1, 2**16)
    body = take_bytes(body_value, 0, limits.ENTRY_BODY_BYTES_MAX)
    said = read_known_untrusted(kind, body)
    return Entry(
        id=EntryId(digest(Domain.ENTRY_ID, header.id, index.to_bytes(4, "big"))),
        author=header.author,
        incarnation=header.incarnation,
        number=header.number,
        index=index,
        issued_at_ms=header.issued_at_ms,
        kind=kind,
        body=body,
        said=said,
    )


class Place(Enum):
    """What a batch is to a feed."""

    NEW = auto()
    KNOWN = auto()
    FORK = auto()
    """Another batch holds this number, or the chain contradicts it."""
    FROZEN = auto()
    """At or beyond a fork that was proven."""
    TOO_FAR = auto()
    """Further ahead than we remember gaps for."""


@attrs.define
class Feed:
    """What is held of one feed: ids only, 32 bytes a batch.

    Batches that arrive early wait in ``_ahead`` until the gap closes; they are
    acted on at once all the same.
    """

    _ids: bytearray = attrs.field(init=False, factory=bytearray, repr=False)
    _ahead: dict[int, tuple[bytes, bytes]] = attrs.field(init=False, factory=dict)
    last_issued_at_ms: UnixMs = attrs.field(init=False, default=UnixMs(0))
    frozen_at: int | None = attrs.field(init=False, default=None)
    """Where a fork was proven; nothing from there on is held or accepted."""

    @property
    def next_number(self) -> int:
        """The first number that is missing."""
        return len(self._ids) // ID_BYTES

    @property
    def head(self) -> bytes:
        """Id of the last batch before the first gap; zeros if none."""
        return bytes(self._ids[-ID_BYTES:]) or NO_PREVIOUS

    @property
    def first_ahead(self) -> int | None:
        """The first number held beyond the gap, if there is a gap."""
        return min(self._ahead, default=None)

    def place(self, batch: Batch) -> Place:
        """Say what ``batch`` is to this feed. Changes nothing."""
        if self.frozen_at is not None and batch.number >= self.frozen_at:
            return Place.FROZEN
        if self._id_at(batch.number) == batch.id:
            return Place.KNOWN
        if self.contradicted(batch) is not None:
            return Place.FORK
        if batch.number - self.next_number >= limits.AHEAD_PER_FEED_MAX:
            return Place.TOO_FAR
        return Place.NEW

    def contradicted(self, batch: Batch) -> int | None:
        """The number of a held batch that cannot be honest beside ``batch``."""
        if self._id_at(batch.number) not in (None, batch.id):
            return batch.number
        before = self._id_at(batch.number - 1) if batch.number else NO_PREVIOUS
        if before is not None and before != batch.previous:
            return batch.number - 1
        after = self._ahead.get(batch.number + 1)
        if after is not None and after[0] != batch.id:
            return batch.number + 1
        return None

    def freeze(self, number: int) -> None:
        """Hold nothing from ``number`` on: there the author forked."""
        if self.frozen_at is not None and self.frozen_at <= number:
            return
        self.frozen_at = number
        del self._ids[number * ID_BYTES :]
        self._ahead = {n: ids for n, ids in self._ahead.items() if n < number}

    def add(self, batch: Batch) -> None:
        """Take in a verified batch whose place is `Place.NEW`."""
        assert self.place(batch) is Place.NEW
        self._ahead[batch.number] = (batch.previous, batch.id)
        while (following := self._ahead.pop(self.next_number, None)) is not None:
            self._ids += following[1]
        self.last_issued_at_ms = max(self.last_issued_at_ms, batch.issued_at_ms)

    def _id_at(self, number: int) -> bytes | None:
        if 0 <= number < self.next_number:
            start = number * ID_BYTES
            return bytes(self._ids[start : start + ID_BYTES])
        waiting = self._ahead.get(number)
        return waiting[1] if waiting else None


@attrs.define
class Ledger:
    """All feeds held, by author and incarnation."""

    _feeds: dict[FeedId, Feed] = attrs.field(init=False, factory=dict)
    _count: dict[NodeId, int] = attrs.field(init=False, factory=dict)
    _buckets: dict[int, list[FeedId]] = attrs.field(init=False, factory=dict)

    def feed(self, feed: FeedId) -> Feed | None:
        """One feed, if anything of it is held."""
        return self._feeds.get(feed)

    def place(self, batch: Batch) -> Place:
        """Say what a batch is to its feed. Changes nothing."""
        held = self._feeds.get(batch.feed)
        if held is not None:
            return held.place(batch)
        if self._count.get(batch.author, 0) >= limits.INCARNATIONS_PER_AUTHOR_MAX:
            return Place.TOO_FAR
        return Feed().place(batch)

    def add(self, batch: Batch) -> Feed:
        """Take in a verified batch whose place is `Place.NEW`; its feed."""
        held = self._open(batch.feed)
        held.add(batch)
        return held

    def _open(self, feed: FeedId) -> Feed:
        held = self._feeds.get(feed)
        if held is None:
            author = feed[0]
            held = self._feeds[feed] = Feed()
            self._count[author] = self._count.get(author, 0) + 1
            insort(self._buckets.setdefault(author[0], []), feed)
        return held

    def freeze(self, feed: FeedId, number: int) -> None:
        """Freeze a feed at a proven fork, also one of which nothing is held yet."""
        self._open(feed).freeze(number)

    def heads(self) -> list[tuple[FeedId, Feed]]:
        """Every feed in one order, so that equal ledgers list alike."""
        return sorted(self._feeds.items(), key=lambda item: item[0])

    def bucket(self, first_byte: int) -> list[tuple[FeedId, Feed]]:
        """The feeds whose author's id begins with this byte, in order."""
        return [(f, self._feeds[f]) for f in self._buckets.get(first_byte, ())]

    def latest(self, author: NodeId) -> tuple[FeedId, Feed] | None:
        """The author's most recently written feed."""
        own = [
            (feed, self._feeds[feed])
            for feed in self._buckets.get(author[0], ())
            if feed[0] == author
        ]
        return max(own, key=lambda i: (i[1].last_issued_at_ms, i[0]), default=None)
