"""The pen: writes the own feed, one batch at a time.

::

    say ─▶ waiting ─▶ Sign ─▶ signed ─▶ Store ─▶ stored: others may hear of it

Each batch names the one before it, so only one is ever under way. The first
entry leaves at once; what follows within `BATCHING_MS` shares a signature.
"""

from collections import deque
from typing import Final

import attrs

from gossip import events, limits
from gossip.domains import Domain
from gossip.effects import Sign, Store
from gossip.errors import LocalError
from gossip.ledger.batch import (
    NO_PREVIOUS,
    Batch,
    Draft,
    draft_batch,
    read_batch_untrusted,
)
from gossip.ledger.entries import (
    Checkpoint,
    Closing,
    EntryKind,
    Keys,
    write_checkpoint,
    write_keys,
)
from gossip.ledger.feed import Ledger, Place
from gossip.membership.identity import Chain
from gossip.membership.roster import Roster
from gossip.units import Incarnation, NodeId, UnixMs

BATCHING_MS: Final = 50
_HEADROOM_BYTES: Final = 8_192  # header, signature and framing


@attrs.define
class Pen:
    """Writes for ``me``, once opened."""

    me: NodeId = attrs.field(repr=bytes.hex)
    roster: Roster
    ledger: Ledger
    _incarnation: Incarnation | None = attrs.field(init=False, default=None)
    _chain: Chain | None = attrs.field(init=False, default=None)
    _waiting: deque[tuple[int, bytes]] = attrs.field(init=False, factory=deque)
    _signing: Draft | None = attrs.field(init=False, default=None)
    _storing: Batch | None = attrs.field(init=False, default=None)
    _last_left_ms: int = attrs.field(init=False, default=-BATCHING_MS)

    def open(
        self, opened: events.Opened, closes: Closing | None, now: UnixMs
    ) -> list[Sign]:
        """Begin a fresh incarnation, saying where the one before it ended.

        Raises:
            LocalError: opened twice, or with another node's chain.
        """
        if self._incarnation is not None:
            raise LocalError("an engine is opened once")
        self._incarnation = opened.incarnation
        return self._introduce(opened.chain, closes, now)

    def rotate(self, chain: Chain, now: UnixMs) -> list[Sign]:
        """Sign with another operational key from the next batch on."""
        self._opened()
        return self._introduce(chain, None, now)

    def say(self, kind: int, body: bytes, now: UnixMs) -> list[Sign]:
        """Append an entry; it leaves as soon as it may, and not before `open`.

        Raises:
            LocalError: too long.
        """
        if len(body) > limits.ENTRY_BODY_BYTES_MAX:
            raise LocalError(f"an entry of {len(body)} bytes")
        self._waiting.append((kind, body))
        return self.write(now)

    def prune(self, incarnation: Incarnation, keep: int, now: UnixMs) -> list[Sign]:
        """Say that of an own feed only batches from ``keep`` on are to be kept.

        Nothing is said twice: what such a saying follows is kept by everybody.

        Raises:
            LocalError: that is not a batch that can be begun with.
        """
        feed = self.ledger.feed((self.me, incarnation))
        if feed is not None and 0 < keep <= feed.base:
            return []
        previous = feed.id_at(keep - 1) if feed else None
        if feed is None or previous is None or keep > feed.next_number:
            raise LocalError(f"a feed cannot be begun at {keep}")
        checkpoint = Checkpoint(incarnation=incarnation, number=keep, previous=previous)
        return self.say(EntryKind.CHECKPOINT, write_checkpoint(checkpoint), now)

    def write(self, now: UnixMs) -> list[Sign]:
        """Begin the next batch if one is due and none is under way."""
        chain = self._chain
        if chain is None or not self._idle or not self._waiting:
            return []
        full = len(self._waiting) >= limits.BATCH_ENTRIES_MAX
        # A clock set back must not hold entries for longer than one batching.
        if self._last_left_ms <= now < self._last_left_ms + BATCHING_MS and not full:
            return []
        incarnation = self._opened()
        feed = self.ledger.feed((self.me, incarnation))
        self._signing = draft_batch(
            cluster=self.roster.cluster,
            author=self.me,
            incarnation=incarnation,
            number=feed.next_number if feed else 0,
            previous=feed.head if feed else NO_PREVIOUS,
            issued_at_ms=now,
            key=chain.key,
            entries=self._take(),
        )
        self._last_left_ms = now
        return [Sign(self._signing.header, Domain.BATCH, chain.key)]

    def signed(self, header: bytes, signature: bytes) -> list[Store]:
        """The signature came: make the batch durable.

        Raises:
            LocalError: nobody asked for it.
        """
        draft, self._signing = self._signing, None
        if draft is None or draft.header != header:
            raise LocalError("a signature that nobody asked for")
        self._storing = read_batch_untrusted(draft.join(signature))
        return [Store(self._storing, own=True)]

    def stored(self, batch_id: bytes) -> Batch | None:
        """The batch is durable: it is part of the feed now.

        Returns:
            None if meanwhile our own feed was frozen at a proven fork: some copy
            of us spoke under this incarnation too. Nobody would hear more of it;
            the next start opens another.

        Raises:
            LocalError: it was not under way.
        """
        batch, self._storing = self._storing, None
        if batch is None or batch.id != batch_id:
            raise LocalError("a batch was stored that was not under way")
        if self.ledger.place(batch) is not Place.NEW:
            self._chain = None
            self._waiting.clear()
            return None
        self.ledger.add(batch)
        return batch

    @property
    def due_ms(self) -> int | None:
        """When `write` has something to do that it could not do at once."""
        if self._waiting and self._idle:
            return self._last_left_ms + BATCHING_MS
        return None

    @property
    def _idle(self) -> bool:
        return self._signing is None and self._storing is None

    def _introduce(
        self, chain: Chain, closes: Closing | None, now: UnixMs
    ) -> list[Sign]:
        """Put a chain first in the next batch, which is signed by its key."""
        if chain.node != self.me:
            raise LocalError("a chain of another node")
        self.roster.learn(chain)
        self._chain = chain
        keys = Keys(chain=chain.encoded, closes=closes)
        self._waiting.appendleft((EntryKind.KEYS, write_keys(keys)))
        return self.write(now)

    def _opened(self) -> Incarnation:
        if self._incarnation is None:
            raise LocalError("the engine has not been opened yet")
        return self._incarnation

    def _take(self) -> list[tuple[int, bytes]]:
        """What fits one batch, by count and by size; at least one entry."""
        taken: list[tuple[int, bytes]] = []
        room = limits.BATCH_BYTES_MAX - _HEADROOM_BYTES
        while self._waiting and len(taken) < limits.BATCH_ENTRIES_MAX:
            room -= len(self._waiting[0][1]) + 16
            if taken and room < 0:
                break
            taken.append(self._waiting.popleft())
        return taken
