"""Feeds: each node's append-only log of numbered, chained batches.

::

    incarnation  ┌─ batch 0 ─┐  previous  ┌─ batch 1 ─┐  previous  ┌─ batch 2 …
                 │ KEYS, …   │◀───────────│ entries   │◀───────────│ entries
                 └───────────┘            └───────────┘            └─

Only ids and sizes are held here; bodies are in the store.
"""

from array import array
from bisect import insort
from collections import deque
from enum import Enum, auto

import attrs

from gossip import limits
from gossip.ledger.batch import NO_PREVIOUS, Batch, FeedId
from gossip.units import ID_BYTES, NodeId, UnixMs


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


@attrs.frozen
class _Early:
    """A batch that waits for those before it."""

    previous: bytes
    id: bytes
    size: int


@attrs.frozen
class Beginning:
    """Where a checkpoint lets a feed begin.

    Attributes:
        previous: Id of the batch before ``number``.
        where: Which batch holds the checkpoint.
    """

    number: int
    previous: bytes = attrs.field(repr=bytes.hex)
    where: "tuple[FeedId, int]" = attrs.field(repr=False)


@attrs.frozen
class LetGo:
    """What a checkpoint lets go of, to be forgotten after a grace."""

    feed: FeedId
    before: int
    size_bytes: int


@attrs.define
class Feed:
    """What is held of one feed: an id and a size for each batch.

    Batches that arrive early wait in ``_ahead`` until the gap closes; they are
    acted on at once all the same. What precedes ``base`` may be forgotten: the
    author itself said so, and named the id that ``base`` follows. For a grace its
    ids are kept, so that another story of the author still meets them.
    """

    _ids: bytearray = attrs.field(init=False, factory=bytearray, repr=False)
    _sizes: "array[int]" = attrs.field(
        init=False, factory=lambda: array("I"), repr=False
    )
    _ahead: dict[int, _Early] = attrs.field(init=False, factory=dict)
    base: int = attrs.field(init=False, default=0)
    _before: bytes = attrs.field(init=False, default=NO_PREVIOUS, repr=False)
    _leaving: dict[int, bytes] = attrs.field(init=False, factory=dict, repr=False)
    """Ids of what precedes ``base`` and is not forgotten yet."""
    _leaves: deque[int] = attrs.field(init=False, factory=deque, repr=False)
    """Their numbers, in order."""
    promised: Beginning | None = attrs.field(init=False, default=None)
    """Where it may begin, once what lasts of all before was fetched."""
    checkpointed_in: "tuple[FeedId, int] | None" = attrs.field(init=False, default=None)
    """Which batch holds the checkpoint that ``base`` rests on."""
    last_issued_at_ms: UnixMs = attrs.field(init=False, default=UnixMs(0))
    frozen_at: int | None = attrs.field(init=False, default=None)
    """Where a fork was proven; nothing from there on is held or accepted."""

    @property
    def next_number(self) -> int:
        """The first number that is missing."""
        return self.base + len(self._sizes)

    @property
    def head(self) -> bytes:
        """Id of the last batch before the first gap; zeros if none."""
        return bytes(self._ids[-ID_BYTES:]) or self._before

    @property
    def first_ahead(self) -> int | None:
        """The first number held beyond the gap, if there is a gap."""
        return min(self._ahead, default=None)

    def place(self, batch: Batch) -> Place:
        """Say what ``batch`` is to this feed. Changes nothing."""
        if self._follows(batch):
            return Place.NEW
        if self.frozen_at is not None and batch.number >= self.frozen_at:
            return Place.FROZEN
        if self.id_at(batch.number) == batch.id:
            return Place.KNOWN
        if self.contradicted(batch) is not None:
            return Place.FORK
        if batch.number < self.base:
            return Place.KNOWN  # old news: its author said that it may go
        if (
            len(self._ahead) >= limits.AHEAD_PER_FEED_MAX
            and batch.number != self.next_number
        ):
            return Place.TOO_FAR
        return Place.NEW

    def _follows(self, batch: Batch) -> bool:
        """Whether it is simply the next one, as most are: then there is less to ask."""
        return (
            batch.number == self.base + len(self._sizes)
            and not self._ahead
            and self.frozen_at is None
            and batch.previous == self.head
        )

    def contradicted(self, batch: Batch) -> int | None:
        """The number of a held batch that cannot be honest beside ``batch``."""
        if self.id_at(batch.number) not in (None, batch.id):
            return batch.number
        before = self.id_at(batch.number - 1) if batch.number else NO_PREVIOUS
        if before is not None and before != batch.previous:
            return batch.number - 1
        after = self._ahead.get(batch.number + 1)
        if after is not None and after.previous != batch.id:
            return batch.number + 1
        return None

    def add(self, batch: Batch) -> None:
        """Take in a verified batch that contradicts nothing held."""
        assert self.place(batch) in (Place.NEW, Place.TOO_FAR)
        self._ahead[batch.number] = _Early(batch.previous, batch.id, len(batch.encoded))
        self._close_gap()
        self.last_issued_at_ms = max(self.last_issued_at_ms, batch.issued_at_ms)

    def disputes(self, told: Beginning) -> bool:
        """Whether a checkpoint names another predecessor than the one known here."""
        known = self.id_at(told.number - 1)
        after = self._ahead.get(told.number)
        return (known is not None and known != told.previous) or (
            after is not None and after.previous != told.previous
        )

    def checkpoint(self, told: Beginning, *, delivered: bool) -> int:
        """Begin where the author says, or once what lasts of all before was fetched.

        Args:
            delivered: Whether it was, from somebody who begins there too.

        Returns:
            How many bytes need not be kept any more; 0 if nothing changes now: it
            is old, contradicts what is known, or all before is to come first.
        """
        number = told.number
        frozen = self.frozen_at is not None and number > self.frozen_at
        if number <= self.base or frozen or self.disputes(told):
            return 0
        if self.next_number < number and not delivered:
            if self.promised is None or self.promised.number < number:
                self.promised = told
            return 0
        dropped = min(number - self.base, len(self._sizes))
        freed = sum(self._sizes[:dropped])
        for at in range(self.base, self.base + dropped):
            self._leave(at, self.id_at(at) or b"")
        for at in sorted(at for at in self._ahead if at < number):
            early = self._ahead.pop(at)
            self._leave(at, early.id)
            freed += early.size
        del self._ids[: dropped * ID_BYTES]
        del self._sizes[:dropped]
        self.base, self._before = number, told.previous
        self.checkpointed_in = told.where
        self._close_gap()
        return max(1, freed)

    def _leave(self, number: int, batch_id: bytes) -> None:
        self._leaving[number] = batch_id
        self._leaves.append(number)

    def due_promise(self) -> Beginning | None:
        """Once, the beginning that was promised, if all before it came."""
        promised = self.promised
        if promised is None or self.next_number < promised.number:
            return None
        self.promised = None
        return promised

    def forget(self, before: int) -> int:
        """The grace of what precedes ``before`` is over.

        Returns:
            Before which number nothing need be kept: the batch that ``base`` follows
            stays, so that who names another predecessor still convicts itself.
        """
        before = min(before, self.base - 1)
        while self._leaves and self._leaves[0] < before:
            self._leaving.pop(self._leaves.popleft(), None)
        return before

    def freeze(self, number: int) -> None:
        """Hold nothing from ``number`` on: there the author forked."""
        if self.frozen_at is not None and self.frozen_at <= number:
            return
        self.frozen_at = number
        self._leaving = {n: i for n, i in self._leaving.items() if n < number}
        if number < self.base:
            self.base = number
            self._before = self._leaving.get(number - 1, NO_PREVIOUS)
        kept = max(0, number - self.base)
        del self._ids[kept * ID_BYTES :]
        del self._sizes[kept:]
        self._ahead = {n: b for n, b in self._ahead.items() if n < number}

    @property
    def tip(self) -> bytes:
        """What heads are compared by: the head, or nothing at a fork, which whoever
        holds all before it may have forgotten."""
        return NO_PREVIOUS if self.next_number == self.frozen_at else self.head

    def settle(self) -> None:
        """Nobody has what is missing before the fork: let it be."""
        if self.frozen_at is not None and self.next_number < self.frozen_at:
            self._ids.clear()
            del self._sizes[:]
            self._ahead.clear()
            self.base, self._before = self.frozen_at, NO_PREVIOUS

    def id_at(self, number: int) -> bytes | None:
        """The id of a batch that is held, or that the base follows."""
        if number == self.base - 1:
            return None if self._before == NO_PREVIOUS else self._before
        if number < self.base:
            return self._leaving.get(number)
        if self.base <= number < self.next_number:
            start = (number - self.base) * ID_BYTES
            return bytes(self._ids[start : start + ID_BYTES])
        waiting = self._ahead.get(number)
        return waiting.id if waiting else None

    def _close_gap(self) -> None:
        while (following := self._ahead.pop(self.next_number, None)) is not None:
            self._ids += following.id
            self._sizes.append(following.size)


@attrs.define
class Ledger:
    """All feeds held, by author and incarnation."""

    _feeds: dict[FeedId, Feed] = attrs.field(init=False, factory=dict)
    _count: dict[NodeId, int] = attrs.field(init=False, factory=dict)
    _buckets: dict[int, list[FeedId]] = attrs.field(init=False, factory=dict)
    _bytes: dict[NodeId, int] = attrs.field(init=False, factory=dict)
    _lasting: dict[NodeId, int] = attrs.field(init=False, factory=dict)
    _leaving: dict[NodeId, int] = attrs.field(init=False, factory=dict)

    def feed(self, feed: FeedId) -> Feed | None:
        """One feed, if anything of it is held."""
        return self._feeds.get(feed)

    def place(self, batch: Batch) -> Place:
        """Say what a batch is to its feed. Changes nothing."""
        held = self._feeds.get(batch.feed)
        if held is not None:
            return held.place(batch)
        if not self._may_open(batch.feed):
            return Place.TOO_FAR
        return Feed().place(batch)

    def add(self, batch: Batch) -> Feed:
        """Take in a verified batch whose place is `Place.NEW`; its feed."""
        held = self._open(batch.feed)
        held.add(batch)
        author = batch.author
        self._bytes[author] = self._bytes.get(author, 0) + len(batch.encoded)
        if batch.lasting:
            self._lasting[author] = self.lasting_of(author) + len(batch.encoded)
        return held

    def bytes_of(self, author: NodeId) -> int:
        """How many bytes of an author's batches are to be kept."""
        return self._bytes.get(author, 0)

    def lasting_of(self, author: NodeId) -> int:
        """How many bytes of an author's batches are kept for good."""
        return self._lasting.get(author, 0)

    def leaving_of(self, author: NodeId) -> int:
        """How many bytes an author let go of that are kept for a grace."""
        return self._leaving.get(author, 0)

    def checkpoint(
        self, feed: FeedId, told: Beginning, *, delivered: bool
    ) -> LetGo | None:
        """Let a feed begin as its author says; see `Feed.checkpoint`."""
        if not self._may_open(feed):
            return None
        freed = self._open(feed).checkpoint(told, delivered=delivered)
        if not freed:
            return None
        author = feed[0]
        self._bytes[author] = max(0, self.bytes_of(author) - freed)
        self._leaving[author] = self.leaving_of(author) + freed
        return LetGo(feed, told.number, freed)

    def forget(self, gone: LetGo) -> int:
        """The grace of what was let go is over; see `Feed.forget`."""
        author = gone.feed[0]
        self._leaving[author] = max(0, self.leaving_of(author) - gone.size_bytes)
        return self._feeds[gone.feed].forget(gone.before)

    def _may_open(self, feed: FeedId) -> bool:
        """Whether the feed is held, or its author has room for one more."""
        count = self._count.get(feed[0], 0)
        return feed in self._feeds or count < limits.INCARNATIONS_PER_AUTHOR_MAX

    def _open(self, feed: FeedId) -> Feed:
        held = self._feeds.get(feed)
        if held is None:
            author = feed[0]
            held = self._feeds[feed] = Feed()
            self._count[author] = self._count.get(author, 0) + 1
            insort(self._buckets.setdefault(author[0], []), feed)
        return held

    def freeze(self, feed: FeedId, number: int) -> None:
        """Freeze a feed at a proven fork, also one of which nothing is held yet.

        Of an author that has no room for one more nothing will be held anyway.
        """
        if self._may_open(feed):
            self._open(feed).freeze(number)

    def heads(self) -> list[tuple[FeedId, Feed]]:
        """Every feed in one order, so that equal ledgers list alike."""
        return sorted(self._feeds.items(), key=lambda item: item[0])

    def buckets(self) -> list[int]:
        """The first bytes that authors' ids of held feeds have, sorted."""
        return sorted(self._buckets)

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
